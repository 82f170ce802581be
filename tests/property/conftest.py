"""Hypothesis profiles, chosen by the environment variable HYPOTHESIS_PROFILE. All but one try the same examples each time.

`quick` is for `make check`, `default` for `make test`, `ci` for `.ci/run`. `thorough` is for `make fuzz`: it tries many
examples, and others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("ci", settings.get_profile("default"), max_examples=300)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=20_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
