"""Plain-Python models of mailboxes on several shards, and of durable boxes with every feature."""

from __future__ import annotations

import gc
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import hanse
from hanse import Outcome
from hanse.simulation import SimulatedDisk

START_NS = 10**18
SHARDS, PER_GROUP, CAPACITY, TOPICS = 2, 3, 3, 2
AGENTS = SHARDS * PER_GROUP
agents = st.integers(0, AGENTS - 1)
lanes = st.integers(0, 3)


@dataclass
class Sent:
    to: int
    lane: int
    payload: bytes
    deadline_ns: int = 0


class ShardedMailboxes(RuleBasedStateMachine):
    """All shards in turns on one thread: what is in a ring, in a box, handled or dead is known."""

    @initialize()
    def open(self) -> None:
        self.clock = hanse.ManualClock(START_NS)
        self.kernel = hanse.open(clock=self.clock, shards=SHARDS)
        self.kernel.drain()
        self.groups = [self.kernel.agents.add(f"group {i}", kind="group") for i in range(SHARDS)]
        self.ids = [
            int(agent)
            for group in self.groups
            for agent in self.kernel.agents.add_many(PER_GROUP, parent=group)
        ]
        self.shard_of_group = [0] * SHARDS
        for group in range(SHARDS):
            self.place(group, group)
        for i, agent in enumerate(self.ids):
            policy = "drop_oldest" if i % PER_GROUP else "reject"
            self.kernel.mailboxes.configure(agent, capacity=CAPACITY, policy=policy)
        self.boxes: list[list[list[Sent]]] = [[[] for _ in range(4)] for _ in self.ids]
        self.rings: dict[tuple[int, int], list[Sent]] = defaultdict(list)
        self.subscribed: list[list[int]] = [[] for _ in range(TOPICS)]
        self.dead: dict[tuple[bytes, int], tuple[Sent, Outcome]] = {}
        self.number = self.accepted = self.handled = self.expired = self.died = 0

    def teardown(self) -> None:
        if hasattr(self, "kernel"):
            self.kernel.close()
            del self.kernel
            gc.collect()  # the rings of a kernel are megabytes, and cycles keep them

    # --- the model

    def home(self, agent: int) -> int:
        return self.shard_of_group[agent // PER_GROUP]

    def bury(self, sent: Sent, reason: Outcome) -> None:
        self.dead[sent.payload, sent.to] = (sent, reason)
        self.died += 1

    def enter(self, sent: Sent) -> bool:
        queue = self.boxes[sent.to][sent.lane]
        if len(queue) >= CAPACITY:
            if sent.to % PER_GROUP == 0:
                return False
            self.bury(queue.pop(0), Outcome.dropped)
        queue.append(sent)
        return True

    def put(self, shard: int, sent: Sent) -> Outcome:
        """From the thread of a shard."""
        if self.home(sent.to) == shard:
            if not self.enter(sent):
                return Outcome.full
        else:
            self.rings[shard, self.home(sent.to)].append(sent)
        self.accepted += 1
        return Outcome.ok

    def take_in(self, shard: int) -> None:
        for source in range(SHARDS):
            for sent in self.rings.pop((source, shard), []):
                if not self.enter(sent):
                    self.bury(sent, Outcome.full)

    def take_out(self, shard: int, batch: hanse.Batch) -> None:
        taken = defaultdict(list)
        lane_of = {
            (sent.to, sent.payload): sent.lane
            for box in self.boxes
            for queue in box
            for sent in queue
        }
        for to, row, size in zip(batch.to, batch.payload, batch.size, strict=True):
            payload, agent = row[:size].tobytes(), self.ids.index(int(to))
            taken[agent, lane_of[agent, payload]].append(payload)
        for agent, box in enumerate(self.boxes):
            if self.home(agent) != shard:
                continue
            for lane, queue in enumerate(box):
                live = [
                    sent.payload for sent in queue if not 0 < sent.deadline_ns <= self.clock.now_ns
                ]
                assert taken.pop((agent, lane), []) == live
                self.handled += len(live)
                self.expired += len(queue) - len(live)
                queue.clear()
        assert not taken

    # --- what may happen

    def payload(self, size: int) -> bytes:
        self.number += 1
        return b"%d:" % self.number + bytes(size)

    def send_from(self, shard: int, to: int, lane: int, ttl: int, size: int) -> None:
        sent = Sent(to, lane, self.payload(size), self.clock.now_ns + ttl if ttl else 0)
        expected = self.put(shard, sent)
        answer = self.kernel.send(
            self.ids[to], sent.payload, lane=lane, deadline_ns=sent.deadline_ns
        )
        assert answer == expected

    def publish_from(self, shard: int, topic: int, size: int) -> None:
        payload = self.payload(size)
        expected = [self.put(shard, Sent(agent, 0, payload)) for agent in self.subscribed[topic]]
        publication = self.kernel.topics.publish(topic, payload)
        assert publication.outcomes.tolist() == expected

    @rule(to=agents, lane=lanes, ttl=st.sampled_from([0, 0, 1, 50]), size=st.sampled_from([0, 90]))
    def send(self, to: int, lane: int, ttl: int, size: int) -> None:
        self.send_from(0, to, lane, ttl, size)

    @rule(topic=st.integers(0, TOPICS - 1), size=st.sampled_from([0, 90]))
    def publish(self, topic: int, size: int) -> None:
        self.publish_from(0, topic, size)

    @rule(agent=agents, topic=st.integers(0, TOPICS - 1))
    def subscribe(self, agent: int, topic: int) -> None:
        new = agent not in self.subscribed[topic]
        assert self.kernel.topics.subscribe(self.ids[agent], topic) == new
        if new:
            self.subscribed[topic].append(agent)

    @rule(
        shard=st.integers(0, SHARDS - 1),
        replies=st.lists(st.tuples(agents, lanes, st.sampled_from([0, 90])), max_size=3),
        topic=st.none() | st.integers(0, TOPICS - 1),
    )
    def turn(self, shard: int, replies: list[tuple[int, int, int]], topic: int | None) -> None:
        def handle(batch: hanse.Batch) -> None:
            self.take_out(shard, batch)
            for to, lane, size in replies:
                self.send_from(shard, to, lane, 0, size)
            if topic is not None:
                self.publish_from(shard, topic, 90)

        self.take_in(shard)
        if shard == 0:
            handle(self.kernel.drain())
        elif self.kernel.shards.turn(shard, handle) == 0:
            self.take_out(shard, self.kernel.drain(max_messages=0))

    @rule(ns=st.sampled_from([1, 100]))
    def wait(self, ns: int) -> None:
        self.clock.advance(ns)

    @rule(group=st.integers(0, SHARDS - 1), shard=st.integers(0, SHARDS - 1))
    def place(self, group: int, shard: int) -> None:
        if hasattr(self, "rings"):
            for into in range(SHARDS):
                self.take_in(into)
        self.shard_of_group[group] = shard
        self.kernel.shards.place(self.groups[group], shard)

    @rule()
    def resend_the_oldest(self) -> None:
        letters = self.kernel.mailboxes.dead_letters()
        if not letters:
            return
        payload, to = letters[0].payload, self.ids.index(letters[0].to)
        sent, _ = self.dead.pop((payload, to))
        expected = self.put(0, Sent(to, sent.lane, payload))
        assert self.kernel.mailboxes.resend(letters[0]) == expected
        if expected != Outcome.ok:
            self.dead[payload, to] = (sent, letters[0].reason)

    @invariant()
    def all_is_counted(self) -> None:
        if not hasattr(self, "rings"):
            return
        counts = self.kernel.mailboxes.counters()
        queued = sum(len(queue) for box in self.boxes for queue in box)
        queued += sum(len(ring) for ring in self.rings.values())
        assert (counts.accepted, counts.handled, counts.expired) == (
            self.accepted,
            self.handled,
            self.expired,
        )
        assert (counts.dead, counts.queued) == (self.died, queued)
        letters = {
            (letter.payload, self.ids.index(letter.to)): (letter.lane, letter.reason)
            for letter in self.kernel.mailboxes.dead_letters()
        }
        assert letters == {at: (sent.lane, why) for at, (sent, why) in self.dead.items()}
        ends = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
        assert counts.accepted == ends


class TestShards(ShardedMailboxes.TestCase):
    settings = settings(max_examples=8, stateful_step_count=30, deadline=None)


@dataclass
class Letter:
    sequence: int
    payload: bytes
    lane: int
    deadline_ns: int
    attempt: int = 1
    out: bool = False


@dataclass
class DurableBox:
    queue: list[Letter] = field(default_factory=list)
    dead: list[Letter] = field(default_factory=list)
    accepted: int = 0
    acknowledged: int = 0
    died: int = 0


CAPACITY_DURABLE, IN_FLIGHT, ATTEMPTS = 8, 3, 3


class DurableBoxes(RuleBasedStateMachine):
    """Two durable boxes over a simulated disk: lanes, deadlines, returns, letters, reopening."""

    @initialize()
    def begin(self) -> None:
        self.clock = hanse.ManualClock(START_NS)
        self.disk = SimulatedDisk()
        self.open()
        self.sender, *self.ids = (int(agent) for agent in self.kernel.agents.add_many(3))
        self.kernel.mailboxes.durable(
            self.ids, capacity=CAPACITY_DURABLE, in_flight=IN_FLIGHT, attempts=ATTEMPTS
        )
        self.boxes = [DurableBox() for _ in self.ids]
        self.number = 0

    def open(self) -> None:
        self.kernel = hanse.open(disk=self.disk, clock=self.clock, background=False)

    def teardown(self) -> None:
        if hasattr(self, "kernel"):
            self.kernel.close()
            del self.kernel
            gc.collect()  # the rings of a kernel are megabytes, and cycles keep them

    # --- the model

    def late(self, letter: Letter) -> bool:
        return 0 < letter.deadline_ns <= self.clock.now_ns

    def bury(self, box: DurableBox, letter: Letter) -> None:
        box.queue.remove(letter)
        letter.out = False
        box.dead.append(letter)
        box.died += 1

    def expire(self) -> None:
        """What every command does first."""
        for box in self.boxes:
            late = [one for one in box.queue if self.late(one) and not one.out]
            for letter in sorted(late, key=lambda one: (one.deadline_ns, one.sequence)):
                self.bury(box, letter)

    # --- what may happen

    @rule(
        box=st.integers(0, 1),
        rows=st.lists(st.tuples(lanes, st.sampled_from([0, 0, 1, 100])), min_size=1, max_size=4),
    )
    def send(self, box: int, rows: list[tuple[int, int]]) -> None:
        self.expire()
        payloads, at = [], self.boxes[box]
        expected = []
        for lane, ttl in rows:
            self.number += 1
            payloads.append(b"%d" % self.number)
            full = len(at.queue) >= CAPACITY_DURABLE
            expected.append(Outcome.full if full else Outcome.ok)
            if not full:
                deadline_ns = self.clock.now_ns + ttl if ttl else 0
                at.queue.append(Letter(at.accepted, payloads[-1], lane, deadline_ns))
                at.accepted += 1
        outcomes = self.kernel.as_agent(self.sender).send_durable_many(
            np.array([self.ids[box]] * len(rows), np.uint64),
            payloads,
            lane=np.array([lane for lane, _ in rows], np.uint8),
            deadline_ns=np.array(
                [self.clock.now_ns + ttl if ttl else 0 for _, ttl in rows], np.uint64
            ),
        )
        assert outcomes.tolist() == expected

    @rule()
    def drain(self) -> None:
        self.expire()
        found: dict[int, list[hanse.Message]] = defaultdict(list)
        for message in self.kernel.drain().durable:
            found[self.ids.index(message.to)].append(message)
        for number, box in enumerate(self.boxes):
            free = IN_FLIGHT - sum(letter.out for letter in box.queue)
            waiting = [letter for letter in box.queue if not letter.out]
            assert len(found[number]) == min(free, len(waiting))
            for message in found[number]:
                of_lane = [one for one in box.queue if one.lane == message.lane and not one.out]
                letter = of_lane[0]  # the oldest, also where it came back
                assert (message.sequence, message.payload, message.attempt) == (
                    letter.sequence,
                    letter.payload,
                    letter.attempt,
                )
                assert message.deadline_ns == letter.deadline_ns
                letter.out = True

    @rule(box=st.integers(0, 1), data=st.data())
    def acknowledge(self, box: int, data: st.DataObject) -> None:
        self.tick()
        at = self.boxes[box]
        if not at.queue:
            return
        letter = data.draw(st.sampled_from(at.queue))
        self.kernel.as_agent(self.ids[box]).commit(ack=[letter.sequence])
        at.queue.remove(letter)
        at.acknowledged += 1

    @rule(box=st.integers(0, 1), data=st.data())
    def give_back(self, box: int, data: st.DataObject) -> None:
        self.tick()
        at = self.boxes[box]
        out = [letter for letter in at.queue if letter.out]
        if not out:
            return
        letter = data.draw(st.sampled_from(out))
        self.kernel.as_agent(self.ids[box]).give_back([letter.sequence])
        if letter.attempt >= ATTEMPTS or self.late(letter):
            self.bury(at, letter)
        else:
            letter.attempt += 1
            letter.out = False

    @rule(box=st.integers(0, 1), data=st.data())
    def resend(self, box: int, data: st.DataObject) -> None:
        self.tick()
        at = self.boxes[box]
        letters = self.kernel.mailboxes.durable_dead_letters(self.ids[box])
        assert [(one.sequence, one.lane) for one in letters] == [
            (one.sequence, one.lane) for one in at.dead
        ]
        if not letters:
            return
        number = data.draw(st.integers(0, len(letters) - 1))
        full = len(at.queue) >= CAPACITY_DURABLE
        answer = self.kernel.mailboxes.resend_durable(letters[number])
        assert answer == (Outcome.full if full else Outcome.ok)
        if not full:
            letter = at.dead.pop(number)
            at.queue.append(Letter(at.accepted, letter.payload, letter.lane, 0))
            at.accepted += 1

    @rule(ns=st.sampled_from([1, 100]))
    def wait(self, ns: int) -> None:
        self.clock.advance(ns)

    @rule()
    def tick(self) -> None:
        self.expire()
        self.kernel._core.tick()

    @rule(snapshot=st.booleans())
    def reopen(self, snapshot: bool) -> None:
        if snapshot:
            self.kernel.journal.snapshot()
        hashes = self.kernel.state_hashes()
        self.kernel.close()
        reader = hanse.open(disk=self.disk, clock=self.clock, background=False, read_only=True)
        assert reader.state_hashes() == hashes
        reader.close()
        self.open()
        for box in self.boxes:
            seen = [0] * 4
            for letter in list(box.queue):
                seen[letter.lane] += 1
                letter.out = False
                if seen[letter.lane] > IN_FLIGHT:
                    continue
                if letter.attempt >= ATTEMPTS:
                    self.bury(box, letter)
                else:
                    letter.attempt += 1

    @invariant()
    def all_is_counted(self) -> None:
        if not hasattr(self, "boxes"):
            return
        for agent, box in zip(self.ids, self.boxes, strict=True):
            info = self.kernel.mailboxes.durable_box(agent)
            assert (info.accepted, info.acknowledged, info.dead, info.queued) == (
                box.accepted,
                box.acknowledged,
                box.died,
                len(box.queue),
            )
            assert info.accepted == info.acknowledged + info.dead + info.queued
            assert info.in_flight == sum(letter.out for letter in box.queue)


class TestDurable(DurableBoxes.TestCase):
    settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
