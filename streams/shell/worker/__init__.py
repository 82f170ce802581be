"""The Faust application of a worker: assignment of partitions, start of tasks, the worker's loops and its end.

Top of the shell: only `streams.cli`, the demo and tests import this package.
"""
