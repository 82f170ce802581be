"""The pure core: no I/O, no clock, no randomness, no logging. Callers pass the time in.

Packages, top first; each may import those below it, and import-linter enforces this (`pyproject.toml`):

    engine       one partition's engine: the merge in event-time order, deadlines, snapshots for commits
    identity     which customer owns a device, cart or checkout; removal of erased ids from these records
    processing   what the engine does with one record or one deadline
    lifecycle    the rules of one customer: stages, cart, orders, abandonment, triggers, merging
    rules        the expression language of playbooks
    store        the profiles of one partition: in memory, packed, on disk; timers; erasure markers
    profile      the profile of one customer and its packed form
    event_time   progress of inputs, watermarks, gaps in applied offsets
    model        plain data that all of them share
"""
