"""The modules that `setup.py` compiles are the modules that run."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def compiled() -> list[str]:
    """Return the modules that `setup.py` names."""
    module = ast.parse((ROOT / "setup.py").read_text())
    values = {ast.unparse(node.targets[0]): node.value for node in module.body if isinstance(node, ast.Assign)}
    packages: dict[str, tuple[str, ...]] = ast.literal_eval(values["PACKAGES"])
    return [f"{package}/{name}".replace("/", ".") for package, names in packages.items() for name in names]


@pytest.mark.parametrize("name", compiled())
def test_modules_run_compiled_or_interpreted_as_configured(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(".py" if os.environ.get("STREAMS_INTERPRETED") else ".so")


@pytest.mark.parametrize("path", sorted((ROOT / "streams" / "core").rglob("*.py")), ids=lambda path: path.stem)
def test_a_module_of_the_core_is_compiled_unless_it_defines_structs(path: Path) -> None:
    """mypyc silently ignores the arguments of the metaclass of msgspec.Struct."""
    source = path.read_text()
    structs = "msgspec.Struct" in source
    name = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    assert (name in compiled()) is not (structs or path.stem == "__init__")
