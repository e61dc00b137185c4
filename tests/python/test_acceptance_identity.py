"""An agent stays itself: keys rotate, histories are checked, passports go between kernels."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from reopening import Facts, holds_through_a_kill, holds_through_reopening, open_at

import hanse

pytest.importorskip("cryptography", reason="signatures need the extra sign")

SEEDS = [bytes([i]) * 32 for i in range(1, 6)]


def key(i: int) -> hanse.SigningKey:
    return hanse.SigningKey(SEEDS[i])


def work(kernel: hanse.Kernel, buyer: int, worker: int, count: int, salt: str = "") -> None:
    """Every fifth task is rejected and voided, the others are accepted."""
    me = kernel.as_agent(buyer)
    tasks = me.dispatch_many(
        to=np.full(count, worker, np.uint64), budgets=10, task_class="audit"
    ).tasks
    names = [sha256(f"{salt}{i}".encode()).digest() for i in range(count)]
    artifacts = np.frombuffer(b"".join(names), np.uint8).reshape(count, 32)
    kernel.complete_many(tasks, artifacts, np.zeros((count, 4), np.uint64))
    bad = np.arange(count) % 5 == 4
    assert not me.reject_many(tasks[bad]).any()
    assert not me.accept_many(tasks[~bad]).any()
    assert not me.void_many(tasks[bad]).any()


def settle(kernel: hanse.Kernel, count: int) -> tuple[int, int]:
    buyer = kernel.agents.add("buyer", kind="group")
    firm = kernel.agents.add("firm", kind="group")
    worker = kernel.agents.add("worker", parent=firm, key=key(0).public)
    kernel.ledger.fund(buyer, 1_000_000)
    kernel.reputation.set_role("auditor", task_class="audit", mean=0.75, count=20)
    work(kernel, buyer, worker, count)
    return buyer, worker


def play_a_life(kernel: hanse.Kernel, clock: hanse.ManualClock) -> Facts:
    _, worker = settle(kernel, 1_000)
    agents = kernel.agents
    agents.remodel(worker, "org/model@1", key=key(0))
    for i in range(3):
        agents.rotate(worker, key=key(i), to=key(i + 1))
    agents.embody(worker, "host:rack-7", key=key(3))
    agents.embody(worker, "robot:arm-2", key=key(3))
    return {"worker": worker}


def check_a_life(kernel: hanse.Kernel, facts: Facts) -> None:
    worker = facts["worker"]
    lineage = kernel.agents.lineage(worker)
    lineage.verify()
    assert lineage.aid == sha256(key(0).public).hexdigest() == kernel.agents.get(worker).identity
    assert (lineage.epoch, lineage.key) == (3, key(3).public)
    assert lineage.of_step("embodiment") == ["host:rack-7", "robot:arm-2"]
    assert [entry.step for entry in lineage.entries].count("rotated") == 3
    for entry in lineage.entries:
        assert kernel.journal.event(entry.position).type == "identity_changed"
    standing = kernel.reputation.of(worker, "audit")
    assert (standing.accepted, standing.rejected) == (800, 200)
    assert kernel.reputation.roles_of(worker) == ["auditor"]
    told = kernel.explain(worker)
    for part in (lineage.aid, hanse.did_key(key(3).public), "auditor"):
        assert part in told

    passport = bytes(kernel.passports.export(worker, key=key(3)))
    with hanse.open() as other:
        other.reputation.set_role("auditor", task_class="audit", mean=0.75, count=20)
        team = other.agents.add("team", kind="group")
        newcomer = other.passports.admit(passport, parent=team)
        assert other.agents.get(newcomer).identity == lineage.aid
        assert other.agents.lineage(newcomer).head == lineage.head
        assert other.reputation.of(newcomer, "audit") == standing
        assert other.reputation.roles_of(newcomer) == ["auditor"]
        assert other.passports.admit(passport) == newcomer


def test_a_passport_carries_identity_standing_and_roles(tmp_path: Path) -> None:
    holds_through_reopening(tmp_path / "a", play_a_life, check_a_life, durability="batch")
    holds_through_a_kill(tmp_path / "b", play_a_life, check_a_life, durability="batch")


def refusal(call: object, *names: str) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name in names, caught.value
    return caught.value


def test_a_retired_key_signs_nothing_more_and_changes_nothing() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("a", key=key(0).public)
        agents = kernel.agents
        agents.rotate(agent, key=key(0), to=key(1))
        agents.rotate(agent, key=key(1), to=key(2))
        state, count = kernel.state_hash, kernel.journal.count
        for i in range(2):
            error = refusal(lambda i=i: agents.embody(agent, "x", key=key(i)), "KeyRetired")
            assert f"epoch {i}" in error.detail
        refusal(lambda: agents.rotate(agent, key=key(2), to=key(0)), "KeyRetired")
        refusal(lambda: agents.embody(agent, "x", key=key(4)), "BadSignature")
        refusal(lambda: agents.revoke_key(agent, key=key(4)), "BadSignature")
        assert (kernel.state_hash, kernel.journal.count) == (state, count)
        agents.revoke_key(agent)  # by the root, without a signature
        refusal(lambda: agents.embody(agent, "x", key=key(2)), "KeyRetired")
        assert agents.lineage(agent).key is None
        agents.lineage(agent).verify()
        refusal(lambda: agents.lineage(kernel.root), "UnknownAgent")


def passport_of(directory: Path, count: int = 5) -> tuple[bytes, str]:
    kernel, _ = open_at(directory, durability="batch")
    with kernel:
        _, worker = settle(kernel, count)
        for i in range(2):
            kernel.agents.rotate(worker, key=key(i), to=key(i + 1))
        kernel.agents.embody(worker, "host", key=key(2))
        refusal(lambda: kernel.passports.export(worker, key=key(1)), "KeyRetired")
        refusal(lambda: kernel.passports.export(worker, key=key(4)), "BadSignature")
        return bytes(kernel.passports.export(worker, key=key(2))), kernel.journal.root


def signed(fields: dict[str, object], by: hanse.SigningKey) -> bytes:
    unsigned = hanse.Passport(fields, b"")
    return bytes(hanse.Passport(fields, by.sign(unsigned.digest)))


def test_a_passport_that_was_changed_is_refused_by_what_was_changed(tmp_path: Path) -> None:
    data, _ = passport_of(tmp_path / "k")
    good = hanse.Passport.read(data)
    good.verify()

    def changed(**fields: object) -> bytes:
        return signed({**good.fields, **fields}, key(2))

    entries = good.fields["entries"]
    with hanse.open() as kernel:
        state, count = kernel.state_hash, kernel.journal.count

        def refused(passport: bytes, name: str) -> hanse.HanseError:
            error = refusal(lambda: kernel.passports.admit(passport), name)
            assert (kernel.state_hash, kernel.journal.count) == (state, count)
            return error

        assert "entry 2" in refused(changed(entries=entries[:2]), "BrokenLineage").detail
        assert "entry 0" in refused(changed(entries=entries[1:]), "BrokenLineage").detail
        swapped = [entries[1], entries[0], entries[2]]
        refused(changed(entries=swapped), "BrokenLineage")
        other_text = [*entries[:2], {**entries[2], "text": "robot"}]
        refused(changed(entries=other_text), "BadSignature")
        refused(signed({**good.fields, "key": key(1).public.hex()}, key(1)), "KeyRetired")
        refused(signed({**good.fields, "name": "x"}, key(3)), "BadSignature")
        refused(data.replace(b'"worker"', b'"walker"'), "BadSignature")
        receipts = json.loads(json.dumps(good.fields["receipts"]))
        record = receipts[1]["records"][1]["record"]
        receipts[1]["records"][1]["record"] = record[:-2] + ("00" if record[-2:] != "00" else "01")
        refused(changed(receipts=receipts), "LogCorrupt")
        refused(changed(receipts=good.fields["receipts"][:2]), "LogCorrupt")
        refused(changed(receipts=[*good.fields["receipts"], good.fields["receipts"][0]]),
                "LogCorrupt")  # fmt: skip
        for junk in (b"", b"[]", b"{}", b'{"document": {}, "signature": ""}', b"\xff", data[:-9]):
            refused(junk, "BrokenLineage")


def test_the_receipts_of_two_workers_make_no_passport(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        buyer, worker = settle(kernel, 5)
        other = kernel.agents.add("other", parent=kernel.agents.get(worker).parent)
        work(kernel, buyer, other, 5, salt="other")
        passport = kernel.passports.export(worker, key=key(0))
        count = passport.fields["count"]
        more = kernel.passports._receipts(other, count)
    mixed = {**passport.fields, "receipts": [*passport.fields["receipts"], *more]}
    found = hanse.Passport.read(signed(mixed, key(0)))
    assert "workers" in refusal(found.verify, "LogCorrupt").detail


def test_two_histories_of_one_identity_are_a_fork_with_both_heads(tmp_path: Path) -> None:
    exports = []
    for name, to in (("x", 1), ("y", 3)):
        kernel, _ = open_at(tmp_path / name, durability="batch")
        with kernel:
            agent = kernel.agents.add("a", key=key(0).public)
            exports.append(kernel.passports.export(agent, key=key(0)))
            kernel.agents.rotate(agent, key=key(0), to=key(to))
            exports.append(kernel.passports.export(agent, key=key(to)))
    before, one, _, other = exports
    with hanse.open() as kernel:
        first = kernel.passports.admit(before)
        assert kernel.passports.admit(one) == first
        state = kernel.state_hash
        error = refusal(lambda: kernel.passports.admit(other), "IdentityFork")
        assert one.fields["head"] in error.detail
        assert other.fields["head"] in error.detail
        assert kernel.state_hash == state
        assert kernel.passports.admit(before) == first  # older news is no fork
        assert kernel.agents.lineage(first).head.hex() == one.fields["head"]


def test_keys_are_written_as_did_key() -> None:
    # The example of the did:key method specification, section 3.1.
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    assert hanse.did_key(hanse.key_of_did(did)) == did
    for i in range(5):
        assert hanse.key_of_did(key(i).did) == key(i).public
    for bad in ("did:key:f00", did[:-1], did[:-1] + "0", did + "1", "", "did:web:x", did * 9):
        refusal(lambda bad=bad: hanse.key_of_did(bad), "OutOfRange", "TooLarge")
    refusal(lambda: hanse.did_key(b"short"), "OutOfRange")
