"""Shards: several threads for messages; order, counts and bounds hold on any number of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome

GROUPS, PER_GROUP, TOKENS, HOPS = 4, 25, 40, 30
START_NS = 10**18


class Population:
    """Groups of agents, spread over the shards, that pass tokens on by what the tokens say."""

    def __init__(self, shards: int, spread: Callable[[int], int]) -> None:
        clock = hanse.ManualClock(START_NS)
        self.kernel = hanse.open(shards=shards, digest=True, seed=5, clock=clock)
        self.groups = [self.kernel.agents.add(f"group {i}", kind="group") for i in range(GROUPS)]
        ids = [self.kernel.agents.add_many(PER_GROUP, parent=group) for group in self.groups]
        self.ids = np.concatenate(ids)
        self.kernel.drain()
        for i, group in enumerate(self.groups):
            self.kernel.shards.place(group, spread(i))

    def forward(self, batch: hanse.Batch) -> None:
        if len(batch) == 0:
            return
        for token in batch.payload[:, :16].copy().view("<u8"):
            number, hops = int(token[0]), int(token[1])
            if hops:
                self.put(number, hops - 1)

    def put(self, number: int, hops: int) -> None:
        to = self.ids[(number * 7919 + hops * 104729) % len(self.ids)]
        payload = np.array([number, hops], "<u8").tobytes()
        assert self.kernel.send(int(to), payload) == Outcome.ok

    def storm(self) -> hanse.RunDigest:
        """All shards in turns on this thread."""
        with self.kernel as kernel:
            for token in range(TOKENS):
                self.put(token, HOPS)
            moved = True
            while moved:
                batch = kernel.drain(max_messages=64)
                self.forward(batch)
                moved = len(batch) != 0
                for shard in range(1, len(kernel.shards)):
                    moved = kernel.shards.turn(shard, self.forward) != 0 or moved
            counts = kernel.mailboxes.counters()
            assert counts.handled == counts.accepted == TOKENS * (HOPS + 1)
            assert (kernel.shards.crossed > TOKENS) == (len(kernel.shards) > 1)
            return kernel.mailboxes.digest()


def test_the_same_messages_are_handled_on_one_two_and_three_shards() -> None:
    alone = Population(1, lambda _: 0).storm()
    assert alone.count == TOKENS * (HOPS + 1)
    for shards in (2, 3):
        spread = Population(shards, lambda i, n=shards: i % n).storm()
        assert (spread.count, spread.unordered) == (alone.count, alone.unordered)


def test_one_shard_with_a_seed_handles_the_same_messages_in_the_same_order() -> None:
    first, again = (Population(1, lambda _: 0).storm() for _ in range(2))
    assert first == again
    assert first.ordered != 0


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open(shards=2) as opened:
        opened.drain()
        yield opened


def placed(kernel: hanse.Kernel, count: int = 3) -> tuple[int, list[int]]:
    """A group on shard 1, and its agents."""
    group = kernel.agents.add("there", kind="group")
    kernel.shards.place(group, 1)
    return group, [int(agent) for agent in kernel.agents.add_many(count, parent=group)]


def conserved(kernel: hanse.Kernel) -> hanse.MailboxCounters:
    counts = kernel.mailboxes.counters()
    ends = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
    assert counts.accepted == ends
    return counts


def serve(kernel: hanse.Kernel, handler: Callable[[hanse.Batch], object]) -> threading.Thread:
    thread = threading.Thread(target=lambda: kernel.shards.run(1, handler))
    thread.start()
    return thread


def test_a_thread_drives_a_shard_and_its_answers_wake_the_event_loop(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    here = kernel.agents.add("here")
    answers: list[bytes] = []

    async def main() -> None:
        done = asyncio.Event()

        @kernel.on(here)
        def take(message: hanse.Message) -> None:
            answers.append(message.payload)
            if len(answers) == 100:
                done.set()

        def echo(batch: hanse.Batch) -> None:
            for row, size in zip(batch.payload, batch.size, strict=True):
                kernel.send(here, row[:size].tobytes()[::-1])

        kernel.attach()
        thread = serve(kernel, echo)
        for i in range(100):
            assert kernel.send(there[0], b"%03d" % i) == Outcome.ok
            if i % 10 == 0:
                await asyncio.sleep(0.002)
        await asyncio.wait_for(done.wait(), 20)
        kernel.shards.stop()
        thread.join()

    asyncio.run(main())
    assert answers == [(b"%03d" % i)[::-1] for i in range(100)]
    assert conserved(kernel).queued == 0
    assert kernel.shards.report(1).agents == 3
    assert kernel.shards.report(1).handled == 100
    assert kernel.shards.crossed == 200


def test_a_plain_thread_that_waits_is_woken_by_another_shard(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    here = kernel.agents.add("here")
    thread = serve(
        kernel, lambda batch: kernel.send_many(np.full(len(batch), here, np.uint64), batch.payload)
    )
    for i in range(20):
        assert kernel.send(there[i % 3], bytes([i])) == Outcome.ok
        message = kernel.receive(here, timeout=20)
        assert message is not None
        assert message.payload[:1] == bytes([i])
        assert message.sequence == i
    kernel.shards.stop()
    thread.join()


def test_messages_bounds_and_sequence_move_with_their_group(kernel: hanse.Kernel) -> None:
    group = kernel.agents.add("group", kind="group")
    agent = kernel.agents.add("agent", parent=group)
    kernel.mailboxes.configure(agent, capacity=3, policy="drop_oldest")
    for i in range(4):
        kernel.send(agent, bytes([i]) * (1 + 40 * i))
    kernel.shards.place(group, 1)
    assert kernel.shards.shard_of(agent) == 1
    with pytest.raises(hanse.InvalidError, match="another shard"):
        kernel.receive(agent)
    assert kernel.mailboxes.box(agent) == hanse.Box(3, "drop_oldest", 3)
    kernel.send(agent, b"last")
    seen: list[tuple[int, bytes]] = []

    def note(batch: hanse.Batch) -> None:
        rows = zip(batch.sequence, batch.payload, batch.size, strict=True)
        seen.extend((int(number), row[:size].tobytes()) for number, row, size in rows)

    assert kernel.shards.turn(1, note) == 3
    assert seen == [(2, b"\x02" * 81), (3, b"\x03" * 121), (4, b"last")]
    kernel.send(agent, b"back")
    kernel.shards.place(group, 0)
    message = kernel.receive(agent)
    assert message is not None
    assert (message.sequence, message.payload) == (5, b"back")
    assert conserved(kernel).dead == 2
    assert kernel.shards.migrations == 2


def test_order_holds_while_groups_move_under_load(kernel: hanse.Kernel) -> None:
    group, there = placed(kernel, 1)
    seen: list[int] = []
    lock = threading.Lock()

    def note(batch: hanse.Batch) -> None:
        with lock:
            seen.extend(int(number) for number in batch.payload[:, :4].copy().view("<u4").ravel())

    thread = serve(kernel, note)
    for i in range(2000):
        assert kernel.send(there[0], i.to_bytes(4, "little")) == Outcome.ok
        if i % 100 == 0:
            kernel.shards.place(group, (i // 100) % 2)
        note_here = kernel.drain()
        if len(note_here):
            note(note_here)
    kernel.shards.place(group, 0)
    note(kernel.drain())
    kernel.shards.stop()
    thread.join()
    assert seen == list(range(2000))
    assert conserved(kernel).handled == 2000


def test_any_thread_sends_to_any_shard(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    counted: list[int] = []
    thread = serve(kernel, lambda batch: counted.append(len(batch)))
    rows = np.zeros((50, 8), np.uint8)

    def send() -> None:
        assert not kernel.send_many(np.array(there * 17, np.uint64)[:50], rows).any()
        loan = kernel.loan(100)
        assert kernel.send(there[0], loan) == Outcome.ok

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    while sum(counted) < 4 * 51:
        threading.Event().wait(0.001)
    kernel.shards.stop()
    thread.join()
    assert conserved(kernel).handled == 4 * 51


def test_topics_reach_subscribers_on_every_shard(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    here = [int(agent) for agent in kernel.agents.add_many(2)]
    kernel.topics.subscribe(np.array(here + there, np.uint64), 9)
    publication = kernel.topics.publish(9, bytes(100))
    assert publication.accepted == 5
    assert not publication.outcomes.any()
    assert len(kernel.drain()) == 2
    assert kernel.shards.turn(1, lambda _: None) == 3


def test_a_handler_that_raises_leaves_dead_letters_and_the_shard_goes_on(
    kernel: hanse.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    _, there = placed(kernel)

    def fail(batch: hanse.Batch) -> None:
        raise RuntimeError("on purpose")

    kernel.send(there[0], b"1")
    assert kernel.shards.turn(1, fail) == 1
    assert "on purpose" in caplog.text
    assert conserved(kernel).dead == 1
    kernel.send(there[0], b"2")
    assert kernel.shards.turn(1, lambda _: None) == 1


def test_a_revoked_agents_messages_are_dead_on_its_shard(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    kernel.send(there[0], b"1")
    kernel.agents.revoke(there[0])
    assert kernel.send(there[0], b"2") == Outcome.revoked
    assert kernel.shards.turn(1, lambda _: None) == 0
    assert conserved(kernel).dead == 1


def test_what_can_not_be_done_to_shards_says_so(kernel: hanse.Kernel) -> None:
    group, there = placed(kernel)
    with pytest.raises(hanse.InvalidError):
        hanse.open(shards=65)
    with pytest.raises(hanse.InvalidError):
        hanse.open(shards=0)
    for shard in (0, 2):
        with pytest.raises(hanse.InvalidError):
            kernel.shards.run(shard)
        with pytest.raises(hanse.InvalidError):
            kernel.shards.turn(shard)
    with pytest.raises(hanse.InvalidError):
        kernel.shards.place(group, 2)
    with pytest.raises(hanse.InvalidError):
        kernel.shards.report(2)
    with pytest.raises(hanse.NotFoundError):
        kernel.shards.place(12345, 1)
    with pytest.raises(hanse.NotFoundError):
        kernel.shards.shard_of(12345)
    with pytest.raises(hanse.InvalidError, match="on shard 1"):
        kernel.on(there[0])(lambda message: None)
    with pytest.raises(hanse.InvalidError, match="another shard"):
        kernel.send_object(there[0], object())
    kernel.send(there[0], b"1")
    raised: list[hanse.HanseError] = []

    def nested(batch: hanse.Batch) -> None:
        for wrong in (
            lambda: kernel.shards.place(group, 0),
            lambda: kernel.shards.turn(1),
            kernel.close,
        ):
            try:
                wrong()
            except hanse.HanseError as error:
                raised.append(error)

    assert kernel.shards.turn(1, nested) == 1
    assert len(raised) == 3


def test_close_ends_a_run(kernel: hanse.Kernel) -> None:
    _, there = placed(kernel)
    started = threading.Event()
    thread = serve(kernel, lambda _: started.set())
    kernel.send(there[0], b"here I am")
    assert started.wait(20)
    kernel.close()
    thread.join(20)
    assert not thread.is_alive()
