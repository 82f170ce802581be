"""What is done to topics from outside a task: create and check them, and put requests to erase a customer on them."""
