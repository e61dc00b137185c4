"""The peer of the durable benches: the same steps composed in one process on SQLite (WAL, FULL)."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE account (id INTEGER PRIMARY KEY, credits INTEGER NOT NULL, pending INTEGER NOT NULL,
                      debits INTEGER NOT NULL);
CREATE TABLE task (id INTEGER PRIMARY KEY, worker INTEGER, budget INTEGER, state INTEGER);
CREATE TABLE outbox (id INTEGER PRIMARY KEY, worker INTEGER, payload BLOB);
CREATE TABLE log (id INTEGER PRIMARY KEY, body BLOB, hash BLOB);
CREATE TABLE transfer (id INTEGER PRIMARY KEY, debit INTEGER, credit INTEGER, amount INTEGER,
                       state INTEGER);
"""


class Composed:
    """Reserve, assign, deliver and log in one transaction; match and policy are the caller's."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self.last_hash = bytes(32)

    def open_accounts(self, balances: Sequence[tuple[int, int]]) -> None:
        self.database.execute("BEGIN")
        self.database.executemany("INSERT INTO account VALUES (?, ?, 0, 0)", balances)
        self.database.execute("COMMIT")

    def dispatch(self, requester: int, workers: Sequence[int], payload: bytes, budget: int) -> None:
        """One transaction for all of `workers`, each with its own budget test and hash."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        for worker in workers:
            held = run(
                "UPDATE account SET pending = pending + ?1"
                " WHERE id = ?2 AND credits - debits - pending >= ?1",
                (budget, requester),
            )
            assert held.rowcount == 1, "the peer's account ran out"
            run("INSERT INTO task (worker, budget, state) VALUES (?, ?, 0)", (worker, budget))
            run("INSERT INTO outbox (worker, payload) VALUES (?, ?)", (worker, payload))
            self._log(b"%d %d %d" % (requester, worker, budget))
        run("COMMIT")

    def append(self, records: Sequence[bytes]) -> None:
        """One transaction for all records, each chained to the one before by its hash."""
        self.database.execute("BEGIN IMMEDIATE")
        for record in records:
            self._log(record)
        self.database.execute("COMMIT")

    def transfer(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """(debit, credit, amount) each, checked against the debited account, in one transaction."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        for debit, credit, amount in rows:
            paid = run(
                "UPDATE account SET debits = debits + ?1"
                " WHERE id = ?2 AND credits - debits - pending >= ?1",
                (amount, debit),
            )
            assert paid.rowcount == 1, "the peer's account ran out"
            run("UPDATE account SET credits = credits + ? WHERE id = ?", (amount, credit))
            run(
                "INSERT INTO transfer (debit, credit, amount, state) VALUES (?, ?, ?, 1)",
                (debit, credit, amount),
            )
        run("COMMIT")

    def hold(self, debit: int, credit: int, amount: int) -> int:
        """Reserves: the first phase of a transfer, in its own transaction."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        held = run(
            "UPDATE account SET pending = pending + ?1"
            " WHERE id = ?2 AND credits - debits - pending >= ?1",
            (amount, debit),
        )
        assert held.rowcount == 1, "the peer's account ran out"
        row = run(
            "INSERT INTO transfer (debit, credit, amount, state) VALUES (?, ?, ?, 0)",
            (debit, credit, amount),
        ).lastrowid
        run("COMMIT")
        return row or 0

    def post(self, hold: int) -> None:
        """Settles a hold: the second phase, in its own transaction."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        debit, credit, amount = run(
            "UPDATE transfer SET state = 1 WHERE id = ? AND state = 0"
            " RETURNING debit, credit, amount",
            (hold,),
        ).fetchone()
        run(
            "UPDATE account SET pending = pending - ?1, debits = debits + ?1 WHERE id = ?2",
            (amount, debit),
        )
        run("UPDATE account SET credits = credits + ? WHERE id = ?", (amount, credit))
        run("COMMIT")

    def hold_many(self, rows: Sequence[tuple[int, int, int]]) -> list[int]:
        """The first phase for all rows (debit, credit, amount), in one transaction."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        held = []
        for debit, credit, amount in rows:
            taken = run(
                "UPDATE account SET pending = pending + ?1"
                " WHERE id = ?2 AND credits - debits - pending >= ?1",
                (amount, debit),
            )
            assert taken.rowcount == 1, "the peer's account ran out"
            row = run(
                "INSERT INTO transfer (debit, credit, amount, state) VALUES (?, ?, ?, 0)",
                (debit, credit, amount),
            )
            held.append(row.lastrowid or 0)
        run("COMMIT")
        return held

    def post_many(self, holds: Sequence[int]) -> None:
        """The second phase for all holds, in one transaction."""
        run = self.database.execute
        run("BEGIN IMMEDIATE")
        for hold in holds:
            debit, credit, amount = run(
                "UPDATE transfer SET state = 1 WHERE id = ? AND state = 0"
                " RETURNING debit, credit, amount",
                (hold,),
            ).fetchone()
            run(
                "UPDATE account SET pending = pending - ?1, debits = debits + ?1 WHERE id = ?2",
                (amount, debit),
            )
            run("UPDATE account SET credits = credits + ? WHERE id = ?", (amount, credit))
        run("COMMIT")

    def _log(self, body: bytes) -> None:
        self.last_hash = hashlib.sha256(self.last_hash + body).digest()
        self.database.execute("INSERT INTO log (body, hash) VALUES (?, ?)", (body, self.last_hash))


@contextmanager
def composed(path: Path | None) -> Iterator[Composed]:
    """At `path` with a flush a commit, or in memory."""
    with closing(sqlite3.connect(path or ":memory:", isolation_level=None)) as database:
        if path is not None:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
        yield Composed(database)
