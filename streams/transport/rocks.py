"""RocksDB under `streams.core.store.backend.Disk`: a database for each changelog partition, in a worker's directory.

The changelog is authoritative; the files save reading it. So there is no write-ahead log, and after a crash the last
writes are missing: the partition then goes on from an earlier offset. Damaged files are deleted.

Filter and index blocks are not in the block cache: a filter is larger than a shard of a small cache, and would be read
for each look-up.
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
"""Both limits are for all partitions of a worker together."""
FILE_BYTES = 32 << 20
STALL_S = 10.0
STALL_POLL_S = 0.01
STALLED = "Write stall"
"""Text of RocksDB's error when a write would have to wait."""
REWRITE_S = 1_800.0
"""Time after which rewriting of files counts as failed. It writes some 100 MB a second."""
REWRITE_TRIES = 2
"""Attempts to rewrite. RocksDB may move a file down a level without rewriting it just then."""
CLOSE_S = 5.0
"""Longest wait of a worker for files to be flushed and closed. Its group waits longer."""
STILL_OPEN = "it is still being closed"
SHUT_DOWN = "Shutdown in progress"
"""Text of RocksDB's error when it is flushed after `cancel_all_background`."""
REWRITTEN = b"\x00rewritten"
"""Key that is never read."""
DAMAGED = "DAMAGED"
"""Name of a file in a database that is to be deleted when it is next opened."""


class DiskFailed(Fault):
    """The files of a partition cannot be read or written."""

    reason = "disk_failed"
    passes = True

    def __init__(self, path: Path, error: BaseException) -> None:
        super().__init__(
            f"The state in {path} cannot be read or written ({error}). Nothing is lost, because the changelog contains "
            "all of it. Check that the disk works and has room. Damaged files are deleted at the next start, and read "
            "from the changelog."
        )


class Database:
    """Database of one partition. Made by `Databases.open`."""

    def __init__(self, path: Path, options: Options, cache: Cache, closing: dict[Path, threading.Thread]) -> None:
        """`cache`: the block cache of the options. `closing`: threads that close databases, by path."""
        self._path = path
        self._cache = cache
        self._closing = closing
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]  # it is a property
        self._unlogged.no_slowdown = True
        self._db = Rdict(str(path), options)
        self._scans: dict[int, list[RdictIter]] = {}
        """Scans under way, by id. A scan that was abandoned before its end would keep the database open."""
        self._rewriting: threading.Thread | None = None
        self._rewriting_since = 0.0
        self._rewriting_failed: BaseException | None = None
        self._replaced: list[Path] = []
        """Files that rewriting replaces."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None if there is none. Raises `DiskFailed`."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise self._failed(error) from error
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values from `start` to before `end`, in order. Raises `DiskFailed`, also after `close`."""
        scan = [self._db.iter()]  # no other place holds the iterator
        self._scans[id(scan)] = scan
        try:
            scan[0].seek(start)
            while scan[0].valid() and (key := scan[0].key()) < end:
                yield key, scan[0].value()
                if not scan:
                    raise RuntimeError("the database was closed")
                scan[0].next()
            scan[0].status()  # raises the error at which the iterator ended, if any
        except Exception as error:
            raise self._failed(error) from error
        finally:
            del self._scans[id(scan)]

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Write all changes or none; a value of None deletes the key.

        A crash loses the writes since the last flush by RocksDB. Raises `DiskFailed`, after `STALL_S` at the latest.
        """
        try:
            self._write(changes)
        except Exception as error:
            raise self._failed(error) from error

    def _write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Write, and repeat while RocksDB stalls because its memory is not flushed to files yet.

        If RocksDB were left to wait, it would wait for ever on a full disk, and the process with it.
        """
        deadline = time.monotonic() + STALL_S
        while True:
            try:
                self._db.write(_batch(changes), self._unlogged)
                return
            except Exception as error:
                if STALLED not in str(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(STALL_POLL_S)

    def rewritten(self) -> bool:
        """Rewrite the files without deleted values, and clear the block cache. Return True once that is done.

        Called again until it is. A delete only writes a tombstone; the value stays in its file until then. RocksDB
        rewrites in a thread, without holding the interpreter. Raises `DiskFailed` if it fails, or is not done after
        `REWRITE_S`.
        """
        if self._rewriting is None:
            self._rewriting_failed = RuntimeError("rewriting its files ended without a result")
            self._rewriting_since = time.monotonic()
            self._rewriting = threading.Thread(target=self._rewrite, name="rewrite", daemon=True)
            self._rewriting.start()
        under_way = self._rewriting.is_alive()
        if not under_way and self._rewriting_failed is not None:
            self._rewriting = None
            raise self._failed(self._rewriting_failed)
        if under_way or any(file.exists() for file in self._replaced):  # a scan under way keeps its files
            if time.monotonic() - self._rewriting_since > REWRITE_S:
                raise self._failed(TimeoutError(f"rewriting its files has not ended after {REWRITE_S / 60:.0f} min"))
            return False
        self._rewriting = None
        self._cache.set_capacity(0)  # otherwise it keeps blocks of deleted files until others need their room
        self._cache.set_capacity(CACHE_BYTES)
        return True

    def _rewrite(self) -> None:
        try:
            self._db.flush()
            before = self._tables()
            self._replaced = [self._path / name for name in before]
            self._compact(before)
            # The manifest contains the first and the last key of deleted files, until the next change to the files.
            self._write([(REWRITTEN, b"")])
            self._db.flush()
        except BaseException as error:  # a panic in Rust is no `Exception`
            self._rewriting_failed = error
        else:
            self._rewriting_failed = None

    def _compact(self, before: set[str]) -> None:
        """Rewrite these files. The binding drops RocksDB's error: if files stay, it has failed."""
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
        """Return the names of the files of the database."""
        return {file["name"].lstrip("/") for file in self._db.live_files()}

    def close(self) -> None:
        """Close the database. All writes are then in files, unless a warning is logged.

        The event loop waits meanwhile, at most `CLOSE_S`; and it does not wait at all while another database of this
        disk is still being closed. Closing then goes on in a thread.
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
                with suppress(Exception):  # if the disk fails, so does rewriting, and `close` raises the error
                    self._db.flush()  # cancelling would flush too, but hold the interpreter meanwhile
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
    """Databases of one worker, below a directory that no other process uses meanwhile."""

    def __init__(self, directory: Path) -> None:
        """Raises `UserError` if the directory cannot be used, or another worker uses it."""
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (directory / "lock").open("wb")
        except OSError as error:
            raise UserError(
                f"LIFECYCLE_DATA_DIR: {directory} cannot be used ({error.strerror}). Set it to a directory that this "
                "user can write to."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"LIFECYCLE_DATA_DIR: {directory} is in use by another worker. Give each worker on a machine "
                "a LIFECYCLE_DATA_DIR of its own."
            ) from None
        self._cache = Cache(CACHE_BYTES)
        self._options = _options(self._cache)
        self._closing: dict[Path, threading.Thread] = {}

    def open(self, topic: str, partition: int) -> Database:
        """Open the database of a changelog partition; an empty one if there was none. Damaged files are deleted first.

        Raises `DiskFailed`, also if the database was open before and is not closed within `CLOSE_S`.
        """
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
                log.warning(
                    "The files in %s are damaged (%s). They are deleted; the changelog contains all of their content.",
                    path,
                    error,
                )
                self.delete(topic, partition)
                return Database(path, self._options, self._cache, self._closing)
        except Exception as error:
            raise DiskFailed(path, error) from error

    def delete(self, topic: str, partition: int) -> None:
        """Delete the database of a changelog partition, which must be closed.

        If it is still being closed, it is deleted when it is next opened.
        """
        path = self._path(topic, partition)
        if self._is_open(path, 0.0):
            with suppress(OSError):
                (path / DAMAGED).touch()
            return
        shutil.rmtree(path, ignore_errors=True)

    def distrust(self, topic: str) -> None:
        """Let the databases of all partitions of a changelog be deleted when they are next opened."""
        for path in (self._directory / topic).iterdir():
            (path / DAMAGED).touch()

    def close(self) -> None:
        """Release the directory for other workers. The databases must be closed."""
        self._lock.close()

    def _is_open(self, path: Path, timeout: float) -> bool:
        """Return True if a database there is still being closed, after so many seconds."""
        closing = self._closing.get(path)
        if closing is None:
            return False
        closing.join(timeout)
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
    """Return True if files are wrong or missing, not just out of reach or without room."""
    text = str(error)
    return text.startswith(("Corruption", "Invalid argument", "Not implemented")) or "No such file" in text


def _options(cache: Cache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(WriteBuffers(WRITE_BUFFER_BYTES, False))
    options.set_write_buffer_size(FILE_BYTES)
    options.set_target_file_size_base(FILE_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    # Recovery writes keys in no order, so fewer merges are better. Filters keep look-ups from files without the key.
    options.set_level_zero_file_num_compaction_trigger(8)
    options.set_max_bytes_for_level_base(512 << 20)
    # A write that waits stops the whole process.
    options.set_level_zero_slowdown_writes_trigger(1_000)
    options.set_level_zero_stop_writes_trigger(2_000)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_max_manifest_file_size(1)  # a new one at each change: it contains keys (see `_rewrite`)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    return options
