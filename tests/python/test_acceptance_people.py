"""Reputation that is earned, people who steer many agents, teams that get their reserve back."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from reopening import START_NS, Facts, holds_through_a_kill, holds_through_reopening

import hanse

DAY = 86_400 * 10**9


def refusal(call: object, name: str) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name, caught.value
    return caught.value


def finish(kernel: hanse.Kernel, me: hanse.AgentView, worker: int, good: bool, salt: str) -> int:
    task = me.dispatch(to=worker, budget=10, task_class="audit").task
    kernel.complete(task, artifact=sha256(salt.encode()).digest())
    if good:
        me.accept(task)
    else:
        me.reject(task)
        me.void(task)
    return task


# --- reputation


def play_ratings(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    buyer = kernel.agents.add("buyer", kind="group")
    firm = kernel.agents.add("firm", kind="group")
    worker = kernel.agents.add("worker", parent=firm)
    kernel.ledger.fund(buyer, 100_000)
    kernel.reputation.set_role("auditor", task_class="audit", mean=0.75, count=20)
    me = kernel.as_agent(buyer)
    open_task = me.dispatch(to=worker, budget=10, task_class="audit").task
    tasks = [finish(kernel, me, worker, i % 5 != 4, f"{i}") for i in range(25)]
    me.rate(tasks[0], True)
    return {"buyer": buyer, "firm": firm, "worker": worker, "tasks": tasks, "open": open_task}


def check_ratings(kernel: hanse.Kernel, facts: Facts) -> None:
    me, worker = kernel.as_agent(facts["buyer"]), facts["worker"]
    state = kernel.state_hash
    for _ in range(1_000):
        refusal(lambda: me.rate(facts["open"], True), "NoReceipt")
    refusal(lambda: me.rate(facts["tasks"][0], False), "AlreadyRated")
    assert kernel.state_hash == state
    standing = kernel.reputation.of(worker, "audit")
    assert (standing.exact.numerator, standing.exact.denominator) == (7, 9)  # 21 / 27
    assert round(standing.mean, 4) == 0.7778
    assert kernel.reputation.has_role(worker, "auditor")


def test_reputation_is_earned_by_settled_work_alone(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "a", play_ratings, check_ratings, durability="batch")
    holds_through_a_kill(tmp_path / "b", play_ratings, check_ratings, durability="batch")


def test_a_role_is_lost_as_it_was_earned_and_dispatch_asks_for_it() -> None:
    with hanse.open(clock=hanse.ManualClock(START_NS)) as kernel:
        facts = play_ratings(kernel, hanse.ManualClock(START_NS))
        me, worker = kernel.as_agent(facts["buyer"]), facts["worker"]
        assert me.dispatch(to=worker, budget=5, role="auditor").ok
        me.rate(facts["tasks"][1], False)  # 20 of 27 + ... : one success turned
        assert not kernel.reputation.has_role(worker, "auditor")
        me.rate(facts["tasks"][4], True)
        assert kernel.reputation.has_role(worker, "auditor")
        for i in range(2):
            finish(kernel, me, worker, False, f"more {i}")
        assert round(kernel.reputation.of(worker, "audit").mean, 3) == 0.724  # 21 / 29
        error = refusal(lambda: me.dispatch(to=worker, budget=5, role="auditor"), "RoleMissing")
        assert error.position is not None
        refusal(lambda: me.dispatch(to=worker, budget=5, role="none"), "UnknownRole")
        vectors = np.eye(1, 4, dtype=np.float32)
        kernel.capabilities.publish(np.array([worker], np.uint64), vectors)
        refusal(lambda: me.dispatch(query=vectors[0], budget=5, role="auditor"), "RoleMissing")


def test_one_party_can_not_praise_itself_and_two_pay_for_their_praise() -> None:
    with hanse.open(fee_basis_points=1_000) as kernel:
        firm, other = (kernel.agents.add(name, kind="group") for name in "ab")
        mine, theirs = kernel.agents.add("m", parent=firm), kernel.agents.add("t", parent=other)
        kernel.ledger.fund(firm, 100_000_000)
        kernel.ledger.fund(other, 100_000_000)
        inside = finish(kernel, kernel.as_agent(firm), mine, True, "inside")
        assert kernel.reputation.of(mine, "audit").count == 0
        refusal(lambda: kernel.as_agent(firm).rate(inside, True), "SelfDealing")
        finish(kernel, kernel.as_agent(firm), theirs, True, "there")
        assert kernel.reputation.of(theirs, "audit").count == 1
        # Back again: now the pair works both ways, and a fee of 1 buys a millionth of a verdict.
        for i in range(50):
            finish(kernel, kernel.as_agent(other), mine, True, f"back {i}")
        fees = 50 * 1  # a tenth of the budget of 10, which is the price of an address
        assert kernel.reputation.of(mine, "audit").success == fees
        assert kernel.reputation.of(mine, "audit").count <= fees / 1_000_000


def test_standing_fades_by_half_lives_to_the_unit() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        buyer = kernel.agents.add("buyer", kind="group")
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(buyer, 1_000)
        kernel.reputation.set_terms(half_life=86_400.0)
        finish(kernel, kernel.as_agent(buyer), worker, True, "x")
        at = kernel.reputation.of(worker, "audit").at_ns
        for days, left in ((0, 1_000_000), (1, 500_000), (3, 125_000), (40, 0)):
            clock.set(at + days * DAY)
            assert kernel.reputation.of(worker, "audit").success == left
        clock.set(at + DAY // 2)
        assert abs(kernel.reputation.of(worker, "audit").success - 707_106) <= 20


# --- people


def play_approvals(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    human = kernel.agents.add("human", kind="human")
    kernel.people.set_attention(human, 20)
    team = kernel.agents.add("team", kind="group", parent=human)
    worker = kernel.agents.add("worker", parent=human)
    kernel.ledger.fund(team, 100_000)
    me = kernel.as_agent(team)
    asked: dict[str, list[int]] = {}
    for rule, count in (("send", 300), ("spend", 150), ("publish", 50)):
        receipts = me.dispatch_many(
            to=np.full(count, worker, np.uint64), budgets=7, task_class=rule, approval=rule
        )
        assert (receipts.status == hanse.Outcome.pending).all()
        asked[rule] = receipts.tasks.tolist()
    items = kernel.inbox(human)
    assert [(item.rule, len(item)) for item in items] == [
        ("publish", 50), ("send", 300), ("spend", 150),
    ]  # fmt: skip
    assert not kernel.drain().tasks
    before = kernel.journal.count
    assert kernel.as_agent(human).answer(items[1], True) == asked["send"]
    return {"human": human, "team": team, "worker": worker, "asked": asked, "answer": before}


def check_approvals(kernel: hanse.Kernel, facts: Facts) -> None:
    for rule, tasks in facts["asked"].items():
        want = "dispatched" if rule == "send" else "offered"
        assert {kernel.tasks.get(task).state for task in tasks} == {want}
    assert kernel.tasks.conditions(facts["asked"]["send"][0]).answered_at == facts["answer"]
    event = kernel.journal.event(facts["answer"])
    assert (event.type, int(event.fields["actor"])) == ("approval_answered", facts["human"])
    assert kernel.people.attention(facts["human"]) == 19
    assert sorted(task.task for task in kernel.drain().tasks) == facts["asked"]["send"]
    assert [item.rule for item in kernel.inbox(facts["human"])] == ["publish", "spend"]


def test_one_answer_settles_the_requests_of_one_rule(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "a", play_approvals, check_approvals, durability="batch")
    holds_through_a_kill(tmp_path / "b", play_approvals, check_approvals, durability="batch")


def test_an_answer_is_refused_where_it_is_not_what_was_asked() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        facts = play_approvals(kernel, clock)
        human, me = kernel.as_agent(facts["human"]), kernel.as_agent(facts["team"])
        publish, spend = kernel.inbox(facts["human"])
        stranger = kernel.as_agent(kernel.agents.add("s", kind="human", parent=facts["worker"]))
        state = kernel.state_hash
        refusal(lambda: kernel.as_agent(facts["worker"]).answer(spend, True), "PolicyDenied")
        del stranger
        assert kernel.state_hash == state
        me.void(spend.tasks[3])
        error = refusal(lambda: human.answer(spend, True), "ApprovalStale")
        (fresh,) = (item for item in kernel.inbox(facts["human"]) if item.rule == "spend")
        assert fresh.hash in error.detail
        # What is asked later is no part of what was shown.
        late = me.dispatch(to=facts["worker"], budget=7, task_class="spend", approval="spend").task
        assert human.answer(fresh, False) == [t for t in spend.tasks if t != spend.tasks[3]]
        assert kernel.tasks.get(late).state == "offered"
        assert kernel.tasks.get(fresh.tasks[0]).state == "voided"
        clock.advance(DAY + 10**9)
        refusal(lambda: human.answer(publish, True), "ApprovalExpired")
        assert {kernel.tasks.get(task).state for task in publish.tasks} == {"expired"}
        assert kernel.ledger.totals().debits_pending == 300 * 7


def test_attention_is_spent_and_comes_back_with_the_day() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        human = kernel.agents.add("h", kind="human")
        worker = kernel.agents.add("w")
        kernel.people.set_attention(human, 2)
        kernel.ledger.fund(kernel.root, 100)
        me = kernel.as_agent(human)
        for i in range(3):
            kernel.dispatch(
                to=worker,
                budget=1,
                approval=f"r{i}",
                approver=human,
                answer_by_ns=START_NS + 3 * DAY,
            )
        items = kernel.inbox(human)
        me.answer(items[0], True)
        me.answer(items[1], True)
        refusal(lambda: me.answer(items[2], True), "InsufficientFunds")
        clock.advance(DAY)
        me.answer(items[2], True)
        assert kernel.people.attention(human) == 1
        totals = kernel.ledger.totals("attention")
        assert totals.debits == totals.credits


def test_pause_stops_a_team_at_once_and_resume_hands_out_what_waited() -> None:
    with hanse.open() as kernel:
        teams = [kernel.agents.add(f"t{i}", kind="group") for i in range(8)]
        members = [int(kernel.agents.add("m", parent=team)) for team in teams]
        for member in members:
            kernel.ledger.fund(member, 10)
        worker = kernel.agents.add("w", parent=teams[3])
        task = kernel.as_agent(members[0]).dispatch(to=worker, budget=1).task
        kernel.agents.pause(teams[3])
        assert not kernel.drain().tasks
        error = refusal(lambda: kernel.as_agent(members[3]).dispatch(to=members[0], budget=1),
                        "Paused")  # fmt: skip
        assert error.id == teams[3]
        refusal(lambda: kernel.as_agent(members[0]).dispatch(to=worker, budget=1), "Paused")
        assert kernel.agents.get(members[3]).paused
        kernel.agents.resume(teams[3])
        assert [each.task for each in kernel.drain().tasks] == [task]
        assert kernel.as_agent(members[3]).dispatch(to=members[0], budget=1).ok
        kernel.agents.kill(teams[7])
        before = kernel.tasks.count()
        refusal(lambda: kernel.as_agent(members[7]).dispatch(to=members[0], budget=1), "Revoked")
        assert kernel.tasks.count() == before
        refusal(lambda: kernel.agents.pause(kernel.root), "NotPermitted")


# --- delegation


def test_what_a_revoked_branch_had_reserved_goes_back_to_its_team(tmp_path: Path) -> None:
    with hanse.open(tmp_path, durability="batch") as kernel:
        team = kernel.agents.add("team", kind="group")
        lead = kernel.agents.add("lead", parent=team)
        members = kernel.agents.add_many(100, parent=lead)
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(team, 1_000)
        kernel.ledger.transfer_many(np.full(100, team, np.uint64), members, 10)
        for member in members[:30].tolist():
            kernel.as_agent(member).dispatch(to=worker, budget=4)
        totals = kernel.ledger.totals()
        assert kernel.ledger.balance(team) == 0
        kernel.agents.revoke(lead)
        assert kernel.ledger.balance(team) == 1_000
        after = kernel.ledger.totals()
        assert (after.debits - after.credits, after.debits_pending) == (0, 0)
        assert totals.debits_pending == 120
    assert hanse.verify(tmp_path).balanced


def test_a_delegation_narrows_and_moves_but_never_widens() -> None:
    with hanse.open() as kernel:
        agents = kernel.agents
        team = agents.add("team", kind="group", permissions=0b1111, budget_max=100)
        lead = agents.add("lead", parent=team, budget_max=50)
        member = agents.add("member", parent=lead)
        other = agents.add("other", parent=team, permissions=0b0011)
        state = kernel.state_hash
        refusal(lambda: agents.narrow(lead, permissions=0b10000), "AttenuationViolation")
        refusal(lambda: agents.narrow(lead, budget_max=51), "AttenuationViolation")
        refusal(lambda: agents.narrow(lead, levels=15), "AttenuationViolation")
        refusal(lambda: agents.narrow(lead, levels=0), "DelegationDepth")
        refusal(lambda: agents.move(lead, member), "DelegationCycle")
        refusal(lambda: agents.move(lead, lead), "DelegationCycle")
        refusal(lambda: agents.move(lead, other), "AttenuationViolation")
        refusal(lambda: agents.move(team, kernel.root), "NotPermitted")
        assert kernel.state_hash == state
        agents.narrow(lead, permissions=0b0001, budget_max=20, levels=1)
        assert (agents.get(member).permissions, agents.get(member).budget_max) == (1, 20)
        refusal(lambda: agents.add("deep", parent=member), "DelegationDepth")
        agents.move(member, team)
        assert (agents.get(member).parent, agents.get(member).depth) == (team, 2)
        agents.move(lead, other)
        assert agents.get(lead).depth == 3
        agents.move(lead, team)
        refusal(lambda: kernel.agents.move(member, kernel.agents.add("t2", kind="group")),
                "NotPermitted")  # fmt: skip
