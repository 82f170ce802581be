"""The wire contract: bytes of records to the core's activities, the core's effects to bytes. See `schemas/`."""
