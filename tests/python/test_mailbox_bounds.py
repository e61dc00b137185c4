"""Bounds of boxes: policies, lanes, deadlines, dead letters, and counts that always add up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome


@pytest.fixture
def kernel() -> Iterator[hanse.Kernel]:
    with hanse.open(clock=hanse.ManualClock(10**18)) as opened:
        opened.drain()
        yield opened


def conserved(kernel: hanse.Kernel) -> hanse.MailboxCounters:
    counts = kernel.mailboxes.counters()
    ends = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
    assert counts.accepted == ends
    requests = counts.requests
    assert requests["opened"] == sum(n for name, n in requests.items() if name != "opened")
    for lane in counts.lanes:
        assert lane.entered == lane.handled + lane.ended + lane.queued
    return counts


def payloads(kernel: hanse.Kernel, agent: int) -> list[bytes]:
    got = []
    while (message := kernel.receive(agent)) is not None:
        got.append(message.payload)
    return got


def fill(kernel: hanse.Kernel, agent: int, policy: str, count: int = 6) -> list[int]:
    kernel.mailboxes.configure(agent, capacity=4, policy=policy)
    return [kernel.send(agent, b"%d" % i) for i in range(count)]


@pytest.mark.parametrize(
    ("policy", "outcomes", "left", "reason"),
    [
        ("reject", [0, 0, 0, 0, 2, 2], b"0123", None),
        ("credit", [0, 0, 0, 0, 2, 2], b"0123", None),
        ("drop_oldest", [0] * 6, b"2345", Outcome.dropped),
        ("drop_newest", [0, 0, 0, 0, 20, 20], b"0123", Outcome.dropped),
        ("coalesce", [0, 0, 0, 0, 2, 2], b"0123", None),
    ],
)
def test_a_full_box_does_what_its_policy_says(
    kernel: hanse.Kernel, policy: str, outcomes: list[int], left: bytes, reason: Outcome | None
) -> None:
    agent = kernel.agents.add("one")
    assert fill(kernel, agent, policy) == outcomes
    assert kernel.mailboxes.box(agent) == hanse.Box(4, policy, 4)
    assert b"".join(payloads(kernel, agent)) == left
    letters = kernel.dead_letters()
    assert [letter.reason for letter in letters] == ([] if reason is None else [reason] * 2)
    counts = conserved(kernel)
    assert counts.refused["full"] == outcomes.count(Outcome.full)
    assert counts.dead_by_reason == ({} if reason is None else {reason: 2})


def test_a_coalescing_box_keeps_the_newest_of_each_key_in_its_place(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.mailboxes.configure(agent, capacity=4, policy="coalesce")
    for key, payload in [(1, b"a"), (2, b"b"), (0, b"c"), (1, b"d"), (2, b"e"), (0, b"f")]:
        assert kernel.send(agent, payload, key=key) == Outcome.ok
    assert kernel.send(agent, b"g", key=3) == Outcome.full
    assert kernel.send(agent, b"h", key=1) == Outcome.ok
    assert payloads(kernel, agent) == [b"h", b"e", b"c", b"f"]
    assert conserved(kernel).dead_by_reason == {Outcome.coalesced: 3}


def test_urgent_lanes_come_first_and_each_keeps_its_order(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    for i, lane in enumerate([0, 3, 1, 0, 3, 2]):
        assert kernel.send(agent, b"%d" % i, lane=lane) == Outcome.ok
    messages = []
    while (message := kernel.receive(agent)) is not None:
        messages.append((message.lane, message.sequence, message.payload))
    assert messages == [
        (3, 0, b"1"), (3, 1, b"4"), (2, 0, b"5"), (1, 0, b"2"), (0, 0, b"0"), (0, 1, b"3"),
    ]  # fmt: skip
    assert [lane.handled for lane in conserved(kernel).lanes] == [2, 1, 1, 2]


def test_a_flood_of_urgent_messages_does_not_starve_the_others(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.send(agent, b"patient")
    for i in range(200):
        kernel.send(agent, b"%d" % i, lane=3)
    assert b"patient" in payloads(kernel, agent)[:40]


def test_a_message_that_is_late_is_counted_and_never_handled(kernel: hanse.Kernel) -> None:
    clock = hanse.ManualClock(10**18)
    with hanse.open(clock=clock) as kernel:
        agent = kernel.agents.add("one")
        seen: list[bytes] = []
        kernel.on(agent)(lambda message: seen.append(message.payload))
        kernel.drain()
        assert kernel.send(agent, b"late", deadline_ns=clock.now_ns + 5) == Outcome.ok
        assert kernel.send(agent, b"in time", deadline_ns=clock.now_ns + 50) == Outcome.ok
        clock.advance(10)
        assert kernel.run() == 1
        assert seen == [b"in time"]
        assert conserved(kernel).expired == 1


def test_fields_arrive_as_they_were_sent(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    kernel.as_agent(a).send(b, b"x", lane=2, deadline_ns=2 * 10**18, key=7, trace=9, latent=11)
    message = kernel.receive(b)
    assert message is not None
    assert (message.lane, message.deadline_ns, message.key) == (2, 2 * 10**18, 7)
    assert (message.trace, message.latent, message.sender) == (9, 11, a)
    assert bytes(message.view) == b"x"
    assert message.view.readonly
    assert message.object is None
    assert not message.cancelled


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"lane": 4}, "OutOfRange"),
        ({"lane": -1}, "OutOfRange"),
        ({"lane": 1.0}, "WrongType"),
        ({"deadline_ns": -1}, "OutOfRange"),
        ({"key": 1 << 64}, "OutOfRange"),
        ({"trace": "x"}, "WrongType"),
        ({"latent": "x"}, "WrongType"),
    ],
)
def test_a_field_out_of_its_range_is_refused(
    kernel: hanse.Kernel, fields: dict[str, int], name: str
) -> None:
    agent = kernel.agents.add("one")
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.send(agent, b"", **fields)
    assert caught.value.name == name
    assert kernel.counters()["accepted"] == 0


def test_send_says_which_argument_is_wrong(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    for call in (
        lambda: kernel.send(agent),  # type: ignore[call-arg]
        lambda: kernel.send(agent, b"", 3),  # type: ignore[misc]
        lambda: kernel.send(agent, b"", colour=3),  # type: ignore[call-arg]
        lambda: kernel.send(agent, payload=b"", to=agent),  # type: ignore[misc]
    ):
        with pytest.raises(TypeError, match=r"send\(\)"):
            call()
    assert kernel.send(to=agent, payload=b"") == Outcome.ok


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"capacity": 0}, "OutOfRange"),
        ({"capacity": "x"}, "WrongType"),
        ({"policy": "forget"}, "OutOfRange"),
        ({"policy": 3}, "WrongType"),
    ],
)
def test_bad_bounds_change_nothing(
    kernel: hanse.Kernel, arguments: dict[str, int], name: str
) -> None:
    ids = kernel.agents.add_many(2)
    before = kernel.mailboxes.box(int(ids[0]))
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.mailboxes.configure(ids, **arguments)  # type: ignore[arg-type]
    assert caught.value.name == name
    with pytest.raises(hanse.NotFoundError):
        kernel.mailboxes.configure(np.array([ids[0], 77], np.uint64), capacity=3)
    assert kernel.mailboxes.box(int(ids[0])) == before


def test_a_dead_letter_can_be_read_and_sent_again(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    kernel.mailboxes.configure(b, capacity=1, policy="drop_oldest")
    me = kernel.as_agent(a)
    me.send(b, b"first", key=5, trace=6)
    me.send(b, b"second")
    (letter,) = kernel.dead_letters()
    assert (letter.to, letter.sender, letter.payload) == (b, a, b"first")
    assert (letter.key, letter.trace, letter.cut, letter.size) == (5, 6, False, 5)
    assert letter.reason == Outcome.dropped
    assert payloads(kernel, b) == [b"second"]
    assert kernel.mailboxes.resend(letter) == Outcome.ok
    assert kernel.mailboxes.resend(letter.number) == Outcome.unknown
    message = kernel.receive(b)
    assert message is not None
    assert (message.payload, message.sender, message.key) == (b"first", a, 5)
    assert kernel.dead_letters() == []
    assert conserved(kernel).resent == 1


def test_retry_after_is_zero_where_there_is_room(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    assert kernel.mailboxes.retry_after(agent) == 0.0
    fill(kernel, agent, "reject")
    assert kernel.mailboxes.retry_after(agent) >= 0.001


def test_send_async_waits_for_room_first_come_first_served() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("slow")
        kernel.mailboxes.configure(agent, capacity=4, policy="credit")
        got: list[bytes] = []

        async def handle(message: hanse.Message) -> None:
            await asyncio.sleep(0)
            got.append(message.payload)

        async def main() -> None:
            kernel.attach()
            sends = [asyncio.create_task(kernel.send_async(agent, b"%d" % i)) for i in range(100)]
            await asyncio.sleep(0)
            assert kernel.mailboxes.box(agent).queued == 4
            kernel.on(agent)(handle)
            assert await asyncio.wait_for(asyncio.gather(*sends), 20) == [Outcome.ok] * 100
            while len(got) < 100:
                await asyncio.sleep(0)

        asyncio.run(main())
        assert got == [b"%d" % i for i in range(100)]
        conserved(kernel)


def test_a_cancelled_send_async_passes_its_turn_on() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("slow")
        kernel.mailboxes.configure(agent, capacity=2, policy="credit")

        async def main() -> None:
            kernel.attach()
            sends = [asyncio.create_task(kernel.send_async(agent, b"%d" % i)) for i in range(6)]
            await asyncio.sleep(0)
            sends[2].cancel()
            sends[4].cancel()
            await asyncio.sleep(0)
            got: list[bytes] = []
            while len(got) < 4:
                got += payloads(kernel, agent)
                await asyncio.sleep(0)
            assert got == [b"0", b"1", b"3", b"5"]
            assert await asyncio.gather(*sends, return_exceptions=True)
            assert not kernel._handlers.credit.waiting

        asyncio.run(main())


def test_send_async_to_a_box_without_credit_answers_at_once(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    fill(kernel, agent, "reject")

    async def main() -> int:
        return await kernel.send_async(agent, b"more", lane=0)

    assert asyncio.run(main()) == Outcome.full


def test_closing_the_kernel_ends_a_send_that_waits() -> None:
    kernel = hanse.open()
    agent = kernel.agents.add("slow")
    kernel.mailboxes.configure(agent, capacity=1, policy="credit")

    async def main() -> None:
        kernel.attach()
        await kernel.send_async(agent, b"1")
        waiting = asyncio.create_task(kernel.send_async(agent, b"2"))
        await asyncio.sleep(0)
        kernel.close()
        with pytest.raises(hanse.InvalidError) as caught:
            await waiting
        assert caught.value.name == "Closed"

    asyncio.run(main())


def test_ages_and_traces_are_of_what_was_taken(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.send(agent, b"x", trace=77)
    for _ in range(900):
        kernel.send(agent, b"x")
    payloads(kernel, agent)
    ages = kernel.mailboxes.ages()
    assert ages.counts.dtype == np.uint64
    assert ages.counts.sum() <= 901
    assert ages.mean_ns <= ages.max_ns
    assert all(trace.to == agent for trace in kernel.mailboxes.traces())
