"""Opening from a snapshot is opening from the first record, and what was dropped stays proven."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import hanse

START_NS = 1_700_000_000_000_000_000
SEGMENT_SIZE = 1 << 16
SEEDS = [3, 17, 2_024]


class Play:
    """Everything a record plane can hold, by random steps of a seed."""

    def __init__(self, kernel: hanse.Kernel, clock: hanse.ManualClock, seed: int) -> None:
        self.kernel, self.clock, self.random = kernel, clock, random.Random(seed)
        self.team = kernel.agents.add("team", kind="group")
        self.ids = [int(i) for i in kernel.agents.add_many(8, parent=self.team)]
        self.vectors = np.random.default_rng(seed).standard_normal((8, 8)).astype(np.float32)
        kernel.capabilities.publish(
            np.array(self.ids, np.uint64), self.vectors, price=np.arange(1, 9), skills=3, slots=40
        )
        kernel.ledger.fund(self.team, 10_000_000)
        for agent in self.ids:
            kernel.ledger.fund(agent, 1_000)
        kernel.ledger.set_rates(tier=0, fresh=1_500_000, output=3_000_001)
        self.tasks: list[int] = []
        self.holds: list[int] = []
        self.number = 0

    def run(self, steps: int) -> None:
        choices = (self.dispatch, self.complete, self.transfer, self.hold, self.resolve,
                   self.publish, self.add, self.policy)  # fmt: skip
        for _ in range(steps):
            self.number += 1
            self.clock.advance(self.random.randrange(1, 50_000_000))
            self.random.choices(choices, weights=(6, 4, 4, 2, 2, 2, 1, 0.2))[0]()

    def dispatch(self) -> None:
        picked = self.random.randrange(8)
        payload = self.random.randbytes(self.random.choice((0, 60, 5_000)))
        deadline = self.clock.now_ns + 400_000_000 if self.number % 3 == 0 else 0
        try:
            receipt = self.kernel.as_agent(self.team).dispatch(
                query=self.vectors[picked], budget=50, payload=payload, key=f"key-{self.number}",
                deadline_ns=deadline, task_class=f"class-{self.number % 5}",
            )  # fmt: skip
        except (hanse.NotFoundError, hanse.BudgetError):
            return
        self.tasks.append(receipt.task)

    def complete(self) -> None:
        if not self.tasks:
            return
        task = self.tasks.pop(self.random.randrange(len(self.tasks)))
        artifact = hashlib.sha256(b"%d" % self.number).digest()
        # It may have expired, or cost more than was left of it.
        with contextlib.suppress(hanse.ConflictError, hanse.BudgetError):
            self.kernel.complete(task, artifact=artifact, usage=hanse.Usage(fresh=3, output=2))
            if self.number % 2:
                self.kernel.accept(task)

    def transfer(self) -> None:
        a, b = self.random.sample(self.ids, 2)
        key = self.number if self.number % 2 else None
        with contextlib.suppress(hanse.BudgetError):
            self.kernel.ledger.transfer(a, b, self.random.randrange(1, 200), key=key)

    def hold(self) -> None:
        a, b = self.random.sample(self.ids, 2)
        expires = self.clock.now_ns + 300_000_000 if self.number % 2 else 0
        with contextlib.suppress(hanse.BudgetError):
            self.holds.append(self.kernel.ledger.hold(a, b, 5, expires_ns=expires))

    def resolve(self) -> None:
        if not self.holds:
            return
        hold = self.holds.pop(0)
        # It may have expired.
        with contextlib.suppress(hanse.ConflictError):
            if self.number % 3:
                self.kernel.ledger.post(hold)
            else:
                self.kernel.ledger.void(hold)

    def publish(self) -> None:
        i = self.random.randrange(8)
        self.kernel.capabilities.publish(
            np.array([self.ids[i]], np.uint64), self.vectors[i : i + 1], price=self.number
        )

    def add(self) -> None:
        self.kernel.agents.add(f"agent-{self.number}", parent=self.team)

    def policy(self) -> None:
        self.kernel.policy.load(f"permit(principal, action, resource);\n// {self.number}")


def opened(directory: Path, clock: hanse.ManualClock, **options: object) -> hanse.Kernel:
    return hanse.open(
        directory, clock=clock, seed=5, segment_size=SEGMENT_SIZE, background=False, **options
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_at_any_position_state_and_root_are_those_of_a_full_replay(
    seed: int, tmp_path: Path
) -> None:
    clock = hanse.ManualClock(START_NS)
    kernel = opened(tmp_path / "state", clock)
    play = Play(kernel, clock, seed)
    for _ in range(6):
        play.run(60)
        taken = kernel.journal.snapshot()
        assert taken.state_hash == kernel.state_hash
        assert taken.count == kernel.journal.count
        play.run(play.random.randrange(1, 40))
        copy = Path(shutil.copytree(tmp_path / "state", tmp_path / "copy"))
        with opened(copy, clock, read_only=True) as quick:
            assert quick.journal.status().replayed_from == taken.count
            found = quick.state_hashes(), quick.journal.root
        shutil.rmtree(copy / "snapshots")
        with opened(copy, clock, read_only=True) as whole:
            assert whole.journal.status().replayed_from == 0
            assert (whole.state_hashes(), whole.journal.root) == found
        assert found == (kernel.state_hashes(), kernel.journal.root)
        shutil.rmtree(copy)
    kernel.close()
    verified = hanse.verify(tmp_path / "state", jobs=3)
    assert verified.snapshots == 2
    assert verified.balanced


def test_what_goes_on_after_a_snapshot_is_what_would_have_gone_on(tmp_path: Path) -> None:
    """Keys, holds, slots, deadlines: a later record rests on them, not the hash alone."""
    results = []
    for with_snapshot in (False, True):
        directory = tmp_path / str(with_snapshot)
        clock = hanse.ManualClock(START_NS)
        kernel = opened(directory, clock)
        play = Play(kernel, clock, 9)
        play.run(200)
        if with_snapshot:
            kernel.journal.snapshot()
        kernel.close()
        play.kernel = kernel = opened(directory, clock)
        assert (kernel.journal.status().replayed_from != 0) is with_snapshot
        play.run(300)
        results.append((kernel.state_hash, kernel.journal.root, kernel.journal.count))
        kernel.close()
    assert results[0] == results[1]


def compacted(directory: Path, clock: hanse.ManualClock) -> tuple[hanse.Kernel, int]:
    kernel = opened(directory, clock)
    play = Play(kernel, clock, 4)
    for _ in range(2):
        play.run(300)
        kernel.journal.snapshot()
    report = kernel.journal.compact(keep=20)
    assert report.freed_bytes > 0
    assert report.oldest > 0
    return kernel, report.oldest


def test_a_compacted_journal_proves_every_record_and_reads_those_it_kept(tmp_path: Path) -> None:
    clock = hanse.ManualClock(START_NS)
    plain = opened(tmp_path / "plain", clock)
    play = Play(plain, clock, 4)
    play.run(300)
    play.run(300)
    clock = hanse.ManualClock(START_NS)
    kernel, oldest = compacted(tmp_path / "state", clock)
    count = kernel.journal.count
    assert plain.journal.root == kernel.journal.root
    root, state = kernel.journal.root, kernel.state_hash
    kernel.close()
    with opened(tmp_path / "state", clock, read_only=True) as reader:
        assert (reader.journal.root, reader.state_hash) == (root, state)
        for position in range(0, count, 11):
            proof = reader.journal.prove(position)
            assert proof.verify()
            assert proof == plain.journal.prove(position)
        assert reader.journal.prove_consistency(7) == plain.journal.prove_consistency(7)
        assert reader.journal.event(oldest) == plain.journal.event(oldest)
        entries = reader.ledger.entries(limit=65_536)
        assert entries.floor == oldest
        assert (entries.position >= oldest).all()
        theirs = plain.ledger.entries(limit=65_536)
        kept = theirs.position >= oldest
        for name, column in entries.columns.items():
            np.testing.assert_array_equal(column, theirs.columns[name][kept], err_msg=name)
        for at in (oldest - 1, (oldest + count) // 2, count - 1):
            assert reader.ledger.accounts(at=at) == plain.ledger.accounts(at=at)
        for call in (
            lambda: reader.journal.event(0),
            lambda: reader.ledger.entries(start=1),
            lambda: reader.ledger.accounts(at=oldest - 2),
        ):
            with pytest.raises(hanse.NotFoundError) as caught:
                call()
            assert caught.value.name == "UnknownEvent"
            assert str(oldest) in caught.value.detail
    verified = hanse.verify(tmp_path / "state", jobs=2)
    assert (verified.oldest, verified.root, verified.state_hash) == (oldest, root, state)
    assert verified.folded_from > 0
    plain.close()


def test_a_damaged_snapshot_is_found_by_verify_and_passed_over_by_open(tmp_path: Path) -> None:
    clock = hanse.ManualClock(START_NS)
    kernel, _ = compacted(tmp_path / "state", clock)
    state = kernel.state_hash
    kernel.close()
    newer = sorted((tmp_path / "state" / "snapshots").iterdir())[-1]
    sound = newer.read_bytes()
    for place in random.Random(1).sample(range(len(sound)), 24):
        damaged = bytearray(sound)
        damaged[place] ^= 0x10
        newer.write_bytes(damaged)
        with pytest.raises(hanse.StorageError) as caught:
            hanse.verify(tmp_path / "state")
        assert caught.value.name in ("LogCorrupt", "LogVersion")
        assert newer.name in caught.value.field
        with opened(tmp_path / "state", clock, read_only=True) as reader:
            assert reader.state_hash == state
    newer.write_bytes(sound)
    leaves = tmp_path / "state" / "leaves"
    bytes_of_leaves = bytearray(leaves.read_bytes())
    bytes_of_leaves[5_000] ^= 1
    leaves.write_bytes(bytes_of_leaves)
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify(tmp_path / "state")
    assert caught.value.field == "leaves"
    with opened(tmp_path / "state", clock, read_only=True) as reader:
        assert reader.state_hash == state  # proofs need the leaves; the state does not
        with pytest.raises(hanse.StorageError):
            reader.journal.prove(0)
    shutil.rmtree(tmp_path / "state" / "snapshots")
    with pytest.raises(hanse.StorageError) as caught:
        opened(tmp_path / "state", clock)
    assert caught.value.name == "LogCorrupt"
    assert "oldest record kept" in caught.value.detail


def test_a_background_thread_takes_snapshots_and_keeps_what_it_was_told_to(tmp_path: Path) -> None:
    with hanse.open(
        tmp_path, segment_size=SEGMENT_SIZE, snapshot_every=1 << 18, retain_bytes=1 << 18
    ) as kernel:
        ids = kernel.agents.add_many(50)
        kernel.ledger.fund(kernel.root, 1_000_000)
        budgets, payloads = np.ones(50, np.uint64), [b"x" * 99] * 50
        for _ in range(200):
            kernel.dispatch_many(to=ids, budgets=budgets, payloads=payloads)
        for _ in range(2_400):  # it looks once a second, and gives way to everyone
            kernel.dispatch_many(to=ids, budgets=budgets, payloads=payloads)
            if kernel.journal.status().oldest > 0:
                break
            time.sleep(0.05)
        else:
            pytest.fail("nothing was ever dropped")
        assert kernel.journal.snapshots()
        state = kernel.state_hash
    assert hanse.verify(tmp_path, jobs=2).state_hash == state


def test_snapshots_and_compaction_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    with hanse.open() as kernel:
        for call in (kernel.journal.snapshot, kernel.journal.compact):
            with pytest.raises(hanse.StorageError) as caught:
                call()
            assert caught.value.name == "UnusableDirectory"
        assert kernel.journal.snapshots() == []
    with hanse.open(tmp_path) as kernel:
        for wrong in (0, 3, -1, 1.5, "2", None):
            with pytest.raises(hanse.InvalidError):
                kernel.journal.compact(snapshots=wrong)
        for wrong in (-1, "x", None, 1 << 64):
            with pytest.raises(hanse.InvalidError):
                kernel.journal.compact(keep=wrong)
        assert kernel.journal.compact().snapshot is None
    with hanse.open(tmp_path, read_only=True) as kernel:
        for call in (kernel.journal.snapshot, kernel.journal.compact):
            with pytest.raises(hanse.InvalidError) as refused:
                call()
            assert refused.value.name == "ReadOnly"


def test_a_reader_beside_the_writer_opens_from_its_snapshot(tmp_path: Path) -> None:
    with hanse.open(tmp_path, segment_size=SEGMENT_SIZE) as kernel:
        for _ in range(200):
            kernel.agents.add()
        count = kernel.journal.snapshot().count
        kernel.agents.add("later")
        with hanse.open(tmp_path, read_only=True) as reader:
            assert reader.journal.status().replayed_from == count
            assert reader.agents.find("later") is not None
            assert reader.state_hash == kernel.state_hash
