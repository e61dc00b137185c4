"""durable: how many messages that outlive the process can be sent, and handled?"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import hanse
from bench.case import Contest, Settings, case, peer, rate

BATCH = 1_000
PAYLOAD_BYTES = 64
CAPACITY = 1 << 20


class Inbox:
    """What one would write without hanse: a table of messages, a unique key for each sender."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute("pragma journal_mode=wal")
        self.connection.execute("pragma synchronous=full")
        self.connection.execute(
            "create table message (sequence integer primary key, receiver integer, sender integer,"
            " key blob, payload blob, unique (sender, key))"
        )
        self.connection.execute("create table state (agent integer primary key, value blob)")
        self.keys = 0

    def send(self, receiver: int, sender: int, payloads: list[bytes]) -> None:
        """One transaction for all."""
        rows = []
        for payload in payloads:
            self.keys += 1
            rows.append((receiver, sender, self.keys.to_bytes(8, "little"), payload))
        with self.connection:
            self.connection.executemany(
                "insert into message (receiver, sender, key, payload) values (?, ?, ?, ?)", rows
            )

    def handle(self) -> int:
        """All that waits, in one transaction: deleted, and counted in the state."""
        with self.connection:
            taken = self.connection.execute("select sequence, payload from message").fetchall()
            self.connection.executemany(
                "delete from message where sequence = ?", [(row[0],) for row in taken]
            )
            self.connection.execute(
                "insert or replace into state values (1, ?)", (b"%d" % len(taken),)
            )
        return len(taken)


@contextlib.contextmanager
def post(settings: Settings) -> Iterator[tuple[hanse.Kernel, int, int, Inbox]]:
    """A kernel with a sender and a durable box, and the peer."""
    with (
        tempfile.TemporaryDirectory(dir=settings.directory) as name,
        hanse.open(Path(name) / "state") as kernel,
    ):
        sender, box = (int(i) for i in kernel.agents.add_many(2))
        kernel.mailboxes.durable(
            box, capacity=CAPACITY, in_flight=65_536, payload_bytes=1 << 30, attempts=100
        )
        yield kernel, sender, box, Inbox(Path(name) / "peer.db")


@case("durable", "messages/s", "higher")
@contextlib.contextmanager
def durable_sends(settings: Settings) -> Iterator[Contest]:
    """How many keyed messages of 64 B become durable in a second, 1,000 a flush?"""
    count, batches = settings.size(BATCH, 50), settings.size(20, 2)
    with post(settings) as (kernel, sender, box, inbox):
        me = kernel.as_agent(sender)
        to = np.full(count, box, dtype=np.uint64)
        payloads = np.arange(count * PAYLOAD_BYTES).astype(np.uint8).reshape(count, -1)
        rows = [payload.tobytes() for payload in payloads]
        keys = np.arange(count, dtype=np.uint64)

        def send() -> None:
            keys[:] += np.uint64(count)
            assert not me.send_durable_many(to, payloads, keys=keys).any()

        def empty() -> None:
            taken = kernel.drain(max_messages=count * batches).durable
            for at in range(0, len(taken), 4096):
                kernel.as_agent(box).commit(ack=taken[at : at + 4096])

        def check() -> None:
            send()
            assert kernel.journal.durable_count == kernel.journal.count
            again = me.send_durable_many(to, payloads, keys=keys)
            assert (again == hanse.Outcome.replayed).all()
            assert [message.payload for message in kernel.drain().durable] == rows
            inbox.send(box, sender, rows)
            assert inbox.handle() == count

        def work() -> None:
            for _ in range(batches):
                send()

        def sample() -> float:
            value = rate(count * batches, work)()
            empty()
            return value

        def peer_work() -> None:
            for _ in range(batches):
                inbox.send(box, sender, rows)

        yield Contest(
            hanse=sample,
            check=check,
            peers=[peer("SQLite FULL", rate(count * batches, peer_work), "sqlite3")],
            limit=f"one fdatasync for {count}",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6,
        )


@case("durable", "messages/s", "higher")
@contextlib.contextmanager
def durable_handled(settings: Settings) -> Iterator[Contest]:
    """How many can be taken, acknowledged and counted in a state, 1,000 in one record?"""
    count, batches = settings.size(BATCH, 50), settings.size(20, 2)
    with post(settings) as (kernel, sender, box, inbox):
        me, him = kernel.as_agent(sender), kernel.as_agent(box)
        to = np.full(count, box, dtype=np.uint64)
        payloads = np.zeros((count, PAYLOAD_BYTES), dtype=np.uint8)
        rows = [payload.tobytes() for payload in payloads]

        def handle() -> None:
            taken = kernel.drain(max_messages=count).durable
            assert len(taken) == count
            him.commit(ack=taken, state=b"%d" % count)

        def check() -> None:
            me.send_durable_many(to, payloads)
            handle()
            found = kernel.mailboxes.durable_box(box)
            assert (found.queued, found.acknowledged) == (0, count)
            inbox.send(box, sender, rows)
            assert inbox.handle() == count

        def work() -> None:
            for _ in range(batches):
                handle()

        def peer_work() -> None:
            assert inbox.handle() == count

        def sample() -> float:
            for _ in range(batches):
                me.send_durable_many(to, payloads)
            return rate(count * batches, work)()

        def peer_sample() -> float:
            rates = []
            for _ in range(batches):
                inbox.send(box, sender, rows)
                rates.append(rate(count, peer_work)())
            return len(rates) / sum(1 / value for value in rates)

        yield Contest(
            hanse=sample,
            check=check,
            peers=[peer("SQLite FULL", peer_sample, "sqlite3")],
            limit=f"one fdatasync for {count}",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6,
        )
