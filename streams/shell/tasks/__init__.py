"""The tasks of a worker: one `PartitionTask` per partition, one `RepartitionTask` per partition that is read elsewhere.

A task decodes records for its engine, encodes outputs, and hands both to `streams.shell.commit`. Only
`streams.shell.worker` imports this package.
"""
