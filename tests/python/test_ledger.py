"""Money: whole numbers, double entry, nothing passed, everything once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse
from hanse import TransferOutcome

START_NS = 10**18


def test_fund_transfer_and_balance() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 100)
        kernel.ledger.transfer(a, b, 30)
        assert (kernel.ledger.balance(a), kernel.ledger.balance(b)) == (70, 30)
        account = kernel.ledger.account(b)
        assert (account.owner, account.purpose, account.unit) == (b, "balance", "usd_micro")
        assert account.credits_posted == 30
        assert kernel.ledger.account(kernel.root, purpose="issuance").available == -100
        assert {entry.owner for entry in kernel.ledger.accounts()} >= {a, b}


def test_the_same_key_moves_nothing_twice() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 100)
        kernel.ledger.transfer(a, b, 30, key=7)
        kernel.ledger.transfer(a, b, 30, key=7)
        assert kernel.ledger.balance(b) == 30
        with pytest.raises(hanse.ConflictError) as caught:
            kernel.ledger.transfer(a, b, 31, key=7)
        assert caught.value.name == "TransferExistsDifferent"


def test_a_failed_key_stays_failed() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 10)
        with pytest.raises(hanse.BudgetError):
            kernel.ledger.transfer(a, b, 11, key=7)
        kernel.ledger.fund(a, 100)
        with pytest.raises(hanse.ConflictError) as caught:
            kernel.ledger.transfer(a, b, 11, key=7)
        assert caught.value.name == "IdAlreadyFailed"


def test_a_hold_is_posted_once_or_voided_once() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 100, unit="gpu_ms")
        first = kernel.ledger.hold(a, b, 40, unit="gpu_ms")
        second = kernel.ledger.hold(a, b, 50, unit="gpu_ms")
        assert kernel.ledger.balance(a, unit="gpu_ms") == 10
        assert kernel.ledger.totals("gpu_ms").debits_pending == 90
        kernel.ledger.post(first, 25)
        assert kernel.ledger.balance(b, unit="gpu_ms") == 25
        assert kernel.ledger.balance(a, unit="gpu_ms") == 25
        kernel.ledger.void(second)
        assert kernel.ledger.balance(a, unit="gpu_ms") == 75
        for hold in (first, second):
            for resolve in (kernel.ledger.post, kernel.ledger.void):
                with pytest.raises(hanse.ConflictError) as caught:
                    resolve(hold)
                assert caught.value.name == "AlreadyResolved"
        with pytest.raises(hanse.InvalidError):
            kernel.ledger.post(first, 0)


def test_a_hold_expires() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 100)
        hold = kernel.ledger.hold(a, b, 40, expires_ns=START_NS + 1_000_000)
        clock.advance(2_000_000)
        kernel.tick()
        assert kernel.ledger.balance(a) == 100
        with pytest.raises(hanse.ConflictError) as caught:
            kernel.ledger.post(hold)
        assert caught.value.name == "AlreadyResolved"


def test_a_batch_answers_each_transfer() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(3)
        kernel.ledger.fund(int(ids[0]), 10)
        debit = np.array([ids[0], ids[0], ids[0], ids[1]])
        credit = np.array([ids[1], ids[2], ids[0], ids[2]])
        amounts = np.array([6, 6, 1, 6], np.uint64)
        outcomes = kernel.ledger.transfer_many(debit, credit, amounts)
        assert outcomes.dtype == np.uint8
        assert outcomes.tolist() == [
            TransferOutcome.ok,
            TransferOutcome.exceeds_credits,
            TransferOutcome.accounts_must_differ,
            TransferOutcome.ok,
        ]
        assert [kernel.ledger.balance(int(id)) for id in ids] == [4, 0, 6]


def test_an_atomic_batch_is_all_or_none() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(3)
        kernel.ledger.fund(int(ids[0]), 10)
        debit = np.array([ids[0], ids[0]])
        outcomes = kernel.ledger.transfer_many(
            debit, ids[1:], np.array([6, 6], np.uint64), atomic=True
        )
        assert outcomes.tolist() == [TransferOutcome.aborted, TransferOutcome.exceeds_credits]
        assert kernel.ledger.balance(int(ids[0])) == 10
        outcomes = kernel.ledger.transfer_many(debit, ids[1:], 5, atomic=True)
        assert outcomes.tolist() == [TransferOutcome.ok] * 2


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"debit": np.array([1, 2])}, "WrongType"),
        ({"amounts": np.ones(3, np.uint64)}, "DimensionMismatch"),
        ({"amounts": -1}, "OutOfRange"),
        ({"keys": np.ones(1, np.uint64)}, "DimensionMismatch"),
        ({"atomic": 1}, "WrongType"),
    ],
)
def test_a_bad_batch_changes_nothing(change: dict[str, object], name: str) -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(2)
        kernel.ledger.fund(int(ids[0]), 10)
        state = kernel.state_hash
        arguments = {"debit": ids, "credit": ids[::-1].copy(), "amounts": 1} | change
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.ledger.transfer_many(**arguments)  # type: ignore[arg-type]
        assert caught.value.name == name
        assert kernel.state_hash == state


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 40)), max_size=40),
    st.integers(1, 8),
)
def test_a_batch_agrees_with_a_plain_dictionary(
    moves: list[tuple[int, int, int]], parts: int
) -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(5)
        books = dict.fromkeys(range(5), 30)
        for id in ids:
            kernel.ledger.fund(int(id), 30)
        for part in np.array_split(np.array(moves, np.uint64).reshape(-1, 3), parts):
            if len(part) == 0:
                continue
            rows = np.ascontiguousarray(part.T)
            outcomes = kernel.ledger.transfer_many(
                ids[rows[0].astype(int)], ids[rows[1].astype(int)], rows[2]
            )
            for (debit, credit, amount), outcome in zip(part.tolist(), outcomes, strict=True):
                fine = debit != credit and 0 < amount <= books[debit]
                assert (outcome == TransferOutcome.ok) == fine
                if fine:
                    books[debit] -= amount
                    books[credit] += amount
        assert [kernel.ledger.balance(int(id)) for id in ids] == list(books.values())
        totals = kernel.ledger.totals()
        assert totals.debits == totals.credits
