"""Each program of `make chaos` in its short version, on Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import carry_out
from tests.chaos.catalogue import PROGRAMS
from tests.chaos.programs import MODES
from tests.support import machine_requirements
from tests.support.kafka_cluster import Unavailable

SEED = 1
IN_BOTH_MODES = ("kills", "stale_owners", "racing", "identity")
IN_EXACTLY_ONCE = ("coming_and_going", "broker_loss", "producer_timeouts")
"""The other programs test behaviour that both modes share, and run in the default mode. `make chaos` runs all in
both."""


def modes(name: str) -> tuple[str, ...]:
    """Return the modes in which a program is a test."""
    if name in IN_BOTH_MODES:
        return MODES
    return ("exactly_once",) if name in IN_EXACTLY_ONCE else ("at_least_once",)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name in PROGRAMS for mode in modes(name)])
def test_chaos_program_finds_no_lost_wrong_or_invented_output(name: str, mode: str, tmp_path: Path) -> None:
    try:
        verdict = carry_out(PROGRAMS[name], mode, SEED, short=True, keep=tmp_path / "run")
    except Unavailable as reason:
        machine_requirements.skip_or_fail(str(reason))
    print(verdict.sentence())
    assert verdict.ok, verdict.sentence()


def test_chosen_programs_exist() -> None:
    assert {*IN_BOTH_MODES, *IN_EXACTLY_ONCE} <= PROGRAMS.keys()
