"""The history of the books: entries, accounts as they were, and exports for reports."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Entries", "EntryKind", "History"]

PAGE = 65_536
_SIGNED_MAX = (1 << 63) - 1
Progress = Callable[[int, int], object]


class EntryKind(IntEnum):
    """funded: issued. held, released: pending, and no longer. posted: what was pending moved."""

    funded = 0
    transferred = 1
    held = 2
    posted = 3
    released = 4


@dataclass(frozen=True, slots=True)
class Entries:
    """Movements of money in the order of the journal, one row each.

    columns: position, time_ns, debit, credit, amount, hold, task, user_data_64,
    user_data_128_high, user_data_128_low uint64[n]; user_data_32 uint32[n]; unit, code uint16[n];
    kind (hanse.EntryKind), debit_purpose, credit_purpose uint8[n]. hold, task 0: none.
    next: where the next page begins, for `after`; None: this was the last.
    floor: of a compacted journal: movements by records before it are not there any more. Else 0.
    """

    columns: dict[str, NDArray[Any]]
    next: int | None
    floor: int = 0

    def __len__(self) -> int:
        return len(self.columns["position"])

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise AttributeError(name) from None


class History:
    """Reads the journal into entries as far as it has come; everything here is derived."""

    __slots__ = ()
    _kernel: Kernel

    def _unit(self, name: str) -> int:
        return self._kernel._core.unit(name)

    def entries(
        self,
        agent: int | None = None,
        *,
        unit: str | None = None,
        task: int | None = None,
        hold: int | None = None,
        start: int = 0,
        stop: int | None = None,
        since_ns: int = 0,
        until_ns: int | None = None,
        after: int = 0,
        limit: int = 1000,
        progress: Progress | None = None,
    ) -> Entries:
        """One page of what moved: of an agent's accounts, a task, a hold, within positions
        [start, stop) and times [since_ns, until_ns).

        after: `next` of the page before. limit: 1 … 65,536. progress(done, total): records read
        from the journal, which the first question does. Where the journal was compacted, a start
        before `floor` is NotFoundError (UnknownEvent), which names it; without one the page begins
        there. Raises NotFoundError (also in memory mode, which keeps no records), InvalidError,
        BusyError where memory_max has no room for it.
        """
        query: dict[str, Any] = {
            "agent": agent,
            "unit": None if unit is None else self._unit(unit),
            "task": task,
            "hold": hold,
            "start": start,
            "stop": stop,
            "since_ns": since_ns,
            "until_ns": until_ns,
            "after": after,
            "limit": limit,
        }
        return Entries(*self._kernel._core.entries(self._kernel._acting(), query, progress))

    def entry_pages(
        self, agent: int | None = None, *, progress: Progress | None = None, **query: Any
    ) -> Iterator[Entries]:
        """All entries that `entries` would give, page by page."""
        query.setdefault("limit", PAGE)
        after: int | None = query.pop("after", 0)
        while after is not None:
            page = self.entries(agent, after=after, progress=progress, **query)
            yield page
            after = page.next

    def export_columns(
        self, agent: int | None = None, *, progress: Progress | None = None, **query: Any
    ) -> dict[str, NDArray[Any]]:
        """All entries as contiguous columns by name, ready for pyarrow.table or a data frame."""
        pages = [page.columns for page in self.entry_pages(agent, progress=progress, **query)]
        return {name: np.concatenate([page[name] for page in pages]) for name in pages[0]}

    def export_sqlite(
        self, path: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> int:
        """Writes entries, accounts and units to a new SQLite file for reports; returns the number
        of entries.

        The file can be thrown away and written again: the journal is what counts. Numbers beyond
        2^63 - 1, which SQLite's integers can't hold, are text. Raises InvalidError where there is
        a file already; one that was not finished is removed.
        """
        target = os.fspath(path)
        if os.path.exists(target):
            refuse("OutOfRange", "path", f"{target} exists already")
        try:
            with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as database:
                # It is derived: after a crash it is written again.
                database.execute("PRAGMA journal_mode=OFF")
                database.execute("PRAGMA synchronous=OFF")
                return self._fill(database, progress)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            raise

    def _fill(self, database: sqlite3.Connection, progress: Progress | None) -> int:
        count = 0
        database.execute("BEGIN")
        for page in self.entry_pages(progress=progress):
            names = list(page.columns)
            if count == 0:
                database.execute(f"CREATE TABLE entry ({', '.join(names)})")
            rows = zip(*(_values(page.columns[name]) for name in names), strict=True)
            marks = ", ".join("?" * len(names))
            database.executemany(f"INSERT INTO entry VALUES ({marks})", rows)
            count += len(page)
        fields = "owner, purpose, unit, debits_pending, debits_posted, credits_pending"
        fields += ", credits_posted, available"
        database.execute(f"CREATE TABLE account ({fields})")
        accounts = self._kernel.ledger.accounts()
        database.executemany(
            "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                [getattr(a, f) if isinstance(getattr(a, f), str) else _value(getattr(a, f))
                 for f in fields.split(", ")]
                for a in accounts
            ],
        )  # fmt: skip
        database.execute("CREATE TABLE unit (number INTEGER PRIMARY KEY, name TEXT)")
        names_of_units = sorted({a.unit for a in accounts})
        database.executemany(
            "INSERT INTO unit VALUES (?, ?)", [(self._unit(name), name) for name in names_of_units]
        )
        database.execute("CREATE TABLE kind (number INTEGER PRIMARY KEY, name TEXT)")
        database.executemany(
            "INSERT INTO kind VALUES (?, ?)", [(k.value, k.name) for k in EntryKind]
        )
        for column in ("debit", "credit", "time_ns", "task"):
            database.execute(f"CREATE INDEX entry_{column} ON entry ({column})")
        database.execute("COMMIT")
        return count


def _value(number: int) -> int | str:
    return number if -_SIGNED_MAX <= number <= _SIGNED_MAX else str(number)


def _values(column: NDArray[Any]) -> list[int | str]:
    numbers: list[int | str] = column.tolist()
    if column.dtype == np.uint64 and len(column) and int(column.max()) > _SIGNED_MAX:
        return [_value(int(number)) for number in numbers]
    return numbers
