"""Two-phase batches, chains, escrows, budgets, closed accounts and settlements through the face."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from reopening import Facts, holds_through_a_kill, holds_through_reopening

import hanse
from hanse import HoldState, TransferFlag, TransferKind, TransferOutcome, _core

START_NS = 1_700_000_000_000_000_000
HOUR = 3_600 * 10**9


class World:
    """Two tenants; the first has a buyer with 1,000, a seller and an arbiter."""

    def __init__(self, kernel: hanse.Kernel, clock: hanse.ManualClock) -> None:
        self.kernel, self.clock, self.ledger = kernel, clock, kernel.ledger
        self.team = kernel.agents.add("team", kind="group")
        self.buyer, self.seller, self.arbiter = (
            int(id) for id in kernel.agents.add_many(3, parent=self.team)
        )
        self.stranger = kernel.agents.add("stranger", kind="group")
        self.ledger.fund(self.buyer, 1_000)

    def acting(self, agent: int) -> "Acting":
        return Acting(self.kernel, agent)

    def balances(self) -> list[int]:
        return [self.ledger.balance(a) for a in (self.buyer, self.seller)]


class Acting:
    """Within it the kernel's verbs are an agent's."""

    def __init__(self, kernel: hanse.Kernel, agent: int) -> None:
        self.kernel, self.agent = kernel, agent

    def __enter__(self) -> None:
        self.token = _core.acting.set(self.kernel._core.acting_token(self.agent, 0))

    def __exit__(self, *_: object) -> None:
        _core.acting.reset(self.token)


@pytest.fixture
def world() -> Iterator[World]:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock, fee_basis_points=500) as kernel:
        yield World(kernel, clock)


def refused(name: str, call: object, *arguments: object, **named: object) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    assert caught.value.name == name, caught.value
    return caught.value


def test_a_batch_of_holds_is_posted_in_part_and_voided(world: World) -> None:
    debit = np.full(4, world.buyer, np.uint64)
    held = world.ledger.hold_many(debit, world.seller, np.array([100, 200, 300, 500], np.uint64))
    assert held.outcomes.tolist() == [0, 0, 0, TransferOutcome.exceeds_credits]
    assert held.holds.tolist() == [1, 2, 3, 0]
    assert held.amounts.tolist() == [100, 200, 300, 0]
    assert not held.ok
    assert world.balances() == [400, 0]
    posted = world.ledger.post_many(held.holds[:2], np.array([0, 50], np.uint64))
    assert posted.ok
    assert posted.amounts.tolist() == [100, 50]
    assert world.ledger.void_many(held.holds[2:3]).ok
    assert world.balances() == [850, 150]
    again = world.ledger.post_many(held.holds)
    said = [TransferOutcome(int(outcome)).name for outcome in again.outcomes]
    assert said == [
        "already_posted",
        "already_posted",
        "already_voided",
        "pending_must_not_be_none",
    ]


def test_a_batch_with_keys_of_128_bits_may_be_sent_again(world: World) -> None:
    keys = world.ledger.new_keys(3)
    assert keys.shape == (3, 2)
    debit = np.full(3, world.buyer, np.uint64)
    first = world.ledger.hold_many(debit, world.seller, 10, keys=keys)
    again = world.ledger.hold_many(debit, world.seller, 10, keys=keys)
    assert again.outcomes.tolist() == [TransferOutcome.exists] * 3
    assert again.holds.tolist() == first.holds.tolist()
    assert world.balances() == [970, 0]
    key = (int(keys[0, 0]) << 64) | int(keys[0, 1])
    assert world.ledger.find(uuid.UUID(int=key)) == (TransferOutcome.ok, 10, first.holds[0])
    refused("UnknownTransfer", world.ledger.find, 77)


def test_a_key_older_than_the_horizon_is_refused_and_its_memory_given_back(world: World) -> None:
    keys = world.ledger.new_keys(2_000)
    debit = np.full(2_000, world.buyer, np.uint64)
    before = world.kernel.memory()["ledger"]
    world.ledger.fund(world.buyer, 10_000)
    assert not world.ledger.transfer_many(debit, world.seller, 1, keys=keys).any()
    full = world.kernel.memory()["ledger"]
    world.clock.advance(23 * HOUR)
    state = world.kernel.state_hash
    assert (world.ledger.transfer_many(debit, world.seller, 1, keys=keys) == 1).all()
    world.clock.advance(3 * HOUR)
    late = world.ledger.transfer_many(debit, world.seller, 1, keys=keys)
    assert (late == TransferOutcome.key_expired).all()
    assert world.balances() == [9_000, 2_000]
    assert world.kernel.memory()["ledger"] - before < (full - before) / 2
    assert world.kernel.state_hash != state, "what is forgotten is no more in the state"
    first = (int(keys[0, 0]) << 64) | int(keys[0, 1])
    refused("KeyExpired", world.ledger.find, first)
    refused("KeyExpired", world.ledger.transfer, world.buyer, world.seller, 1, key=first)
    ahead = first + ((30 * 3_600_000) << 80)
    refused("OutOfRange", world.ledger.transfer, world.buyer, world.seller, 1, key=ahead)


def test_a_chain_is_all_or_nothing_and_answers_again_as_a_whole(world: World) -> None:
    kinds = np.array([0, 1, 0], np.uint8)
    flags = np.array([1, 1, 0], np.uint8)
    debit = np.array([world.buyer, world.buyer, world.seller], np.uint64)
    credit = np.array([world.seller, world.seller, world.arbiter], np.uint64)
    chain = {"flags": flags, "debit": debit, "credit": credit}
    bad = np.array([100, 50, 101], np.uint64)
    names = [100, 50, 100]

    def move(amounts: np.ndarray, key: int) -> hanse.Moves:
        chain_keys = np.array([key, 0, 0], np.uint64)
        return world.ledger.move_many(kinds, amounts=amounts, chain_keys=chain_keys, **chain)

    linked = TransferOutcome.linked_failed
    for said in (TransferOutcome.exceeds_credits, None):
        moves = move(bad, 5)
        first = TransferOutcome.id_already_failed
        want = [linked, linked, said] if said else [first, linked, linked]
        assert moves.outcomes.tolist() == want
        assert world.balances() == [1_000, 0]
    done = move(np.array(names, np.uint64), 6)
    again = move(np.array(names, np.uint64), 6)
    assert done.ok
    assert again.outcomes.tolist() == [TransferOutcome.exists] * 3
    assert (again.holds.tolist(), again.amounts.tolist()) == (done.holds.tolist(), names)
    other = move(np.array([100, 50, 99], np.uint64), 6)
    assert other.outcomes.tolist() == [TransferOutcome.exists_with_different_chain, linked, linked]
    assert world.balances() == [850, 0]
    open_chain = world.ledger.move_many(kinds[:1], flags=1, debit=debit[:1], credit=credit[:1])
    assert open_chain.outcomes.tolist() == [TransferOutcome.chain_open]


def test_a_balancing_transfer_moves_what_there_is(world: World) -> None:
    moves = world.ledger.move_many(
        np.zeros(1, np.uint8),
        debit=world.buyer,
        credit=world.seller,
        amounts=(1 << 64) - 1,
        flags=int(TransferFlag.balancing_debit),
    )
    assert (moves.ok, moves.amounts.tolist()) == (True, [1_000])
    assert world.balances() == [0, 1_000]


def test_a_closing_hold_closes_the_account_until_it_is_voided(world: World) -> None:
    hold = world.ledger.hold(world.buyer, world.seller, 0, flags=TransferFlag.closing_debit)
    assert world.ledger.account(world.buyer).closed
    refused("AccountClosed", world.ledger.transfer, world.buyer, world.seller, 1)
    refused("AccountClosed", world.ledger.fund, world.buyer, 1)
    refused("AccountClosed", world.ledger.post, hold)
    world.ledger.void(hold)
    world.ledger.transfer(world.buyer, world.seller, 1)


def test_accounts_are_opened_on_terms(world: World) -> None:
    open_account = world.ledger.open_account
    lender = world.kernel.agents.add("lender")
    assert open_account(lender, limit="credits", code=7, user_data_128=1 << 100) is not None
    assert open_account(lender, limit="credits", code=7, user_data_128=1 << 100) is None
    refused("AccountExistsDifferent", open_account, lender, limit=None)
    account = world.ledger.account(lender)
    assert (account.limit, account.code, account.user_data_128) == ("credits", 7, 1 << 100)
    refused("ExceedsDebits", world.ledger.fund, lender, 1)
    refused("ExceedsDebits", world.ledger.transfer, world.buyer, lender, 1)
    world.ledger.transfer(lender, world.seller, 50)
    assert world.ledger.account(lender).available == -50
    world.ledger.transfer(world.buyer, lender, 50)
    refused("ExceedsDebits", world.ledger.transfer, world.buyer, lender, 1)
    with world.acting(world.team):
        refused("NotPermitted", open_account, world.arbiter, limit=None)


def test_an_escrow_is_ended_by_those_it_names_and_pays_the_fee(world: World) -> None:
    ledger = world.ledger
    hold = ledger.escrow(world.buyer, world.seller, 300, arbiter=world.arbiter)
    seen = ledger.get_hold(hold)
    assert (seen.post_by, seen.void_by) == (("buyer", "arbiter"), ("seller", "arbiter"))
    with world.acting(world.buyer):
        refused("NotPermitted", ledger.void, hold)
    with world.acting(world.seller):
        refused("NotPermitted", ledger.post, hold)
    with world.acting(world.stranger):
        refused("UnknownTransfer", ledger.post, hold)
        refused("UnknownTransfer", ledger.void, hold)
        refused("UnknownTransfer", ledger.get_hold, hold)
    with world.acting(world.arbiter):
        ledger.post(hold)
    fees = ledger.account(world.kernel.root, purpose="fees").available
    assert (world.balances(), fees) == ([700, 285], 15)
    other = ledger.escrow(world.buyer, world.seller, 100)
    with world.acting(world.seller):
        ledger.void(other)
    assert world.balances() == [700, 285]


def test_a_stranger_can_not_end_another_tenants_hold(world: World) -> None:
    hold = world.ledger.hold(world.buyer, world.seller, 100)
    with world.acting(world.stranger):
        for end in (world.ledger.post, world.ledger.void):
            refused("UnknownTransfer", end, hold)
    assert world.ledger.get_hold(hold).state == HoldState.open


def test_a_budget_holds_at_every_level(world: World) -> None:
    ledger = world.ledger
    ledger.set_budget(world.team, 300)
    ledger.set_budget(world.buyer, 400)
    ledger.transfer(world.buyer, world.seller, 350)  # within the team
    assert ledger.budget(world.team) == hanse.Budget(300, 0, 0)
    assert ledger.budget(world.buyer) == hanse.Budget(400, 0, 350)
    refused("BudgetExceeded", ledger.transfer, world.buyer, world.seller, 51)
    with world.acting(world.seller):
        hold = ledger.hold(world.seller, world.stranger, 200)
    refused("BudgetExceeded", ledger.hold, world.seller, world.stranger, 101)
    ledger.post(hold, 150)
    budget = ledger.budget(world.team)
    assert budget == hanse.Budget(300, 0, 150)
    assert budget is not None
    assert budget.left == 150
    me = world.kernel.as_agent(world.seller)
    refused("BudgetExceeded", me.dispatch, to=world.stranger, budget=151)
    me.dispatch(to=world.stranger, budget=150)
    with world.acting(world.team):
        refused("NotPermitted", ledger.set_budget, world.team, 10**6)
    assert ledger.budget(world.arbiter) is None


def play_bridge(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    a, b = kernel.agents.add("A", kind="group"), kernel.agents.add("B")
    kernel.ledger.fund(a, 1_000)
    holds = [
        kernel.ledger.hold(a, b, 300 + n, key=40 + n, expires_ns=clock.now_ns + HOUR)
        for n in range(3)
    ]

    def never_answers(hold: hanse.Hold) -> bool:
        raise TimeoutError(f"no answer for {hold.amount}")

    for hold in holds:
        with pytest.raises(hanse.BusyError) as caught:
            kernel.ledger.settle(hold, never_answers)
        assert caught.value.name == "SettlementUnknown"
        assert isinstance(caught.value.__cause__, TimeoutError)
    clock.advance(2 * HOUR)
    assert kernel.tick() == 0, "time can't end what may have happened"
    return {"a": a, "b": b, "holds": holds}


def check_bridge(kernel: hanse.Kernel, facts: Facts) -> None:
    ledger, calls = kernel.ledger, []
    if ledger.get_hold(facts["holds"][0]).state == HoldState.unknown:
        for n, hold in enumerate(facts["holds"]):
            assert ledger.find(40 + n) == (TransferOutcome.ok, 300 + n, hold)
            for again in (ledger.post, ledger.void, ledger.mark_unknown):
                with pytest.raises(hanse.BusyError) as caught:
                    again(hold)
                assert caught.value.name == "SettlementUnknown"
            with pytest.raises(hanse.BusyError):
                ledger.settle(hold, lambda _: calls.append(1) or True)
        assert not calls, "the bridge was asked to pay again"
        assert ledger.totals().debits_pending == 903
        ledger.reconcile(facts["holds"][0], paid=True, evidence=bytes(range(32)))
        ledger.reconcile(facts["holds"][1], paid=False)
        ledger.reconcile(facts["holds"][2], paid=True, amount=2)
    states = [ledger.get_hold(hold).state.name for hold in facts["holds"]]
    assert states == ["posted", "voided", "posted"]
    assert (ledger.balance(facts["a"]), ledger.balance(facts["b"])) == (698, 302)
    assert ledger.totals().debits_pending == 0
    for hold in facts["holds"]:
        with pytest.raises(hanse.ConflictError) as caught:
            ledger.reconcile(hold, paid=True)
        assert caught.value.name == "AlreadyResolved"


def test_a_bridge_that_times_out_leaves_it_unknown_until_it_is_looked_up(tmp_path: Path) -> None:
    for name, holds in (("closed", holds_through_reopening), ("killed", holds_through_a_kill)):
        holds(tmp_path / name, play_bridge, check_bridge)


@pytest.mark.parametrize(("answer", "state"), [(True, "posted"), (False, "voided")])
def test_a_bridge_that_answers_settles(world: World, answer: bool, state: str) -> None:
    hold = world.ledger.hold(world.buyer, world.seller, 10)
    assert world.ledger.settle(hold, lambda held: answer and held.amount == 10).name == state
    assert world.ledger.get_hold(hold).state.name == state


def test_a_hold_past_its_time_is_not_posted_even_before_its_expiry_is_recorded(
    world: World,
) -> None:
    world.ledger.fund(world.buyer, 1_000)
    debit = np.full(600, world.buyer, np.uint64)
    held = world.ledger.hold_many(debit, world.seller, 1, expires_ns=world.clock.now_ns + HOUR)
    world.clock.advance(HOUR)
    # One command applies 256 of them.
    late = world.ledger.post_many(held.holds)
    assert (late.outcomes == TransferOutcome.already_expired).all()
    while world.kernel.tick():
        pass
    assert world.balances() == [2_000, 0]
    past = world.ledger.hold_many(debit[:1], world.seller, 1, expires_ns=world.clock.now_ns)
    assert past.outcomes.tolist() == [TransferOutcome.expiry_has_passed]
    assert TransferKind.void == 3


def test_user_data_and_codes_are_part_of_what_a_key_was_used_for(world: World) -> None:
    said = {"code": 3, "user_data_128": 1 << 127, "user_data_64": 5, "user_data_32": 6}
    world.ledger.transfer(world.buyer, world.seller, 1, key=9, **said)
    world.ledger.transfer(world.buyer, world.seller, 1, key=9, **said)
    for field in said:
        error = refused(
            "TransferExistsDifferent",
            world.ledger.transfer,
            world.buyer,
            world.seller,
            1,
            key=9,
            **(said | {field: 1}),
        )
        assert error.detail == f"exists_with_different_{field}"
    assert world.balances() == [999, 1]
