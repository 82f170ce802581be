"""The table of the engine's counters has the names and the labels that the core counts."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

from streams.core.model.counters import COUNTER_LABELS, CounterName

CORE = Path(__file__).parents[2] / "streams" / "core"


def texts(node: ast.expr) -> set[str]:
    """Return the values of an expression that are written as literals."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def counted() -> dict[str, set[str]]:
    """Return the names that the core counts, each with those of its labels that are written as literals."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.AugAssign(
                    target=ast.Subscript(value=counts, slice=ast.Tuple(elts=[ast.Constant(name), label]))
                ):
                    if ast.unparse(counts).endswith("counts"):
                        found[str(name)] |= texts(label)
                case ast.Call(
                    func=ast.Name("_count_occurrences" | "_merge_occurrences"), args=[*_, label, ast.Name("counts")]
                ):
                    found["trimmed"] |= texts(label)
                case ast.Tuple(elts=[label, *_, ast.Name(function)]) if function.startswith("_drop_"):
                    found["trimmed"] |= texts(label)
    return found


def test_every_counter_has_its_labels() -> None:
    assert set(COUNTER_LABELS) == set(get_args(CounterName))


def test_every_counter_but_that_of_the_shell_is_counted_by_the_core() -> None:
    assert set(counted()) == set(COUNTER_LABELS) - {"rejected"}


@pytest.mark.parametrize("name", COUNTER_LABELS)
def test_labels_that_the_core_counts_are_in_the_table(name: CounterName) -> None:
    assert counted()[name] <= set(COUNTER_LABELS[name])


@pytest.mark.parametrize(
    "name", ["trimmed", "corrections_ignored", "orders_conflicting", "repartition_received", "erasures"]
)
def test_every_label_of_the_table_is_counted(name: CounterName) -> None:
    """The labels of the other counters are computed: a source, a stream, a type of output with a reason."""
    assert counted()[name] == set(COUNTER_LABELS[name])
