"""The fixtures of `tests.support.broker_fixtures`, for the tests of this directory."""

from tests.support.broker_fixtures import apache_kafka, broker, broker_type, embedded_broker, make_cluster

__all__ = ["apache_kafka", "broker", "broker_type", "embedded_broker", "make_cluster"]
