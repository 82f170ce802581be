"""`python -m streams` is `lifecycle`."""

from streams.cli import main

main(prog_name="lifecycle")
