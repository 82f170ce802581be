"""The tasks of a worker: one `PartitionTask` per partition number, and one `RepartitionTask` per partition of a topic
that is not co-partitioned. Both are a `Task`.

A task decodes records for its engine, encodes outputs, and hands both to `streams.shell.commit`. Only
`streams.shell.worker` imports this package.
"""
