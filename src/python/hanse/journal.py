"""The record of everything: events, the Merkle tree over them, and its proofs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _core
from .reasons import refuse

if TYPE_CHECKING:
    from .checkpoint import NoteKey
    from .kernel import Kernel

__all__ = [
    "Compaction",
    "Event",
    "Journal",
    "JournalStatus",
    "Proof",
    "Snapshot",
    "Verification",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One event as people read it; `fields` in the order of the record."""

    position: int
    time_ns: int
    type: str
    tenant: int
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """Counts of the journal; `poisoned` says why it takes no more records, or is empty.

    oldest: the first record that is still there. replayed_from: where opening began, 0 without a
    snapshot.
    """

    count: int
    durable_count: int
    size_bytes: int
    segment_count: int
    flush_count: int
    torn_bytes_cut: int
    poisoned: str
    oldest: int
    replayed_from: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after the first `count` records, on disk. taken: by this call."""

    count: int
    size_bytes: int
    taken: bool
    state_hash: str


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was dropped. oldest: the first record that is still there. snapshot: the position of
    the snapshot that was relied on; None: there was none, and nothing was dropped. freed_extents:
    payloads, vectors and texts over 4 KiB that neither a record nor the state names any more."""

    freed_bytes: int
    oldest: int
    snapshot: int | None
    freed_extents: int = 0
    freed_extent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """That leaf `index` is in the tree of the first `count` leaves (RFC 6962); hashes as hex."""

    index: int
    count: int
    leaf: str
    path: tuple[str, ...]
    root: str

    def verify(self) -> bool:
        """Checks the proof with hashlib alone, after RFC 9162 section 2.1.3.2."""
        from hashlib import sha256

        if not 0 <= self.index < self.count:
            return False
        index, last = self.index, self.count - 1
        try:
            node = bytes.fromhex(self.leaf)
            for step in self.path:
                if last == 0:
                    return False
                other = bytes.fromhex(step)
                if index & 1 or index == last:
                    node = sha256(b"\x01" + other + node).digest()
                    while index & 1 == 0 and index != 0:
                        index >>= 1
                        last >>= 1
                else:
                    node = sha256(b"\x01" + node + other).digest()
                index >>= 1
                last >>= 1
        except ValueError:
            return False
        return last == 0 and node.hex() == self.root


def path_of(directory: str | os.PathLike[str]) -> str:
    """As text; the system would cut it at a NUL."""
    path = os.fspath(directory)
    if not isinstance(path, str):
        refuse("WrongType", "directory", f"want a str or a path, have {type(path).__name__}")
    if "\0" in path:
        refuse("OutOfRange", "directory", "holds a NUL")
    return path


class Journal:
    """The events of a kernel, by position."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @property
    def count(self) -> int:
        """Records appended."""
        return self._kernel._core.journal_count()

    @property
    def durable_count(self) -> int:
        """Records that survive a crash."""
        return self._kernel._core.durable_count()

    @property
    def root(self) -> str:
        """Merkle root over all records, as hex."""
        return self._kernel._core.journal_root().hex()

    def root_at(self, count: int) -> str:
        """Merkle root over the first `count` records, as hex."""
        return self._kernel._core.journal_root_at(count).hex()

    def leaf(self, position: int) -> str:
        """SHA-256 of 0x00 and the record, as hex."""
        return self._kernel._core.journal_leaf(position).hex()

    def prove(self, position: int, *, count: int | None = None) -> Proof:
        """That the record at `position` is among the first `count` (None: all) records.

        Raises NotFoundError (UnknownEvent).
        """
        core = self._kernel._core
        of = core.journal_count() if count is None else count
        path = tuple(digest.hex() for digest in core.prove(position, of))
        leaf = core.journal_leaf(position).hex()
        return Proof(int(position), of, leaf, path, core.journal_root_at(of).hex())

    def prove_consistency(self, old_count: int, count: int | None = None) -> tuple[str, ...]:
        """That the first `old_count` records are a prefix of the first `count` ones, as hex."""
        core = self._kernel._core
        of = core.journal_count() if count is None else count
        return tuple(digest.hex() for digest in core.prove_consistency(old_count, of))

    def snapshot(self) -> Snapshot:
        """Folds what is recorded into a second state, beside the writers, and puts it on disk.

        Opening then begins there. Takes as much memory again as the state. Raises StorageError,
        InvalidError (ReadOnly), BusyError where memory_max has no room for it.
        """
        count, size, taken, digest = self._kernel._core.snapshot()
        return Snapshot(count, size, taken, digest.hex())

    def snapshots(self) -> list[Snapshot]:
        """Those on disk whose header is sound, newest first. The newest two are kept, and that of
        the first record that a compaction left."""
        return [
            Snapshot(count, size, taken, digest.hex())
            for count, size, taken, digest in self._kernel._core.snapshots()
        ]

    def compact(self, *, keep: int = 0, snapshots: int = 2) -> Compaction:
        """Drops sealed segments that a snapshot holds; proofs of every position can still be made.

        keep: so many of the newest records stay. snapshots: 2 relies on the older of the newest two
        intact snapshots, so that one may be damaged later; 1 on the newest. What was dropped can't
        be read as events or entries any more: NotFoundError (UnknownEvent) names the oldest record
        kept, where a snapshot is left, too, from which the books since then follow. Raises
        StorageError, InvalidError.
        """
        freed, oldest, count, extents, extent_bytes = self._kernel._core.compact(keep, snapshots)
        return Compaction(freed, oldest, count or None, extents, extent_bytes)

    def checkpoint(self, key: NoteKey, *, count: int | None = None) -> str:
        """The root of the first `count` (None: all durable) records as a signed note (C2SP
        tlog-checkpoint). Needs the extra `sign`. Raises NotFoundError (UnknownEvent)."""
        from .checkpoint import write_checkpoint

        of = self.durable_count if count is None else count
        return write_checkpoint(key, of, self.root_at(of))

    def status(self) -> JournalStatus:
        """Counts, sizes, and whether it is poisoned."""
        return JournalStatus(**self._kernel._core.journal_status())

    def event(self, position: int) -> Event:
        """One event. Raises NotFoundError (also where records are kept in memory only)."""
        return Event(*self._kernel._core.event(self._kernel._acting(), position))

    def events(self, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """Events from `start` up to, not including, `stop` (None: the end)."""
        for position in range(start, self.count if stop is None else min(stop, self.count)):
            yield self.event(position)


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying a directory found; hashes as hex. balanced: debits equal credits.

    oldest: the first record that is still there, and was checked; of those before it only the
    leaves are known. folded_from: the position of the snapshot where the fold began, 0 for the
    first record.
    """

    count: int
    segments: int
    size_bytes: int
    extents: int
    torn_bytes: int
    root: str
    state_hash: str
    balanced: bool
    oldest: int
    snapshots: int
    folded_from: int


def verify(
    directory: str | os.PathLike[str],
    progress: Callable[[int, int], object] | None = None,
    *,
    jobs: int = 1,
) -> Verification:
    """Checks a closed kernel's directory offline: every checksum, hash, extent, snapshot and
    balance, by `jobs` threads. Each snapshot must be what the records before it come to.

    progress(done, total) is called with bytes. Raises StorageError with the first corruption (file,
    offset, position).
    """
    row = _core.verify(path_of(directory), jobs, progress)
    return Verification(*row[:5], row[5].hex(), row[6].hex(), *row[7:])
