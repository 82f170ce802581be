"""The fixtures of tests/integration: a test that asks for `broker` or `make_cluster` runs on each broker."""

from tests.integration.conftest import apache_kafka, broker, embedded_broker, make_cluster

__all__ = ["apache_kafka", "broker", "embedded_broker", "make_cluster"]
