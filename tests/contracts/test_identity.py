from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import identity

NOBODY = ["", "0", "-", "000-0", "00000000-0000-0000-0000-000000000000", "-1", "null", "NULL", "Undefined", "none"]
NOBODY += ["Guest", "NaN", "nil", "n/a", "true", "FALSE", "anon", "unknown", "(not set)", "[object Object]", "0.0"]
NOBODY += ["distinct_id", "shopify-admin", " ", "undefined ", "\tnull\n", "0 ", "\u00a0guest"]
SOMEBODY = ["c-1", "1", "10", "-2", "--1", "nullable", "anonymous-1", "guest-7", "anonymou\u017f", "nan@shop.example"]
READ = identity.DEFAULT.of_customer
TOO_LONG = ["x" * 257, "é" * 129, "😀" * 65]
LONG = ["x" * 256, "é" * 128, "😀" * 64]


@pytest.mark.parametrize("identifier", [*NOBODY, "ANONYMOUS", *TOO_LONG])
def test_placeholder_ids_identify_no_customer(identifier: str) -> None:
    assert READ(identifier) is None


@pytest.mark.parametrize("identifier", [*SOMEBODY, *LONG])
def test_other_ids_identify_a_customer(identifier: str) -> None:
    assert READ(identifier) == READ(f" {identifier}\n") == identifier


def test_list_of_placeholders_can_be_changed() -> None:
    names = identity.Identifiers(identity.changed_placeholders(["+Test User", "-guest", "--1"]))
    assert [names.of_other(name) for name in ("test user", "TEST USER", "guest", "-1")] == [None, None, "guest", "-1"]
    for change in ("guest", "+", "-nobody", "-0"):
        with pytest.raises(ValueError, match=r"neither|cannot be taken|always"):
            identity.changed_placeholders([change])


def test_ids_of_customers_can_be_read_in_lower_case() -> None:
    folding = identity.Identifiers(fold_case=True)
    assert folding.of_customer("Ann@Shop.Example ") == "ann@shop.example"
    assert folding.of_other("Dev-1") == "Dev-1"


def test_ids_up_to_the_longest_fit() -> None:
    assert all(identity.fits(identifier) for identifier in [*NOBODY, *SOMEBODY, *LONG])
    assert not any(identity.fits(identifier) for identifier in TOO_LONG)


@given(
    st.text(max_size=3) | st.text("0-1nulNUL", max_size=6) | st.sampled_from(["Null", "UNDEFINED", "nOne", "anonymous"])
)
def test_fast_check_of_placeholders_agrees_with_their_definition(identifier: str) -> None:
    bare = identifier.strip()
    nobody = bare.strip("0-") == "" or bare.lower() in identity.PLACEHOLDERS
    assert READ(identifier) == (None if nobody else bare)
