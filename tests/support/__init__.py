"""Helpers that several directories of tests share.

Four harnesses run the product. Pick the first of the list that can show the behaviour under test:

- `single_partition.SinglePartitionHarness`: the engine on one partition, synchronous. For lifecycle, watermark,
  deadlines, commits and crashes of a single task.
- `partition_network.PartitionNetwork`: engines of several partitions, synchronous. For repartitioning, identity
  resolution and erasure across partitions, with crashes at any step of a commit. Fast enough for Hypothesis.
- `shell_harness.ShellHarness`: the real tasks and repartition tasks of the shell with their encoders, metadata and
  settings, on topics in memory. For behaviour between the engine and the clients of Kafka.
- `process_cluster.ProcessCluster`: worker processes on a real broker (fixture `make_cluster` in `broker_fixtures`). For
  consumer groups, transactions, files, signals and HTTP.

The reference (`reference_lifecycle`, `reference_cart`, `reference_rules`) is an independent implementation of the
lifecycle and of the rules. `reference_comparison` compares the core with it, and `replay_comparison` compares workers
with a replay. A helper of one directory only stays in that directory. No test module imports from a test module.
"""
