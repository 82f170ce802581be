"""Faust with records in chunks: one event per topic and poll, state written behind.

Agents remain Faust agents and tables Faust tables; group membership, assignment, recovery and standby replicas are
Faust's. Two things differ: the cost of a message is paid per chunk, and the app makes the commit of outputs, changelog
and offsets.

tests/transport/test_private_names.py lists the private names of Faust and aiokafka that this package relies on, with
the versions they were checked with. It fails when one is missing or not listed.
"""
