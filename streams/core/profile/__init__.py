"""The profile of one customer (`profile`) and its packed form for changelog, memory and disk (`codec`, `fields`).

`recent_ids` and `sessions` are the two parts of a profile that are kept as bytes. Every package above this one may
import it. It imports `model`.
"""
