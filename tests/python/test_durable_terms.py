"""Lanes, deadlines and re-sent dead letters of durable boxes, from Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import Outcome

START_NS = 10**18
SECOND = 10**9


class Post:
    """A kernel in a directory whose clock is driven by hand, a sender and two durable boxes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = hanse.ManualClock(START_NS)
        self.open()
        team = self.kernel.agents.add("team", kind="group")
        self.sender, self.box, self.next = (
            int(agent) for agent in self.kernel.agents.add_many(3, parent=team)
        )
        self.kernel.mailboxes.durable([self.box, self.next], attempts=3)

    def open(self) -> None:
        self.kernel = hanse.open(self.directory, clock=self.clock)

    def reopen(self) -> None:
        self.kernel.close()
        self.open()

    @property
    def me(self) -> hanse.AgentView:
        return self.kernel.as_agent(self.sender)

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.kernel.drain().durable]


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "state")
    yield made
    made.kernel.close()


def test_urgent_messages_go_first_and_say_their_lane_and_deadline(post: Post) -> None:
    post.me.send_durable(post.box, b"low")
    post.me.send_durable(post.box, b"high", lane=3, deadline_ns=START_NS + SECOND)
    to = np.array([post.box] * 2, np.uint64)
    lanes, deadlines = np.array([1, 2], np.uint8), np.array([0, START_NS + 5], np.uint64)
    assert not post.me.send_durable_many(to, [b"1", b"2"], lane=lanes, deadline_ns=deadlines).any()
    assert not post.me.send_durable_many(to[:1], [b"3"], lane=2).any()
    messages = post.kernel.drain().durable
    assert [(one.payload, one.lane, one.deadline_ns) for one in messages] == [
        (b"high", 3, START_NS + SECOND),
        (b"2", 2, START_NS + 5),
        (b"3", 2, 0),
        (b"1", 1, 0),
        (b"low", 0, 0),
    ]


def test_what_is_late_is_dead_and_can_be_sent_again_also_after_reopening(post: Post) -> None:
    post.me.send_durable(post.box, b"late", key="k", lane=1, deadline_ns=START_NS + SECOND)
    post.clock.advance(2 * SECOND)
    assert post.payloads() == []
    post.reopen()
    (letter,) = post.kernel.mailboxes.durable_dead_letters(post.box)
    assert (letter.payload, letter.reason, letter.lane) == (b"late", Outcome.expired, 1)
    assert post.me.send_durable(post.box, b"late", key="k") == Outcome.replayed
    assert post.kernel.mailboxes.resend_durable(letter) == Outcome.ok
    assert post.kernel.mailboxes.resend_durable(letter) == Outcome.unknown
    post.reopen()
    message = post.kernel.receive(post.box)
    assert message is not None
    assert (message.payload, message.lane, message.deadline_ns) == (b"late", 1, 0)
    message.ack()
    box = post.kernel.mailboxes.durable_box(post.box)
    assert (box.accepted, box.acknowledged, box.dead, box.queued) == (2, 1, 1, 0)
    events = [event.type for event in post.kernel.journal.events()]
    assert {"durable_on_terms", "durable_returned", "durable_resent"} <= set(events)
    post.kernel.close()
    assert hanse.verify(post.directory).count == len(events)
    post.open()


def test_an_outbox_sends_on_terms_and_a_snapshot_keeps_them(post: Post) -> None:
    post.me.send_durable(post.box, b"work")

    @post.kernel.on(post.box)
    def handle(message: hanse.Message) -> None:
        with post.kernel.outbox(message) as out:
            out.send(post.next, b"plain")
            out.send(post.next, b"urgent", lane=3, deadline_ns=START_NS + SECOND)

    assert post.kernel.run() == 1
    post.kernel.as_agent(post.box).commit(send=[(post.next, b"tuple", None, 2, 0)])
    post.kernel.journal.snapshot()
    hashes = post.kernel.state_hashes()
    post.kernel.close()
    with hanse.open(post.directory, read_only=True) as reader:
        assert reader.state_hashes() == hashes
        assert reader.journal.status().replayed_from > 0
    post.open()
    assert post.payloads() == [b"urgent", b"tuple", b"plain"]


def test_a_deadline_passes_without_anybody_calling(post: Post) -> None:
    kernel = hanse.open(post.directory.parent / "real")
    box = kernel.agents.add("box")
    kernel.mailboxes.durable(box)
    import time

    kernel.send_durable(box, b"x", deadline_ns=time.time_ns() + 20_000_000)
    end = time.monotonic() + 20
    while kernel.mailboxes.durable_box(box).dead == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert kernel.mailboxes.durable_box(box).dead == 1
    kernel.close()


def test_terms_that_can_not_be_are_refused_and_nothing_is_sent(post: Post) -> None:
    to = np.array([post.box], np.uint64)
    for wrong in (
        lambda: post.me.send_durable(post.box, b"x", lane=4),
        lambda: post.me.send_durable(post.box, b"x", deadline_ns=-1),
        lambda: post.me.send_durable(post.box, b"x", deadline_ns=2**64),
        lambda: post.me.send_durable_many(to, [b"x"], lane=4),
        lambda: post.me.send_durable_many(to, [b"x"], lane=np.array([4], np.uint8)),
        lambda: post.me.send_durable_many(to, [b"x"], lane=np.array([1], np.int64)),
        lambda: post.me.send_durable_many(to, [b"x"], lane=np.array([1, 1], np.uint8)),
        lambda: post.me.send_durable_many(to, [b"x"], deadline_ns=np.array([1.0])),
        lambda: post.me.commit(send=[(post.box, b"x", None, 4, 0)]),
        lambda: post.me.commit(send=[(post.box, b"x", None, 1)]),  # type: ignore[list-item]
    ):
        with pytest.raises(hanse.InvalidError):
            wrong()
    assert post.kernel.mailboxes.durable_box(post.box).accepted == 0
