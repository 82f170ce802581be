"""Commits: one protocol for both processing guarantees.

`checkpoint` has the order of the steps, and explains what a crash at each of them can repeat.

`streams.shell.tasks` and `streams.shell.worker` import this package.
"""
