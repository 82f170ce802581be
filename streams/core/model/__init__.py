"""Plain data that every package of the core shares: events, the parts of profiles, outputs, sources, ids, limits.

Every package may import it. It imports no other package of the core.
"""
