"""The state of one partition: profiles, timers, erasure markers, and what a commit writes of them.

The entry is `task_state.TaskState`. It knows no rules: `processing` and the packages above it report every change of a
profile to it. It imports `profile` and what is below that.
"""
