"""Faust with records in chunks: one event per partition and poll, state written behind.

Agents remain Faust agents and tables Faust tables; group membership, assignment, recovery and standby replicas are
Faust's. What is different is that work is paid per chunk, and that a commit is ours: outputs, changelog, offsets.

The private names of Faust and aiokafka that this relies on are listed, with the versions they were checked with, in
tests/transport/test_private_names.py, which fails when one is missing or not listed.
"""
