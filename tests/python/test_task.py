"""Tasks: one receipt a key, legal transitions only, refusals that say why."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import Outcome

START_NS = 10**18


class World:
    def __init__(self, kernel: hanse.Kernel, clock: hanse.ManualClock) -> None:
        self.kernel = kernel
        self.clock = clock
        self.team = kernel.agents.add("team", kind="group")
        self.small = kernel.agents.add_many(4, parent=self.team)
        self.large = kernel.agents.add("large", parent=self.team)
        self.vectors = np.eye(4, dtype=np.float32)
        kernel.capabilities.publish(self.small, self.vectors, price=10)
        kernel.capabilities.publish(
            np.array([self.large], np.uint64), np.ones((1, 4), np.float32), price=200, tier=1
        )
        kernel.ledger.set_rates(fresh=3_000_000, cache_read=300_000, output=15_000_000)
        kernel.ledger.fund(self.team, 10_000)
        self.me = kernel.as_agent(self.team)


@pytest.fixture
def world() -> Iterator[World]:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        yield World(kernel, clock)


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def digests(count: int) -> np.ndarray:
    return np.frombuffer(b"".join(digest(i) for i in range(count)), np.uint8).reshape(count, 32)


def test_the_same_key_gives_the_same_receipt(world: World) -> None:
    first = world.me.dispatch(to=int(world.small[0]), budget=50, key="order-17", payload=b"x")
    again = world.me.dispatch(to=int(world.small[0]), budget=50, key=b"order-17", payload=b"x")
    assert again.outcome == Outcome.replayed
    assert (again.task, again.position) == (first.task, first.position)
    assert world.me.lookup("order-17").task == first.task
    assert world.kernel.tasks.count() == 1
    assert world.kernel.ledger.balance(world.team) == 9_950
    with pytest.raises(hanse.NotFoundError):
        world.me.lookup("order-18")


def test_a_refusal_uses_its_key_up(world: World) -> None:
    for _ in range(2):
        with pytest.raises(hanse.BudgetError) as caught:
            world.me.dispatch(to=int(world.small[0]), budget=10**6, key="dear")
        assert caught.value.name == "InsufficientFunds"
    position = caught.value.position
    world.kernel.ledger.fund(world.team, 10**7)
    with pytest.raises(hanse.BudgetError) as caught:
        world.me.dispatch(to=int(world.small[0]), budget=10**6, key="dear")
    assert caught.value.position == position


def test_no_feasible_agent_says_why_and_leaves_the_key_free(world: World) -> None:
    with pytest.raises(hanse.NotFoundError) as caught:
        world.me.dispatch(query=world.vectors[0], budget=500, max_price=5, key="k")
    assert caught.value.name == "NoFeasibleAgent"
    assert caught.value.reasons["price"] == 5
    assert world.me.dispatch(query=world.vectors[0], budget=500, key="k").ok


def test_a_budget_above_the_agents_own_is_refused(world: World) -> None:
    child = world.kernel.agents.add("child", parent=world.team, budget_max=20)
    world.kernel.ledger.fund(child, 100)
    with pytest.raises(hanse.BudgetError) as caught:
        world.kernel.as_agent(child).dispatch(to=int(world.small[0]), budget=21)
    assert caught.value.name == "BudgetExceeded"


def test_usage_is_posted_whatever_the_verdict_and_the_fee_on_acceptance(world: World) -> None:
    usage = hanse.Usage(fresh=10, cache_read=100, output=2)
    cost = 30 + 30 + 30
    assert usage.total == 112
    for accepted in (True, False):
        before = world.kernel.ledger.balance(world.team)
        receipt = world.me.dispatch(query=world.vectors[1], budget=500, task_class="sum")
        world.me.complete(
            receipt.task, artifact=digest(accepted), usage=usage, total_tokens=usage.total
        )
        (world.me.accept if accepted else world.me.reject)(receipt.task)
        if not accepted:
            world.me.void(receipt.task)
        spent = before - world.kernel.ledger.balance(world.team)
        assert spent == cost + (10 if accepted else 0)
    economics = world.kernel.tasks.economics()
    assert (economics.dispatched, economics.accepted, economics.rejected) == (2, 1, 1)
    assert economics.spend == 2 * cost + 10
    assert economics.cost_per_accepted == 2 * cost + 10
    assert economics.usage == hanse.Usage(20, 200, 0, 4)
    assert economics.reads_share == 200 / 224
    assert world.kernel.tasks.economics(task_class="sum").accepted == 1
    assert world.kernel.tasks.economics(task_class="none").dispatched == 0
    assert world.kernel.tasks.economics(tier=0).completed == 2
    with pytest.raises(hanse.InvalidError):
        world.kernel.tasks.economics(task_class="sum", tier=0)


def test_a_rejected_task_escalates_in_one_transition(world: World) -> None:
    receipt = world.me.dispatch(query=world.vectors[1], budget=500)
    world.me.complete(receipt.task, artifact=digest(1))
    world.me.reject(receipt.task)
    count = world.kernel.journal.count
    again = world.me.escalate(receipt.task, query=world.vectors[1], tier=1)
    assert world.kernel.journal.count == count + 1
    assert (again.task, again.agent, again.attempt) == (receipt.task, world.large, 2)
    task = world.kernel.tasks.get(receipt.task)
    assert (task.state, task.worker, task.tier) == ("dispatched", world.large, 1)
    with pytest.raises(hanse.ConflictError) as caught:
        world.me.escalate(receipt.task, to=world.large)
    assert caught.value.name == "IllegalTransition"


def test_a_batch_answers_each_request(world: World) -> None:
    budgets = np.array([100, 5, 10**6, 100], np.uint64)
    receipts = world.me.dispatch_many(
        queries=world.vectors,
        budgets=budgets,
        payloads=[b"a", b"", b"c" * 5_000, b"d"],
        keys=["a", None, b"c", "a"],
    )
    assert receipts.status.dtype == np.uint8
    assert receipts.status.tolist() == [
        Outcome.ok,
        Outcome.no_match,
        Outcome.insufficient_funds,
        Outcome.conflict,
    ]
    assert (receipts.tasks != 0).tolist() == [True, False, False, False]
    assert len(receipts) == len(list(receipts)) == 4
    assert receipts[0].agent == int(world.small[0])
    assert receipts[-2].reason
    assert receipts[1].position is None
    with pytest.raises(IndexError):
        _ = receipts[4]
    assert world.kernel.tasks.get(receipts[0].task).payload == b"a"


def test_payloads_come_as_a_matrix_with_sizes_too(world: World) -> None:
    matrix = np.frombuffer(b"aabbcc", np.uint8).reshape(3, 2)
    receipts = world.me.dispatch_many(
        to=world.small[:3], budgets=50, payloads=(matrix, np.array([0, 1, 2], np.uint32))
    )
    got = [world.kernel.tasks.get(int(task)).payload for task in receipts.tasks]
    assert got == [b"", b"b", b"cc"]


def test_an_atomic_batch_is_all_or_none(world: World) -> None:
    budgets = np.array([100, 100, 10**6], np.uint64)
    receipts = world.me.dispatch_many(to=world.small[:3], budgets=budgets, atomic=True)
    assert receipts.status.tolist() == [
        Outcome.aborted,
        Outcome.aborted,
        Outcome.insufficient_funds,
    ]
    assert world.kernel.tasks.count() == 0
    assert world.kernel.ledger.balance(world.team) == 10_000
    receipts = world.me.dispatch_many(to=world.small, budgets=100, atomic=True)
    assert receipts.status.tolist() == [Outcome.ok] * 4


def test_transitions_of_a_batch_answer_each_task(world: World) -> None:
    tasks = world.me.dispatch_many(to=world.small, budgets=100).tasks
    wrong = np.append(tasks[:3], np.uint64(1 << 32 | 999))
    usage = np.zeros((4, 4), np.uint64)
    usage[1, 3] = 1_000
    outcomes = world.me.complete_many(wrong, digests(4), usage)
    assert outcomes.tolist() == [Outcome.ok, Outcome.exceeds_hold, Outcome.ok, Outcome.unknown]
    outcomes = world.me.accept_many(tasks)
    assert outcomes.tolist() == [
        Outcome.ok,
        Outcome.illegal_transition,
        Outcome.ok,
        Outcome.illegal_transition,
    ]
    assert world.me.void_many(tasks[3:]).tolist() == [Outcome.ok]
    assert world.me.reject_many(tasks[:1]).tolist() == [Outcome.illegal_transition]
    receipts = world.me.escalate_many(tasks[:1], to=world.large)
    assert receipts.status.tolist() == [Outcome.illegal_transition]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"budgets": np.ones(4)}, "WrongType"),
        ({"budgets": np.ones(3, np.uint64)}, "DimensionMismatch"),
        ({"budgets": -1}, "OutOfRange"),
        ({"to": [1, 2]}, "WrongType"),
        ({"to": None}, "OutOfRange"),
        ({"payloads": b"xxxx"}, "WrongType"),
        ({"payloads": ["a"] * 4}, "WrongType"),
        ({"payloads": [b"a"] * 3}, "DimensionMismatch"),
        ({"payloads": np.zeros((3, 1), np.uint8)}, "DimensionMismatch"),
        ({"payloads": (np.zeros((4, 1), np.uint8), np.full(4, 2, np.uint32))}, "OutOfRange"),
        ({"keys": ["a"] * 3}, "DimensionMismatch"),
        ({"keys": ["a", "b", "c", 4]}, "WrongType"),
        ({"tier": (2, 1)}, "OutOfRange"),
        ({"atomic": None}, "WrongType"),
        ({"latents": [0] * 9}, "TooLarge"),
    ],
)
def test_a_bad_batch_changes_nothing(world: World, change: dict[str, object], name: str) -> None:
    state, count = world.kernel.state_hash, world.kernel.journal.count
    arguments = {"to": world.small, "budgets": 10} | change
    with pytest.raises(hanse.InvalidError) as caught:
        world.me.dispatch_many(**arguments)  # type: ignore[arg-type]
    assert caught.value.name == name
    assert (world.kernel.state_hash, world.kernel.journal.count) == (state, count)


def test_a_task_that_asks_for_a_verifier_gets_one(world: World) -> None:
    auditor = world.kernel.agents.add("auditor")
    receipt = world.me.dispatch(to=int(world.small[0]), budget=100, verify=True)
    world.me.complete(receipt.task, artifact=digest(1))
    with pytest.raises(hanse.DeniedError) as caught:
        world.me.accept(receipt.task)
    assert caught.value.name == "VerifierRequired"
    world.kernel.accept(receipt.task, verifier=auditor)
    assert world.kernel.tasks.get(receipt.task).verifier == auditor


def test_an_artifact_is_accepted_once(world: World) -> None:
    tasks = world.me.dispatch_many(to=world.small[:2], budgets=100).tasks
    for task in tasks:
        world.me.complete(int(task), artifact=digest(1))
    world.me.accept(int(tasks[0]))
    with pytest.raises(hanse.ConflictError) as caught:
        world.me.accept(int(tasks[1]))
    assert caught.value.name == "DuplicateArtifact"


def test_a_deadline_ends_a_task_and_gives_the_rest_back(world: World) -> None:
    receipt = world.me.dispatch(
        to=int(world.small[0]), budget=100, deadline_ns=START_NS + 1_000_000_000
    )
    world.clock.advance(2_000_000_000)
    world.kernel.tick()
    assert world.kernel.tasks.get(receipt.task).state == "expired"
    assert world.kernel.ledger.balance(world.team) == 10_000


def test_an_unfinished_task_is_delivered_again_after_reopening(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        team = kernel.agents.add("team", kind="group")
        worker = kernel.agents.add("worker", parent=team)
        kernel.ledger.fund(team, 100)
        receipt = kernel.as_agent(team).dispatch(to=worker, budget=10, payload=b"p" * 10_000)
        (first,) = kernel.drain().tasks
        assert kernel.drain().tasks == []
    with hanse.open(tmp_path) as kernel:
        (again,) = kernel.drain().tasks
    assert (first.task, first.attempt) == (receipt.task, 1)
    assert (again.task, again.attempt) == (receipt.task, 2)
    assert again.payload == first.payload == b"p" * 10_000


def test_events_tell_the_story_of_a_task(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        team = kernel.agents.add("team", kind="group")
        worker = kernel.agents.add("worker", parent=team)
        kernel.ledger.fund(team, 100)
        receipt = kernel.as_agent(team).dispatch(to=worker, budget=10)
        assert receipt.position is not None
        event = kernel.journal.event(receipt.position)
        assert event.position == receipt.position
        assert event.tenant == team
        assert event.fields
        events = list(kernel.journal.events())
        assert [e.position for e in events] == list(range(kernel.journal.count))
        assert events[receipt.position] == event
        times = [e.time_ns for e in events]
        assert times == sorted(set(times))
        assert list(kernel.journal.events(1, 3)) == events[1:3]
