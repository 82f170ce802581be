from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import identity

NOBODY = ["", "0", "-", "000-0", "00000000-0000-0000-0000-000000000000", "-1", "null", "NULL", "Undefined", "none"]
SOMEBODY = ["c-1", "1", "10", "-2", "--1", "nullable", "anonymous-1", "0\n", "null ", "anonymou\u017f"]
TOO_LONG = ["x" * 257, "é" * 129, "😀" * 65]
LONG = ["x" * 256, "é" * 128, "😀" * 64]


@pytest.mark.parametrize("identifier", [*NOBODY, "ANONYMOUS", *TOO_LONG])
def test_placeholder_ids_identify_no_customer(identifier: str) -> None:
    assert not identity.names_someone(identifier)


@pytest.mark.parametrize("identifier", [*SOMEBODY, *LONG])
def test_other_ids_identify_a_customer(identifier: str) -> None:
    assert identity.names_someone(identifier)


def test_ids_up_to_the_longest_fit() -> None:
    assert all(identity.fits(identifier) for identifier in [*NOBODY, *SOMEBODY, *LONG])
    assert not any(identity.fits(identifier) for identifier in TOO_LONG)


@given(
    st.text(max_size=3) | st.text("0-1nulNUL", max_size=6) | st.sampled_from(["Null", "UNDEFINED", "nOne", "anonymous"])
)
def test_fast_check_of_placeholders_agrees_with_their_definition(identifier: str) -> None:
    nobody = identifier.strip("0-") == "" or identifier.lower() in {"-1", "null", "undefined", "none", "anonymous"}
    assert identity.names_someone(identifier) is not nobody
