"""A plain-Python mailbox beside the real one: every feature mixed, at random."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import hanse
from hanse import Outcome

AGENTS = 4
TOPICS = 3
GROUPS = 2  # each of a topic of its own
CAPACITY = 5
POLICIES = ["reject", "credit", "drop_oldest", "drop_newest", "coalesce"]
agents = st.integers(0, AGENTS - 1)
lanes = st.integers(0, 3)


@dataclass
class Queued:
    payload: bytes
    sender: int
    key: int = 0
    deadline_ns: int = 0
    keyed: bool = False  # it entered, or its place did, while the box coalesced


@dataclass
class ModelBox:
    policy: str = "reject"
    capacity: int = CAPACITY
    revoked: bool = False
    lanes: list[list[Queued]] = field(default_factory=lambda: [[], [], [], []])


class Mailboxes(RuleBasedStateMachine):
    """Each message has a number of its own in its payload, so that it can be told where it is."""

    @initialize()
    def open(self) -> None:
        self.clock = hanse.ManualClock(10**18)
        self.kernel = hanse.open(clock=self.clock)
        self.ids = [int(id) for id in self.kernel.agents.add_many(AGENTS)]
        self.views = [self.kernel.as_agent(id) for id in self.ids]
        self.kernel.drain()
        self.kernel.mailboxes.configure(np.array(self.ids, np.uint64), capacity=CAPACITY)
        self.boxes = [ModelBox() for _ in self.ids]
        self.topics: list[list[int]] = [[] for _ in range(TOPICS)]
        self.groups: list[list[int]] = [[] for _ in range(GROUPS)]  # whose turn it is first
        self.joined: list[list[int]] = [[] for _ in range(GROUPS)]
        self.number = 0
        self.accepted = self.handled = self.full = 0
        self.dead: dict[bytes, tuple[int, int, Outcome, Queued]] = {}

    def teardown(self) -> None:
        if hasattr(self, "kernel"):
            self.kernel.close()

    def payload(self, size: int = 0) -> bytes:
        self.number += 1
        return b"%d:" % self.number + bytes(size)

    def bury(self, to: int, lane: int, reason: Outcome, message: Queued) -> None:
        self.dead[message.payload] = (to, lane, reason, message)

    def enter(self, to: int, lane: int, message: Queued) -> Outcome:
        """What the box does with it, and the answer."""
        box = self.boxes[to]
        queue = box.lanes[lane]
        if box.revoked or self.boxes[self.ids.index(message.sender)].revoked:
            return Outcome.revoked
        if box.policy == "coalesce" and message.key:
            for i, old in enumerate(queue):
                if old.keyed and old.key == message.key:
                    self.bury(to, lane, Outcome.coalesced, old)
                    queue[i] = replace(message, keyed=True)
                    self.accepted += 1
                    return Outcome.ok
        if len(queue) >= box.capacity:
            if box.policy not in ("drop_oldest", "drop_newest"):
                self.full += 1
                return Outcome.full
            self.accepted += 1
            if box.policy == "drop_newest":
                self.bury(to, lane, Outcome.dropped, message)
                return Outcome.dropped
            self.bury(to, lane, Outcome.dropped, queue.pop(0))
            queue.append(message)
            return Outcome.ok
        queue.append(replace(message, keyed=box.policy == "coalesce"))
        self.accepted += 1
        return Outcome.ok

    def took(self, to: int, payload: bytes) -> Queued:
        """It was the oldest live one of its lane."""
        for queue in self.boxes[to].lanes:
            for i, message in enumerate(queue):
                if message.payload == payload:
                    late = [old for old in queue[:i] if not self.late(old)]
                    assert not late, "overtaken"
                    assert not self.late(message), "handled after its deadline"
                    del queue[: i + 1]
                    self.handled += 1
                    return message
        raise AssertionError(f"{payload!r} was never sent to this box, or came twice")

    def late(self, message: Queued) -> bool:
        return bool(message.deadline_ns) and message.deadline_ns <= self.clock.now_ns

    @rule(
        sender=agents,
        to=agents,
        lane=lanes,
        key=st.integers(0, 2),
        ttl=st.sampled_from([0, 0, 1, 100]),
        size=st.sampled_from([0, 60, 200]),
        by=st.sampled_from(["bytes", "loan", "object"]),
    )
    def send(self, sender: int, to: int, lane: int, key: int, ttl: int, size: int, by: str) -> None:
        payload = self.payload(size)
        deadline_ns = self.clock.now_ns + ttl if ttl else 0
        message = Queued(payload, self.ids[sender], key, deadline_ns)
        fields = {"lane": lane, "key": key, "deadline_ns": deadline_ns}
        given: Any = payload
        if by == "loan":
            given = self.kernel.loan(len(payload))
            given.view[:] = payload
        got = self.views[sender].send(self.ids[to], given, **fields)
        assert got == self.enter(to, lane, message)

    @rule(sender=agents, to=st.lists(agents, max_size=12), size=st.sampled_from([0, 100]))
    def send_many(self, sender: int, to: list[int], size: int) -> None:
        rows = [self.payload(size) for _ in to]
        width = max(map(len, rows), default=0)
        payloads = np.zeros((len(rows), width), np.uint8)
        for i, row in enumerate(rows):
            payloads[i, : len(row)] = np.frombuffer(row, np.uint8)
        sizes = np.array([len(row) for row in rows], np.uint32)
        ids = np.array([self.ids[i] for i in to], np.uint64)
        got = self.views[sender].send_many(ids, (payloads, sizes))
        want = [
            self.enter(agent, 0, Queued(row, self.ids[sender]))
            for agent, row in zip(to, rows, strict=True)
        ]
        assert got.tolist() == want

    @rule(agent=agents, topic=st.integers(0, TOPICS - 1))
    def subscribe(self, agent: int, topic: int) -> None:
        new = agent not in self.topics[topic]
        assert self.kernel.topics.subscribe(self.ids[agent], topic) == new
        if new:
            self.topics[topic].append(agent)

    @rule(agent=agents, topic=st.integers(0, TOPICS - 1))
    def unsubscribe(self, agent: int, topic: int) -> None:
        was = agent in self.topics[topic]
        assert self.kernel.topics.unsubscribe(self.ids[agent], topic) == was
        if was:
            self.topics[topic].remove(agent)

    @rule(agent=agents, group=st.integers(0, GROUPS - 1))
    def join(self, agent: int, group: int) -> None:
        members = self.groups[group]
        new = agent not in members
        assert self.kernel.topics.join(self.ids[agent], 100 + group, group) == new
        if new:
            # Behind those that came before: the turns go round by the order of joining.
            self.joined[group].append(agent)
            self.turn_round(group)

    @rule(agent=agents, group=st.integers(0, GROUPS - 1))
    def leave(self, agent: int, group: int) -> None:
        was = agent in self.groups[group]
        assert self.kernel.topics.leave(self.ids[agent], 100 + group, group) == was
        if was:
            self.drop_member(agent, group)

    def drop_member(self, agent: int, group: int) -> None:
        self.groups[group].remove(agent)
        self.joined[group].remove(agent)

    def turn_round(self, group: int) -> None:
        joined, first = self.joined[group], self.groups[group][:1]
        at = joined.index(first[0]) if first else 0
        self.groups[group] = joined[at:] + joined[:at]

    @rule(
        sender=agents, group=st.integers(0, GROUPS - 1), lane=lanes, size=st.sampled_from([0, 200])
    )
    def publish(self, sender: int, group: int, lane: int, size: int) -> None:
        payload = self.payload(size)
        message = Queued(payload, self.ids[sender])
        by, topic = self.ids[sender], 100 + group
        publication = self.kernel._core.publish_message(by, topic, payload, lane, 0, 0, 0)
        want = None
        for agent in list(self.groups[group]):
            want = self.enter(agent, lane, message)
            if want == Outcome.revoked and self.boxes[agent].revoked:
                self.drop_member(agent, group)
            if want in (Outcome.ok, Outcome.dropped):
                members = self.groups[group]
                at = members.index(agent) + 1
                self.groups[group] = members[at:] + members[:at]
                break
        assert publication[2].tolist() == ([] if want is None else [want])
        ids = [self.ids[agent] for agent in self.groups[group]]
        assert self.kernel.topics.members(topic, group).tolist() == ids

    @rule(to=agents)
    def receive(self, to: int) -> None:
        message = self.kernel.receive(self.ids[to])
        if message is None:
            assert all(self.late(m) for queue in self.boxes[to].lanes for m in queue)
            self.boxes[to].lanes = [[], [], [], []]
            return
        sent = self.took(to, message.payload)
        assert (message.sender, message.key) == (sent.sender, sent.key)
        assert bytes(message.view) == message.payload

    @rule(count=st.integers(1, 20))
    def drain(self, count: int) -> None:
        batch = self.kernel.drain(max_messages=count)
        assert len(batch) <= count
        for i in range(len(batch)):
            payload = batch.payload[i, : batch.size[i]].tobytes()
            sent = self.took(self.ids.index(int(batch.to[i])), payload)
            assert int(batch.sender[i]) == sent.sender

    @rule(to=agents, policy=st.sampled_from(POLICIES), capacity=st.integers(1, CAPACITY))
    def configure(self, to: int, policy: str, capacity: int) -> None:
        self.kernel.mailboxes.configure(self.ids[to], capacity=capacity, policy=policy)
        box = self.boxes[to]
        box.policy, box.capacity = policy, capacity
        if policy != "coalesce":
            box.lanes = [[replace(one, keyed=False) for one in queue] for queue in box.lanes]

    @rule(ns=st.integers(1, 150))
    def advance(self, ns: int) -> None:
        self.clock.advance(ns)

    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        letters = self.kernel.dead_letters()
        if not letters:
            return
        letter = data.draw(st.sampled_from(letters))
        to, lane, _, old = self.dead[letter.payload]
        message = Queued(old.payload, old.sender, old.key)
        before = dict(self.dead)
        outcome = self.kernel.mailboxes.resend(letter)
        if self.boxes[to].revoked:
            assert outcome == Outcome.revoked
            return
        del self.dead[letter.payload]
        assert outcome == self.enter_again(to, lane, message)
        if outcome not in (Outcome.ok, Outcome.dropped):
            self.dead = before

    def enter_again(self, to: int, lane: int, message: Queued) -> Outcome:
        # Whether its sender was revoked since does not matter any more.
        sender = self.boxes[self.ids.index(message.sender)]
        revoked, sender.revoked = sender.revoked, False
        try:
            return self.enter(to, lane, message)
        finally:
            sender.revoked = revoked

    @rule(to=st.just(AGENTS - 1))
    def revoke(self, to: int) -> None:
        if self.boxes[to].revoked or self.number < 30:
            return
        self.kernel.agents.revoke(self.ids[to])
        self.kernel.send(self.ids[0] + 999, b"")  # the owner meets the revocation at its next call
        self.boxes[to].revoked = True
        for lane, queue in enumerate(self.boxes[to].lanes):
            for message in queue:
                self.bury(to, lane, Outcome.revoked, message)
        self.boxes[to].lanes = [[], [], [], []]

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "kernel"):
            return
        counts = self.kernel.mailboxes.counters()
        ended = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
        assert counts.accepted == ended == self.accepted
        assert counts.handled == self.handled
        assert counts.refused["full"] == self.full
        letters = {
            letter.payload: (letter.to, letter.lane, letter.reason)
            for letter in self.kernel.dead_letters()
        }
        want = {p: (self.ids[to], lane, why) for p, (to, lane, why, _) in self.dead.items()}
        assert letters == want


Mailboxes.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestMailboxes = Mailboxes.TestCase
