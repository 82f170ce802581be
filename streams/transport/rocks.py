"""RocksDB under `streams.core.store.backend.Disk`: a database for each changelog partition, in a directory of the
worker's own.

The changelog is the truth, the files save reading it. So writes are not logged ahead, and after a crash the last ones
are missing: the partition then goes on from an earlier offset. And files with which anything is wrong are deleted.

No filter or index block is in the block cache: a filter is larger than what a shard of a small cache takes, and would
be read for each look-up.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
    WriteOptions,
)
from rocksdict import WriteBufferManager as WriteBuffers

from streams.errors import Fault, UserError

log = logging.getLogger(__name__)

CACHE_BYTES = 64 << 20
WRITE_BUFFER_BYTES = 128 << 20
"""Both for all partitions of a worker together."""
FILE_BYTES = 32 << 20
STALL_S = 10.0
STALL_POLL_S = 0.01
STALLED = "Write stall"
"""What RocksDB says when a write would have to wait."""
REWRITE_S = 1_800.0
"""After so long, rewriting files is taken not to end any more. It writes some 100 MB a second."""
REWRITE_TRIES = 2
"""RocksDB may just then move a file down as it is, which then is not rewritten."""
CLOSE_S = 5.0
"""So long at most the worker waits until files are closed, with what was in memory written. Its group waits longer."""
STILL_OPEN = "it is still being closed"
SHUT_DOWN = "Shutdown in progress"
"""What RocksDB says to whoever flushes after `cancel_all_background`."""
REWRITTEN = b"\x00rewritten"
"""A key that nobody reads."""
DAMAGED = "DAMAGED"
"""A file of this name marks a database that is to be deleted when it is next opened."""


class DiskFailed(Fault):
    """The files of a partition cannot be read or written."""

    reason = "disk_failed"
    passes = True

    def __init__(self, path: Path, error: BaseException) -> None:
        super().__init__(
            f"The state in {path} cannot be read or written ({error}). Nothing is lost, the changelog has all of it: "
            "see that the disk has room and works. What is damaged is deleted and read from the changelog at the next "
            "start."
        )


class Database:
    """One partition's. Made by `Databases.open`."""

    def __init__(self, path: Path, options: Options, cache: Cache, closing: dict[Path, threading.Thread]) -> None:
        """`cache`: the block cache of the options. `closing`: what closes the databases of the same disk, by path."""
        self._path = path
        self._cache = cache
        self._closing = closing
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]  # it is a property
        self._unlogged.no_slowdown = True
        self._db = Rdict(str(path), options)
        self._scans: dict[int, list[RdictIter]] = {}
        """Those under way. A scan that nobody ends, of a walk that is given up, would keep the database open."""
        self._rewriting: threading.Thread | None = None
        self._rewriting_since = 0.0
        self._rewriting_failed: BaseException | None = None
        self._replaced: list[Path] = []
        """The files that rewriting replaces."""

    def get(self, key: bytes) -> bytes | None:
        """The value, None if there is none."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise self._failed(error) from error
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `start` to before `end`, in order. Cannot go on after `close`."""
        scan = [self._db.iter()]  # the one place that holds it
        self._scans[id(scan)] = scan
        try:
            scan[0].seek(start)
            while scan[0].valid() and (key := scan[0].key()) < end:
                yield key, scan[0].value()
                if not scan:
                    raise RuntimeError("it was closed")
                scan[0].next()
            scan[0].status()  # an iterator that met with an error just ends
        except Exception as error:
            raise self._failed(error) from error
        finally:
            del self._scans[id(scan)]

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """All of it or nothing; None deletes. Lost in a crash, the last first, until `close` or RocksDB flushes it.

        Raises `DiskFailed`, after `STALL_S` at the latest.
        """
        try:
            self._write(changes)
        except Exception as error:
            raise self._failed(error) from error

    def _write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """While RocksDB takes nothing because what is in memory is not in files yet, it is asked again: left to wait by
        itself it would wait for ever where the disk is full, and the process with it."""
        patience = time.monotonic() + STALL_S
        while True:
            try:
                self._db.write(_batch(changes), self._unlogged)
                return
            except Exception as error:
                if STALLED not in str(error) or time.monotonic() >= patience:
                    raise
            time.sleep(STALL_POLL_S)

    def rewritten(self) -> bool:
        """Have the files, and the cache of their blocks, hold nothing but what is there: whether that is done. To be
        asked until it is.

        Deleting is but a note that something is gone. RocksDB works on it in a thread, without holding the interpreter.
        Raises `DiskFailed` if it could not be done, or is not after `REWRITE_S`.
        """
        if self._rewriting is None:
            self._rewriting_failed = RuntimeError("rewriting its files ended without a word")
            self._rewriting_since = time.monotonic()
            self._rewriting = threading.Thread(target=self._rewrite, name="rewrite", daemon=True)
            self._rewriting.start()
        under_way = self._rewriting.is_alive()
        if not under_way and self._rewriting_failed is not None:
            self._rewriting = None
            raise self._failed(self._rewriting_failed)
        if under_way or any(file.exists() for file in self._replaced):  # a scan keeps those that it has begun on
            if time.monotonic() - self._rewriting_since > REWRITE_S:
                raise self._failed(TimeoutError(f"rewriting its files has not ended after {REWRITE_S / 60:.0f} min"))
            return False
        self._rewriting = None
        self._cache.set_capacity(0)  # else it keeps blocks of files that are gone until others need their room
        self._cache.set_capacity(CACHE_BYTES)
        return True

    def _rewrite(self) -> None:
        try:
            self._db.flush()
            before = self._tables()
            self._replaced = [self._path / name for name in before]
            self._compact(before)
            # The manifest tells the first and the last key of files that are gone, until the next change to the files.
            self._write([(REWRITTEN, b"")])
            self._db.flush()
        except BaseException as error:  # a panic of Rust's is no `Exception`
            self._rewriting_failed = error
        else:
            self._rewriting_failed = None

    def _compact(self, before: set[str]) -> None:
        """Rewrite these files. RocksDB's own word on it is lost in the binding: files that stay say that it failed."""
        options = CompactOptions()
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        options.set_exclusive_manual_compaction(False)
        left = before
        for _ in range(REWRITE_TRIES):
            self._db.compact_range(None, None, compact_opt=options)
            left = before & self._tables()
            if not left:
                return
        raise OSError(f"{len(left)} of {len(before)} files could not be rewritten")

    def _tables(self) -> set[str]:
        """The names of the files that the database consists of."""
        return {file["name"].lstrip("/") for file in self._db.live_files()}

    def close(self) -> None:
        """Nothing can be done with it any more. What was written is safe, unless a warning is logged.

        The event loop waits meanwhile, so that ends after `CLOSE_S`; and it does not wait at all while another one of
        this disk has not got done. What is left is then done in a thread.
        """
        for scan in self._scans.values():
            scan.clear()
        stuck = any(thread.is_alive() for thread in self._closing.values())
        thread = self._closing[self._path] = threading.Thread(target=self._close, name="close", daemon=True)
        thread.start()
        thread.join(0 if stuck else CLOSE_S)
        if thread.is_alive():
            log.warning("%s", DiskFailed(self._path, TimeoutError(STILL_OPEN)))

    def _close(self) -> None:
        cancelled = False
        try:
            if self._rewriting is not None and self._rewriting.is_alive():
                with suppress(Exception):  # if the disk fails, so does rewriting, and `close` tells why
                    self._db.flush()  # here, since cancelling would do it too, but hold the interpreter for as long
                    self._db.cancel_all_background(False)
                    cancelled = True
                self._rewriting.join()
            self._db.close()
        except BaseException as error:
            if not (cancelled and SHUT_DOWN in str(error)):
                log.warning("%s", self._failed(error))

    def _failed(self, error: BaseException) -> DiskFailed:
        if _damaged(error):
            with suppress(OSError):
                (self._path / DAMAGED).touch()
        return DiskFailed(self._path, error)


class Databases:
    """All of one worker's, below a directory that no other process uses meanwhile."""

    def __init__(self, directory: Path) -> None:
        """Raises `UserError` if the directory cannot be used, or another worker uses it."""
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (directory / "lock").open("wb")
        except OSError as error:
            raise UserError(
                f"LIFECYCLE_DATA_DIR: {directory} cannot be used ({error.strerror}). Set it to a directory that this "
                "user may write to."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"LIFECYCLE_DATA_DIR: {directory} is another worker's, which is running. Give each worker on a machine "
                "a LIFECYCLE_DATA_DIR of its own."
            ) from None
        self._cache = Cache(CACHE_BYTES)
        self._options = _options(self._cache)
        self._closing: dict[Path, threading.Thread] = {}

    def open(self, topic: str, partition: int) -> Database:
        """What there is of a changelog partition. What is damaged is deleted first. Raises `DiskFailed`, also if it was
        open before and that is not closed within `CLOSE_S`."""
        path = self._path(topic, partition)
        if self._is_open(path, CLOSE_S):
            raise DiskFailed(path, TimeoutError(STILL_OPEN))
        if (path / DAMAGED).exists():
            self.delete(topic, partition)
        try:
            path.mkdir(parents=True, exist_ok=True)
            try:
                return Database(path, self._options, self._cache, self._closing)
            except Exception as error:
                if not _damaged(error):
                    raise
                log.warning("The files in %s are damaged (%s): deleted, the changelog has all of it", path, error)
                self.delete(topic, partition)
                return Database(path, self._options, self._cache, self._closing)
        except Exception as error:
            raise DiskFailed(path, error) from error

    def delete(self, topic: str, partition: int) -> None:
        """Delete what there is of a changelog partition. It must be closed; if that has not come to its end, it is
        deleted when it is next opened."""
        path = self._path(topic, partition)
        if self._is_open(path, 0.0):
            with suppress(OSError):
                (path / DAMAGED).touch()
            return
        shutil.rmtree(path, ignore_errors=True)

    def distrust(self, topic: str) -> None:
        """Have what there is of all partitions of a changelog deleted when it is next opened."""
        for path in (self._directory / topic).iterdir():
            (path / DAMAGED).touch()

    def close(self) -> None:
        """Others may use the directory. The databases must be closed."""
        self._lock.close()

    def _is_open(self, path: Path, patience: float) -> bool:
        """Whether what was closed there is still at it, after so many seconds."""
        closing = self._closing.get(path)
        if closing is None:
            return False
        closing.join(patience)
        return closing.is_alive()

    def _path(self, topic: str, partition: int) -> Path:
        return self._directory / topic / str(partition)


def _batch(changes: list[tuple[bytes, bytes | None]]) -> WriteBatch:
    batch = WriteBatch(raw_mode=True)
    for key, value in changes:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    return batch


def _damaged(error: BaseException) -> bool:
    """Whether files are wrong or missing, and not just out of reach or without room."""
    said = str(error)
    return said.startswith(("Corruption", "Invalid argument", "Not implemented")) or "No such file" in said


def _options(cache: Cache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(WriteBuffers(WRITE_BUFFER_BYTES, False))
    options.set_write_buffer_size(FILE_BYTES)
    options.set_target_file_size_base(FILE_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_level_zero_file_num_compaction_trigger(8)  # recovery writes keys in no order: the less is merged the
    options.set_max_bytes_for_level_base(512 << 20)  # better, and filters spare look-ups the files without the key
    options.set_level_zero_slowdown_writes_trigger(1_000)  # a write that is held up holds the whole process up
    options.set_level_zero_stop_writes_trigger(2_000)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_max_manifest_file_size(1)  # begun anew with each change to the files: it names keys (`_rewrite`)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    return options
