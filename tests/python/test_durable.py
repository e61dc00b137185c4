"""Durable boxes and the outbox from Python: what outlives the process, and what happens once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import Outcome


class Post:
    """A kernel in a directory, with a sender and two durable boxes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kernel = hanse.open(directory)
        team = self.kernel.agents.add("team", kind="group")
        ids = [int(id) for id in self.kernel.agents.add_many(4, parent=team)]
        self.team, self.sender, self.box, self.next, self.plain = int(team), *ids
        self.kernel.mailboxes.durable([self.box, self.next], attempts=3)

    @property
    def me(self) -> hanse.AgentView:
        return self.kernel.as_agent(self.sender)

    def reopen(self) -> None:
        self.kernel.close()
        self.kernel = hanse.open(self.directory)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "state")
    yield made
    made.kernel.close()


def test_a_message_comes_again_until_it_is_acknowledged(post):
    assert post.me.send_durable(post.box, b"work") == Outcome.ok
    message = post.kernel.receive(post.box)
    assert (message.payload, message.sender, message.attempt) == (b"work", post.sender, 1)
    assert message.durable
    assert not message.acknowledged
    assert message.kind == 0
    assert post.kernel.receive(post.box) is None
    post.reopen()
    again = post.kernel.receive(post.box)
    assert (again.payload, again.sequence, again.attempt) == (b"work", 0, 2)
    position = again.ack()
    assert again.acknowledged
    assert post.kernel.journal.event(position).type == "durable_committed"
    with pytest.raises(hanse.ConflictError, match=r"AlreadyResolved.*0 is acknowledged"):
        again.ack()
    post.reopen()
    assert post.kernel.receive(post.box) is None
    box = post.kernel.mailboxes.durable_box(post.box)
    assert (box.accepted, box.acknowledged, box.dead, box.queued) == (1, 1, 0, 0)


def test_a_drain_gives_durable_messages_apart_from_columns_and_tasks(post):
    post.me.send_durable(post.box, b"kept")
    post.me.send(post.box, b"volatile")
    batch = post.kernel.drain()
    assert [message.payload for message in batch.durable] == [b"kept"]
    assert batch.tasks == []
    assert batch.payload.tobytes() == b"volatile"
    assert len(batch) == 1


def test_a_key_is_answered_again_and_another_body_is_a_conflict(post):
    for key in (b"order", "order", 7, np.uint64(2**64 - 1)):
        start = post.kernel.mailboxes.durable_box(post.box).accepted
        assert post.me.send_durable(post.box, b"body", key=key) in (Outcome.ok, Outcome.replayed)
        post.reopen()
        assert post.me.send_durable(post.box, b"body", key=key) == Outcome.replayed
        assert post.me.send_durable(post.box, b"other", key=key) == Outcome.conflict
        assert post.me.send_durable(post.next, b"body", key=key) == Outcome.conflict
        assert post.kernel.mailboxes.durable_box(post.box).accepted - start <= 1
    assert post.kernel.mailboxes.durable_box(post.box).accepted == 3  # text is its bytes


def test_a_batch_has_an_outcome_for_each_and_one_record(post):
    count = post.kernel.journal.count
    to = np.array([post.box, post.plain, 99, post.box, post.next], dtype=np.uint64)
    rows = np.arange(15, dtype=np.uint8).reshape(5, 3)
    outcomes = post.me.send_durable_many(to, rows, keys=np.arange(5, dtype=np.uint64))
    assert outcomes.tolist() == [
        Outcome.ok, Outcome.invalid, Outcome.unknown, Outcome.ok, Outcome.ok,
    ]  # fmt: skip
    assert post.kernel.journal.count == count + 1
    again = post.me.send_durable_many(to, rows, keys=np.arange(5, dtype=np.uint64))
    assert again.tolist()[0] == again.tolist()[3] == again.tolist()[4] == Outcome.replayed
    ragged = (rows, np.array([0, 1, 2, 3, 1], dtype=np.uint32))
    assert post.me.send_durable_many(to, ragged)[3] == Outcome.ok
    assert post.me.send_durable_many(to, [b"", b"1", b"22", b"x" * 9000, b"y"])[3] == Outcome.ok
    payloads = [message.payload for message in post.kernel.drain().durable]
    assert sorted(payloads, key=len)[-1] == b"x" * 9000


def test_a_handler_that_returns_has_acknowledged(post):
    seen = []

    @post.kernel.on(post.box)
    def handle(message: hanse.Message) -> None:
        seen.append((message.payload, message.attempt))

    for payload in (b"1", b"2"):
        post.me.send_durable(post.box, payload)
    assert post.kernel.run() == 2
    assert post.kernel.mailboxes.durable_box(post.box).acknowledged == 2
    post.reopen()
    assert post.kernel.drain().durable == []
    assert seen == [(b"1", 1), (b"2", 1)]


def test_a_handler_that_raises_gets_it_again_and_then_it_is_a_dead_letter(post, caplog):
    seen = []

    @post.kernel.on(post.box)
    def handle(message: hanse.Message) -> None:
        seen.append(message.attempt)
        raise ValueError("never")

    post.me.send_durable(post.box, b"poison")
    post.kernel.run()
    assert seen == [1, 2, 3]
    (letter,) = post.kernel.mailboxes.durable_dead_letters(post.box)
    assert (letter.payload, letter.reason, letter.attempt) == (b"poison", Outcome.expired, 3)
    post.reopen()
    assert post.kernel.mailboxes.durable_dead_letters(post.box) == [letter]
    box = post.kernel.mailboxes.durable_box(post.box)
    assert box.accepted == box.acknowledged + box.dead + box.queued == 1


def test_a_batch_handler_acknowledges_or_returns_the_whole(post, caplog):
    fail = [True]

    @post.kernel.on_batch(post.team)
    def handle(batch: hanse.Batch) -> None:
        assert len(batch.durable) == 2
        if fail.pop():
            fail.append(False)
            raise ValueError("once")

    for payload in (b"1", b"2"):
        post.me.send_durable(post.box, payload)
    post.kernel.run()
    assert post.kernel.mailboxes.durable_box(post.box).acknowledged == 2


def test_an_async_handler_acknowledges_when_it_is_done(post):
    started = []

    async def main() -> None:
        @post.kernel.on(post.box)
        async def handle(message: hanse.Message) -> None:
            started.append(message.payload)
            await asyncio.sleep(0)
            async with post.kernel.outbox(message) as out:
                out.state = message.payload
                out.send(post.next, b"done")

        post.kernel.attach()
        assert post.me.send_durable(post.box, b"go") == Outcome.ok
        for _ in range(200):
            if post.kernel.mailboxes.durable_box(post.box).acknowledged:
                return
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert started == [b"go"]
    assert post.kernel.mailboxes.state(post.box) == b"go"
    assert post.kernel.mailboxes.durable_box(post.box).acknowledged == 1
    assert post.kernel.mailboxes.durable_box(post.next).accepted == 1


def test_an_outbox_is_one_record(post):
    post.me.send_durable(post.box, b"work")
    message = post.kernel.receive(post.box)
    count = post.kernel.journal.count
    with post.kernel.outbox(message) as out:
        assert out.state == b""
        out.state = b"counted 1"
        assert out.state == b"counted 1"
        out.send(post.next, b"result", key="r")
    assert post.kernel.journal.count == count + 1
    assert out.position == count
    assert message.acknowledged
    post.reopen()
    assert post.kernel.mailboxes.state(post.box) == b"counted 1"
    assert [m.payload for m in post.kernel.drain().durable] == [b"result"]


def test_an_outbox_that_raises_or_is_refused_has_done_nothing(post):
    post.me.send_durable(post.box, b"work")
    message = post.kernel.receive(post.box)
    before = post.kernel.state_hash

    def put(*sends: int, fail: bool = False) -> None:
        with post.kernel.outbox(message) as out:
            out.state = b"half"
            for to in sends:
                out.send(to, b"result")
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put(post.next, fail=True)
    with pytest.raises(hanse.InvalidError, match=r"send\[1\]"):
        put(post.next, post.plain)
    assert post.kernel.state_hash == before
    assert not message.acknowledged
    message.ack()
    with pytest.raises(hanse.ConflictError, match="AlreadyResolved"):
        put(post.next)
    assert post.kernel.mailboxes.durable_box(post.next).accepted == 0


def test_commit_takes_what_an_outbox_takes(post):
    post.me.send_durable(post.box, b"1")
    post.me.send_durable(post.box, b"2")
    him = post.kernel.as_agent(post.box)
    messages = [post.kernel.receive(post.box) for _ in range(2)]
    position = him.commit(ack=messages, send=[(post.next, b"a"), (post.next, b"b", 3)], state=b"s")
    assert position == post.kernel.journal.count - 1
    assert all(message.acknowledged for message in messages)
    assert post.kernel.mailboxes.durable_box(post.next).accepted == 2
    with pytest.raises(hanse.InvalidError, match="Empty"):
        him.commit()
    with pytest.raises(hanse.DeniedError, match="NotPermitted"):
        post.me.commit(ack=messages)


def test_what_waits_for_a_revoked_agent_is_dead(post):
    post.me.send_durable(post.box, b"late")
    message = post.kernel.receive(post.box)
    post.kernel.agents.revoke(post.box)
    with pytest.raises(hanse.DeniedError, match="Revoked"):
        message.ack()
    (letter,) = post.kernel.mailboxes.durable_dead_letters(post.box)
    assert letter.reason == Outcome.revoked
    assert post.me.send_durable(post.box, b"later") == Outcome.revoked


def test_state_hashes_name_the_boxes_once_there_are_any(tmp_path):
    with hanse.open() as kernel:
        assert "mailbox" not in kernel.state_hashes()
    made = Post(tmp_path)
    assert "mailbox" in made.kernel.state_hashes()
    before = made.kernel.state_hash
    made.reopen()
    assert made.kernel.state_hash == before
    made.kernel.close()


def test_memory_only_kernels_have_durable_boxes_that_end_with_them():
    with hanse.open() as kernel:
        kernel.mailboxes.durable(kernel.root)
        assert kernel.send_durable(kernel.root, b"x" * 5000) == Outcome.ok
        assert kernel.receive(kernel.root).payload == b"x" * 5000


def test_another_tenant_sees_nothing_of_a_box(post):
    rivals = post.kernel.agents.add("rivals", kind="group")
    spy = int(post.kernel.agents.add("spy", parent=rivals))
    core = post.kernel._core
    for call in (core.durable_box, core.durable_dead_letters, core.durable_state):
        with pytest.raises(hanse.NotFoundError, match="UnknownAgent"):
            call(spy, post.box)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, "OutOfRange"),
        ({"capacity": (1 << 20) + 1}, "OutOfRange"),
        ({"in_flight": 0}, "OutOfRange"),
        ({"attempts": 0}, "OutOfRange"),
        ({"attempts": 65536}, "OutOfRange"),
        ({"payload_bytes": 0}, "OutOfRange"),
        ({"capacity": "many"}, "WrongType"),
        ({"agents": "all"}, "WrongType"),
        ({"agents": [True]}, "WrongType"),
        ({"agents": [-1]}, "OutOfRange"),
        ({"agents": np.zeros(1, np.int32)}, "WrongType"),
    ],
)
def test_a_declaration_refuses_bad_input(post, arguments, error):
    before = post.kernel.journal.count
    with pytest.raises(hanse.InvalidError, match=error):
        post.kernel.mailboxes.durable(**({"agents": [post.box]} | arguments))
    assert post.kernel.journal.count == before


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda me, box: me.send_durable(box, "text"), "WrongType"),
        (lambda me, box: me.send_durable("box", b""), "WrongType"),
        (lambda me, box: me.send_durable(-1, b""), "OutOfRange"),
        (lambda me, box: me.send_durable(box, b"", key=b""), "Empty"),
        (lambda me, box: me.send_durable(box, b"", key=b"k" * 65), "TooLarge"),
        (lambda me, box: me.send_durable(box, b"", key=1.5), "WrongType"),
        (lambda me, box: me.send_durable(box, b"", key=-1), "OutOfRange"),
        (lambda me, box: me.send_durable_many([box], [b""]), "WrongType"),
        (lambda me, box: me.send_durable_many(np.array([box]), [b""]), "WrongType"),
        (lambda me, box: me.send_durable_many(np.array([box], np.uint64), []), "DimensionMismatch"),
        (
            lambda me, box: me.send_durable_many(np.array([box], np.uint64), [b""], keys="k"),
            "WrongType",
        ),
        (
            lambda me, box: me.send_durable_many(np.full(4097, box, np.uint64), [b""] * 4097),
            "TooLarge",
        ),
        (lambda me, box: me.commit(state="text"), "WrongType"),
        (lambda me, box: me.commit(state=b"s" * 65537), "TooLarge"),
        (lambda me, box: me.commit(send=[(box,)]), "WrongType"),
        (lambda me, box: me.commit(ack=["message"]), "WrongType"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(post, call, error):
    before = post.kernel.journal.count
    with pytest.raises(hanse.InvalidError, match=error):
        call(post.me, post.box)
    assert post.kernel.journal.count == before


def test_a_volatile_message_has_nothing_to_acknowledge(post):
    post.me.send(post.box, b"volatile")
    message = post.kernel.receive(post.box)
    assert not message.durable
    with pytest.raises(hanse.ConflictError, match="IllegalTransition"):
        message.ack()
    with post.kernel.outbox(message) as out:
        out.send(post.next, b"durable answer")
    assert post.kernel.mailboxes.durable_box(post.next).accepted == 1


def test_a_closed_kernel_is_told_of(post):
    post.me.send_durable(post.box, b"x")
    message = post.kernel.receive(post.box)
    post.kernel.close()
    with pytest.raises(hanse.InvalidError, match="Closed"):
        message.ack()
    with pytest.raises(hanse.InvalidError, match="Closed"):
        post.me.send_durable(post.box, b"y")
