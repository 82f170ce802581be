"""The engine of one partition: merge inputs in event-time order, apply them, fire deadlines, take snapshots.

The worker, the replay, the tests and the benchmarks all drive `engine.PartitionEngine`. Nothing else in the core may
import this package.
"""
