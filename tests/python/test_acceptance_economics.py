"""What accepted work costs, exactly; and what small-first routing saves."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from reopening import Facts, holds_through_a_kill, holds_through_reopening

import hanse

READS, FRESH, WRITES, OUTPUT = 61_304_550, 8_000_000, 4_000_000, 645_450
RATES = {"fresh": 3_000_000, "cache_read": 300_000, "cache_write": 3_750_000, "output": 15_000_000}
ONE = np.eye(1, 4, dtype=np.float32)


def digests(count: int, salt: str) -> np.ndarray:
    rows = [hashlib.sha256(f"{salt} {i}".encode()).digest() for i in range(count)]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(count, 32)


def split(total: int, parts: int, seed: int) -> np.ndarray:
    """Uneven parts, so that hardly one costs a whole number; their sum is exact."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, total, parts - 1))
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.uint64)


def play_cache_reads(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    team, worker = kernel.agents.add("team", kind="group"), kernel.agents.add("worker")
    kernel.ledger.fund(team, 1_000_000_000)
    kernel.ledger.set_rates("usd_micro", 0, **RATES)
    kernel.capabilities.publish(np.array([worker], np.uint64), ONE, price=0)
    me = kernel.as_agent(team)
    budgets = np.full(120, 5_000_000, np.uint64)
    queries = np.repeat(ONE, 120, 0)
    receipts = me.dispatch_many(queries=queries, budgets=budgets, task_class="article")
    assert (receipts.status == hanse.Outcome.ok).all()
    assert kernel.tasks.economics(task_class="article").cost_per_accepted is None
    totals = (FRESH, READS, WRITES, OUTPUT)
    usage = np.stack([split(total, 120, seed) for seed, total in enumerate(totals)], axis=1)
    assert usage.sum(0).tolist() == list(totals)
    status = kernel.complete_many(receipts.tasks, digests(120, "article"), usage)
    assert (status == hanse.Outcome.ok).all()
    assert kernel.tasks.economics().cost_per_accepted is None
    assert (me.accept_many(receipts.tasks[:100]) == hanse.Outcome.ok).all()
    assert (me.reject_many(receipts.tasks[100:]) == hanse.Outcome.ok).all()
    assert (me.void_many(receipts.tasks[100:]) == hanse.Outcome.ok).all()
    return {"team": team, "tasks": receipts.tasks.tolist()}


def check_cache_reads(kernel: hanse.Kernel, facts: Facts) -> None:
    for economics in (
        kernel.tasks.economics(),
        kernel.tasks.economics(task_class="article"),
        kernel.tasks.economics(tier=0),
    ):
        assert (economics.dispatched, economics.completed) == (120, 120)
        assert (economics.accepted, economics.rejected) == (100, 20)
        usage = economics.usage
        assert usage == hanse.Usage(FRESH, READS, WRITES, OUTPUT)
        assert usage.total == 73_950_000
        assert economics.reads_share == 0.829
        assert economics.spend == 67_073_115
        assert (economics.cost_per_accepted, economics.cost_remainder) == (670_731, 15)
        spent = sum(getattr(usage, part) * rate for part, rate in RATES.items())
        assert spent == economics.spend * 1_000_000
        uncached = (usage.total - usage.output) * RATES["fresh"] + usage.output * RATES["output"]
        assert uncached == 229_595_400 * 1_000_000
        assert round(uncached / spent, 2) == 3.42
    nothing = kernel.tasks.economics(task_class="unheard of")
    assert (nothing.cost_per_accepted, nothing.reads_share) == (None, 0.0)
    # What the books say is what the tasks say.
    billed = kernel.ledger.account(kernel.root, purpose="usage").credits_posted
    assert billed == 67_073_115
    assert kernel.ledger.balance(facts["team"]) == 1_000_000_000 - 67_073_115
    assert sum(kernel.tasks.get(task).spent for task in facts["tasks"]) == 67_073_115


def test_cost_per_accepted_artifact_is_exact(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_cache_reads, check_cache_reads)
    holds_through_a_kill(tmp_path / "killed", play_cache_reads, check_cache_reads)


def test_usage_must_add_up_and_an_artifact_is_accepted_once() -> None:
    with hanse.open() as kernel:
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(kernel.root, 1_000)
        one, two = (kernel.dispatch(to=worker, budget=10).task for _ in range(2))
        state = kernel.state_hash
        for usage, total in ((hanse.Usage(1, 2, 3, 4), 11), (hanse.Usage(), 1)):
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.complete(one, artifact=bytes([1] * 32), usage=usage, total_tokens=total)
            assert caught.value.name == "UsageInconsistent"
        assert kernel.state_hash == state
        usage = hanse.Usage(1, 2, 3, 4)
        kernel.complete(one, artifact=bytes([1] * 32), usage=usage, total_tokens=10)
        kernel.complete(two, artifact=bytes([1] * 32))
        kernel.accept(one)
        state = kernel.state_hash
        with pytest.raises(hanse.ConflictError) as caught:
            kernel.accept(two)
        assert (caught.value.name, caught.value.id) == ("DuplicateArtifact", two)
        status = kernel.accept_many(np.array([two], np.uint64))
        assert status.tolist() == [hanse.Outcome.duplicate_artifact]
        assert kernel.state_hash == state


SMALL, LARGE = 0, 1
TASKS = 10_000


def difficulty() -> np.ndarray:
    return np.random.default_rng(2).permutation((np.arange(TASKS) + 0.5) / TASKS)


def two_tiers(kernel: hanse.Kernel) -> tuple[int, np.ndarray, np.ndarray]:
    """Six workers a tier; a completion of the small costs 1, one of the large 20."""
    team = kernel.agents.add("team", kind="group")
    kernel.ledger.fund(team, 1_000_000)
    ids = kernel.agents.add_many(12)
    vectors = np.random.default_rng(3).standard_normal((12, 8)).astype(np.float32)
    tier = np.repeat(np.array([SMALL, LARGE], np.uint8), 6)
    kernel.capabilities.publish(ids, vectors, tier=tier)
    kernel.ledger.set_rates(tier=SMALL, output=1_000_000)
    kernel.ledger.set_rates(tier=LARGE, output=20_000_000)
    queries = np.random.default_rng(4).standard_normal((TASKS, 8)).astype(np.float32)
    return team, queries, ids


def finish(kernel: hanse.Kernel, tasks: np.ndarray, salt: str) -> None:
    usage = np.zeros((len(tasks), 4), np.uint64)
    usage[:, 3] = 1
    done = kernel.complete_many(tasks, digests(len(tasks), salt), usage)
    assert (done == hanse.Outcome.ok).all()


def play_small_first(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    team, queries, ids = two_tiers(kernel)
    me, hard = kernel.as_agent(team), difficulty()
    budgets = np.full(TASKS, 21, np.uint64)
    first = me.dispatch_many(queries=queries, budgets=budgets, tier=SMALL, task_class="small first")
    assert (first.status == hanse.Outcome.ok).all()
    assert np.isin(first.agents, ids[:6]).all()
    finish(kernel, first.tasks, "small")
    solved = hard < 0.70
    assert (me.accept_many(first.tasks[solved]) == hanse.Outcome.ok).all()
    left = first.tasks[~solved]
    assert (me.reject_many(left) == hanse.Outcome.ok).all()
    second = me.escalate_many(left, queries=queries[~solved], tier=LARGE)
    assert (second.status == hanse.Outcome.ok).all()
    assert (second.tasks == left).all()
    assert (second.attempts == 2).all()
    assert (second.reserved == 20).all()
    assert np.isin(second.agents, ids[6:]).all()
    finish(kernel, left, "large")
    solved = hard[~solved] < 0.98
    assert (me.accept_many(left[solved]) == hanse.Outcome.ok).all()
    assert (me.reject_many(left[~solved]) == hanse.Outcome.ok).all()
    assert (me.void_many(left[~solved]) == hanse.Outcome.ok).all()

    every = me.dispatch_many(
        queries=queries, budgets=budgets, tier=(LARGE, 255), task_class="all large"
    )
    finish(kernel, every.tasks, "all large")
    solved = hard < 0.98
    assert (me.accept_many(every.tasks[solved]) == hanse.Outcome.ok).all()
    assert (me.void_many(every.tasks[~solved]) == hanse.Outcome.ok).all()
    return {"team": team}


def check_small_first(kernel: hanse.Kernel, facts: Facts) -> None:
    small_first = kernel.tasks.economics(task_class="small first")
    all_large = kernel.tasks.economics(task_class="all large")
    assert (small_first.spend, small_first.accepted) == (70_000, 9_800)
    assert (small_first.escalated, small_first.voided) == (3_000, 200)
    assert (all_large.spend, all_large.accepted) == (200_000, 9_800)
    saving = all_large.spend / small_first.spend
    assert round(saving, 3) == 2.857
    share = small_first.escalated / small_first.dispatched
    assert saving == pytest.approx(1 / (1 / 20 + share))
    assert kernel.tasks.economics(tier=SMALL).spend == 10_000
    assert kernel.tasks.economics(tier=LARGE).spend == 260_000
    assert kernel.ledger.balance(facts["team"]) == 1_000_000 - 270_000
    assert kernel.ledger.totals().debits_pending == 0


def test_small_first_saves_what_the_law_says(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path, play_small_first, check_small_first, durability="batch")


@pytest.mark.parametrize("by", ["address", "query", "batch"])
def test_an_escalation_beyond_the_budget_ends_the_task_and_keeps_what_was_spent(by: str) -> None:
    with hanse.open(clock=hanse.ManualClock(10**18)) as kernel:
        small, large = kernel.agents.add_many(2)
        vectors = np.eye(2, 4, dtype=np.float32)
        kernel.capabilities.publish(
            np.array([small, large]),
            vectors,
            tier=np.array([0, 1], np.uint8),
            price=np.array([0, 20]),
        )
        kernel.ledger.fund(kernel.root, 100)
        kernel.ledger.set_rates(tier=SMALL, output=1_000_000)
        task = kernel.dispatch(query=vectors[0], budget=20, tier=SMALL).task
        kernel.complete(task, artifact=bytes([7] * 32), usage=hanse.Usage(output=1))
        kernel.reject(task)
        if by == "batch":
            receipts = kernel.escalate_many(
                np.array([task], np.uint64), queries=vectors[1:], tier=LARGE
            )
            assert receipts.status.tolist() == [hanse.Outcome.budget_exceeded]
        else:
            where = {"to": int(large)} if by == "address" else {"query": vectors[1]}
            with pytest.raises(hanse.BudgetError) as caught:
                kernel.escalate(task, tier=LARGE, **where)
            assert caught.value.name == "BudgetExceeded"
            assert caught.value.position == kernel.journal.count - 1
        assert kernel.tasks.get(task).state == "voided"
        assert kernel.tasks.get(task).spent == 1
        assert kernel.ledger.balance(kernel.root) == 99
        assert kernel.ledger.totals().debits_pending == 0
        assert kernel.tasks.economics().spend == 1


def test_an_escalation_finds_what_is_left_can_pay_behind_many_that_are_dearer() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(101)
        vectors = np.ones((101, 4), np.float32)
        vectors[100] = [1, 1, 1, 0]  # the farthest is the one that can be paid
        price = np.full(101, 500)
        price[100] = 5
        kernel.capabilities.publish(ids, vectors, price=price, tier=1)
        worker = kernel.agents.add("small")
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=worker, budget=20).task
        kernel.complete(task, artifact=bytes([7] * 32))
        kernel.reject(task)
        receipt = kernel.escalate(task, query=vectors[0], tier=1)
        assert (receipt.agent, receipt.price, receipt.attempt) == (int(ids[100]), 5, 2)


def test_an_escalation_to_where_no_one_is_leaves_the_task_as_it_was() -> None:
    with hanse.open() as kernel:
        worker = kernel.agents.add("small")
        vectors = np.eye(1, 4, dtype=np.float32)
        kernel.capabilities.publish(np.array([worker], np.uint64), vectors)
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=worker, budget=20).task
        kernel.complete(task, artifact=bytes([7] * 32))
        kernel.reject(task)
        state = kernel.state_hash
        with pytest.raises(hanse.NotFoundError) as caught:
            kernel.escalate(task, query=vectors[0], tier=9)
        assert caught.value.name == "NoFeasibleAgent"
        assert {why: n for why, n in caught.value.reasons.items() if n} == {"tier": 1}
        assert kernel.state_hash == state
        assert kernel.tasks.get(task).state == "rejected"


def test_a_task_that_asks_for_a_verifier_is_not_accepted_without() -> None:
    with hanse.open() as kernel:
        worker, auditor = kernel.agents.add("worker"), kernel.agents.add("auditor")
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=worker, budget=20, verify=True).task
        kernel.complete(task, artifact=bytes([7] * 32))
        state = kernel.state_hash
        with pytest.raises(hanse.DeniedError) as caught:
            kernel.accept(task)
        assert caught.value.name == "VerifierRequired"
        with pytest.raises(hanse.DeniedError) as caught:
            kernel.accept(task, verifier=worker)
        assert caught.value.name == "NotPermitted"
        assert kernel.state_hash == state
        kernel.accept(task, verifier=auditor)
        assert kernel.tasks.get(task).verifier == auditor
