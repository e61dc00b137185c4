"""Topics, requests, dead letters, ages and traces are those of all shards together."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome

SHARDS = 3
TOPIC = 77


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open(shards=SHARDS, seed=3) as opened:
        opened.drain()
        yield opened


def spread(kernel: hanse.Kernel, count: int = 3) -> list[list[int]]:
    """Agents of each shard."""
    found = []
    for shard in range(SHARDS):
        group = kernel.agents.add(f"of shard {shard}", kind="group")
        kernel.shards.place(group, shard)
        found.append([int(agent) for agent in kernel.agents.add_many(count, parent=group)])
    return found


def conserved(kernel: hanse.Kernel) -> hanse.MailboxCounters:
    """The sum over the shards is conserved, and is what each of them says."""
    counts = kernel.mailboxes.counters()
    ends = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
    assert counts.accepted == ends
    reports = [kernel.shards.report(shard) for shard in range(SHARDS)]
    for name in ("accepted", "handled", "expired", "cancelled", "dead"):
        assert getattr(counts, name) == sum(getattr(report, name) for report in reports)
    return counts


class Turns:
    """Takes what is there out of all shards, on this thread."""

    def __init__(self, kernel: hanse.Kernel) -> None:
        self.kernel = kernel
        self.seen: list[tuple[int, bytes]] = []

    def note(self, batch: hanse.Batch) -> None:
        rows = zip(batch.to, batch.payload, batch.size, strict=True)
        self.seen += [(int(to), row[:size].tobytes()) for to, row, size in rows]

    def all(self) -> list[tuple[int, bytes]]:
        before = -1
        while before != len(self.seen):
            before = len(self.seen)
            self.note(self.kernel.drain())
            for shard in range(1, SHARDS):
                self.kernel.shards.turn(shard, self.note)
        seen, self.seen = self.seen, []
        return seen


@contextlib.contextmanager
def served(kernel: hanse.Kernel, handler: Callable[[hanse.Batch], object]) -> Iterator[None]:
    """A thread for each shard but 0."""
    threads = [
        threading.Thread(target=kernel.shards.run, args=(shard, handler))
        for shard in range(1, SHARDS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        kernel.shards.stop()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("size", "loaned"), [(0, False), *[(n, by) for n in (8, 64, 65, 5000) for by in (False, True)]]
)
def test_whoever_publishes_reaches_subscribers_of_every_shard_once(
    kernel: hanse.Kernel, size: int, loaned: bool
) -> None:
    agents = spread(kernel)
    everyone = [agent for of in agents for agent in of]
    assert kernel.topics.subscribe(np.array(everyone, np.uint64), TOPIC) == len(everyone)
    kernel.topics.subscribe_prefix(agents[1][0], TOPIC, 64)  # reached twice, gets it once
    turns, published = Turns(kernel), []
    wanted = bytes(i % 256 for i in range(size))

    def publish() -> None:
        payload: bytes | hanse.Loan = wanted
        if loaned:
            loan = kernel.loan(size)
            memoryview(loan)[:] = payload
            payload = loan
        publication = kernel.topics.publish(TOPIC, payload)
        assert publication.accepted == len(publication) == len(everyone)
        assert not publication.outcomes.any()
        published.append(publication)

    publish()
    assert sorted(turns.all()) == sorted((agent, wanted) for agent in everyone)
    # From another shard's thread, in its turn.
    kernel.send(agents[2][0], b"start")
    kernel.shards.turn(2, lambda _: publish())
    assert sorted(turns.all()) == sorted((agent, wanted) for agent in everyone)
    assert conserved(kernel).queued == 0
    assert kernel.mailboxes.counters().published == len(published) == 2


def test_a_payload_that_many_shards_share_is_held_once(kernel: hanse.Kernel) -> None:
    agents = spread(kernel, 50)
    kernel.topics.subscribe(np.array([a for of in agents for a in of], np.uint64), TOPIC)
    before = kernel.memory()["mailboxes"]
    kernel.topics.publish(TOPIC, bytes(1 << 20))
    assert kernel.memory()["mailboxes"] - before < 2 << 20
    assert kernel.shards.crossed == 100
    Turns(kernel).all()
    assert kernel.memory()["mailboxes"] - before < 1 << 20


def test_what_was_published_keeps_its_place_among_what_was_sent(kernel: hanse.Kernel) -> None:
    there = spread(kernel)[1][0]
    kernel.topics.subscribe(there, TOPIC)
    for i in range(50):
        if i % 3 == 0:
            kernel.topics.publish(TOPIC, bytes([i]))
        else:
            kernel.send(there, bytes([i]))
    assert [payload for _, payload in Turns(kernel).all()] == [bytes([i]) for i in range(50)]


def test_any_shard_subscribes_and_members_of_a_group_take_turns_wherever_they_are(
    kernel: hanse.Kernel,
) -> None:
    agents = spread(kernel, 1)
    members = [of[0] for of in agents]
    kernel.send(agents[1][0], b"start")
    kernel.shards.turn(1, lambda _: [kernel.topics.join(member, TOPIC, 9) for member in members])
    assert kernel.topics.members(TOPIC, 9).tolist() == members
    turns = Turns(kernel)
    for i in range(6):
        publication = kernel.topics.publish(TOPIC, bytes([i]))
        assert publication.groups.tolist() == [Outcome.ok]
        assert turns.all() == [(members[i % 3], bytes([i]))]
    with pytest.raises(hanse.InvalidError):
        kernel.topics.subscribe_prefix(members[0], 1, 65)
    with pytest.raises(hanse.NotFoundError):
        kernel.topics.subscribe(12345, TOPIC)


def test_a_subscriber_that_was_revoked_on_its_shard_gets_nothing_more(kernel: hanse.Kernel) -> None:
    agents = spread(kernel)
    kernel.topics.subscribe(np.array(agents[1], np.uint64), TOPIC)
    kernel.topics.publish(TOPIC, b"1")
    kernel.agents.revoke(agents[1][0])
    publication = kernel.topics.publish(TOPIC, b"2")
    assert publication.accepted == 2
    assert Outcome.revoked in publication.outcomes.tolist()
    assert kernel.topics.subscribers(TOPIC).tolist() == [agents[1][2], agents[1][1]]
    assert len(Turns(kernel).all()) == 4
    assert conserved(kernel).dead == 1


def test_a_box_that_is_full_on_another_shard_leaves_letters_that_any_thread_reads_and_resends(
    kernel: hanse.Kernel,
) -> None:
    agents = spread(kernel)
    here, there = agents[0][0], agents[1][0]
    turns = Turns(kernel)
    for agent in (here, there):
        kernel.mailboxes.configure(agent, capacity=1)
    kernel.topics.subscribe(np.array([here, there], np.uint64), TOPIC)
    kernel.send(there, b"first")
    kernel.send(there, b"x" * 100)  # accepted by the ring, no room behind it
    kernel.topics.publish(TOPIC, b"y" * 100)
    kernel.mailboxes.configure(here, capacity=1, policy="drop_newest")
    kernel.send(here, b"dropped")
    assert turns.all() == [(here, b"y" * 100), (there, b"first")]
    letters = kernel.mailboxes.dead_letters()
    assert sorted((letter.to, letter.payload) for letter in letters) == sorted(
        [(here, b"dropped"), (there, b"x" * 100), (there, b"y" * 100)]
    )
    assert len({letter.number for letter in letters}) == 3
    assert kernel.mailboxes.counters().dead_by_reason == {Outcome.full: 2, Outcome.dropped: 1}
    outcomes = []
    for letter in letters[:2]:
        thread = threading.Thread(
            target=lambda one=letter: outcomes.append(kernel.mailboxes.resend(one))
        )
        thread.start()
        thread.join()
        turns.all()
    assert outcomes == [Outcome.ok, Outcome.ok]
    assert kernel.mailboxes.resend(letters[0]) == Outcome.unknown
    assert kernel.mailboxes.resend(letters[2]) == Outcome.ok
    assert len(turns.all()) == 1
    assert conserved(kernel).resent == 3
    assert kernel.mailboxes.dead_letters() == []


def test_ages_and_traces_are_of_all_shards(kernel: hanse.Kernel) -> None:
    agents = spread(kernel)
    turns = Turns(kernel)
    for of in agents:
        for _ in range(3):
            kernel.send_many(
                np.resize(np.array(of, np.uint64), 1024), np.zeros((1024, 8), np.uint8)
            )
            turns.all()
    found = []
    thread = threading.Thread(
        target=lambda: found.append((kernel.mailboxes.ages(), kernel.mailboxes.traces()))
    )
    thread.start()
    thread.join()
    ages, traces = found[0]
    assert int(ages.counts.sum()) == len(traces) == 9
    assert {kernel.shards.shard_of(trace.to) for trace in traces} == {0, 1, 2}
    assert len({trace.trace for trace in traces}) == 9
    assert [trace.taken_ns for trace in traces] == sorted(trace.taken_ns for trace in traces)
    assert ages.max_ns >= max(trace.taken_ns - trace.sent_ns for trace in traces)


def answer(kernel: hanse.Kernel, batch: hanse.Batch) -> None:
    """What the agents of the other shards do with a request."""
    rows = zip(batch.kind, batch.request, batch.payload, batch.size, strict=True)
    for kind, request, row, size in rows:
        payload = row[:size].tobytes()
        if payload == b"fail":
            raise RuntimeError("on purpose")
        if kind == 1 and payload != b"silence":
            kernel.reply(int(request), payload[::-1])


def test_requests_travel_to_every_shard_and_each_ends_exactly_once(kernel: hanse.Kernel) -> None:
    agents = spread(kernel)
    there = agents[1] + agents[2]

    async def main() -> None:
        assert await kernel.ask(there[0], b"abc", timeout=20) == b"cba"
        many = await kernel.ask_many(there * 10, b"xyz", timeout=20)
        assert many.payloads == [b"zyx"] * 60
        quorum = await kernel.ask_many(there, [b"silence", b"12"] * 3, quorum=3, timeout=20)
        assert quorum.ok_count == 3
        assert Outcome.cancelled in quorum.outcomes.tolist()
        with pytest.raises(hanse.TimedOutError):
            await kernel.ask(there[1], b"silence", timeout=0.02)
        with pytest.raises(hanse.BusyError, match="on purpose"):
            await kernel.ask(there[2], b"fail", timeout=20)
        with pytest.raises(hanse.BusyError):
            await kernel.ask(12345, b"nobody")

    with served(kernel, lambda batch: answer(kernel, batch)):
        asyncio.run(main())
    counts = kernel.mailboxes.counters().requests
    assert counts.pop("waiting") == 0
    assert counts.pop("opened") == sum(counts.values())
    assert (counts["replies"], counts["expired"], counts["errors"]) == (64, 1, 1)
    conserved(kernel)


def test_a_request_that_finds_no_room_on_its_shard_ends_without_waiting_for_a_timeout(
    kernel: hanse.Kernel,
) -> None:
    there = spread(kernel)[1][0]
    kernel.mailboxes.configure(there, capacity=1, policy="drop_oldest")

    async def main() -> None:
        first = kernel.ask(there, b"silence")
        second = kernel.ask(there, b"ab")
        with served(kernel, lambda batch: answer(kernel, batch)):
            assert await asyncio.wait_for(second, 20) == b"ba"
            with pytest.raises(hanse.BusyError, match="dead letter"):
                await asyncio.wait_for(first, 20)

    # Both are in the ring before the shard runs.
    asyncio.run(main())
    conserved(kernel)


def test_a_cancelled_request_is_taken_out_of_its_box_on_another_shard(kernel: hanse.Kernel) -> None:
    there = spread(kernel)[1][0]
    taken: list[int] = []

    async def main() -> None:
        reply = kernel.ask(there, b"never mind")
        kernel.send(there, b"stays")
        assert reply.cancel()

    asyncio.run(main())
    kernel.shards.turn(1, lambda batch: taken.append(len(batch)))
    assert taken == [1]
    assert conserved(kernel).cancelled == 1


def test_counts_hold_while_groups_move_and_everyone_publishes(kernel: hanse.Kernel) -> None:
    agents = spread(kernel)
    everyone = np.array([agent for of in agents for agent in of], np.uint64)
    kernel.topics.subscribe(everyone, TOPIC)
    group = kernel.agents.find("of shard 1")
    passed = threading.Event()
    again = [200]

    def handler(batch: hanse.Batch) -> None:
        if again[0] > 0 and len(batch):
            again[0] -= 1
            kernel.topics.publish(TOPIC, bytes(100))
        else:
            passed.set()

    with served(kernel, handler):
        for i in range(40):
            kernel.topics.publish(TOPIC, bytes(70))
            kernel.shards.place(group, i % SHARDS)
            kernel.drain()
            counts = kernel.mailboxes.counters()
            assert counts.queued <= counts.accepted
        assert passed.wait(20)
    Turns(kernel).all()
    assert conserved(kernel).queued == 0
