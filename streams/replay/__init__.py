"""The offline runtime: the engine of the worker over files, without Kafka."""
