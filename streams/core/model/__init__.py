"""Plain data that every package of the core shares: events, outputs, sources, ids, limits.

Imports nothing else of the core.
"""
