"""Payloads by reference: loans, Python objects, one payload for many."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open() as opened:
        opened.drain()
        yield opened


def test_a_loan_moves_into_the_message(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    loan = kernel.loan(100_000)
    assert len(loan) == 100_000
    np.frombuffer(loan, np.uint8)[:] = np.arange(100_000) % 251
    assert kernel.send(agent, loan) == Outcome.ok
    assert loan.sent
    message = kernel.receive(agent)
    assert message is not None
    assert isinstance(message, hanse.Message)
    np.testing.assert_array_equal(np.frombuffer(message, np.uint8), np.arange(100_000) % 251)
    view = message.view
    assert view.readonly
    assert message.payload == bytes(view)
    assert message.payload is message.payload
    del message
    assert view[250] == 250


def test_a_spent_loan_is_refused_and_so_is_one_that_is_looked_at(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    loan = kernel.loan(128)
    view = loan.view
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.send(agent, loan)
    assert caught.value.name == "BadArray"
    view[:3] = b"abc"
    view.release()
    assert kernel.send(agent, loan) == Outcome.ok
    with pytest.raises(hanse.ConflictError):
        kernel.send(agent, loan)
    with pytest.raises(hanse.ConflictError):
        memoryview(loan)
    assert kernel.counters()["accepted"] == 1


def test_a_refused_loan_is_still_the_senders(kernel: hanse.Kernel) -> None:
    loan = kernel.loan(128)
    assert kernel.send(1 << 32 | 999, loan) == Outcome.unknown
    assert not loan.sent
    agent = kernel.agents.add("one")
    kernel.mailboxes.configure(agent, capacity=1)
    kernel.send(agent, b"")
    assert kernel.send(agent, loan) == Outcome.full
    assert not loan.sent
    loan.view[0] = 7


@pytest.mark.parametrize(
    ("size", "name"),
    [(0, "Empty"), (-1, "OutOfRange"), ("x", "WrongType"), (1 << 40, "PayloadTooLarge")],
)
def test_a_loan_of_no_possible_size_is_refused(kernel: hanse.Kernel, size: int, name: str) -> None:
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.loan(size)
    assert caught.value.name == name


def test_loans_are_bounded_and_given_back() -> None:
    with hanse.open() as kernel:
        kernel.drain()
        size = 16 << 20
        loans = [kernel.loan(size) for _ in range(64)]
        with pytest.raises(hanse.BusyError) as caught:
            kernel.loan(size)
        assert caught.value.name == "Backpressure"
        del loans
        assert len(kernel.loan(size)) == size


class Thing:
    """Something that can be watched going away."""


def test_an_object_arrives_as_itself_and_is_let_go(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    thing = Thing()
    gone = weakref.ref(thing)
    count = sys.getrefcount(thing)
    assert kernel.send_object(agent, thing, key=3) == Outcome.ok
    assert sys.getrefcount(thing) == count + 1
    message = kernel.receive(agent)
    assert message is not None
    assert message.object is thing
    assert message.key == 3
    assert message.payload == b""
    del thing, message
    kernel.drain()
    gc.collect()
    assert gone() is None


def test_an_object_that_no_one_takes_is_let_go_on_every_path() -> None:
    kernel = hanse.open()
    kernel.drain()
    dropping, closing, revoked, queued = (int(id) for id in kernel.agents.add_many(4))
    things = [Thing() for _ in range(6)]
    gone = [weakref.ref(thing) for thing in things]
    kernel.mailboxes.configure(dropping, capacity=1, policy="drop_oldest")
    kernel.send_object(dropping, things[0])
    kernel.send_object(dropping, things[1])
    kernel.send_object(revoked, things[2])
    kernel.agents.revoke(revoked)
    assert kernel.send_object(revoked, things[3]) == Outcome.revoked
    assert kernel.send_object(1 << 32 | 999, things[4]) == Outcome.unknown
    kernel.send_object(queued, things[5])
    assert closing
    del things
    gc.collect()
    assert gone[3]() is None
    assert gone[4]() is None
    kernel.close()
    del kernel
    gc.collect()
    assert [ref() for ref in gone] == [None] * 6


def test_an_object_can_be_sent_by_the_owner_alone(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    caught: list[hanse.HanseError] = []

    def send() -> None:
        try:
            kernel.send_object(agent, Thing())
        except hanse.HanseError as error:
            caught.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join()
    assert [error.name for error in caught] == ["WrongThread"]


def test_a_topic_reaches_its_subscribers_and_no_one_twice(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(6)
    topics = kernel.topics
    assert topics.subscribe(ids[:3], 0xAB00) == 3
    assert topics.subscribe(int(ids[2]), 0xAB00) == 0
    assert topics.subscribe_prefix(ids[2:5], 0xAB << 56, 8) == 3
    assert topics.subscribe_prefix(int(ids[5]), 0, 0) == 1
    publication = topics.publish(0xAB00, b"news", lane=1, key=4)
    assert publication.accepted == 4
    assert len(publication) == 4
    assert publication.outcomes.tolist() == [0] * 4
    wide = topics.publish(0xAB << 56 | 5, b"prefix")
    assert wide.accepted == 4
    got: dict[int, list[bytes]] = {}
    for agent in ids:
        while (message := kernel.receive(int(agent))) is not None:
            got.setdefault(int(agent), []).append(message.payload)
    a, b, c, d, e, f = (int(id) for id in ids)
    both = [b"news", b"prefix"]
    assert got == {a: [b"news"], b: [b"news"], c: both, d: [b"prefix"], e: [b"prefix"], f: both}
    assert topics.unsubscribe(ids[:3], 0xAB00) == 3
    assert topics.unsubscribe(ids[:3], 0xAB00) == 0
    assert topics.unsubscribe_prefix(ids[2:5], 0xAB << 56, 8) == 3
    assert topics.subscribers(0xAB00).tolist() == [f]


def test_a_publication_says_who_could_not_take_it(kernel: hanse.Kernel) -> None:
    left = kernel.agents.add("left", kind="group")
    walled, full, revoked, fine = (
        kernel.agents.add("walled", parent=left),
        kernel.agents.add("full"),
        kernel.agents.add("revoked"),
        kernel.agents.add("fine"),
    )
    kernel.policy.load(
        "permit(principal, action, resource);"
        '@id("wall") forbid(principal, action == Action::"send", resource in Agent::"left");'
    )
    kernel.topics.subscribe(np.array([walled, full, revoked, fine], np.uint64), 1)
    kernel.mailboxes.configure(full, capacity=1)
    kernel.send(full, b"")
    kernel.agents.revoke(revoked)
    publication = kernel.topics.publish(1, b"x")
    wanted = {walled: Outcome.denied, full: Outcome.full, revoked: Outcome.revoked, fine: 0}
    order = [walled, full, revoked, fine]
    assert publication.outcomes.tolist() == [wanted[agent] for agent in order]
    assert publication.accepted == 1


def test_a_large_publication_shares_one_payload(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(200)
    kernel.topics.subscribe(ids, 9)
    loan = kernel.loan(1 << 20)
    loan.view[:4] = b"data"
    before = kernel.memory()["mailboxes"]
    assert kernel.topics.publish(9, loan).accepted == 200
    assert loan.sent
    assert kernel.memory()["mailboxes"] - before < 4 << 20
    messages = [kernel.receive(int(id)) for id in ids]
    assert all(m is not None and bytes(m.view[:4]) == b"data" for m in messages)


def test_a_bad_subscription_is_refused(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    for call in (
        lambda: kernel.topics.subscribe(agent, -1),
        lambda: kernel.topics.subscribe("x", 1),  # type: ignore[arg-type]
        lambda: kernel.topics.subscribe(np.array([agent], np.int64), 1),  # type: ignore[arg-type]
        lambda: kernel.topics.subscribe_prefix(agent, 1, 65),
        lambda: kernel.topics.publish(1 << 64, b""),
        lambda: kernel.topics.publish(1, "text"),  # type: ignore[arg-type]
        lambda: kernel.topics.publish(1, b"", lane=4),
    ):
        with pytest.raises(hanse.InvalidError):
            call()
    with pytest.raises(hanse.NotFoundError):
        kernel.topics.subscribe(12345, 1)
    assert kernel.topics.subscribers(1).tolist() == []


def test_a_consumer_group_shares_the_work_and_passes_over_who_is_full(
    kernel: hanse.Kernel,
) -> None:
    ids = kernel.agents.add_many(4)
    workers, listener = ids[:3], int(ids[3])
    assert kernel.topics.join(workers, 7, 1) == 3
    assert kernel.topics.join(int(workers[0]), 7, 1) == 0
    kernel.topics.join(int(workers[0]), 7, 2)
    kernel.topics.subscribe(listener, 7)
    kernel.mailboxes.configure(int(workers[1]), capacity=1)
    for i in range(6):
        publication = kernel.topics.publish(7, bytes([i]) * 100)
        assert publication.accepted == 3
        assert publication.groups.tolist() == [0, 0]
    got = {int(to): 0 for to in ids}
    for to in kernel.drain().to:
        got[int(to)] += 1
    assert list(got.values()) == [3 + 6, 1, 2, 6]
    kernel.agents.revoke(int(workers[2]))
    for _ in range(2):
        kernel.topics.publish(7, kernel.loan(80))
    assert sorted(kernel.topics.members(7, 1)) == sorted(workers[:2])
    assert kernel.topics.leave(workers[:2], 7, 1) == 2
    assert kernel.topics.leave(workers, 7, 1) == 0
    assert len(kernel.topics.publish(7, b"x").groups) == 1
    with pytest.raises(hanse.NotFoundError):
        kernel.topics.join(12345, 7, 1)
    with pytest.raises(hanse.InvalidError):
        kernel.topics.join(listener, 7, -1)


def test_a_loan_is_writable_for_numpy_by_dlpack_until_it_is_sent(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("agent")
    loan = kernel.loan(100)
    assert loan.__dlpack_device__() == (1, 0)
    array = np.from_dlpack(loan)
    assert (array.dtype, array.shape) == (np.uint8, (100,))
    assert array.flags.writeable
    array[:] = np.arange(100, dtype=np.uint8)
    with pytest.raises(hanse.InvalidError, match="view of it still lives"):
        kernel.send(agent, loan)
    del array
    # A capsule that no one consumed counts as a view as long as it lives, in both generations.
    for capsule in (loan.__dlpack__(), loan.__dlpack__(max_version=(1, 1))):
        with pytest.raises(hanse.InvalidError, match="view of it still lives"):
            kernel.send(agent, loan)
        del capsule
    assert kernel.send(agent, loan) == Outcome.ok
    message = kernel.receive(agent)
    assert message is not None
    assert message.payload == bytes(range(100))
    with pytest.raises(hanse.ConflictError):
        np.from_dlpack(loan)


def test_the_view_of_a_loan_outlives_the_loan_and_its_kernel() -> None:
    with hanse.open() as kernel:
        array = np.from_dlpack(kernel.loan(64))
        array[:] = 7
    del kernel
    assert array.tolist() == [7] * 64


@pytest.mark.parametrize(
    "wrong", [{"stream": 1}, {"dl_device": (2, 0)}, {"copy": True}], ids=lambda w: next(iter(w))
)
def test_a_tensor_of_another_device_or_a_copy_is_refused(
    kernel: hanse.Kernel, wrong: dict[str, object]
) -> None:
    loan = kernel.loan(8)
    with pytest.raises(hanse.InvalidError):
        loan.__dlpack__(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loan.__dlpack__(max_version="new")  # type: ignore[arg-type]
