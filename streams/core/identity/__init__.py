"""Identity resolution: which customer owns a device, a cart or a checkout, and since when.

`aliases` has the rules and how a record is split into parts, `resolver` applies them, `message_outbox` keeps the
messages between resolution stages until they are sent, and `erasure_sweep` takes erased ids out of the records of other
ids. `engine`, `streams.contracts`, `streams.replay` and the shell import this package.
"""
