from __future__ import annotations

import pytest

from streams.contracts import identity


@pytest.mark.parametrize(
    "identifier",
    ["", "0", "-", "000-0", "00000000-0000-0000-0000-000000000000", "-1", "null", "NULL", "Undefined", "none", "nOnE"]
    + ["anonymous", "ANONYMOUS", "x" * 257, "é" * 129, "😀" * 65],
)
def test_nobody(identifier: str) -> None:
    assert not identity.names_somebody(identifier)


@pytest.mark.parametrize(
    "identifier",
    ["c-1", "1", "10", "-2", "--1", "nullable", "anonymous-1", "0\n", "null ", "anonymouſ", "x" * 256, "é" * 128]
    + ["😀" * 64],
)
def test_somebody(identifier: str) -> None:
    assert identity.names_somebody(identifier)
