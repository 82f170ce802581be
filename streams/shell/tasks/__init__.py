"""The tasks of a worker: one `PartitionTask` per partition number, and one `RepartitionTask` per partition of a topic
that is not co-partitioned. Both are a `Task`.

A partition task decodes records for its engine, encodes outputs, and hands outputs and changed state to
`streams.shell.commit`. A repartition task forwards records. Only `streams.shell.worker` imports this package.
"""
