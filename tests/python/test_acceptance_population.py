"""Revocation of a part of a population, batches with bad elements, logs that can't be read."""

import struct
from pathlib import Path

import numpy as np
import pytest
from reopening import START_NS, Facts, holds_through_a_kill, holds_through_reopening, open_at

import hanse


def play_revocation(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    humans = kernel.agents.add_many([f"human {i}" for i in range(10)], kind="human")
    leads, members = [], []
    for i in range(100):
        team = kernel.agents.add(f"team {i}", kind="group", parent=int(humans[i % 10]))
        lead = kernel.agents.add("lead", parent=team)
        leads.append(lead)
        members.append(kernel.agents.add_many(100, parent=lead))
    worker = kernel.agents.add("worker", kind="tool")
    debit = np.full(10_000, kernel.root, np.uint64)
    kernel.ledger.fund(kernel.root, 100_000)
    everyone = np.concatenate(members)
    for part in np.split(everyone, 2):
        paid = kernel.ledger.transfer_many(debit[: len(part)], part, 10)
        assert (paid == hanse.TransferOutcome.ok).all()
    open_task = kernel.as_agent(int(members[7][0])).dispatch(to=worker, budget=4).task
    kernel.agents.revoke(leads[7])
    return {
        "lead": leads[7],
        "members": [part.tolist() for part in members[6:9]],
        "human": int(humans[7]),
        "worker": worker,
        "open": open_task,
    }


def check_revocation(kernel: hanse.Kernel, facts: Facts) -> None:
    before, revoked, after = facts["members"]
    state = kernel.state_hash
    totals = kernel.ledger.totals()
    for member in revoked:
        me = kernel.as_agent(member)
        with pytest.raises(hanse.DeniedError) as caught:
            me.dispatch(to=facts["worker"], budget=1)
        assert (caught.value.name, caught.value.id) == ("Revoked", facts["lead"])
        assert me.send(facts["worker"], b"x") == hanse.Outcome.revoked
        assert not kernel.agents.get(member).live
    assert kernel.state_hash == state
    assert kernel.ledger.totals() == totals
    assert totals.debits == totals.credits
    for member in (before[0], after[0]):
        task = kernel.as_agent(member).dispatch(to=facts["worker"], budget=1).task
        kernel.as_agent(member).void(task)
    # What they had reserved and not spent is their team's again.
    assert kernel.tasks.get(facts["open"]).state == "voided"
    assert [kernel.ledger.balance(member) for member in revoked] == [0] * len(revoked)
    assert kernel.ledger.balance(kernel.agents.get(facts["lead"]).parent) == 10 * len(revoked)
    assert kernel.ledger.totals().debits_pending == 0


def test_a_revoked_lead_stops_its_hundred_members_and_no_one_else(tmp_path: Path) -> None:
    holds_through_reopening(
        tmp_path / "closed", play_revocation, check_revocation, durability="batch"
    )


def test_a_delegation_only_narrows_and_ends_at_16() -> None:
    with hanse.open() as kernel:
        team = kernel.agents.add("team", kind="group", budget_max=100, permissions=0b11)
        state = kernel.state_hash
        for more in ({"budget_max": 101}, {"permissions": 0b100}):
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.agents.add("x", parent=team, **more)
            assert caught.value.name == "AttenuationViolation"
        assert kernel.state_hash == state
        kernel.ledger.fund(team, 1_000)
        with pytest.raises(hanse.BudgetError) as caught:
            kernel.as_agent(team).dispatch(to=kernel.root, budget=101)
        assert caught.value.name == "BudgetExceeded"


def one_bad_element(kernel: hanse.Kernel) -> tuple[dict[str, object], np.ndarray]:
    ids = kernel.agents.add_many(10)
    kernel.capabilities.publish(ids, np.eye(10, 16, dtype=np.float32), price=1)
    kernel.ledger.fund(kernel.root, 1_000)
    queries = np.eye(10, 16, dtype=np.float32)
    queries[4] = np.nan
    keys = [f"key {i}" for i in range(10)]
    return {"queries": queries, "budgets": np.full(10, 5, np.uint64), "keys": keys}, ids


def play_batch(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    batch, ids = one_bad_element(kernel)
    receipts = kernel.dispatch_many(**batch)  # type: ignore[arg-type]
    assert receipts.durability == "each"
    return {
        "ids": ids.tolist(),
        "tasks": receipts.tasks.tolist(),
        "status": receipts.status.tolist(),
    }


def check_batch(kernel: hanse.Kernel, facts: Facts) -> None:
    status, tasks = facts["status"], facts["tasks"]
    assert status == [0] * 4 + [int(hanse.Outcome.invalid)] + [0] * 5
    assert tasks[4] == 0
    for i, task in enumerate(tasks):
        if task:
            found = kernel.lookup(f"key {i}")
            assert (found.task, found.agent) == (task, facts["ids"][i])
    with pytest.raises(hanse.NotFoundError):
        kernel.lookup("key 4")  # invalid input uses no key up
    assert kernel.tasks.count() == 9
    assert kernel.ledger.balance(kernel.root) == 1_000 - 45


def test_one_invalid_element_leaves_the_others_and_their_order_alone(tmp_path: Path) -> None:
    holds_through_a_kill(tmp_path / "killed", play_batch, check_batch)


def test_an_atomic_batch_with_one_invalid_element_is_aborted_whole() -> None:
    with hanse.open() as kernel:
        batch, _ = one_bad_element(kernel)
        state, count = kernel.state_hash, kernel.journal.count
        receipts = kernel.dispatch_many(**batch, atomic=True)  # type: ignore[arg-type]
        want = [hanse.Outcome.aborted] * 10
        want[4] = hanse.Outcome.invalid
        assert receipts.status.tolist() == want
        assert receipts[3].reason == "element 4 failed"
        assert not receipts.tasks.any()
        assert (kernel.state_hash, kernel.journal.count) == (state, count)
        batch["queries"] = np.eye(10, 16, dtype=np.float32)
        receipts = kernel.dispatch_many(**batch, atomic=True)  # type: ignore[arg-type]
        assert (receipts.status == hanse.Outcome.ok).all()
        receipts = kernel.dispatch_many(**batch, atomic=True)  # type: ignore[arg-type]
        assert (receipts.status == hanse.Outcome.replayed).all()
        assert kernel.tasks.count() == 10


def test_an_atomic_batch_of_transfers_is_all_or_none() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(4)
        kernel.ledger.fund(int(ids[0]), 10)
        state, count = kernel.state_hash, kernel.journal.count
        debit = np.repeat(ids[:1], 3)
        amounts = np.array([4, 7, 1], np.uint64)
        outcomes = kernel.ledger.transfer_many(debit, ids[1:], amounts, atomic=True)
        outcome = hanse.TransferOutcome
        assert outcomes.tolist() == [outcome.aborted, outcome.exceeds_credits, outcome.aborted]
        assert (kernel.state_hash, kernel.journal.count) == (state, count)
        outcomes = kernel.ledger.transfer_many(debit, ids[1:], amounts)
        assert outcomes.tolist() == [outcome.ok, outcome.exceeds_credits, outcome.ok]
        assert kernel.journal.count == count + 1


# --- logs that can't be read

CRC_OFFSET, VERSION_OFFSET, BLOCK = 8, 12, 4096


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    return value ^ 0xFFFFFFFF


def some_log(directory: Path) -> Path:
    kernel, _ = open_at(directory)
    with kernel:
        for i in range(8):
            kernel.agents.add(f"agent {i}")
    (segment,) = directory.glob("segment-*")
    return segment


def test_a_log_of_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    segment = some_log(tmp_path)
    data = bytearray(segment.read_bytes())
    block = bytearray(data[:BLOCK])
    (version,) = struct.unpack_from("<I", block, VERSION_OFFSET)
    struct.pack_into("<I", block, CRC_OFFSET, 0)
    (stored,) = struct.unpack_from("<I", data, CRC_OFFSET)
    assert crc32c(bytes(block)) == stored
    struct.pack_into("<I", block, VERSION_OFFSET, version + 1)
    struct.pack_into("<I", block, CRC_OFFSET, crc32c(bytes(block)))
    data[:BLOCK] = block
    segment.write_bytes(data)
    for opened in (lambda: open_at(tmp_path), lambda: hanse.verify(tmp_path)):
        with pytest.raises(hanse.StorageError) as caught:
            opened()
        assert caught.value.name == "LogVersion"
        assert caught.value.field == segment.name
        assert str(version + 1) in caught.value.detail
    assert segment.read_bytes() == data


@pytest.mark.parametrize("block", [1, 4, 7])
def test_a_hole_in_the_middle_is_corruption_with_its_offset_and_never_guessed_around(
    tmp_path: Path, block: int
) -> None:
    segment = some_log(tmp_path)
    data = bytearray(segment.read_bytes())
    assert any(data[block * BLOCK : (block + 1) * BLOCK])
    data[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
    segment.write_bytes(data)
    for opened in (lambda: open_at(tmp_path), lambda: hanse.verify(tmp_path)):
        with pytest.raises(hanse.StorageError) as caught:
            opened()
        assert caught.value.name == "LogCorrupt"
        assert caught.value.field == segment.name
        assert f"offset {block * BLOCK}" in caught.value.detail
    assert segment.read_bytes() == data


def test_a_segment_cut_in_half_is_corruption(tmp_path: Path) -> None:
    segment = some_log(tmp_path)
    data = segment.read_bytes()
    segment.write_bytes(data[: 4 * BLOCK])
    for opened in (lambda: open_at(tmp_path), lambda: hanse.verify(tmp_path)):
        with pytest.raises(hanse.StorageError) as caught:
            opened()
        assert caught.value.name == "LogCorrupt"


def test_an_extent_that_is_gone_or_altered_is_named(tmp_path: Path) -> None:
    kernel, _ = open_at(tmp_path)
    with kernel:
        kernel.policy.load("permit(principal, action, resource);\n// " + "x" * 5_000)
    (extent,) = (
        (tmp_path / "extents").rglob("*")
        if (tmp_path / "extents").is_dir()
        else (
            path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == 5_040
        )
    )
    data = extent.read_bytes()
    extent.write_bytes(data[:-1] + b"y")
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify(tmp_path)
    assert caught.value.name == "LogCorrupt"
    extent.unlink()
    for opened in (lambda: open_at(tmp_path), lambda: hanse.verify(tmp_path)):
        with pytest.raises(hanse.StorageError) as caught:
            opened()
        assert caught.value.name == "ExtentMissing"


def test_a_torn_tail_is_cut_and_reported(tmp_path: Path) -> None:
    kernel, _ = open_at(tmp_path)
    with kernel:
        kernel.agents.add("one")
        root, count = kernel.journal.root, kernel.journal.count
    (segment,) = tmp_path.glob("segment-*")
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK
    data[end : end + 100] = b"\x5a" * 100
    segment.write_bytes(data)
    assert hanse.verify(tmp_path).torn_bytes > 0
    kernel, _ = open_at(tmp_path, now_ns=START_NS + 1)
    with kernel:
        assert kernel.journal.status().torn_bytes_cut > 0
        assert (kernel.journal.root, kernel.journal.count) == (root, count)
        kernel.agents.add("two")
    assert hanse.verify(tmp_path).count == count + 1
