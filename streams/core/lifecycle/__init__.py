"""The rules of one customer: pure functions of a profile and an event, or a profile and a deadline.

`lifecycle.Lifecycle` is the entry; the other modules hold one subject each. No module here knows other customers,
offsets or storage. The packages of the core above it, `streams.contracts`, `streams.playbooks`, `streams.replay` and
the shell import this package.
"""
