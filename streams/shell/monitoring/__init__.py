"""What operators see of a worker: HTTP endpoints, recovery progress, silent topics, the last failure, logs.

Only `streams.shell.worker` imports this package.
"""
