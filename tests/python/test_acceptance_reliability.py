"""Reliable operation: killed at any point, what is there is what an uncrashed run has recorded.

One run is never killed. Each block of its steps is played again by a process of its own, from a
copy of the directory as it stood before the block, and killed with SIGKILL on the way. What that
leaves has the root and the state of the run that was not killed, at that position, and agrees with
the checkpoint that was signed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hanse

pytest.importorskip("cryptography")

START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000
STEPS_A_BLOCK = 10
SEEDS = (17, 4_242)
BLOCKS = 12
NAME = "hanse.example/reliable"
PRICE = 7


def opened(directory: Path, block: int, **options: Any) -> tuple[hanse.Kernel, hanse.ManualClock]:
    clock = hanse.ManualClock(START_NS + block * STEPS_A_BLOCK * STEP_NS)
    kernel = hanse.open(
        directory,
        clock=clock,
        seed=5,
        background=False,
        fee_basis_points=500,
        segment_size=1 << 16,
        **options,
    )
    return kernel, clock


def play_block(kernel: hanse.Kernel, clock: hanse.ManualClock, seed: int, block: int) -> Any:
    """Ten steps that leave nothing open; yields the position of each as it is acknowledged."""
    chance = random.Random(seed * 1_000_003 + block)
    buyer = kernel.as_agent(kernel.agents.find("buyer"))
    worker = kernel.as_agent(kernel.agents.find("worker"))
    sink = kernel.agents.find("sink")

    def tick() -> None:
        clock.advance(STEP_NS)

    tick()
    yield kernel.ledger.fund(buyer.id, 100 + chance.randrange(100))
    tick()
    payload = chance.randbytes(chance.choice((10, 5_000)))
    receipt = buyer.dispatch(to=worker.id, budget=50, payload=payload, key=f"{block}")
    yield receipt.position
    tick()
    usage = hanse.Usage(fresh=chance.randrange(5))
    artifact = hashlib.sha256(b"%d" % block).digest()
    yield worker.complete(receipt.task, artifact=artifact, usage=usage)
    tick()
    yield buyer.accept(receipt.task) if block % 4 else buyer.void(receipt.task)
    tick()
    amount = chance.randrange(1, 20)
    kernel.ledger.transfer(buyer.id, sink, amount, key=block + 1)
    yield kernel.journal.count - 1
    tick()
    hold = kernel.ledger.hold(buyer.id, worker.id, PRICE)
    yield kernel.journal.count - 1
    tick()
    (kernel.ledger.post if block % 3 else kernel.ledger.void)(hold)
    yield kernel.journal.count - 1
    tick()
    assert buyer.send_durable(sink, b"letter", key=f"l{block}") == hanse.Outcome.ok
    yield kernel.journal.count - 1
    tick()
    (letter,) = kernel.drain().durable
    kernel.as_agent(sink).commit(ack=[letter.sequence])
    yield kernel.journal.count - 1
    tick()
    kernel.agents.add(parent=kernel.root)
    yield kernel.journal.count - 1


def begin(directory: Path) -> None:
    kernel, _ = opened(directory, 0)
    with kernel:
        for name in ("buyer", "worker", "sink"):
            kernel.agents.add(name)
        kernel.ledger.set_rates(tier=0, fresh=1_000_000)
        kernel.mailboxes.durable([kernel.agents.find("sink")])


def kill_block(directory: Path, seed: int, block: int, chance: random.Random) -> list[int]:
    """Positions that the child was told before it died."""
    pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe[0])
            kernel, clock = opened(directory, block)
            for position in play_block(kernel, clock, seed, block):
                os.write(pipe[1], b"%d\n" % position)
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(pipe[1])
    told, stop = b"", chance.randrange(STEPS_A_BLOCK + 1)
    try:
        while told.count(b"\n") < stop:
            part = os.read(pipe[0], 4096)
            assert part, "the child ended by itself"
            told += part
        # Half of them at once, in the middle of the next step; the others somewhere behind it.
        time.sleep(chance.choice((0, chance.uniform(0, 0.003))))
        os.kill(pid, signal.SIGKILL)
        while part := os.read(pipe[0], 4096):
            told += part
    finally:
        os.close(pipe[0])
        _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    return [int(line) for line in told.split(b"\n")[:-1]]


def check_block(directory: Path, block: int, told: list[int], known: dict[str, Any]) -> None:
    kernel, _ = opened(directory, block, read_only=True)
    with kernel:
        count = kernel.journal.count
        assert all(position < count for position in told)
        assert kernel.journal.root == known["roots"][str(count)]
        assert hanse.verify(directory).state_hash == kernel.state_hash
        if str(count) in known["states"]:
            assert kernel.state_hash == known["states"][str(count)]
        totals = kernel.ledger.totals()
        assert (totals.debits, totals.debits_pending) == (totals.credits, totals.credits_pending)
        # What was signed before the block is a prefix of what the kill left.
        public = hanse.NoteKey(NAME, known["key"]).public_key
        signed = hanse.verify_checkpoint(known["notes"][block], public)
        assert signed.count <= count
        assert kernel.journal.root_at(signed.count) == signed.root
        now = replace(signed, count=kernel.journal.count, root=kernel.journal.root)
        path = kernel.journal.prove_consistency(signed.count)
        assert hanse.verify_consistency(signed, now, path)
        for position in (0, signed.count // 2, signed.count - 1):
            proof = kernel.journal.prove(position, count=signed.count)
            assert proof.root == signed.root
            assert proof.verify()


def play_whole(directory: Path, seed: int, block: int, known: dict[str, Any]) -> None:
    """The block in the run that is never killed, and what it comes to."""
    kernel, clock = opened(directory, block)
    with kernel:
        known["notes"].append(kernel.journal.checkpoint(hanse.NoteKey(NAME, known["key"])))
        before = kernel.journal.count
        known["states"][str(before)] = kernel.state_hash
        for _ in play_block(kernel, clock, seed, block):
            known["states"][str(kernel.journal.count)] = kernel.state_hash
        for count in range(before, kernel.journal.count + 1):
            known["roots"][str(count)] = kernel.journal.root_at(count)


def run_blocks(directory: Path, seed: int, blocks: int) -> None:
    chance = random.Random(seed)
    key = hashlib.sha256(b"%d" % seed).digest()
    known: dict[str, Any] = {"roots": {}, "states": {}, "notes": [], "key": key}
    whole, copy = directory / "whole", directory / "copy"
    begin(whole)
    killed_inside = 0
    for block in range(blocks):
        shutil.copytree(whole, copy)
        play_whole(whole, seed, block, known)
        told = kill_block(copy, seed, block, chance)
        killed_inside += len(told) < STEPS_A_BLOCK
        check_block(copy, block, told, known)
        # And it goes on from there: what was told once is replayed, not done again.
        kernel, _ = opened(copy, block)
        with kernel:
            if len(told) >= 2:
                me = kernel.as_agent(kernel.agents.find("buyer"))
                assert me.lookup(f"{block}").position == told[1]
        shutil.rmtree(copy)
    assert killed_inside > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_at_any_step_leaves_what_the_uncrashed_run_had_there(
    tmp_path: Path, seed: int
) -> None:
    run_blocks(tmp_path, seed, BLOCKS)


@pytest.mark.slow
def test_ten_thousand_steps_and_a_thousand_kills(tmp_path: Path) -> None:
    run_blocks(tmp_path, 99, 1_000)


def test_a_torn_last_record_is_cut_and_reported(tmp_path: Path) -> None:
    begin(tmp_path)
    kernel, clock = opened(tmp_path, 0)
    with kernel:
        list(play_block(kernel, clock, 1, 0))
        count, root = kernel.journal.count, kernel.journal.root
    pid = os.fork()
    if pid == 0:
        kernel, clock = opened(tmp_path, 1)
        kernel.ledger.fund(kernel.agents.find("buyer"), 5)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    segment = sorted(tmp_path.glob("segment-*"))[-1]
    data = bytearray(segment.read_bytes())
    # The last flush never reached the disk whole.
    end = max(i for i in range(0, len(data), 4096) if any(data[i : i + 4096]))
    data[end + 100 : end + 4096] = bytes(3996)
    segment.write_bytes(data)
    kernel, _ = opened(tmp_path, 1)
    with kernel:
        assert kernel.journal.status().torn_bytes_cut > 0
        assert kernel.journal.root_at(count) == root


def test_what_a_newer_program_wrote_and_what_has_a_hole_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    for block in range(8):
        kernel, clock = opened(tmp_path, block)
        with kernel:
            list(play_block(kernel, clock, 3, block))
    segments = sorted(tmp_path.glob("segment-*"))
    whole = segments[0].read_bytes()
    hole = bytearray(whole)
    hole[3 * 4096 : 4 * 4096] = bytes(4096)
    segments[0].write_bytes(hole)
    for call in (lambda: opened(tmp_path, 9), lambda: hanse.verify(tmp_path)):
        with pytest.raises(hanse.StorageError) as caught:
            call()
        assert caught.value.name == "LogCorrupt"
        assert "offset" in caught.value.detail
    segments[0].write_bytes(whole)
    opened(tmp_path, 9)[0].close()


def play_signed(directory: Path, seed: int) -> dict[str, Any]:
    """R4's settlement with other numbers: of a seed."""
    chance = random.Random(seed)
    balance, fee = chance.randrange(1_000, 5_000), chance.randrange(1, 2_000)
    budget = chance.randrange(100, balance)
    kernel = hanse.open(
        directory, clock=hanse.ManualClock(START_NS), fee_basis_points=fee, background=False
    )
    a, b = kernel.agents.add("A", kind="group"), kernel.agents.add("B")
    auditor = kernel.agents.add("auditor", kind="human")
    kernel.ledger.fund(a, balance)
    me = kernel.as_agent(a)
    receipt = me.dispatch(to=b, budget=budget, payload=b"work", key=f"order-{seed}", verify=True)
    artifact = hashlib.sha256(b"%d" % seed).digest()
    kernel.as_agent(b).complete(receipt.task, artifact=artifact)
    me.accept(receipt.task, verifier=auditor)
    house = budget * fee // 10_000
    note = kernel.journal.checkpoint(hanse.NoteKey(NAME, hashlib.sha256(b"%d" % seed).digest()))
    return {
        "kernel": kernel,
        "a": a,
        "b": b,
        "left": balance - budget,
        "paid": budget - house,
        "house": house,
        "budget": budget,
        "position": receipt.position,
        "leaf": kernel.journal.leaf(receipt.position or 0),
        "note": note,
    }


def check_signed(directory: Path, seed: int, facts: dict[str, Any]) -> None:
    public = hanse.NoteKey(NAME, hashlib.sha256(b"%d" % seed).digest()).public_key
    signed = hanse.verify_checkpoint(facts["note"], public)
    with hanse.open(directory, clock=hanse.ManualClock(START_NS)) as kernel:
        ledger = kernel.ledger
        fees = ledger.account(kernel.root, purpose="fees").available
        found = (ledger.balance(facts["b"]), fees, ledger.balance(facts["a"]))
        assert found == (facts["paid"], facts["house"], facts["left"])
        totals = ledger.totals()
        assert (totals.debits, totals.debits_pending) == (totals.credits, 0)
        proof = kernel.journal.prove(facts["position"], count=signed.count)
        # Off-line: against what was signed, with nothing of the kernel.
        assert (proof.root, proof.leaf) == (signed.root, facts["leaf"])
        assert proof.verify()
        count = kernel.journal.count
        me = kernel.as_agent(facts["a"])
        same = {"to": facts["b"], "payload": b"work", "key": f"order-{seed}", "verify": True}
        again = me.dispatch(budget=facts["budget"], **same)
        assert (again.outcome, again.position) == (hanse.Outcome.replayed, facts["position"])
        with pytest.raises(hanse.ConflictError) as caught:
            me.dispatch(budget=facts["budget"] - 1, **same)
        assert caught.value.name == "IdempotencyConflict"
        assert kernel.journal.count == count
        now = replace(signed, count=kernel.journal.count, root=kernel.journal.root)
        path = kernel.journal.prove_consistency(signed.count)
        assert hanse.verify_consistency(signed, now, path)


@pytest.mark.parametrize("seed", [1, 2, 3, 1_009, 65_537])
def test_a_settlement_of_any_numbers_stands_against_its_signed_checkpoint(
    tmp_path: Path, seed: int
) -> None:
    facts = play_signed(tmp_path / "closed", seed)
    facts.pop("kernel").close()
    check_signed(tmp_path / "closed", seed, facts)

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = play_signed(tmp_path / "killed", seed)
        told.pop("kernel")
        os.write(writing, json.dumps(told).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    with os.fdopen(reading) as pipe:
        check_signed(tmp_path / "killed", seed, json.load(pipe))
