"""Each program of `make chaos` in its short version, on Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import machine
from tests.brokers.kafka import Unavailable
from tests.chaos.__main__ import carry_out
from tests.chaos.catalogue import PROGRAMS
from tests.chaos.programs import MODES

SEED = 1
MODES_THERE_ARE = ("at_least_once",)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_lost_wrong_or_invented(name: str, mode: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    if mode not in program.modes or mode not in MODES_THERE_ARE:
        pytest.skip(f"{name} is not for {mode}")
    try:
        verdict = carry_out(program, mode, SEED, short=True, keep=tmp_path / "run")
    except Unavailable as reason:
        machine.lacking(str(reason))
    print(verdict.sentence())
    assert verdict.ok, verdict.sentence()
