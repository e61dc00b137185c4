"""journal: how fast does a record become durable, and a leaf of the Merkle tree?"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hanse
from bench.case import Contest, Settings, case, p50, peer, rate
from bench.composed import composed

RECORD_BYTES = 256
BATCH = 1_000
FUNDS = 1 << 50


@contextlib.contextmanager
def folder(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=settings.directory) as name:
        yield Path(name)


@case("journal", "µs p50", "lower")
@contextlib.contextmanager
def single_ack(settings: Settings) -> Iterator[Contest]:
    """How long until one record (a transfer) is on disk?"""
    count = settings.size(300, 10)
    with folder(settings) as at, hanse.open(at / "state") as kernel, composed(at / "p") as other:
        a, b = (int(i) for i in kernel.agents.add_many(2))
        kernel.ledger.fund(a, FUNDS)
        record = bytes(RECORD_BYTES)

        def one(i: int) -> Any:
            return kernel.ledger.transfer(a, b, 1)

        def check() -> None:
            before = kernel.journal.count
            one(0)
            assert kernel.journal.durable_count == kernel.journal.count == before + 1
            assert kernel.ledger.balance(b) == 1

        yield Contest(
            hanse=p50(count, one),
            check=check,
            peers=[peer("SQLite FULL", p50(count, lambda i: other.append([record])), "sqlite3")],
            limit="one fdatasync",
            limit_sample=settings.limits.fdatasync_p50_us,
        )


@contextlib.contextmanager
def filled(settings: Settings, state: Path | None) -> Iterator[tuple[hanse.Kernel, Any]]:
    """A kernel and a call that appends 1,000 records of about 256 bytes in one flush."""
    count = settings.size(BATCH, 50)
    with hanse.open(state) as kernel:
        ids = kernel.agents.add_many(count)
        kernel.ledger.fund(kernel.root, FUNDS)
        budgets = np.ones(count, np.uint64)
        size = 0

        def append(payload_size: int) -> None:
            receipts = kernel.dispatch_many(
                to=ids, budgets=budgets, payloads=[bytes(payload_size)] * count
            )
            assert not np.any(receipts.status)

        if state is not None:
            before = kernel.journal.status().size_bytes
            append(0)
            empty = (kernel.journal.status().size_bytes - before) // count
            size = max(0, RECORD_BYTES - empty)
        yield kernel, lambda: append(size)


@case("journal", "records/s", "higher")
@contextlib.contextmanager
def durable_batches(settings: Settings) -> Iterator[Contest]:
    """How many task records of about 256 bytes become durable in a second, 1,000 a flush?"""
    count, batches = settings.size(BATCH, 50), settings.size(10, 2)
    with (
        folder(settings) as at,
        filled(settings, at / "state") as (kernel, append),
        composed(at / "p") as other,
    ):
        records = [bytes(RECORD_BYTES)] * count

        def check() -> None:
            before = kernel.journal.count
            append()
            assert kernel.journal.durable_count == kernel.journal.count == before + count
            proof = kernel.journal.prove(before)
            assert proof.verify()
            assert proof.root == kernel.journal.root

        def work() -> None:
            for _ in range(batches):
                append()

        def peer_work() -> None:
            for _ in range(batches):
                other.append(records)

        yield Contest(
            hanse=rate(count * batches, work),
            check=check,
            peers=[peer("SQLite FULL", rate(count * batches, peer_work), "sqlite3")],
            limit="one fdatasync a batch",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6,
        )


@case("journal", "records/s", "higher")
@contextlib.contextmanager
def leaves(settings: Settings) -> Iterator[Contest]:
    """How many records a second become leaves, the root taken after every 1,000, in memory?"""
    count, batches = settings.size(BATCH, 50), settings.size(10, 2)
    with filled(settings, None) as (kernel, append), composed(None) as other:
        records = [bytes(RECORD_BYTES)] * count
        roots: list[str] = []

        def work() -> None:
            for _ in range(batches):
                append()
                roots.append(kernel.journal.root)

        def check() -> None:
            work()
            assert len(set(roots)) == len(roots)
            assert kernel.journal.prove(kernel.journal.count - 1).verify()

        def peer_work() -> None:
            for _ in range(batches):
                other.append(records)

        yield Contest(
            hanse=rate(count * batches, work),
            check=check,
            peers=[peer("SQLite :memory:", rate(count * batches, peer_work), "sqlite3")],
        )


@case("journal", "records/s", "higher")
@contextlib.contextmanager
def reopen(settings: Settings) -> Iterator[Contest]:
    """How many records a second are read, checked and folded when a directory is opened?"""
    batches = settings.size(100, 4)
    with folder(settings) as at:
        with filled(settings, at / "state") as (kernel, append):
            for _ in range(batches):
                append()
            count, hashed = kernel.journal.count, kernel.state_hash
        segments = [path for path in (at / "state").rglob("*") if path.is_file()]

        def work() -> str:
            with hanse.open(at / "state", read_only=True) as kernel:
                return str(kernel.state_hash)

        def check() -> None:
            assert work() == hashed

        def read() -> None:
            for path in segments:
                path.read_bytes()

        yield Contest(
            hanse=rate(count, work),
            check=check,
            limit="reading the files",
            limit_sample=rate(count, read),
        )
