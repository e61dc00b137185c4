"""The life of a task between dispatch and verdict."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from reopening import START_NS, open_at

import hanse

SECOND = 10**9


def refusal(call: object, name: str) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name, caught.value
    return caught.value


class Desk:
    def __init__(self, kernel: hanse.Kernel) -> None:
        self.kernel = kernel
        self.team = kernel.agents.add("team", kind="group")
        self.worker = kernel.agents.add("worker")
        self.auditor = kernel.agents.add("auditor", parent=self.team)
        kernel.ledger.fund(self.team, 10_000)
        self.me = kernel.as_agent(self.team)
        self.hands = kernel.as_agent(self.worker)

    def dispatch(self, **options: object) -> int:
        return self.me.dispatch(to=self.worker, budget=100, **options).task  # type: ignore[arg-type]

    def complete(self, task: int) -> int:
        return self.hands.complete(task, artifact=sha256(str(task).encode()).digest())

    def state(self, task: int) -> str:
        return self.kernel.tasks.get(task).state

    def reserved(self) -> int:
        return self.kernel.ledger.totals().debits_pending


def test_a_worker_that_falls_silent_loses_its_task_to_the_next_attempt(tmp_path: Path) -> None:
    kernel, clock = open_at(tmp_path, durability="batch")
    with kernel:
        desk = Desk(kernel)
        task = desk.dispatch(lease=10.0)
        (first,) = kernel.drain().tasks
        desk.hands.start(task)
        assert desk.state(task) == "running"
        clock.advance(8 * SECOND)
        desk.hands.start(task)  # still alive
        clock.advance(8 * SECOND)
        kernel.tick()
        assert desk.state(task) == "running"
        clock.advance(3 * SECOND)
        assert kernel.tick() == 1
        (again,) = kernel.drain().tasks
        assert (again.task, again.attempt) == (task, first.attempt + 1)
        desk.hands.start(task)
        now = clock.now_ns
    kernel, clock = open_at(tmp_path, now_ns=now)
    with kernel:
        (third,) = kernel.drain().tasks
        assert (third.task, third.attempt) == (task, 3)
        assert kernel.tasks.get(task).state == "dispatched"


def test_what_is_given_back_goes_out_again_and_is_given_up_in_the_end() -> None:
    with hanse.open() as kernel:
        desk = Desk(kernel)
        task = desk.dispatch()
        refusal(lambda: desk.me.hand_back(task), "NotPermitted")
        for attempt in range(1, 17):
            (delivery,) = kernel.drain().tasks
            assert delivery.attempt == attempt
            desk.hands.hand_back(task)
        assert desk.state(task) == "voided"
        assert desk.reserved() == 0
        refusal(lambda: desk.hands.hand_back(task), "AlreadyResolved")


def test_a_handler_that_raises_gives_its_task_back() -> None:
    with hanse.open() as kernel:
        desk = Desk(kernel)
        task = desk.dispatch()
        seen = []

        @kernel.on(desk.worker)
        def work(message: hanse.Message) -> None:
            seen.append(message.attempt)
            if len(seen) < 3:
                raise RuntimeError("not today")
            kernel.complete(message.task, artifact=b"\1" * 32)

        kernel.run()
        assert seen == [1, 2, 3]
        assert desk.state(task) == "completed"


def test_a_verifier_is_named_and_no_other_will_do() -> None:
    with hanse.open() as kernel:
        desk = Desk(kernel)
        kernel.reputation.set_role("checker", permissions=0b10)
        other = kernel.agents.add("other", permissions=0b01)
        task = desk.dispatch(verifier=desk.auditor)
        desk.complete(task)
        state = kernel.state_hash
        refusal(lambda: desk.me.accept(task), "VerifierRequired")
        refusal(lambda: desk.me.accept(task, verifier=other), "VerifierRequired")
        refusal(lambda: kernel.as_agent(other).verify(task), "VerifierRequired")
        refusal(lambda: desk.hands.verify(task), "NotPermitted")
        assert kernel.state_hash == state
        kernel.as_agent(desk.auditor).verify(task)
        assert desk.state(task) == "verified"
        desk.me.accept(task)
        assert kernel.tasks.get(task).verifier == desk.auditor
        second = desk.dispatch(verifier="checker")
        desk.complete(second)
        refusal(lambda: kernel.as_agent(other).verify(second), "RoleMissing")
        kernel.as_agent(desk.auditor).verify(second, good=False)
        assert desk.state(second) == "rejected"
        assert kernel.reputation.of(desk.worker, "").rejected == 1
        refusal(lambda: desk.dispatch(verifier="no such role"), "UnknownRole")


def test_what_is_unknown_stays_reserved_until_someone_knows() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        desk = Desk(kernel)
        known, lost = (desk.dispatch(deadline_ns=START_NS + 10 * SECOND) for _ in range(2))
        for task in (known, lost):
            desk.hands.declare_unknown(task)
        clock.advance(60 * SECOND)
        kernel.tick()
        assert (desk.state(known), desk.reserved()) == ("unknown", 200)
        refusal(lambda: desk.me.accept(known), "IllegalTransition")
        desk.me.void(lost)
        assert desk.reserved() == 100
        desk.complete(known)
        desk.me.accept(known) if desk.state(known) == "completed" else None
        assert desk.reserved() == 0


def test_a_task_is_cancelled_with_all_that_it_dispatched() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        desk = Desk(kernel)
        kernel.ledger.fund(desk.worker, 1_000)
        top = desk.dispatch(deadline_ns=START_NS + 100 * SECOND)
        children = [
            desk.hands.dispatch(to=desk.auditor, budget=10, parent=top).task for _ in range(3)
        ]
        leaf = kernel.as_agent(desk.auditor)
        kernel.ledger.fund(desk.auditor, 100)
        deep = leaf.dispatch(to=desk.team, budget=1, parent=children[0]).task
        assert kernel.tasks.get(deep).deadline_ns == START_NS + 100 * SECOND
        assert kernel.tasks.conditions(top).children == tuple(children)
        leaf.complete(children[2], artifact=b"\7" * 32)
        desk.hands.accept(children[2])
        stranger = kernel.as_agent(kernel.agents.add("s"))
        kernel.ledger.fund(stranger.id, 10)
        refusal(lambda: stranger.dispatch(to=desk.worker, budget=1, parent=top), "NotPermitted")
        assert desk.me.cancel(top) == [deep, children[0], children[1], top]
        assert desk.reserved() == 0
        assert desk.state(children[2]) == "accepted"
        refusal(lambda: desk.me.cancel(top), "AlreadyResolved")
        refusal(lambda: desk.hands.dispatch(to=desk.auditor, budget=1, parent=top),
                "IllegalTransition")  # fmt: skip


def test_tasks_of_tasks_end_at_sixteen() -> None:
    with hanse.open() as kernel:
        desk = Desk(kernel)
        kernel.ledger.fund(desk.worker, 1_000)
        task = desk.hands.dispatch(to=desk.worker, budget=1).task
        for _ in range(16):
            task = desk.hands.dispatch(to=desk.worker, budget=1, parent=task).task
        refusal(lambda: desk.hands.dispatch(to=desk.worker, budget=1, parent=task),
                "DelegationDepth")  # fmt: skip


def test_a_full_offer_does_not_end_a_task_that_could_go_there_later() -> None:
    with hanse.open() as kernel:
        team = kernel.agents.add("team", kind="group")
        small, large, dear = (int(i) for i in kernel.agents.add_many(3))
        vectors = np.ones((3, 4), np.float32)
        kernel.capabilities.publish(
            np.array([small, large, dear], np.uint64),
            vectors,
            price=np.array([1, 20, 500], np.int64),
            tier=np.array([0, 1, 1], np.uint8),
            slots=np.array([0, 1, 0], np.uint16),
        )
        kernel.ledger.fund(team, 1_000)
        me = kernel.as_agent(team)
        busy = me.dispatch(query=vectors[0], budget=30, tier=1).task
        assert kernel.tasks.get(busy).worker == large
        task = me.dispatch(query=vectors[0], budget=30, tier=0).task
        kernel.complete(task, artifact=b"\1" * 32)
        me.reject(task)
        state = kernel.state_hash
        refusal(lambda: me.escalate(task, query=vectors[0], tier=1), "Backpressure")
        assert kernel.state_hash == state
        me.void(busy)
        assert me.escalate(task, query=vectors[0], tier=1).agent == large
        # Where nothing that could be paid is ever free, the task does end.
        other = me.dispatch(query=vectors[0], budget=10, tier=0).task
        kernel.complete(other, artifact=b"\2" * 32)
        me.reject(other)
        refusal(lambda: me.escalate(other, query=vectors[0], tier=1), "BudgetExceeded")
        assert kernel.tasks.get(other).state == "voided"


def test_what_work_costs_is_of_one_window() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        desk = Desk(kernel)
        nothing = kernel.tasks.cost(task_class="x")
        assert (nothing.per_accepted, nothing.spend) == (None, 0)
        for i in range(6):
            clock.set(START_NS + i * SECOND)
            task = desk.dispatch(task_class="x" if i % 2 else "y")
            desk.complete(task)
            desk.me.reject(task) if i == 5 else desk.me.accept(task)
        whole = kernel.tasks.cost()
        assert (whole.accepted, whole.rejected, whole.spend) == (5, 1, 500)
        assert kernel.tasks.cost(agent=desk.worker) == whole == kernel.tasks.cost(team=desk.team)
        assert kernel.tasks.cost(team=desk.auditor).tasks == 0
        half = kernel.tasks.cost(since_ns=START_NS, until_ns=START_NS + 3 * SECOND)
        assert (half.accepted, half.per_accepted) == (3, 100)
        refusal(lambda: half + whole, "WindowMismatch")
        refusal(lambda: half.share_of(whole), "WindowMismatch")
        refusal(lambda: half.saving_over(whole), "WindowMismatch")
        x, y = (kernel.tasks.cost(task_class=name) for name in "xy")
        assert x + y == whole
        assert x.share_of(whole) + y.share_of(whole) == 1
        assert nothing.saving_over(whole) is None
