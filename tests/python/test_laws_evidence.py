"""The invariants of the design, 17 to 26: messages, latents, and the evidence of it all."""

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reopening import START_NS, open_at

import hanse

LAW = settings(max_examples=25, deadline=None, derandomize=True)
ALLOW = "permit(principal, action, resource);"
SPEC = hanse.LatentSpec("m@1", layers=1, kv_heads=1, head_dim=4)
OTHER = hanse.LatentSpec("m@2", layers=1, kv_heads=1, head_dim=4)


def fresh() -> hanse.Kernel:
    return hanse.open(clock=hanse.ManualClock(START_NS))


def artifact(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def kv(tokens: int, seed: int) -> np.ndarray:
    shape = SPEC.shape(tokens)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def refused(name: str, call: object) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name, caught.value
    return caught.value


@LAW
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 5)), max_size=40))
def test_invariant_17_messages_are_fifo_and_their_sequence_has_no_gap(
    sends: list[tuple[int, int, int]],
) -> None:
    with fresh() as kernel:
        ids = [int(id) for id in kernel.agents.add_many(3)]
        sent: dict[tuple[int, int], list[bytes]] = {}
        for number, (sender, to, size) in enumerate(sends):
            payload = number.to_bytes(2, "big") * size
            assert kernel.as_agent(ids[sender]).send(ids[to], payload) == hanse.Outcome.ok
            sent.setdefault((ids[sender], ids[to]), []).append(payload)
        got: dict[tuple[int, int], list[bytes]] = {}
        sequences: dict[int, list[int]] = {}
        half = kernel.drain(max_messages=max(1, len(sends) // 2))
        for batch in (half, kernel.drain()):
            for i in range(len(batch)):
                pair = int(batch.sender[i]), int(batch.to[i])
                got.setdefault(pair, []).append(bytes(batch.payload[i, : batch.size[i]]))
                sequences.setdefault(pair[1], []).append(int(batch.sequence[i]))
        assert got == sent
        for numbers in sequences.values():
            assert numbers == list(range(len(numbers)))


def balanced(kernel: hanse.Kernel) -> dict[str, int]:
    counts = kernel.counters()
    sum_of_ends = counts["handled"] + counts["expired"] + counts["dead"] + counts["queued"]
    assert counts["accepted"] == sum_of_ends, counts
    return counts


def test_invariant_18_what_was_accepted_is_handled_expired_dead_or_queued() -> None:
    with fresh() as kernel:
        works, raises, stays, goes = (int(id) for id in kernel.agents.add_many(4))

        @kernel.on(works)
        def work(message: hanse.Message) -> None:
            return None

        @kernel.on(raises)
        def fail(message: hanse.Message) -> None:
            raise RuntimeError("on purpose")

        for to in (works, raises, stays, goes):
            for _ in range(5):
                assert kernel.send(to, b"x") == hanse.Outcome.ok
            balanced(kernel)
        assert kernel.send(1 << 32 | 999, b"x") == hanse.Outcome.unknown
        kernel.agents.revoke(goes)
        kernel.run()
        assert kernel.send(goes, b"x") == hanse.Outcome.revoked
        counts = balanced(kernel)
        assert counts["accepted"] == 20
        assert counts["handler_failures"] == 5
        assert kernel.receive(stays) is not None
        kernel.drain()
        counts = balanced(kernel)
        assert Counter(letter.to for letter in kernel.dead_letters()) == {raises: 5, goes: 5}


def test_invariant_19_every_queue_is_bounded_and_says_when_it_is_full() -> None:
    with fresh() as kernel:
        slow, quick = (int(id) for id in kernel.agents.add_many(2))
        kernel.drain()  # from here on the messages are this thread's
        outcomes = Counter(kernel.send(slow, b"x" * 100) for _ in range(3_000))
        assert set(outcomes) == {hanse.Outcome.ok, hanse.Outcome.full}
        capacity = outcomes[int(hanse.Outcome.ok)]
        assert kernel.send(quick, b"x") == hanse.Outcome.ok  # no one else is held up
        memory = []
        for _ in range(3):  # the first large batch takes the epoch log into use
            refusals = kernel.as_agent(quick).send_many(
                np.full(5_000, slow, np.uint64), np.zeros((5_000, 8), np.uint8)
            )
            assert (refusals == hanse.Outcome.full).all()
            memory.append(kernel.memory()["mailboxes"])
        assert memory[0] == memory[1] == memory[2]
        assert kernel.receive(slow) is not None
        assert kernel.send(slow, b"x") == hanse.Outcome.ok
        assert kernel.send(slow, b"x") == hanse.Outcome.full
        balanced(kernel)
        assert capacity < 3_000


@LAW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["append", "fork", "slice", "release"]),
            st.integers(0, 9),
            st.integers(1, 40),
        ),
        max_size=15,
    )
)
def test_invariant_20_a_latent_is_never_mutated(steps: list[tuple[str, int, int]]) -> None:
    with fresh() as kernel:
        base = kv(20, 0)
        live = [(kernel.latents.put(base, SPEC), base)]
        for seed, (verb, pick, count) in enumerate(steps, 1):
            latent, content = live[pick % len(live)]
            if verb == "append":
                more = kv(count, seed)
                live.append((latent.append(more), np.concatenate([content, more], axis=2)))
            elif verb == "fork":
                live.append((latent.fork(), content))
            elif verb == "slice":
                n = min(count, content.shape[2])
                live.append((latent.slice(n), content[:, :, :n]))
            elif len(live) > 1:
                live.remove(next(pair for pair in live if pair[0] is latent))
                latent.release()
            for one, expected in live:
                np.testing.assert_array_equal(one.read(), expected)
        for one, _ in live:
            one.release()
        assert kernel.latents.status().page_bytes_used == 0


def test_invariant_21_a_latent_is_read_with_its_fingerprint_permission_and_lease_only() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        mine, theirs = (kernel.agents.add(name, kind="group") for name in ("mine", "theirs"))
        latent = kernel.latents.put(kv(4, 1), SPEC, owner=mine, ttl=10.0)
        error = refused("LatentIncompatible", lambda: latent.read(OTHER))
        assert error.field == "model"
        stranger = hanse.Latent(kernel, latent.id, theirs)
        for call in (stranger.read, stranger.fork, lambda: stranger.info):
            refused("UnknownLatent", call)
        latent.grant(theirs)
        np.testing.assert_array_equal(stranger.read(SPEC), kv(4, 1))
        clock.advance(11 * 10**9)
        refused("LeaseExpired", latent.read)
        refused("LeaseExpired", latent.fork)


def test_invariant_22_shared_bytes_are_counted_once() -> None:
    with fresh() as kernel:
        base = kernel.latents.put(kv(256, 1), SPEC)
        once = kernel.latents.status().page_bytes_used
        assert once >= kv(256, 1).nbytes
        forks = [base.fork() for _ in range(64)]
        assert kernel.latents.status().page_bytes_used == once
        longer = forks[0].append(kv(16, 2))
        assert once < kernel.latents.status().page_bytes_used <= once + 4 * kv(16, 2).nbytes
        longer.release()
        for latent in [base, *forks[:-1]]:
            latent.release()
        assert kernel.latents.status().page_bytes_used == once
        forks[-1].release()
        assert kernel.latents.status().page_bytes_used == 0


def copied(directory: Path, to: Path) -> Path:
    shutil.copytree(directory, to)
    return to


def test_invariant_23_and_25_state_is_the_fold_of_the_journal_byte_for_byte(
    tmp_path: Path,
) -> None:
    states: list[tuple[str, str]] = []
    kernel, clock = open_at(tmp_path / "state", durability="batch")
    with kernel:
        ids = kernel.agents.add_many(50)
        vectors = np.random.default_rng(1).standard_normal((50, 16)).astype(np.float32)
        kernel.capabilities.publish(ids, vectors, price=1)
        kernel.ledger.fund(kernel.root, 1_000)
        kernel.policy.load(ALLOW + "// " + "x" * 5_000)
        receipts = kernel.dispatch_many(queries=vectors, budgets=np.full(50, 5, np.uint64))
        done = np.frombuffer(b"".join(artifact(i) for i in range(50)), np.uint8).reshape(50, 32)
        kernel.complete_many(receipts.tasks, done.copy(), np.zeros((50, 4), np.uint64))
        kernel.accept_many(receipts.tasks[:25])
        kernel.void_many(receipts.tasks[25:])
        states.append((kernel.state_hash, kernel.journal.root))
    for name in ("one", "two"):
        where = copied(tmp_path / "state", tmp_path / name)
        report = hanse.verify(where)
        states.append((report.state_hash, report.root))
        kernel, _ = open_at(where, now_ns=clock.now_ns)
        with kernel:
            states.append((kernel.state_hash, kernel.journal.root))
            for position in range(kernel.journal.count):
                assert kernel.journal.prove(position).verify()
    assert len(set(states)) == 1


def test_invariant_24_no_effect_without_its_event_and_no_event_for_a_look() -> None:
    with fresh() as kernel:
        ids = kernel.agents.add_many(2)
        a, b = (int(id) for id in ids)
        vectors = np.eye(2, 4, dtype=np.float32)
        journal = kernel.journal
        task = 0

        def dispatch() -> None:
            nonlocal task
            task = kernel.dispatch(to=a, budget=5).task

        effects = [
            lambda: kernel.agents.add("x"),
            lambda: kernel.capabilities.create_space("s", 4),
            lambda: kernel.capabilities.publish(ids, vectors, space="s"),
            lambda: kernel.capabilities.withdraw(b, space="s"),
            lambda: kernel.policy.load(ALLOW),
            lambda: kernel.ledger.fund(kernel.root, 100),
            lambda: kernel.ledger.set_rates(output=1),
            lambda: kernel.ledger.transfer(kernel.root, a, 5),
            lambda: kernel.ledger.post(kernel.ledger.hold(a, b, 5)),
            dispatch,
            lambda: kernel.complete(task, artifact=artifact(1)),
            lambda: kernel.reject(task),
            lambda: kernel.escalate(task, to=b),
            lambda: kernel.complete(task, artifact=artifact(1)),
            lambda: kernel.accept(task),
            lambda: kernel.agents.revoke(b),
        ]
        for effect in effects:
            state, root, count = kernel.state_hash, journal.root, journal.count
            effect()
            assert kernel.state_hash != state
            assert journal.root != root
            assert journal.count > count
        looks = [
            lambda: kernel.match(vectors, space="s"),
            lambda: kernel.agents.get(a),
            lambda: list(kernel.agents),
            lambda: kernel.ledger.accounts(),
            lambda: kernel.policy.check(a, "send", b),
            lambda: kernel.tasks.get(task),
            lambda: kernel.tasks.economics(),
            lambda: kernel.send(a, b"x"),
            lambda: kernel.drain(),
            lambda: kernel.journal.prove(0),
            lambda: kernel.latents.put(kv(1, 1), SPEC),
            lambda: kernel.flush(),
            lambda: kernel.tick(),
        ]
        state, count = kernel.state_hash, journal.count
        for look in looks:
            look()
            assert (kernel.state_hash, journal.count) == (state, count)


def test_invariant_26_refusals_are_recorded_and_counted_above_their_rate(tmp_path: Path) -> None:
    kernel, clock = open_at(tmp_path, durability="batch")
    with kernel:
        worker = kernel.agents.add("worker")
        before = kernel.journal.count
        receipts = kernel.dispatch_many(to=worker, budgets=np.full(1_500, 5, np.uint64))
        assert (receipts.status == hanse.Outcome.insufficient_funds).all()
        assert kernel.journal.count == before + 1_000
        assert (receipts.positions[1_000:] == 2**64 - 1).all()
        clock.advance(2 * 10**9)
        refused("InsufficientFunds", lambda: kernel.dispatch(to=worker, budget=5))
        events = list(kernel.journal.events(before))
        assert Counter(event.type for event in events) == {"refused": 1_001, "refusals_counted": 1}
        assert events[-2].fields["count"] == "500"


@pytest.mark.parametrize("verb", ["dispatch", "escalate"])
def test_invariant_26_a_refusal_by_policy_is_one_event(tmp_path: Path, verb: str) -> None:
    kernel, _ = open_at(tmp_path)
    with kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=a, budget=10).task
        kernel.complete(task, artifact=artifact(1))
        kernel.policy.load(ALLOW + f'forbid(principal, action == Action::"{verb}", resource);')
        calls = {
            "dispatch": lambda: kernel.dispatch(to=b, budget=5),
            "escalate": lambda: kernel.escalate(task, to=b),
        }
        state, count = kernel.state_hash, kernel.journal.count
        error = refused("PolicyDenied", calls[verb])
        assert kernel.state_hash == state
        assert kernel.journal.count == count + 1
        event = kernel.journal.event(error.position or 0)
        assert event.type == "refused"
        assert event.fields["outcome"] == str(int(hanse.Outcome.denied))
