"""Options, Hypothesis profiles and the order of tests, for all of them.

Tests run what is installed: the compiled core (`setup.py`), or with `--interpreted` its Python source.

HYPOTHESIS_PROFILE, an environment variable, sets how many examples a property is tried on: `quick` is for `make check`,
`default` for `make test`, `ci` for `.ci/run`. Each of these tries the same examples every time. `thorough` is for
`make fuzz`: it tries many examples, and other ones every time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# Helpers assert, too.
pytest.register_assert_rewrite(*(f"tests.{path.name}" for path in Path(__file__).parent.iterdir() if path.is_dir()))

settings.register_profile(
    "default", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("ci", settings.get_profile("default"), max_examples=300)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=20_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

BROKER_FIXTURES = {"apache_kafka", "broker", "broker_type", "embedded_broker", "make_cluster"}


class _Sources(MetaPathFinder):
    """Finds the source of a module of ours, where Python prefers what was compiled from it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = ROOT / f"{name.replace('.', '/')}.py"
        is_ours = name.startswith("streams.") and file.is_file()
        return importlib.util.spec_from_file_location(name, file) if is_ours else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interpreted", action="store_true", help="run the core's Python source, not what is compiled")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--interpreted"):
        sys.meta_path.insert(0, _Sources())
        return
    for compiled in ROOT.glob("streams/**/*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if not source.exists() or source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"{source.relative_to(ROOT)} has changed since it was compiled: run `make install`", 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a broker, and where tests run in several processes spread them over the first of them.

    Tests with a broker wait most of their time. Spread evenly, they leave the processors to the others.
    """
    waiting = [item for item in items if BROKER_FIXTURES.intersection(getattr(item, "fixturenames", ()))]
    for item in waiting:
        item.add_marker(pytest.mark.broker)
    if hasattr(config, "workerinput"):
        items[:] = spread(waiting, [item for item in items if item not in set(waiting)])


def spread(few: list[pytest.Item], many: list[pytest.Item]) -> list[pytest.Item]:
    """Return all items with `few` at even distances among the first three quarters of `many`."""
    distance = max(1, len(many) * 3 // 4 // (len(few) or 1))
    mixed: list[pytest.Item] = []
    for n, item in enumerate(few):
        mixed += [item, *many[n * distance : (n + 1) * distance]]
    return mixed + many[len(few) * distance :]
