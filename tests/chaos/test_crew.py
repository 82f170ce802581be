"""The counts of a crew: workers that were killed, that ended by themselves, and that did not stop well."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.chaos.crew import Crew
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until

SERVES = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, {on_sigterm})
http.server.HTTPServer(("127.0.0.1", int(os.environ["LIFECYCLE_WEB_PORT"])), Handler).serve_forever()
"""
ENDS_WITH = "lambda *_: os._exit({code})"
IS_ENDED = "signal.SIG_DFL"


def crew_of(directory: Path, *programs: str, fault: str = "") -> Crew:
    crew = Crew(ProcessCluster("127.0.0.1:1", directory), len(programs), fault=fault)
    crew.programs = list(programs)
    crew.replace()
    return crew


def worker_of(crew: Crew, slot: int) -> WorkerProcess:
    worker = crew.workers[slot]
    assert worker is not None
    return worker


async def serving(crew: Crew) -> None:
    for slot in range(len(crew.workers)):
        await wait_until(lambda n=slot: worker_of(crew, n).get("/healthz")[0] == 200, "a server")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("on_sigterm", "failed"), [(ENDS_WITH.format(code=0), []), (ENDS_WITH.format(code=1), [1]), (IS_ENDED, [-15])]
)
async def test_worker_that_ends_with_an_error_on_sigterm_is_a_failed_stop(
    tmp_path: Path, on_sigterm: str, failed: list[int]
) -> None:
    crew = crew_of(tmp_path, SERVES.format(on_sigterm=on_sigterm))
    await serving(crew)
    await crew.terminate(0)
    assert crew.failed_stops == failed
    assert not crew.ends


@pytest.mark.parametrize(("printed", "ends", "failed"), [("the disk is bad", {1: 1}, []), ("a defect", {}, [1])])
async def test_stopped_worker_may_end_with_1_only_if_it_logged_the_fault_of_the_run(
    tmp_path: Path, printed: str, ends: dict[int, int], failed: list[int]
) -> None:
    on_sigterm = f"lambda *_: (print({printed!r}, flush=True), os._exit(1))"
    crew = crew_of(tmp_path, SERVES.format(on_sigterm=on_sigterm), fault="the disk is bad")
    await serving(crew)
    await crew.terminate(0)
    assert (crew.ends, crew.failed_stops) == (ends, failed)


async def test_worker_that_does_not_stop_in_time_is_killed_and_is_a_failed_stop(tmp_path: Path) -> None:
    crew = crew_of(tmp_path, SERVES.format(on_sigterm="signal.SIG_IGN"))
    await serving(crew)
    await crew.terminate(0, timeout=0.2)
    assert crew.failed_stops == [-signal.SIGKILL]


async def test_worker_that_has_not_started_may_be_ended_by_the_signal(tmp_path: Path) -> None:
    crew = crew_of(tmp_path, "import time; time.sleep(60)")
    await crew.terminate(0)
    assert crew.failed_stops == []


async def test_worker_that_ends_by_itself_is_counted_once_and_a_killed_one_is_not(tmp_path: Path) -> None:
    crew = crew_of(tmp_path, "raise SystemExit(3)", "import time; time.sleep(60)")
    await wait_until(lambda: crew.running() == [1], "the end of one")
    crew.kill(1)
    crew.kill(1)  # there is no worker to kill
    assert crew.killed == 1
    crew.programs = [SERVES.format(on_sigterm=ENDS_WITH.format(code=0))] * 2
    async with crew.kept(pause=0.05):
        await serving(crew)
        await crew.dismiss()
        assert crew.running() == []
        started = crew.started
        crew.replace()
        assert crew.started == started == 4  # no worker starts again
    assert crew.ends == {3: 1}
    assert crew.failed_stops == []
