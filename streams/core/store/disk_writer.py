"""Writing the state of a partition to disk, so that a start need not read all records."""

from __future__ import annotations

from streams.core.store.backend import CHECKPOINT, Disk, DiskBackend
from streams.core.store.checkpoint import DiskCheckpoint, decode, empty, encode
from streams.core.store.erasure_markers import ErasureResidue
from streams.core.store.timers import TimersOnDisk


def read_checkpoint(disk: Disk) -> DiskCheckpoint:
    """Return the checkpoint that is on disk, an empty one if there is none.

    Raises `ValueError` if it cannot be read.
    """
    stored = disk.get(CHECKPOINT)
    return empty() if stored is None else decode(stored)


class DiskWriter:
    """Writes packed profiles, timers and a checkpoint to disk at once."""

    def __init__(self, disk: Disk, scheduled: int, nearest: int) -> None:
        """`scheduled` and `nearest`: see `TimersOnDisk`."""
        self.packed = DiskBackend(disk)
        self.timers = TimersOnDisk(disk, scheduled, nearest)
        self._taken: DiskCheckpoint | None = None
        """The checkpoint of the last commit, until it is on disk."""

    @property
    def has_taken(self) -> bool:
        """True if a checkpoint was taken that is not on disk."""
        return self._taken is not None

    def take(self, checkpoint: DiskCheckpoint, residue: ErasureResidue) -> None:
        """Take a checkpoint and the changes of the timers so far. They go to disk with the next `write`."""
        self.timers.take()
        residue.note_taken()
        self._taken = checkpoint

    def write(self, note: bytes, residue: ErasureResidue) -> None:
        """Write what was taken, with the owner's note. Raises the errors of the disk."""
        checkpoint, self._taken = self._taken, None
        assert checkpoint is not None
        checkpoint.note = note
        self.packed.flush(self.timers.being_written, encode(checkpoint))
        self.timers.written()
        residue.note_written()
