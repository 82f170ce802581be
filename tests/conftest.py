"""Hypothesis profiles and the order of tests, for all of them. Two environment variables change what is run.

STREAMS_INTERPRETED=1 runs the Python source of the core, not what is compiled from it (`setup.py`). It does so in the
processes of pytest; a `lifecycle` process that a test starts runs what is compiled.

HYPOTHESIS_PROFILE sets how many examples a property is tried on. `quick` is for `make check`, `default` for
`make test`, `ci` for `.ci/run`. Each of these tries the same examples every time. `thorough` is for `make fuzz`: it
tries many examples, other ones every time, and keeps those that failed.
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
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = Path(__file__).parents[1]


class _Sources(MetaPathFinder):
    """Finds the source of a module of ours, where Python prefers what was compiled from it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = ROOT / f"{name.replace('.', '/')}.py"
        is_ours = name.startswith("streams.") and file.is_file()
        return importlib.util.spec_from_file_location(name, file) if is_ours else None


if os.environ.get("STREAMS_INTERPRETED"):
    sys.meta_path.insert(0, _Sources())  # before the plugin below imports anything of ours

# Helpers assert, too.
pytest.register_assert_rewrite(*(f"tests.{path.name}" for path in Path(__file__).parent.iterdir() if path.is_dir()))

pytest_plugins = ["tests.support.broker_fixtures"]

settings.register_profile(
    "default", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("ci", settings.get_profile("default"), max_examples=300)
settings.register_profile(
    "thorough",
    settings.get_profile("default"),
    max_examples=20_000,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

BROKER_FIXTURES = {"apache_kafka", "broker", "embedded_broker"}
"""Those that start one. The other fixtures of `broker_fixtures` use them."""


def pytest_configure() -> None:
    """Refuse to test stale compiled code."""
    if os.environ.get("STREAMS_INTERPRETED"):
        return
    for compiled in ROOT.glob("streams/**/*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if not source.exists() or source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"{source.relative_to(ROOT)} has changed since it was compiled: run `make install`", 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a broker. Where tests run in several processes, spread them among the others.

    Tests with a broker wait most of their time, and so leave the processors to the others.
    """
    with_broker = [item for item in items if BROKER_FIXTURES.intersection(getattr(item, "fixturenames", ()))]
    for item in with_broker:
        item.add_marker(pytest.mark.broker)
    if hasattr(config, "workerinput"):
        others = [item for item in items if not item.get_closest_marker("broker")]
        items[:] = spread(with_broker, others)


def spread(few: list[pytest.Item], many: list[pytest.Item]) -> list[pytest.Item]:
    """Return all items, with `few` at even distances among the first three quarters of `many`."""
    distance = max(1, len(many) * 3 // 4 // (len(few) or 1))
    mixed: list[pytest.Item] = []
    for n, item in enumerate(few):
        mixed += [item, *many[n * distance : (n + 1) * distance]]
    return mixed + many[len(few) * distance :]
