"""Metrics: their table (`catalogue`), the readings of tasks (`readings`), and the Prometheus adapter (`prometheus`)."""
