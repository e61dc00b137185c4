"""Lessons: events that compile into the next epoch; obligations; the report of governance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hanse
from hanse import Outcome

SEND_NEEDS_APPROVAL = """
@id("send-needs-approval") @obligation("approval") @approver("legal")
permit(principal, action == Action::"dispatch", resource)
when { context.task_class == "external-send" };
"""
OPEN = "permit(principal, action, resource);"


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[hanse.Kernel]:
    with hanse.open(str(tmp_path), durability="batch") as opened:
        yield opened


def pair(kernel: hanse.Kernel) -> tuple[int, int]:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    kernel.agents.add("legal", kind="human")
    kernel.ledger.fund(a, 1_000_000)
    return a, b


def test_a_lesson_binds_every_dispatch_after_it_and_none_before(tmp_path: Path) -> None:
    with hanse.open(str(tmp_path)) as kernel:
        a, b = pair(kernel)
        me = kernel.as_agent(a)
        incident = kernel.policy.record("incident", "a mail left the house unseen")
        before = me.dispatch(to=b, budget=5, task_class="external-send")
        assert before.outcome == Outcome.ok
        lesson = kernel.policy.learn(
            SEND_NEEDS_APPROVAL, cause=incident, note="external send needs approval"
        )
        assert before.position == lesson.event - 1
        assert (lesson.cause, lesson.epoch) == (incident, kernel.policy.epoch)
        for _ in range(3):
            held = me.dispatch(to=b, budget=5, task_class="external-send")
            assert held.outcome == Outcome.pending
            assert held.position > lesson.event
            assert "send-needs-approval" in held.reason
            assert f"event {lesson.event}" in held.reason
            assert held.epoch == lesson.epoch
        assert me.dispatch(to=b, budget=5, task_class="summary").outcome == Outcome.ok
        before_closing = kernel.state_hashes()["policy"]
    with hanse.open(str(tmp_path)) as kernel:
        assert kernel.state_hashes()["policy"] == before_closing
        assert kernel.policy.lessons == [lesson]
        held = kernel.as_agent(a).dispatch(to=b, budget=5, task_class="external-send")
        assert held.outcome == Outcome.pending
        assert f"event {lesson.event}" in held.reason


def test_a_load_keeps_the_lessons_and_only_a_repeal_ends_them(kernel: hanse.Kernel) -> None:
    a, b = pair(kernel)
    me = kernel.as_agent(a)
    lesson = kernel.policy.learn(SEND_NEEDS_APPROVAL)
    kernel.policy.load('@id("other") ' + OPEN)
    assert kernel.policy.text == '@id("other") ' + OPEN
    assert [rule.lesson for rule in kernel.policy.rules()] == [None, lesson.event]
    assert me.dispatch(to=b, budget=5, task_class="external-send").outcome == Outcome.pending
    epoch = kernel.policy.repeal(lesson)
    assert epoch == kernel.policy.epoch
    assert me.dispatch(to=b, budget=5, task_class="external-send").outcome == Outcome.ok
    assert kernel.policy.lessons[0].repealed
    with pytest.raises(hanse.ConflictError, match="AlreadyResolved"):
        kernel.policy.repeal(lesson)
    with pytest.raises(hanse.NotFoundError, match="UnknownEvent"):
        kernel.policy.repeal(lesson.event + 1)


def test_every_dispatch_record_names_its_epoch(kernel: hanse.Kernel) -> None:
    a, b = pair(kernel)
    me = kernel.as_agent(a)
    expected = {}
    for n in range(6):
        if n % 2 == 0:
            kernel.policy.learn(
                f'forbid(principal, action == Action::"dispatch", resource) '
                f"when {{ context.budget == {n + 1} }};"
            )
        receipt = me.dispatch(to=b, budget=100)
        expected[receipt.position] = kernel.policy.epoch
        with pytest.raises(hanse.DeniedError) as caught:
            me.dispatch(to=b, budget=1)
        expected[caught.value.position] = kernel.policy.epoch
    for position, epoch in expected.items():
        assert kernel.journal.event(position).fields["epoch"] == str(epoch)


@pytest.mark.parametrize(
    ("rule", "name", "says"),
    [
        ("permit(principal, action", "PolicyCompileError", "line 1"),
        ("\n\nforbid(principal, action, resource) when { 1 };", "PolicyCompileError", "line 3"),
        (OPEN, "PolicyCompileError", "grants nothing"),
        ("forbid(principal, action, resource); " + OPEN, "PolicyCompileError", "one rule"),
        ('@lesson("5") forbid(principal, action, resource);', "PolicyCompileError", "@lesson"),
        ('@id("rule0") forbid(principal, action == Action::"send", resource);',
         "PolicyCompileError", "name for each rule"),
        ("forbid(principal, action, resource);", "PolicyLockout", "load_policy"),
        ('forbid(principal, action == Action::"load_policy", resource);',
         "PolicyLockout", "load_policy"),
        ('forbid(principal, action == Action::"learn", resource);', "PolicyLockout", "learn"),
        ('forbid(principal, action, resource) when { context.nowhere == 1 };',
         "PolicyLockout", "load_policy"),
    ],
)  # fmt: skip
def test_a_lesson_that_cannot_be_leaves_the_old_epoch(
    kernel: hanse.Kernel, rule: str, name: str, says: str
) -> None:
    before = (kernel.state_hash, kernel.policy.epoch, kernel.journal.count)
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.policy.learn(rule)
    assert caught.value.name == name
    assert says in caught.value.detail
    assert (kernel.state_hash, kernel.policy.epoch, kernel.journal.count) == before


def test_a_cause_must_have_happened(kernel: hanse.Kernel) -> None:
    with pytest.raises(hanse.NotFoundError, match="UnknownEvent"):
        kernel.policy.record("incident", cause=kernel.journal.count)
    with pytest.raises(hanse.InvalidError):
        kernel.policy.record("x" * 65)
    with pytest.raises(hanse.InvalidError):
        kernel.policy.record("")
    with pytest.raises(hanse.InvalidError):
        kernel.policy.record("incident", "x" * 4097)


def test_an_author_needs_a_rule_that_names_the_action(kernel: hanse.Kernel) -> None:
    governors = int(kernel.agents.add("governors", kind="group"))
    clerk = int(kernel.agents.add("clerk", kind="human", parent=governors))
    stranger = int(kernel.agents.add("stranger"))
    forbid = 'forbid(principal, action == Action::"transfer", resource);'
    hashes = kernel.state_hashes()
    for author in (clerk, stranger):
        with pytest.raises(hanse.DeniedError) as caught:
            kernel.as_agent(author).policy.learn(forbid)
        assert caught.value.name == "PolicyDenied"
        assert kernel.journal.event(caught.value.position).type == "denied"
    assert kernel.state_hashes() == hashes
    kernel.policy.load(
        OPEN + '@id("role") permit(principal in Agent::"governors", '
        'action == Action::"learn", resource);'
    )
    lesson = kernel.as_agent(clerk).policy.learn(forbid)
    assert lesson.author == clerk
    with pytest.raises(hanse.DeniedError) as caught:
        kernel.as_agent(stranger).policy.learn(forbid)
    assert caught.value.name == "PolicyDenied"
    with pytest.raises(hanse.DeniedError):
        kernel.as_agent(clerk).policy.repeal(lesson)


def test_889_events_on_96_days_make_the_report() -> None:
    clock = hanse.ManualClock(1_700_000_000_000_000_000)
    kinds = ["lesson", "approval", "audit", "incident", "exception"]
    day_ns = 86_400_000_000_000
    with hanse.open(clock=clock) as kernel:
        expected: dict[str, int] = {}
        for n in range(889):
            # 96 days, of which some are followed by idle ones.
            day = n * 96 // 889
            clock.set(1_700_000_000_000_000_000 + (day + day // 7) * day_ns + n % 9)
            kind = kinds[n * n % 5]
            kernel.policy.record(kind, f"event {n}")
            expected[kind] = expected.get(kind, 0) + 1
        report = kernel.policy.report()
        assert (report.events, report.active_days) == (889, 96)
        assert f"{report.rate:.4f}" == "9.2604"
        assert report.by_kind == expected


def test_a_verifier_may_be_an_obligation(kernel: hanse.Kernel) -> None:
    a, b = pair(kernel)
    kernel.policy.load(
        OPEN + '@obligation("verifier") permit(principal, action == Action::"dispatch", resource);'
    )
    receipt = kernel.as_agent(a).dispatch(to=b, budget=5)
    kernel.as_agent(b).complete(receipt.task, artifact=bytes([1] * 32))
    with pytest.raises(hanse.DeniedError, match="VerifierRequired"):
        kernel.as_agent(a).accept(receipt.task)
    kernel.as_agent(a).accept(receipt.task, verifier=kernel.root)


def test_what_is_redacted_never_reaches_the_worker_or_the_journal(kernel: hanse.Kernel) -> None:
    a, b = pair(kernel)
    kernel.policy.load(
        OPEN + '@redact("payload") permit(principal, action == Action::"dispatch", resource) '
        'when { context.task_class == "sealed" };'
    )
    me = kernel.as_agent(a)
    plain = me.dispatch(to=b, budget=5, payload=b"open letter", task_class="open")
    cut = me.dispatch(to=b, budget=5, payload=b"secret letter", task_class="sealed")
    assert kernel.tasks.get(plain.task).payload == b"open letter"
    assert kernel.tasks.get(cut.task).payload == b""


def test_a_rate_is_a_hold_that_comes_back(tmp_path: Path) -> None:
    clock = hanse.ManualClock(1_700_000_000_000_000_000)
    rules = OPEN + (
        '@id("slow") @rate("3/60s") permit(principal, action == Action::"dispatch", resource);'
    )
    with hanse.open(str(tmp_path), clock=clock) as kernel:
        one, other = (int(id) for id in kernel.agents.add_many(2, kind="group"))
        a = int(kernel.agents.add("a", parent=one))
        c = int(kernel.agents.add("c", parent=other))
        for agent in (a, c):
            kernel.ledger.fund(agent, 1_000)
        kernel.policy.load(rules)
        me = kernel.as_agent(a)
        for _ in range(3):
            me.dispatch(to=a, budget=5)
        hashes = kernel.state_hashes()
        with pytest.raises(hanse.BusyError) as caught:
            me.dispatch(to=a, budget=5, key="later")
        assert caught.value.name == "RateLimited"
        assert "slow" in caught.value.detail
        assert kernel.state_hashes() == hashes
        kernel.as_agent(c).dispatch(to=c, budget=5)  # another tenant has its own
        hashes = kernel.state_hashes()
    with hanse.open(str(tmp_path), clock=clock) as kernel:
        # Unfinished tasks go out again, which is an event of theirs.
        assert kernel.state_hashes()["ledger"] == hashes["ledger"]
        me = kernel.as_agent(a)
        with pytest.raises(hanse.BusyError):
            me.dispatch(to=a, budget=5)
        clock.advance(61_000_000_000)
        assert me.dispatch(to=a, budget=5, key="later").outcome == Outcome.ok
        receipts = me.dispatch_many(to=np.full(5, a, np.uint64), budgets=5)
        ok, limited = Outcome.ok, Outcome.rate_limited
        assert receipts.status.tolist() == [ok, ok, limited, limited, limited]
        clock.advance(61_000_000_000)
        batch: dict[str, Any] = {"to": np.full(4, a, np.uint64), "budgets": 5, "atomic": True}
        assert me.dispatch_many(**batch).status.tolist().count(Outcome.aborted) == 3
        batch["to"] = batch["to"][:3]
        assert me.dispatch_many(**batch).status.tolist() == [ok] * 3


def test_the_position_of_a_lesson_is_that_of_its_record(kernel: hanse.Kernel) -> None:
    lesson = kernel.policy.learn('forbid(principal, action == Action::"send", resource);')
    event = kernel.journal.event(lesson.event)
    assert event.type == "governed"
    assert lesson.rule.startswith(f'@lesson("{lesson.event}") ')
