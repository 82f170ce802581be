"""Reports of a worker to operators: HTTP endpoints, recovery progress, silent topics, the last failure, logs.

Only `streams.shell.worker` imports this package.
"""
