"""The measurements of a process include its descendants."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.process import Failed, Process

BURN = "import time\nwhile time.process_time() < 0.2: pass\n"


def running(tmp_path: Path, program: str) -> Process:
    return Process([sys.executable, "-c", program], tmp_path / "log")


def test_line_of_output_has_the_resources_used_until_then(tmp_path: Path) -> None:
    program = f"print('ready', flush=True)\n{BURN}print('done', flush=True)\nimport time; time.sleep(60)"
    with running(tmp_path, program) as process:
        ready, done = process.line(60), process.line(60)
        assert (ready.line, done.line) == ("ready", "done")
        assert done.cpu_s >= 0.2
        assert process.started_at <= ready.at <= done.at
        assert process.cpu_s >= done.cpu_s > ready.cpu_s


def test_cpu_of_running_and_ended_descendants_counts(tmp_path: Path) -> None:
    child = f"[sys.executable, '-c', {BURN!r}]"
    grandchild = f"[sys.executable, '-c', {BURN + 'print(1, flush=True); time.sleep(60)'!r}]"
    program = (
        f"import subprocess, sys, time\nsubprocess.run({child})\n"
        f"other = subprocess.Popen({grandchild}, stdout=subprocess.PIPE)\nother.stdout.readline()\n"
        "print('done', flush=True)\ntime.sleep(60)"
    )
    with running(tmp_path, program) as process:
        assert process.line(60).cpu_s >= 0.39  # ended processes are counted in ticks


def test_the_peak_of_memory_is_kept_when_it_is_given_back(tmp_path: Path) -> None:
    program = "import time\nheld = b'x' * 80_000_000\ndel held\nprint('done', flush=True)\ntime.sleep(60)"
    with running(tmp_path, program) as process:
        process.line(60)
        assert process.peak_rss_mb > 80


def test_process_that_ends_early_fails_with_its_last_output(tmp_path: Path) -> None:
    program = "import sys; sys.exit('no broker')"
    with pytest.raises(Failed, match="code 1: no broker") as failed, running(tmp_path, program) as process:
        process.line(60)
    assert failed.value.__notes__ == ["The last that it wrote:\nno broker"]


def test_process_without_output_fails(tmp_path: Path) -> None:
    program = "import time; time.sleep(60)"
    with running(tmp_path, program) as process, pytest.raises(Failed, match="said nothing"):
        process.line(0.01)


def test_missing_process_counts_as_using_nothing() -> None:
    assert measure.cpu_s(2**22 + 1) == 0
    assert measure.peak_rss_mb(2**22 + 1) == 0
