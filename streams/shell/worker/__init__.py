"""The Faust application of a worker and its parts: context, assignment of partitions, work loops, watchdog and end.

Only `streams.shell.app`, `streams.cli`, the demo and tests import this package. Its parts share a `WorkerContext`. Only
the factory imports the application.
"""
