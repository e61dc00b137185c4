"""The record of everything: events, the Merkle tree over them, and its proofs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _core
from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Event", "Journal", "JournalStatus", "Proof", "Verification", "verify"]


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
    """Counts of the journal; `poisoned` says why it takes no more records, or is empty."""

    count: int
    durable_count: int
    size_bytes: int
    segment_count: int
    flush_count: int
    torn_bytes_cut: int
    poisoned: str


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
    """What verifying a directory found; hashes as hex. balanced: debits equal credits."""

    count: int
    segments: int
    size_bytes: int
    extents: int
    torn_bytes: int
    root: str
    state_hash: str
    balanced: bool


def verify(
    directory: str | os.PathLike[str], progress: Callable[[int, int], object] | None = None
) -> Verification:
    """Checks a closed kernel's directory offline: every checksum, hash and balance.

    progress(done, total) is called with bytes. Raises StorageError with the first corruption (file,
    offset, position).
    """
    row = _core.verify(path_of(directory), progress)
    return Verification(*row[:5], row[5].hex(), row[6].hex(), row[7])
