"""journal: how fast does a record become durable, and a leaf of the Merkle tree?"""

from __future__ import annotations

import contextlib
import os
import shutil
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
        lmdb_log(at / "lmdb") as lmdb_append,
        rocks_log(at / "rocks") as rocks_append,
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

        def appending(call: Any) -> Any:
            def work_of_peer() -> None:
                for _ in range(batches):
                    call(records)

            return rate(count * batches, work_of_peer)

        yield Contest(
            hanse=rate(count * batches, work),
            check=check,
            peers=[
                peer("SQLite FULL", appending(other.append), "sqlite3"),
                peer("LMDB", appending(lmdb_append), "lmdb"),
                peer("RocksDB", appending(rocks_append), "rocksdict"),
            ],
            limit="one fdatasync a batch",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6,
        )


@contextlib.contextmanager
def lmdb_log(path: Path) -> Iterator[Any]:
    """append(records): one transaction of LMDB with its flush."""
    try:
        import lmdb
    except ImportError:
        yield lambda records: None
        return
    count = 0
    with lmdb.open(str(path), map_size=4 << 30) as database:

        def append(records: list[bytes]) -> None:
            nonlocal count
            with database.begin(write=True) as transaction:
                for record in records:
                    transaction.put(count.to_bytes(8, "big"), record, append=True)
                    count += 1

        yield append


@contextlib.contextmanager
def rocks_log(path: Path) -> Iterator[Any]:
    """append(records): one write batch of RocksDB, its log synced."""
    try:
        from rocksdict import Options, Rdict, WriteBatch, WriteOptions
    except ImportError:
        yield lambda records: None
        return
    count = 0
    options = WriteOptions()
    options.sync = True
    database = Rdict(str(path), Options(raw_mode=True))

    def append(records: list[bytes]) -> None:
        nonlocal count
        batch = WriteBatch(raw_mode=True)
        for record in records:
            batch.put(count.to_bytes(8, "big"), record)
            count += 1
        database.write(batch, options)

    try:
        yield append
    finally:
        database.close()


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


JOURNAL_BYTES = 256 << 20


@contextlib.contextmanager
def grown(settings: Settings, at: Path) -> Iterator[hanse.Kernel]:
    """A kernel whose journal has grown to 256 MiB, and which takes no snapshot by itself."""
    size = settings.size(JOURNAL_BYTES, 1 << 20)
    with hanse.open(at / "state", snapshot_every=0) as kernel:
        ids = kernel.agents.add_many(BATCH)
        kernel.ledger.fund(kernel.root, FUNDS)
        budgets = np.ones(BATCH, np.uint64)
        payloads = [bytes(100)] * BATCH
        while kernel.journal.status().size_bytes < size:
            kernel.dispatch_many(to=ids, budgets=budgets, payloads=payloads)
        yield kernel


def seconds(work: Any) -> Any:
    """A sample of how long one piece of work takes."""
    return lambda: 1 / rate(1, work)()


@case("journal", "s", "lower")
@contextlib.contextmanager
def open_256_mib(settings: Settings) -> Iterator[Contest]:
    """How long does opening take after a crash, 256 MiB of journal behind a snapshot?"""
    with folder(settings) as at:
        with grown(settings, at) as kernel:
            taken = kernel.journal.snapshot()
            kernel.agents.add()
            state = kernel.state_hash
        whole = Path(shutil.copytree(at / "state", at / "whole"))
        shutil.rmtree(whole / "snapshots")

        def work(path: Path) -> Any:
            def opened() -> None:
                with hanse.open(path, read_only=True) as reader:
                    assert reader.journal.count

            return opened

        def check() -> None:
            for path, begun in ((at / "state", taken.count), (whole, 0)):
                with hanse.open(path, read_only=True) as reader:
                    assert reader.state_hash == state
                    assert reader.journal.status().replayed_from == begun

        def read() -> None:
            for path in (at / "state" / "snapshots").iterdir():
                path.read_bytes()

        yield Contest(
            hanse=seconds(work(at / "state")),
            check=check,
            peers=[peer("without the snapshot", seconds(work(whole)))],
            limit="reading the snapshot",
            limit_sample=seconds(read),
        )


@case("journal", "s", "lower")
@contextlib.contextmanager
def snapshot_256_mib(settings: Settings) -> Iterator[Contest]:
    """How long does a first snapshot of 256 MiB of journal take, beside the writers?"""
    with folder(settings) as at, grown(settings, at) as kernel:

        def work() -> hanse.Snapshot:
            shutil.rmtree(at / "state" / "snapshots", ignore_errors=True)
            return kernel.journal.snapshot()

        def check() -> None:
            taken = work()
            assert taken.state_hash == kernel.state_hash
            # Leaves are 32.25 bytes a record; the state is what it is.
            leaves_size = (at / "state" / "leaves").stat().st_size
            assert leaves_size < 33 * taken.count + 8192

        def read() -> None:
            for path in (at / "state").glob("segment-*"):
                path.read_bytes()

        yield Contest(
            hanse=seconds(work), check=check, limit="reading the segments",
            limit_sample=seconds(read),
        )  # fmt: skip


@case("journal", "GB/s", "higher")
@contextlib.contextmanager
def verify_offline(settings: Settings) -> Iterator[Contest]:
    """How fast is a directory of 256 MiB verified, records folded, by all threads?"""
    with folder(settings) as at:
        with grown(settings, at) as kernel:
            size = kernel.journal.status().size_bytes
            root = kernel.journal.root
        jobs = len(os.sched_getaffinity(0)) + 1

        def work(threads: int) -> Any:
            return lambda: hanse.verify(at / "state", jobs=threads)

        def check() -> None:
            assert work(jobs)().root == work(1)().root == root

        def read() -> None:
            for path in (at / "state").glob("segment-*"):
                path.read_bytes()

        yield Contest(
            hanse=rate(size, work(jobs), 1e9),
            check=check,
            peers=[peer("one thread", rate(size, work(1), 1e9))],
            limit="reading the files",
            limit_sample=rate(size, read, 1e9),
        )
