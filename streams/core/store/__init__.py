"""The profiles of one partition: live objects, packed bytes in memory or on disk, timers and erasure markers.

`task_state.TaskState` is the entry. It knows no rules: `processing` and the packages above it tell it what changed.
"""
