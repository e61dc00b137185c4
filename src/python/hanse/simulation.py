"""For tests: a disk in memory with a crash in it, under the same kernel code as any other disk.

Pass a SimulatedDisk to hanse.open(disk=…, background=False): without the flusher thread a run is a
function of its commands, its clock and its seed, so every fault can be put at every place.
"""

from __future__ import annotations

from typing import Literal

from . import _core

__all__ = ["SimulatedCrash", "SimulatedDisk"]


class SimulatedCrash(Exception):
    """The simulated machine died: this call and all later ones on its disk."""


class SimulatedDisk:
    """A disk whose mutating operations are counted, from 0, and can fail at a given number.

    Mutating are: write, sync, allocate, truncate, create, rename, remove, syncing a directory.
    """

    __slots__ = ("_core",)

    def __init__(self) -> None:
        self._core = _core.SimulatedDisk()

    @classmethod
    def _of(cls, core: _core.SimulatedDisk) -> SimulatedDisk:
        disk = cls.__new__(cls)
        disk._core = core
        return disk

    def set_faults(
        self,
        *,
        crash_at: int | None = None,
        fail_sync_at: int | None = None,
        full_at: int | None = None,
    ) -> None:
        """Replaces the faults; None: never.

        crash_at: this operation and all later ones raise SimulatedCrash. fail_sync_at: the first
        sync from here on fails, once. full_at: from here on files can't grow.
        """
        self._core.set_faults(crash_at, fail_sync_at, full_at)

    @property
    def operations(self) -> int:
        """How many mutating operations there were."""
        return self._core.operations()

    def recover(
        self, unsynced: Literal["none", "all", "random", "torn"], seed: int = 0
    ) -> SimulatedDisk:
        """The disk that the next boot finds; this one stays as it is.

        unsynced: of the bytes and directory entries that were not synced, none is there, all are,
        each by the toss of a coin, or all up to one that is cut.
        """
        return self._of(self._core.recover(unsynced, seed))

    def restart(self) -> SimulatedDisk:
        """The process died and the machine did not: all that was written, synced or not."""
        return self._of(self._core.restart())

    def flip_bit(self, path: str, bit: int) -> None:
        """Flips one bit of a file, also of what was synced."""
        self._core.flip_bit(path, bit)

    def names(self, directory: str = "") -> list[str]:
        """Names in a directory, sorted."""
        return self._core.names(directory)

    def read(self, path: str) -> bytes:
        """A file's content."""
        return self._core.read(path)
