"""Select the test modules that a change concerns. `make check` runs them.

    python -m tests.support.changed [BASE]

prints a path a line. Changed is what differs from BASE (a git revision, by default HEAD) in the work tree, files that
git does not track yet included. A test module is selected

- if it changed itself, or imports a changed module, directly or by way of helper modules under `tests/`;
- if it is in the directory of tests for a changed file: `tests/core` for `streams/core/lifecycle/cart.py`, and see
`DIRECTORIES`;
- if a `conftest.py` or a data file above it changed;
- if it names a changed file that is no module: `triggers.md`, say.

Imports within `streams/` are not followed: nearly every test would be selected for a change of the core.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIRECTORIES = {
    ".ci": "architecture",
    "CONTRIBUTING.md": "docs",
    "Makefile": "docs",
    "README.md": "docs",
    "docker-compose.yml": "deploy",
    "pyproject.toml": "architecture",
    "requirements.lock": "deploy",
    "schemas": "contracts",
    "setup.py": "architecture",
}
"""The directory under `tests/` for files and directories at the top level that have none of their own name."""
CITES_TESTS = "tests/docs/test_guarantees.py"
"""It fails when a test that docs/guarantees.md cites is renamed."""


def changed_files(base: str, root: Path = ROOT) -> list[str]:
    """Return the paths of changed, removed and untracked files. Raise `CalledProcessError` if git knows no `base`."""
    commands = (
        ["diff", "--name-only", "--no-renames", base],
        ["ls-files", "--others", "--exclude-standard"],
    )
    outputs = [subprocess.check_output(["git", *command, "-z"], cwd=root, text=True) for command in commands]
    return sorted({path for output in outputs for path in output.split("\0") if path})


def directory_of_tests(path: str) -> str:
    """Return the directory of the tests for a changed file, with a slash at its end, whether there is one or not.

    A helper module under `tests/` has none: the modules that import it are selected.
    """
    top, *rest = path.split("/")
    if top == "tests":
        is_module = path.endswith(".py") and rest[-1] != "conftest.py"
        return path if is_module else path.rpartition("/")[0] + "/"
    return f"tests/{rest[0].removesuffix('.py') if top == 'streams' else DIRECTORIES.get(top, top)}/"


def module_name(path: str) -> str:
    """Return the name under which a file is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_modules(source: str) -> Iterator[str]:
    """Yield the names of all modules that a source may import: of `from a import b`, both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def select(changed: Iterable[str], sources: dict[str, str]) -> list[str]:
    """Return the test modules that a change concerns. `sources`: the text of each file under `tests/`, by path."""
    changed = list(changed)
    affected = {module_name(path) for path in changed if path.endswith(".py")}
    imports = {path: set(imported_modules(source)) for path, source in sources.items()}
    selected = {path for path in sources if path in changed}
    while newly := {path for path in sources.keys() - selected if imports[path] & affected}:
        selected |= newly
        affected = {module_name(path) for path in newly}  # helpers pass the change on
    names = {Path(path).name for path in changed if not path.endswith(".py")}
    selected |= {path for path, source in sources.items() if any(name in source for name in names)}
    directories = tuple(directory_of_tests(path) for path in changed)
    selected |= {path for path in sources if path.startswith(directories)}
    tests = {path for path in selected if Path(path).name.startswith("test_")}
    if any(path.startswith("tests/") for path in changed):
        tests.add(CITES_TESTS)
    return sorted(tests)


def main() -> None:
    """Print what `select` finds for the work tree."""
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("tests/**/*.py")}
    print("\n".join(select(changed_files(base), sources)))


if __name__ == "__main__":
    main()
