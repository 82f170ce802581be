"""docs/backtest.md: its commands run on a small history as they stand there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.documentation import ROOT, fences, section
from tests.support.replay_data import CLICKS, DATA, ORDERS

PAGE = ROOT / "docs" / "backtest.md"
REJECTED = [json.loads(line) for line in (DATA / "expected" / "dead-letters.jsonl").read_text().splitlines()]


def test_documented_commands_give_the_output_shown(tmp_path: Path) -> None:
    example = next(
        fence.text for fence in fences(PAGE) if fence.text.startswith("$ python -m streams.demo.shop_history")
    )
    (tmp_path / "history").mkdir()
    for path in (CLICKS, ORDERS):
        rejected = {letter["offset"] for letter in REJECTED if letter["topic"] == path.stem}
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for n, line in enumerate(lines) if n not in rejected]
        (tmp_path / "history" / path.name).write_bytes(b"".join(kept))
    (tmp_path / "streams").symlink_to(ROOT / "streams")
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environ = {**os.environ, "PATH": os.pathsep.join(paths)}
    shown: list[tuple[str, str]] = []
    for line in example.splitlines():
        if line.startswith("$ "):
            shown.append((line.removeprefix("$ "), ""))
        else:
            shown[-1] = shown[-1][0], f"{shown[-1][1]}{line}\n"
    for command, output in shown[1:]:  # the first fetches the data
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        assert output in done.stdout, command
    assert (tmp_path / "earlier.svg").read_text().startswith("<svg ")
    assert (tmp_path / "backtest.html").read_text().startswith("<!doctype html>")


def test_every_command_of_the_page_has_its_section_or_page() -> None:
    table = section(PAGE, "Backtest: try a playbook before it goes live")
    for command in ("validate", "explain", "test", "backtest"):
        assert f"`lifecycle {command}" in table
