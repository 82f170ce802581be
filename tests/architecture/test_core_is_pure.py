"""The core is a pure function of its input: it imports and calls nothing that sees the outside."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "streams" / "core"

# fmt: off
WORLDLY = frozenset({
    "asyncio", "builtins", "concurrent", "ctypes", "fcntl", "getpass", "glob", "http", "importlib", "io", "locale",
    "logging", "mmap", "multiprocessing", "os", "pathlib", "platform", "queue", "random", "resource", "sched",
    "secrets", "select", "selectors", "shelve", "shutil", "signal", "site", "socket", "sqlite3", "ssl", "subprocess",
    "sys", "sysconfig", "tempfile", "threading", "time", "urllib", "warnings",
})
# fmt: on
"""Modules of the standard library that read or change something outside the program, or differ from run to run."""

WORLDLY_CALLS = frozenset({"open", "print", "input", "hash", "id", "eval", "exec", "__import__"})
WORLDLY_NAMES = frozenset({"uuid1", "uuid4", "getnode"})
CLOCKS = frozenset({"now", "utcnow", "today"})


def impurities(source: str) -> list[str]:
    """Return the impure parts of a module, as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: imports {name.name}" for name in node.names if not _allowed(name.name)]
        elif isinstance(node, ast.ImportFrom):
            if node.level or not _allowed(node.module or ""):
                found.append(f"{node.lineno}: imports {'.' * node.level}{node.module or ''}")
            found += [f"{node.lineno}: imports {name.name}" for name in node.names if name.name in WORLDLY_NAMES]
        elif isinstance(node, ast.Attribute) and (node.attr in WORLDLY_NAMES or _reads_a_clock(node)):
            found.append(f"{node.lineno}: uses .{node.attr}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORLDLY_CALLS:
            found.append(f"{node.lineno}: calls {node.func.id}()")
    return found


def _reads_a_clock(node: ast.Attribute) -> bool:
    return node.attr in CLOCKS and ast.unparse(node.value).rpartition(".")[2] in {"datetime", "date"}


def _allowed(module: str) -> bool:
    top = module.partition(".")[0]
    if top == "streams":
        return module == "streams.core" or module.startswith("streams.core.")
    if top == "mypy_extensions":  # words for the compiler, which do nothing
        return True
    return top == "msgspec" or (top in sys.stdlib_module_names and top not in WORLDLY)


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_core_module_is_pure(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from random import random",
        "import faust",
        "import streams.settings",
        "from streams import settings",
        "from . import engine",
        "import datetime\ndatetime.datetime.now()",
        "from uuid import uuid4",
        "print('x')",
        "def f():\n    import logging",
        "hash('x')",
    ],
)
def test_check_finds_impure_source(source: str) -> None:
    assert impurities(source)


@pytest.mark.parametrize(
    "source", ["import msgspec", "import heapq, uuid", "from streams.core.model.policy import DAY"]
)
def test_check_allows_pure_source(source: str) -> None:
    assert impurities(source) == []


def test_purity_check_covers_modules_of_the_core() -> None:
    assert {"engine", "lifecycle", "model", "store"} <= {path.parent.name for path in CORE.rglob("*.py")}
