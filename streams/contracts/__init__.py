"""The wire contract: records of input topics to the core's events, and the core's outputs to records. See `schemas/`.

`native` decodes input records, `outputs` and `profiles` encode what subscribers read, `repartition` does both for the
internal topic, and `erasures` for requests. Everything above `contracts` may import it; it imports only the core.
"""
