"""Faust with records in chunks: one event per partition and poll, state written behind.

Agents remain Faust agents and tables Faust tables; group membership, assignment, recovery and standby replicas are
Faust's. What is different is that work is paid per chunk, and that a commit is ours: outputs, changelog, offsets.
"""
