"""Commits: one protocol, carried out for both processing guarantees.

The order of the steps decides what a crash can repeat or lose. `streams.shell.tasks` and `streams.shell.worker` import
this package.
"""
