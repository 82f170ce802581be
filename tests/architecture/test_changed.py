"""`make check` runs the tests of what changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.changed import CITES_TESTS, ROOT, changed_files, select

SOURCES = {
    "tests/core/helpers.py": "from streams.core.engine.partition_engine import PartitionEngine",
    "tests/core/test_cart.py": "from tests.core.helpers import run",
    "tests/deploy/test_deploy.py": "import yaml",
    "tests/docs/test_pages.py": "from pathlib import Path",
    "tests/playbooks/test_triggers.py": 'page = ROOT / "docs" / "triggers.md"',
    "tests/replay/test_play.py": "from streams.core.lifecycle import cart",
    "tests/rules/test_rules.py": "import streams.core.rules.parser",
    "tests/settings/test_settings.py": "from streams.settings import load",
}


@pytest.mark.parametrize(
    ("changed", "selected"),
    [
        ("tests/core/test_cart.py", ["tests/core/test_cart.py", CITES_TESTS]),
        ("tests/core/helpers.py", ["tests/core/test_cart.py", CITES_TESTS]),
        ("tests/replay/data/small.csv", [CITES_TESTS]),
        ("tests/replay/small.csv", [CITES_TESTS, "tests/replay/test_play.py"]),
        ("tests/conftest.py", sorted([CITES_TESTS, *(path for path in SOURCES if "/test_" in path)])),
        ("streams/core/lifecycle/cart.py", ["tests/core/test_cart.py", "tests/replay/test_play.py"]),
        ("streams/core/rules/parser.py", ["tests/core/test_cart.py", "tests/rules/test_rules.py"]),
        ("streams/settings/loading.py", ["tests/settings/test_settings.py"]),
        ("docs/concepts.md", ["tests/docs/test_pages.py"]),
        ("docs/triggers.md", ["tests/docs/test_pages.py", "tests/playbooks/test_triggers.py"]),
        ("README.md", ["tests/docs/test_pages.py"]),
        ("Makefile", ["tests/docs/test_pages.py"]),
        ("docker-compose.yml", ["tests/deploy/test_deploy.py"]),
        ("LICENSE", []),
    ],
)
def test_tests_of_a_changed_file_are_selected(changed: str, selected: list[str]) -> None:
    assert select([changed], SOURCES) == selected


def test_every_directory_of_tests_exists() -> None:
    """`make check` must not pass over a change because its directory of tests has another name."""
    packages = {path.name.removesuffix(".py") for path in (ROOT / "streams").iterdir() if not path.name.startswith("_")}
    untested = {package for package in packages - {"py.typed"} if not (ROOT / "tests" / package).is_dir()}
    assert untested == {"deployment", "errors", "values"}


def test_modified_removed_renamed_and_untracked_files_count_as_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("same", "modified", "removed", "old"):
        (tmp_path / name).write_text(f"{name}\n")
    git("add", ".")
    git("commit", "--message", "all")
    (tmp_path / "modified").write_text("")
    (tmp_path / "removed").unlink()
    git("mv", "old", "new")
    (tmp_path / "untracked").write_text("")
    assert changed_files("HEAD", tmp_path) == ["modified", "new", "old", "removed", "untracked"]
