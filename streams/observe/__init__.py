"""Observation: which metrics there are (`catalogue`), and how they get to Prometheus (`prometheus`)."""
