"""Random batches of transfers, with every flag, against books in plain Python: no difference."""

import os
import random

import numpy as np
import pytest
from plain_ledger import (
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    LINKED,
    MOST,
    PENDING,
    POST,
    SINGLE,
    VOID,
    Books,
    Line,
    Purse,
)

import hanse
from hanse import TransferOutcome

START_NS = 1_700_000_000_000_000_000
SECOND = 10**9
BATCH = 50
# Books are made anew so often: chains are undone by copies, which must not grow for ever.
EPOCH = 5_000


def any_line(draw: random.Random, agents: list[int], books: Books, now_ns: int) -> Line:
    key = draw.randrange(1, 4_000) if draw.random() < 0.3 else 0
    flags = LINKED if draw.random() < 0.08 else 0
    if draw.random() < 0.3:
        hold = max(0, len(books.promises) + 2 - draw.randrange(60))
        kind = POST if draw.random() < 0.6 else VOID
        amount = draw.choice([0, 0, 0, MOST, draw.randrange(1, 60)])
        return Line(kind, flags, amount=amount, hold=hold, key=key)
    kind = PENDING if draw.random() < 0.4 else SINGLE
    if draw.random() < 0.1:
        flags |= draw.choice([BALANCING_DEBIT, BALANCING_CREDIT])
    if draw.random() < 0.02:
        flags |= draw.choice([CLOSING_DEBIT, CLOSING_CREDIT])
    debit, credit = draw.choice(agents), draw.choice(agents)
    amount = draw.choice([0, MOST, draw.randrange(5_000)]) if draw.random() < 0.05 else 0
    amount = amount or draw.randrange(1, 60)
    expires = now_ns + draw.randrange(20 * SECOND) if draw.random() < 0.2 else 0
    return Line(kind, flags, debit, credit, amount, 0, expires, key)


def column(batch: list[Line], name: str, dtype: type = np.uint64) -> np.ndarray:
    return np.array([getattr(line, name) for line in batch], dtype)


def facts(books: Books) -> dict[int, tuple[int, int, int, int, bool]]:
    return {
        agent: (p.came, p.came_pending, p.out, p.out_pending, p.closed)
        for agent, p in books.purses.items()
    }


def check_accounts(kernel: hanse.Kernel, books: Books) -> None:
    seen = {
        a.owner: (a.credits_posted, a.credits_pending, a.debits_posted, a.debits_pending, a.closed)
        for a in kernel.ledger.accounts()
        if a.purpose == "balance"
    }
    assert seen == facts(books)
    totals = kernel.ledger.totals()
    assert totals.debits == totals.credits
    assert totals.debits_pending == totals.credits_pending


def run_books(seed: int, count: int) -> set[str]:
    draw = random.Random(seed)
    clock = hanse.ManualClock(START_NS)
    said: set[str] = set()
    with hanse.open(clock=clock) as kernel:
        agents = [int(agent) for agent in kernel.agents.add_many(12)]
        books = Books({*agents, kernel.root})
        for agent in agents[:8]:
            kernel.ledger.fund(agent, 1_000)
            books.purses[agent] = Purse(came=1_000)
        kernel.ledger.open_account(agents[8], limit=None)
        books.purses[agents[8]] = Purse(debits_limited=False)
        kernel.ledger.open_account(agents[9], limit="credits")
        books.purses[agents[9]] = Purse(debits_limited=False, credits_limited=True)
        strange = [*agents, (1 << 32) | 99]
        earlier: list[Line] = []
        for _ in range(count // BATCH):
            clock.advance(draw.randrange(1, SECOND))
            batch = [any_line(draw, strange, books, clock.now_ns) for _ in range(BATCH)]
            # Some are sent a second time, as they were.
            for line in draw.sample(earlier, min(2, len(earlier))):
                batch[draw.randrange(BATCH)] = line
            earlier += [line for line in batch if line.key and not line.flags & LINKED]
            moves = kernel.ledger.move_many(
                column(batch, "kind", np.uint8),
                debit=column(batch, "debit"),
                credit=column(batch, "credit"),
                amounts=column(batch, "amount"),
                holds=column(batch, "hold"),
                expires_ns=column(batch, "expires_ns"),
                flags=column(batch, "flags", np.uint8),
                keys=column(batch, "key"),
            )
            expected = books.run(batch, clock.now_ns)
            outcomes = [TransferOutcome(int(outcome)).name for outcome in moves.outcomes]
            rows = zip(outcomes, moves.amounts.tolist(), moves.holds.tolist(), strict=True)
            for line, seen, wanted in zip(batch, rows, expected, strict=True):
                assert seen == wanted, f"seed {seed}: {line}"
            said.update(outcomes)
        check_accounts(kernel, books)
    return said


def run_many(count: int) -> set[str]:
    said: set[str] = set()
    for seed in range(max(1, count // EPOCH)):
        said |= run_books(seed, EPOCH)
    return said


EXPECTED = {
    "ok",
    "exists",
    "id_already_failed",
    "linked_failed",
    "exceeds_credits",
    "exceeds_debits",
    "debit_closed",
    "credit_closed",
    "already_posted",
    "already_voided",
    "already_expired",
    "unknown_account",
    "pending_not_found",
    "overflow",
    "accounts_must_differ",
}


def test_twenty_thousand_transfers_are_answered_as_plain_books_answer_them() -> None:
    assert run_many(20_000) >= EXPECTED


@pytest.mark.slow
def test_a_million_transfers_are_answered_as_plain_books_answer_them() -> None:
    assert run_many(int(os.environ.get("HANSE_PLAIN_TRANSFERS", "1000000"))) >= EXPECTED
