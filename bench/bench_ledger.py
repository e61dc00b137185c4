"""ledger: how fast does money move, durably, with the books balanced at every record?"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hanse
from bench.case import Contest, Settings, case, p50, peer, rate
from bench.composed import Composed, composed

ACCOUNTS = 10_000
BATCH = 8_000
FUNDS = 1 << 40
SEED = 11


@contextlib.contextmanager
def books(settings: Settings, *, durable: bool) -> Iterator[tuple[hanse.Kernel, Any, Composed]]:
    """The same accounts with the same funds in a kernel and in SQLite."""
    accounts = settings.size(ACCOUNTS, 100)
    with contextlib.ExitStack() as stack:
        at = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.directory)))
        kernel = stack.enter_context(hanse.open(at / "state" if durable else None))
        ids = kernel.agents.add_many(accounts)
        bank = kernel.agents.add("bank")
        kernel.ledger.fund(bank, FUNDS * accounts)
        for some in np.array_split(ids, -(-accounts // BATCH)):
            funds = np.full(len(some), FUNDS, np.uint64)
            payer = np.full(len(some), bank, np.uint64)
            assert not np.any(kernel.ledger.transfer_many(payer, some, funds))
        other = stack.enter_context(composed(at / "p" if durable else None))
        other.open_accounts([(int(agent), FUNDS) for agent in ids])
        yield kernel, ids, other


def check_balanced(kernel: hanse.Kernel) -> None:
    totals = kernel.ledger.totals()
    assert totals.debits == totals.credits
    assert totals.debits_pending == totals.credits_pending == 0


@case("ledger", "transfers/s", "higher")
@contextlib.contextmanager
def durable_batches(settings: Settings) -> Iterator[Contest]:
    """How many transfers a second, 8,000 a record, each record on disk before the next?"""
    yield from batches_of(settings, durable=True)


@case("ledger", "transfers/s", "higher")
@contextlib.contextmanager
def memory_batches(settings: Settings) -> Iterator[Contest]:
    """The same without a disk: what do the checks and the books themselves cost?"""
    yield from batches_of(settings, durable=False)


def batches_of(settings: Settings, *, durable: bool) -> Iterator[Contest]:
    count = settings.size(BATCH, 100)
    with books(settings, durable=durable) as (kernel, ids, other):
        random = np.random.default_rng(SEED)
        debit = ids[random.integers(0, len(ids), count)]
        # Never the debited account itself: the next one on the list.
        credit = ids[(np.searchsorted(ids, debit) + 1) % len(ids)]
        amounts = random.integers(1, 100, count).astype(np.uint64)
        rows = list(zip(debit.tolist(), credit.tolist(), amounts.tolist(), strict=True))

        def work() -> Any:
            return kernel.ledger.transfer_many(debit, credit, amounts)

        def check() -> None:
            first = int(debit[0])
            before = kernel.ledger.balance(first)
            assert not np.any(work())
            paid = int(amounts[debit == first].sum())
            got = int(amounts[credit == first].sum())
            assert kernel.ledger.balance(first) == before - paid + got
            check_balanced(kernel)

        yield Contest(
            hanse=rate(count, work),
            check=check,
            peers=[
                peer(
                    f"SQLite {'FULL' if durable else ':memory:'}",
                    rate(count, lambda: other.transfer(rows)),
                    "sqlite3",
                )
            ],
            limit="one fdatasync a batch" if durable else "",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6 if durable else None,
        )


@case("ledger", "transfers/s", "higher")
@contextlib.contextmanager
def durable_two_phase_batches(settings: Settings) -> Iterator[Contest]:
    """How many two-phase transfers a second: 8,000 holds, then 8,000 posts, both on disk?"""
    yield from two_phase_batches(settings, durable=True, keyed=False)


@case("ledger", "transfers/s", "higher")
@contextlib.contextmanager
def durable_two_phase_batches_with_keys(settings: Settings) -> Iterator[Contest]:
    """The same with a key of 128 bits for each hold, so that a batch may be sent again?"""
    yield from two_phase_batches(settings, durable=True, keyed=True)


@case("ledger", "transfers/s", "higher")
@contextlib.contextmanager
def memory_two_phase_batches(settings: Settings) -> Iterator[Contest]:
    """The same without a disk and without keys: what do checks, books and record cost?"""
    yield from two_phase_batches(settings, durable=False, keyed=False)


def two_phase_batches(settings: Settings, *, durable: bool, keyed: bool) -> Iterator[Contest]:
    """A transfer counts once, when it is posted. The keys are the peer's to do without."""
    count = settings.size(BATCH, 100)
    with books(settings, durable=durable) as (kernel, ids, other):
        random = np.random.default_rng(SEED)
        debit = ids[random.integers(0, len(ids), count)]
        credit = ids[(np.searchsorted(ids, debit) + 1) % len(ids)]
        amounts = random.integers(1, 100, count).astype(np.uint64)
        rows = list(zip(debit.tolist(), credit.tolist(), amounts.tolist(), strict=True))
        ledger = kernel.ledger

        def work() -> None:
            keys = ledger.new_keys(count) if keyed else None
            held = ledger.hold_many(debit, credit, amounts, keys=keys)
            ledger.post_many(held.holds)

        def check() -> None:
            first = int(debit[0])
            before = ledger.balance(first)
            held = ledger.hold_many(debit, credit, amounts)
            assert held.ok
            assert ledger.totals().debits_pending == int(amounts.sum())
            assert ledger.post_many(held.holds).ok
            paid = int(amounts[debit == first].sum())
            assert ledger.balance(first) == before - paid + int(amounts[credit == first].sum())
            check_balanced(kernel)

        yield Contest(
            hanse=rate(count, work),
            check=check,
            peers=[
                peer(
                    f"SQLite {'FULL' if durable else ':memory:'}",
                    rate(count, lambda: other.post_many(other.hold_many(rows))),
                    "sqlite3",
                )
            ],
            limit="two fdatasyncs a batch" if durable else "",
            limit_sample=count / (2 * settings.limits.fdatasync_p50_us) * 1e6 if durable else None,
        )


@case("ledger", "µs p50", "lower")
@contextlib.contextmanager
def two_phase_durable(settings: Settings) -> Iterator[Contest]:
    """How long do a hold and its posting take, each on disk when it returns?"""
    count = settings.size(200, 10)
    with books(settings, durable=True) as (kernel, ids, other):
        a, b = int(ids[0]), int(ids[1])

        def one(i: int) -> None:
            kernel.ledger.post(kernel.ledger.hold(a, b, 5))

        def check() -> None:
            before = kernel.ledger.balance(a), kernel.ledger.balance(b)
            hold = kernel.ledger.hold(a, b, 5)
            assert (kernel.ledger.balance(a), kernel.ledger.balance(b)) == (
                before[0] - 5,
                before[1],
            )
            kernel.ledger.post(hold)
            assert kernel.ledger.balance(b) == before[1] + 5
            check_balanced(kernel)

        yield Contest(
            hanse=p50(count, one),
            check=check,
            peers=[
                peer(
                    "SQLite FULL", p50(count, lambda i: other.post(other.hold(a, b, 5))), "sqlite3"
                )
            ],
            limit="two fdatasyncs",
            limit_sample=2 * settings.limits.fdatasync_p50_us,
        )
