"""docs/tutorial.md, command by command as it stands there, in a directory that looks like a checkout. Only shared
things are replaced: ports, and the directory under /tmp."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.devtools.ports import reserve_port
from tests.support.documentation import ROOT, Fence, fences

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TUTORIAL = ROOT / "docs" / "tutorial.md"
ENDLESS = re.compile(r"lifecycle (broker|worker)|subscribe\.py")
PATIENCE_S = 120.0


class Terminals:
    """Runs the commands of a page. Commands that do not end keep running in a terminal of their own, until `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports = {port: str(reserve_port()) for port in ("9092", "6066", "6067")}
        self._running: list[subprocess.Popen[bytes]] = []
        (directory / ".venv" / "bin").mkdir(parents=True)
        for command, run in (("lifecycle", "-m streams"), ("python", "")):
            script = directory / ".venv" / "bin" / command
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {run} "$@"\n')
            script.chmod(0o755)
        (directory / "docs").symlink_to(ROOT / "docs")
        self._environ = {key: text for key, text in os.environ.items() if not key.startswith("LIFECYCLE_")} | {
            "PYTHONPATH": str(ROOT),
            "LIFECYCLE_BROKER": f"127.0.0.1:{self._ports['9092']}",
            "LIFECYCLE_WEB_PORT": self._ports["6066"],
        }

    def run(self, command: str) -> str:
        """Run a command to its end, and return its output."""
        done = subprocess.run(
            ["bash", "-c", self._here(command)], cwd=self.directory, env=self._environ, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def open(self, command: str) -> Path:
        """Start a command without waiting for its end, and return the file with its output."""
        log = self.directory / f"terminal-{len(self._running) + 1}"
        with log.open("wb") as file:
            self._running.append(
                subprocess.Popen(
                    ["bash", "-c", self._here(command)], cwd=self.directory, env=self._environ, stdout=file,
                    stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_hears_ctrl_c,
                )
            )  # fmt: skip
        return log

    def close(self) -> None:
        """Press Ctrl-C in each terminal, in the first one last."""
        while self._running:
            process = self._running.pop()
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE_S)

    def _here(self, command: str) -> str:
        command = command.replace("/tmp/shop", str(self.directory / "shop"))
        command = command.replace("lifecycle broker", f"lifecycle broker --port {self._ports['9092']}")
        return re.sub("|".join(self._ports), lambda port: self._ports[port[0]], command)  # at once: ours may look alike


def _hears_ctrl_c() -> None:
    """Let Ctrl-C reach the processes, as in a terminal. Processes of background tests ignore it, and so do their
    children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    terminals = Terminals(tmp_path)
    yield terminals
    terminals.close()


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def has(log: Path, text: str, times: int = 1) -> None:
    """Wait until the file has the text."""
    until(lambda: log.read_text().count(text) >= times, lambda: f"{text!r} is not in:\n{log.read_text()}")


def blocks() -> list[tuple[str, str]]:
    """Return each block of commands, with the output that the page shows for it."""
    found: list[tuple[str, str]] = []
    for fence in fences(TUTORIAL):
        match fence:
            case Fence("sh", text):
                found.append((text, ""))
            case Fence("", text):
                found[-1] = (found[-1][0], text)
    return found


def test_commands_of_the_tutorial_give_the_output_shown(terminals: Terminals) -> None:
    (install, _), (broker, _), (make_topics, topics_shown), (worker, _), (click, clicks_shown), *rest = blocks()
    (subscribe, _), (order, _), (replay, replay_shown), (look, look_shown), (second, _), (clean_up, _) = rest
    assert install == "make install\n"
    assert all(map(ENDLESS.search, (broker, worker, subscribe, second)))

    has(terminals.open(broker), "127.0.0.1:")
    assert terminals.run(make_topics) == topics_shown
    log = terminals.open(worker)
    has(log, "Processing partitions [0, 1, 2, 3]")
    assert terminals.run(click) == clicks_shown
    outputs = terminals.open(subscribe)
    has(outputs, '"type":"abandoned"')
    terminals.run(order)
    has(outputs, '"type":"recovered"')
    has(outputs, '"to_stage":"customer"')
    until(lambda: outputs.read_text().count("\n") == 5, outputs.read_text)
    assert terminals.run(replay).endswith(replay_shown)
    until(lambda: terminals.run(look) == look_shown, lambda: terminals.run(look))
    other = terminals.open(second)
    until(lambda: shares(log, other) == [2, 2], lambda: log.read_text() + other.read_text())

    terminals.close()
    terminals.run(clean_up)
    assert not (terminals.directory / "shop").exists()
    assert not (terminals.directory / "lifecycle-data").exists()


def shares(*logs: Path) -> list[int]:
    """Return the number of partitions of each worker, by its last log line about them."""
    assigned = [re.findall(r"Processing partitions \[(.*)\]", log.read_text()) for log in logs]
    return [len(lists[-1].split(",")) if lists else 0 for lists in assigned]
