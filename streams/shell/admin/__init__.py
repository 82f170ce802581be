"""Administration of topics outside the tasks: create and check them, and write erasure requests to them."""
