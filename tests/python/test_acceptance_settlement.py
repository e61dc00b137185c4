"""Coordination, settlement and evidence: one dispatch paid, proved, refused and resolved once."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pymerkle import InclusionProof, InvalidProof, verify_inclusion
from reopening import START_NS, Facts, holds_through_a_kill, holds_through_reopening, open_at

import hanse

FEE = {"fee_basis_points": 500}
ARTIFACT = hashlib.sha256(b"the artifact").digest()
PAYLOAD = b"these bytes stand once in the log"


def pymerkle_accepts(proof: hanse.Proof) -> bool:
    """The verdict of a library that knows nothing of ours."""
    rule, start, end, bit = [], 0, proof.count, 0
    while end - start > 1:
        split = 1 << ((end - start - 1).bit_length() - 1)
        rule.append(bit)
        if proof.index < start + split:
            end, bit = start + split, 0
        else:
            start, bit = start + split, 1
    path = [bytes.fromhex(node) for node in (proof.leaf, *proof.path)]
    theirs = InclusionProof(
        algorithm="sha256",
        security=True,
        size=proof.count,
        rule=[bit, *reversed(rule)],
        path=path,
        index=proof.index + 1,
    )
    try:
        verify_inclusion(
            path[0],
            bytes.fromhex(proof.root),
            theirs,
            index=proof.index + 1,
            size=proof.count,
            algorithm="sha256",
        )
    except InvalidProof:
        return False
    return True


def play_settlement(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    a = kernel.agents.add("A", kind="group")
    b = kernel.agents.add("B")
    auditor = kernel.agents.add("auditor", kind="human")
    kernel.capabilities.publish(np.array([b], np.uint64), np.eye(1, 4, dtype=np.float32), price=300)
    kernel.ledger.fund(a, 1_000)
    me = kernel.as_agent(a)
    receipt = me.dispatch(
        query=np.eye(1, 4, dtype=np.float32)[0],
        budget=300,
        payload=PAYLOAD,
        key="order-17",
        verify=True,
    )
    assert (receipt.agent, receipt.price, receipt.reserved) == (b, 300, 300)
    assert kernel.ledger.balance(a) == 700
    assert kernel.ledger.totals().debits_pending == 300
    kernel.as_agent(b).complete(receipt.task, artifact=ARTIFACT)
    with pytest.raises(hanse.DeniedError) as caught:
        me.accept(receipt.task)
    assert caught.value.name == "VerifierRequired"
    me.accept(receipt.task, verifier=auditor)
    return {
        "a": a,
        "b": b,
        "auditor": auditor,
        "task": receipt.task,
        "position": receipt.position,
        "leaf": kernel.journal.leaf(receipt.position or 0),
    }


def check_settlement(kernel: hanse.Kernel, facts: Facts) -> None:
    a, b, task = facts["a"], facts["b"], facts["task"]
    ledger = kernel.ledger
    fees = ledger.account(kernel.root, purpose="fees").available
    assert (ledger.balance(b), fees, ledger.balance(a)) == (285, 15, 700)
    totals = ledger.totals()
    assert totals.debits == totals.credits
    assert (totals.debits_pending, totals.credits_pending) == (0, 0)
    assert kernel.tasks.get(task).state == "accepted"
    assert kernel.tasks.get(task).artifact == ARTIFACT.hex()

    # The receipt is the leaf; its proof needs nothing of the kernel.
    proof = kernel.journal.prove(facts["position"])
    assert proof.leaf == facts["leaf"]
    assert proof.root == kernel.journal.root
    assert proof.verify()
    assert pymerkle_accepts(proof)
    event = kernel.journal.event(facts["position"])
    assert event.type == "dispatched"
    assert event.fields["budget"] == "300"

    # The same key again is the same receipt, and no leaf.
    me, count = kernel.as_agent(a), kernel.journal.count
    query = np.eye(1, 4, dtype=np.float32)[0]
    same = {"query": query, "payload": PAYLOAD, "key": "order-17", "verify": True}
    again = me.dispatch(budget=300, **same)
    assert again.outcome == hanse.Outcome.replayed
    assert (again.task, again.agent, again.position) == (task, b, facts["position"])
    assert (again.price, again.reserved) == (300, 300)
    assert me.lookup("order-17") == again
    with pytest.raises(hanse.ConflictError) as caught:
        me.dispatch(budget=299, **same)
    assert caught.value.name == "IdempotencyConflict"
    assert caught.value.position == facts["position"]

    # A task resolves once, whatever comes after.
    for call in (
        lambda: kernel.as_agent(b).complete(task, artifact=ARTIFACT),
        lambda: me.accept(task, verifier=facts["auditor"]),
        lambda: me.reject(task),
        lambda: me.void(task),
        lambda: me.escalate(task, to=b),
    ):
        with pytest.raises(hanse.ConflictError) as caught:
            call()
        assert caught.value.name == "AlreadyResolved"
        assert caught.value.id == task
    assert kernel.journal.count == count


def test_a_settled_task_pays_worker_and_house_and_proves_it(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_settlement, check_settlement, **FEE)


def test_a_settlement_survives_a_kill(tmp_path: Path) -> None:
    holds_through_a_kill(tmp_path / "killed", play_settlement, check_settlement, **FEE)


def test_every_leaf_of_a_long_log_convinces_both_verifiers_and_no_other_leaf_does() -> None:
    with hanse.open(clock=hanse.ManualClock(START_NS)) as kernel:
        agent = kernel.agents.add("one")
        for i in range(20):
            kernel.ledger.fund(agent, 1 + i)
        for count in range(1, kernel.journal.count + 1):
            for position in range(count):
                proof = kernel.journal.prove(position, count=count)
                assert proof.verify()
                assert pymerkle_accepts(proof)
                other = kernel.journal.leaf((position + 1) % count)
                forged = hanse.Proof(proof.index, count, other, proof.path, proof.root)
                assert forged.verify() == pymerkle_accepts(forged) == (count == 1)


def play_deadline(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    a = kernel.agents.add("A", kind="group")
    b = kernel.agents.add("B")
    kernel.ledger.fund(a, 1_000)
    deadline = clock.now_ns + 1_000_000_000
    receipt = kernel.as_agent(a).dispatch(to=b, budget=300, deadline_ns=deadline)
    clock.set(deadline - 1)
    assert kernel.tick() == 0
    assert kernel.ledger.balance(a) == 700
    clock.set(deadline)
    assert kernel.tick() == 1
    return {"a": a, "b": b, "task": receipt.task}


def check_deadline(kernel: hanse.Kernel, facts: Facts) -> None:
    assert kernel.tasks.get(facts["task"]).state == "expired"
    assert kernel.ledger.balance(facts["a"]) == 1_000
    assert kernel.ledger.balance(facts["b"]) == 0
    assert kernel.ledger.totals().debits_pending == 0
    with pytest.raises(hanse.ConflictError) as caught:
        kernel.as_agent(facts["b"]).complete(facts["task"], artifact=ARTIFACT)
    assert caught.value.name == "AlreadyResolved"
    (event,) = [event for event in kernel.journal.events() if event.type == "expired"]
    assert event.fields["tasks"] == "1"


def test_a_deadline_gives_the_reserve_back(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_deadline, check_deadline)
    holds_through_a_kill(tmp_path / "killed", play_deadline, check_deadline)


def test_a_deadline_that_passed_while_the_kernel_was_dead_is_met_on_opening(
    tmp_path: Path,
) -> None:
    kernel, _ = open_at(tmp_path)
    with kernel:
        a, b = kernel.agents.add("A", kind="group"), kernel.agents.add("B")
        kernel.ledger.fund(a, 1_000)
        task = kernel.as_agent(a).dispatch(to=b, budget=300, deadline_ns=START_NS + 10**9).task
    kernel, _ = open_at(tmp_path, now_ns=START_NS + 2 * 10**9)
    with kernel:
        kernel.tick()
        assert kernel.tasks.get(task).state == "expired"
        assert kernel.ledger.balance(a) == 1_000


def test_a_deadline_in_the_past_is_refused_before_anything_is_reserved() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        a, b = kernel.agents.add("A", kind="group"), kernel.agents.add("B")
        kernel.ledger.fund(a, 1_000)
        clock.advance(10**9)
        state = kernel.state_hash
        with pytest.raises(hanse.TimedOutError):
            kernel.as_agent(a).dispatch(to=b, budget=300, deadline_ns=START_NS + 5 * 10**8)
        assert kernel.state_hash == state


def play_poverty(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    a, b = kernel.agents.add("A", kind="group"), kernel.agents.add("B")
    kernel.ledger.fund(a, 1_000)
    me = kernel.as_agent(a)
    with pytest.raises(hanse.BudgetError) as caught:
        me.dispatch(to=b, budget=1_001, key="too much")
    assert caught.value.name == "InsufficientFunds"
    return {"a": a, "b": b, "position": caught.value.position}


def check_poverty(kernel: hanse.Kernel, facts: Facts) -> None:
    assert kernel.ledger.balance(facts["a"]) == 1_000
    event = kernel.journal.event(facts["position"])
    assert event.type == "refused"
    assert event.fields["outcome"] == str(int(hanse.Outcome.insufficient_funds))
    # The refusal has used the key up: with more money it is refused still.
    me, count = kernel.as_agent(facts["a"]), kernel.journal.count
    with pytest.raises(hanse.BudgetError) as caught:
        me.dispatch(to=facts["b"], budget=1_001, key="too much")
    assert caught.value.position == facts["position"]
    assert me.lookup("too much").outcome == hanse.Outcome.insufficient_funds
    assert kernel.journal.count == count


def test_a_dispatch_over_the_balance_is_one_event_and_nothing_else(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "closed", play_poverty, check_poverty)
    holds_through_a_kill(tmp_path / "killed", play_poverty, check_poverty)


@pytest.mark.parametrize("byte", [0, 7, len(PAYLOAD) - 1])
def test_a_flipped_byte_of_a_record_is_named_by_its_position(tmp_path: Path, byte: int) -> None:
    kernel, clock = open_at(tmp_path, **FEE)
    with kernel:
        facts = play_settlement(kernel, clock)
    (segment,) = tmp_path.glob("segment-*")
    data = bytearray(segment.read_bytes())
    assert data.count(PAYLOAD) == 1
    data[data.index(PAYLOAD) + byte] ^= 0x10
    segment.write_bytes(data)
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify(tmp_path)
    error = caught.value
    assert (error.name, error.position) == ("LogCorrupt", facts["position"])
    assert error.field == segment.name
    assert "offset" in error.detail
    with pytest.raises(hanse.StorageError) as caught:
        open_at(tmp_path)
    assert (caught.value.name, caught.value.position) == ("LogCorrupt", facts["position"])


def test_a_hold_is_posted_or_voided_once() -> None:
    with hanse.open(clock=hanse.ManualClock(START_NS)) as kernel:
        a, b = kernel.agents.add("A"), kernel.agents.add("B")
        kernel.ledger.fund(a, 100)
        for first in (kernel.ledger.post, kernel.ledger.void):
            hold = kernel.ledger.hold(a, b, 10)
            first(hold)
            for again in (kernel.ledger.post, kernel.ledger.void):
                with pytest.raises(hanse.ConflictError) as caught:
                    again(hold)
                assert caught.value.name == "AlreadyResolved"
        assert (kernel.ledger.balance(a), kernel.ledger.balance(b)) == (90, 10)
