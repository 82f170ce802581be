"""RocksDB as the disk of a state: contents, and files that are damaged, missing, on a full disk or of another
worker."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rocksdict import WriteOptions

from streams.errors import UserError
from streams.transport import rocks
from streams.transport.rocks import Database, Databases, DiskFailed
from tests.support.memory_disk import MemoryDisk
from tests.support.patched_database import PatchedDatabase
from tests.support.small_disk import small_disk
from tests.support.task_states import contents, play_views


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    made = Databases(tmp_path / "state")
    yield made
    made.close()


def test_written_records_are_read_back_in_key_order(databases: Databases) -> None:
    database = databases.open("log", 0)
    database.write([(b"b", b"2"), (b"a", b"1"), (b"c", b""), (b"d", b"4")])
    database.write([(b"d", None), (b"a", b"3"), (b"nothing", None)])
    for _ in range(2):
        assert [database.get(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [b"3", b"2", b"", None, None]
        assert list(database.scan(b"", b"c")) == [(b"a", b"3"), (b"b", b"2")]
        assert list(database.scan(b"b", b"z")) == [(b"b", b"2"), (b"c", b"")]
        database.close()
        database = databases.open("log", 0)
    scan = database.scan(b"", b"z")
    next(scan)
    database.close()  # with a scan under way that never ends
    assert databases.open("log", 0).get(b"a") == b"3"
    with pytest.raises(DiskFailed, match="the database was closed"):
        next(scan)


def test_databases_of_partitions_and_topics_are_separate(databases: Databases) -> None:
    database = databases.open("log", 0)
    database.write([(b"a", b"1")])
    assert databases.open("log", 1).get(b"a") is None
    assert databases.open("other", 0).get(b"a") is None
    database.close()
    databases.delete("log", 0)
    assert databases.open("log", 0).get(b"a") is None


def test_rocksdb_behaves_as_the_memory_disk_of_the_core_tests(databases: Databases) -> None:
    database, model = databases.open("log", 0), MemoryDisk()
    (engine, outputs, log), (expected, others, same) = play_views(5, database), play_views(5, model)
    assert (outputs, log, contents(engine.state)) == (others, same, contents(expected.state))
    assert list(database.scan(b"", b"\xff")) == list(model.scan(b"", b"\xff"))
    assert len(list(database.scan(b"t", b"u"))) >= len(engine.state.timers) > 0


def test_directory_is_refused_to_a_second_worker(databases: Databases, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"in use by another worker.*a LIFECYCLE_DATA_DIR of its own"):
        Databases(tmp_path / "state")
    databases.close()
    Databases(tmp_path / "state").close()


def test_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"LIFECYCLE_DATA_DIR: .*cannot be used"):
        Databases(tmp_path / "file" / "state")


def filled(databases: Databases, tmp_path: Path) -> Path:
    database = databases.open("log", 0)
    database.write([(b"%06d" % n, b"x" * 100) for n in range(20_000)])
    database.close()
    return tmp_path / "state" / "log" / "0"


def largest(path: Path) -> Path:
    return max(path.glob("*.sst"), key=lambda file: file.stat().st_size)


def test_files_that_miss_a_part_are_deleted_when_opened(
    databases: Databases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    largest(filled(databases, tmp_path)).unlink()
    assert databases.open("log", 0).get(b"000001") is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("missing", ["MANIFEST-*", "CURRENT", "*.sst", "*"])
def test_database_starts_empty_whichever_files_are_missing(databases: Databases, tmp_path: Path, missing: str) -> None:
    for file in filled(databases, tmp_path).glob(missing):
        file.unlink()
    database = databases.open("log", 0)
    assert list(database.scan(b"", b"z")) == []
    database.write([(b"a", b"1")])
    assert database.get(b"a") == b"1"


def test_damaged_files_are_deleted_at_the_next_start(databases: Databases, tmp_path: Path) -> None:
    file = largest(filled(databases, tmp_path))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    file.write_bytes(data)
    database = databases.open("log", 0)
    with pytest.raises(DiskFailed, match=r"Corruption.*Nothing is lost"):
        list(database.scan(b"", b"z"))
    database.close()
    assert list(databases.open("log", 0).scan(b"", b"z")) == []


def test_files_that_are_distrusted_are_deleted_at_the_next_start(databases: Databases) -> None:
    opened = [databases.open("log", number) for number in (0, 1)]
    for database in opened:
        database.write([(b"a", b"1")])
    databases.distrust("log")
    for number, database in enumerate(opened):
        assert database.get(b"a") == b"1"
        database.close()
        assert databases.open("log", number).get(b"a") is None


def test_deleted_files_end_the_worker_sooner_or_later(databases: Databases, tmp_path: Path) -> None:
    database = databases.open("log", 0)
    shutil.rmtree(tmp_path / "state" / "log" / "0")
    with pytest.raises(DiskFailed, match="cannot be read or written"):
        write_without_end(database)
    database.close()


def write_without_end(database: Database) -> None:
    for n in range(100_000):
        database.write([(b"%06d-%02d" % (n, m), bytes([n % 256]) * 1_000) for m in range(100)])


FULL = """
import resource, signal, sys
from pathlib import Path
from streams.transport import rocks
from streams.transport.rocks import Databases, DiskFailed

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Databases(Path(sys.argv[1])).open("log", 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    for n in range(100_000):
        database.write([(b"%06d-%02d" % (n, m), bytes([n % 256]) * 1_000) for m in range(100)])
except DiskFailed as error:
    print(error)
"""


def test_full_disk_is_an_error(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True).stdout
    assert "File too large" in said
    assert "Check that the disk works and has room" in said
    assert not list(tmp_path.rglob("DAMAGED"))


def test_rocksdict_write_options_are_properties() -> None:
    """They are properties, although the stub has methods. As methods they would switch nothing off."""
    assert not callable(WriteOptions().disable_wal)
    assert not callable(WriteOptions().no_slowdown)


@pytest.fixture
def stalling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Database]:
    """Return options with so little memory that writes wait for files."""
    monkeypatch.setattr(rocks, "WRITE_BUFFER_BYTES", 64 << 10)
    monkeypatch.setattr(rocks, "FILE_BYTES", 32 << 10)
    databases = Databases(tmp_path / "small")
    database = databases.open("log", 0)
    yield database
    database.close()
    databases.close()


def write_much(database: Database) -> None:
    for n in range(300):
        database.write([(b"%03d-%02d" % (n, m), bytes([n % 256]) * 1_000) for m in range(50)])


def test_a_write_waits_until_there_is_room_in_memory(stalling: Database) -> None:
    write_much(stalling)
    assert sum(1 for _ in stalling.scan(b"0", b"9")) == 300 * 50


def test_write_fails_after_a_long_stall(stalling: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait so on a full disk."""
    monkeypatch.setattr(rocks, "STALL_S", 0.0)
    with pytest.raises(DiskFailed, match=r"Write stall.*Check that the disk works and has room"):
        write_much(stalling)


# -- what was deleted


def holding(path: Path, what: bytes) -> list[str]:
    """Return the files that contain the bytes, as they are or in hexadecimal."""
    return [
        file.name
        for file in sorted(path.iterdir())
        if what in (data := file.read_bytes()) or what.hex().encode() in data.lower()
    ]


@pytest.mark.parametrize("key", [b"a-secret", b"000500-secret", b"z-secret"], ids=["first", "among", "last"])
def test_deleted_record_is_in_no_file_after_a_rewrite(databases: Databases, tmp_path: Path, key: bytes) -> None:
    """The manifest does not contain it either, although it names the first and the last key of every file."""
    path = tmp_path / "state" / "log" / "0"
    database = databases.open("log", 0)
    database.write([(b"%06d" % n, b"x" * 100) for n in range(1_000)])
    database.write([(key, b"what-is-known")])
    database.close()
    database = databases.open("log", 0)
    assert holding(path, b"secret")
    database.write([(key, None)])
    wait_for(database)
    assert holding(path, b"secret") == []
    assert holding(path, b"what-is-known") == []
    assert len(list(database.scan(b"0", b"1"))) == 1_000
    database.close()
    assert holding(path, b"secret") == []


def test_blocks_of_deleted_files_leave_the_cache(databases: Databases) -> None:
    database, other = databases.open("log", 0), databases.open("log", 1)
    for one in (database, other):
        one.write([(b"%06d" % n, b"x" * 100) for n in range(1_000)])
        wait_for(one)

    def read() -> int:
        for one in (database, other):
            assert len(list(one.scan(b"0", b"1"))) == 1_000
        return int(databases._cache.get_usage())

    empty = databases._cache.get_usage()
    assert read() > empty + 100_000
    database.write([(b"000500", None), (b"000500", b"x" * 100)])
    wait_for(database)
    assert databases._cache.get_usage() < empty + 10_000
    assert read() > empty + 100_000  # it is used again


def wait_for(database: Database) -> None:
    deadline = time.monotonic() + 60
    while not database.rewritten():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_database_can_be_used_and_closed_during_a_rewrite(databases: Databases) -> None:
    database, goes_on = databases.open("log", 0), threading.Event()

    def compact(*args: object, **kwargs: object) -> None:
        assert goes_on.wait(60)
        real.compact_range(*args, **kwargs)

    for n in range(60):
        database.write([(b"%03d-%04d" % (n, m), bytes([m % 256]) * 500) for m in range(1_000)])
    real = PatchedDatabase(database, compact_range=compact).real
    assert not database.rewritten()
    for n in range(60):
        assert database.get(b"%03d-0007" % n) == b"\x07" * 500
    database.write([(b"new", b"1")])
    goes_on.set()
    database.close()
    assert databases.open("log", 0).get(b"new") == b"1"


def test_disk_failure_during_a_rewrite_is_an_error(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    database = databases.open("log", 0)

    class Failing:
        def flush(self) -> None:
            raise OSError("No space left on device")

    real, database._db = database._db, Failing()  # type: ignore[assignment]
    with pytest.raises(DiskFailed, match="No space left"):
        wait_for(database)
    database._db = real
    database.close()


class Panic(BaseException):
    """The exception that pyo3 makes of a Rust panic."""


def panic(*_: object, **__: object) -> None:
    raise Panic("called `Option::unwrap()` on a `None` value")


def test_rewrite_that_leaves_the_old_files_is_an_error(databases: Databases) -> None:
    """The binding drops the error."""
    database = databases.open("log", 0)
    database.write([(b"a", b"1")])
    real = PatchedDatabase(database, compact_range=lambda *_, **__: None).real
    with pytest.raises(DiskFailed, match=r"1 of 1 files could not be rewritten.*Check that the disk works"):
        wait_for(database)
    database._db = real
    wait_for(database)  # it can be asked for again


@pytest.mark.parametrize("call", ["flush", "live_files", "compact_range"])
def test_panic_during_a_rewrite_is_an_error(databases: Databases, call: str) -> None:
    database = databases.open("log", 0)
    database.write([(b"a", b"1")])
    real = PatchedDatabase(database, **{call: panic}).real
    with pytest.raises(DiskFailed, match="unwrap"):
        wait_for(database)
    database._db = real


def test_rewrite_that_does_not_end_is_an_error(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    database, goes_on = databases.open("log", 0), threading.Event()
    PatchedDatabase(database, compact_range=lambda *_, **__: goes_on.wait(60))
    assert not database.rewritten()
    monkeypatch.setattr(rocks, "REWRITE_S", 0.2)
    with pytest.raises(DiskFailed, match="rewriting its files has not ended"):
        wait_for(database)
    goes_on.set()


def test_files_that_a_scan_still_reads_do_not_count_as_rewritten(databases: Databases, tmp_path: Path) -> None:
    database, path = databases.open("log", 0), tmp_path / "state" / "log" / "0"
    database.write([(b"%06d" % n, b"x" * 100) for n in range(1_000)])
    wait_for(database)
    before = set(path.glob("*.sst"))
    scan = database.scan(b"0", b"1")
    next(scan)
    database.write([(b"000500", None)])
    for _ in range(50):
        assert not database.rewritten()
        time.sleep(0.02)
    assert before <= set(path.glob("*.sst"))
    scan.close()  # type: ignore[attr-defined]  # it is a generator
    wait_for(database)
    assert not before & set(path.glob("*.sst"))


def test_files_do_not_count_as_rewritten_on_a_full_disk(tmp_path: Path) -> None:
    """There is room for a flush, but not for the rewritten files."""
    with small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("only root can mount a file system that is full")
        databases, path = Databases(tmp_path / "disk"), tmp_path / "disk" / "log" / "0"
        database = databases.open("log", 0)
        database.write([(b"%06d" % n, random.Random(n).randbytes(100)) for n in range(1_500)])
        database.write([(b"secret", b"what-is-known")])
        database.close()
        database = databases.open("log", 0)
        database.write([(b"secret", None)])
        free = os.statvfs(path)
        (tmp_path / "disk" / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - (64 << 10)))
        with pytest.raises(DiskFailed, match="Check that the disk works and has room"):
            wait_for(database)
        assert holding(path, b"secret")
        database.close()
        (tmp_path / "disk" / "filler").unlink()
        database = databases.open("log", 0)
        wait_for(database)
        assert holding(path, b"secret") == []
        database.close()
        databases.close()


REWRITTEN_ON_FULL = """
import random, resource, signal, sys, time
from pathlib import Path
from streams.transport.rocks import Databases, DiskFailed

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
databases = Databases(Path(sys.argv[1]))
database = databases.open("log", 0)
database.write([(b"%06d" % n, random.Random(n).randbytes(100)) for n in range(1_500)])
database.close()
database = databases.open("log", 0)
database.write([(b"000500", None)])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    while not database.rewritten():
        time.sleep(0.01)
except DiskFailed as error:
    print(error)
"""


def test_files_do_not_count_as_rewritten_if_no_file_may_be_so_large(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REWRITTEN_ON_FULL, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "cannot be read or written" in said


# -- closing


def test_database_that_does_not_close_is_logged_and_not_waited_for(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rocks, "CLOSE_S", 0.2)
    stuck, other, goes_on = databases.open("log", 0), databases.open("log", 1), threading.Event()
    stuck.write([(b"a", b"1")])
    real = PatchedDatabase(stuck, close=lambda: (goes_on.wait(60), real.close())).real
    stuck.close()
    assert "it is still being closed" in caplog.text
    with pytest.raises(DiskFailed, match="it is still being closed"):
        databases.open("log", 0)
    monkeypatch.setattr(rocks, "CLOSE_S", 60.0)
    other.close()
    databases.open("log", 1).close()
    databases.delete("log", 0)  # put off
    goes_on.set()
    assert databases.open("log", 0).get(b"a") is None


def test_stuck_database_does_not_delay_the_closing_of_others(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All databases are on one disk, and the event loop waits."""
    monkeypatch.setattr(rocks, "CLOSE_S", 2.0)
    opened, goes_on = [databases.open("log", number) for number in range(20)], threading.Event()
    for database in opened:
        PatchedDatabase(database, close=lambda: goes_on.wait(60))
    began = time.monotonic()
    for database in opened:
        database.close()
    assert time.monotonic() - began < (len(opened) - 1) * rocks.CLOSE_S
    goes_on.set()


def test_closing_during_a_rewrite_ends_soon_and_logs_nothing(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    database, cancelled = databases.open("log", 0), threading.Event()
    database.write([(b"%06d" % n, b"x" * 100) for n in range(1_000)])

    def compact(*args: object, **kwargs: object) -> None:
        assert cancelled.wait(60)
        real.compact_range(*args, **kwargs)

    def cancel(wait: bool) -> None:
        real.cancel_all_background(wait)
        cancelled.set()

    real = PatchedDatabase(database, compact_range=compact, cancel_all_background=cancel).real
    assert not database.rewritten()
    database.close()
    assert caplog.text == ""
    assert len(list(databases.open("log", 0).scan(b"0", b"1"))) == 1_000
