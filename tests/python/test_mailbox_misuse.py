"""Misuse of mailboxes: each ends in a typed error or an outcome, and every message is accounted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import numpy as np
import pytest

import hanse
from hanse import Outcome

PAYLOAD_MAX = 16 << 20


@pytest.fixture(params=[1, 2], ids=["one shard", "two shards"])
def kernel(request: pytest.FixtureRequest) -> Iterator[hanse.Kernel]:
    with hanse.open(shards=request.param) as opened:
        opened.drain()
        yield opened


def accounted(kernel: hanse.Kernel) -> hanse.MailboxCounters:
    counts = kernel.mailboxes.counters()
    ends = counts.handled + counts.expired + counts.cancelled + counts.dead + counts.queued
    assert counts.accepted == ends
    return counts


def test_an_address_that_is_unknown_foreign_or_revoked_is_an_outcome(kernel: hanse.Kernel) -> None:
    one, two = (int(agent) for agent in kernel.agents.add_many(2))
    tenants = [kernel.agents.add(f"tenant {i}", kind="group") for i in range(2)]
    stranger, foreign = (kernel.agents.add("member", parent=tenant) for tenant in tenants)
    kernel.policy.load(
        "permit(principal, action, resource);"
        '@id("wall") forbid(principal in Agent::"tenant 0", action == Action::"send",'
        ' resource in Agent::"tenant 1");'
    )
    unknown = (7 << 32) | 1
    kernel.send(two, b"before")
    kernel.agents.revoke(two)
    rows = np.zeros((4, 8), np.uint8)
    to = np.array([one, unknown, 12345, two], np.uint64)
    wanted = [Outcome.ok, Outcome.unknown, Outcome.unknown, Outcome.revoked]
    assert kernel.send_many(to, rows).tolist() == wanted
    assert [kernel.send(int(agent), b"x") for agent in to] == wanted
    assert kernel.as_agent(stranger).send(foreign, b"x") == Outcome.denied
    with pytest.raises(hanse.NotFoundError):
        kernel.receive(unknown)
    kernel.drain()
    assert accounted(kernel).dead == 1


def test_a_payload_over_the_limit_is_refused_by_every_way_in(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("agent")
    large = bytes(PAYLOAD_MAX + 1)
    kernel.topics.subscribe(agent, 1)
    assert kernel.send(agent, large) == Outcome.too_large
    assert kernel.send_many(
        np.array([agent], np.uint64), np.zeros((1, PAYLOAD_MAX + 1), np.uint8)
    ).tolist() == [Outcome.too_large]
    for way in (
        lambda: kernel.loan(PAYLOAD_MAX + 1),
        lambda: kernel.topics.publish(1, large),
    ):
        with pytest.raises(hanse.InvalidError, match="PayloadTooLarge"):
            way()

    async def ask() -> None:
        with pytest.raises(hanse.InvalidError, match="PayloadTooLarge"):
            kernel.ask(agent, large)

    asyncio.run(ask())
    assert accounted(kernel).accepted == 0


@pytest.mark.parametrize(
    ("to", "payloads"),
    [
        (np.array([1], np.int64), np.zeros((1, 4), np.uint8)),
        (np.array([1.0]), np.zeros((1, 4), np.uint8)),
        (np.array([[1]], np.uint64), np.zeros((1, 4), np.uint8)),
        (np.array([1, 1], np.uint64), np.zeros((1, 4), np.uint8)),
        (np.array([1], np.uint64), np.zeros(4, np.uint8)),
        (np.array([1], np.uint64), np.zeros((1, 4), np.int8)),
        (np.array([1], np.uint64), np.zeros((1, 8), np.uint8)[:, ::2]),
        (np.array([1], np.uint64), (np.zeros((1, 4), np.uint8), np.array([5], np.uint32))),
        (np.array([1], np.uint64), (np.zeros((1, 4), np.uint8), np.array([1, 2], np.uint32))),
        ([1], np.zeros((1, 4), np.uint8)),
        (np.array([1], np.uint64), None),
    ],
)
def test_a_batch_of_the_wrong_type_or_shape_sends_nothing(
    kernel: hanse.Kernel, to: object, payloads: object
) -> None:
    kernel.agents.add("agent")
    with pytest.raises((hanse.InvalidError, TypeError)):
        kernel.send_many(to, payloads)  # type: ignore[arg-type]
    assert accounted(kernel).accepted == 0


def test_a_handler_that_raises_or_sends_while_its_turn_runs_loses_nothing(
    kernel: hanse.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (int(agent) for agent in kernel.agents.add_many(3))
    got: list[bytes] = []

    @kernel.on(first)
    def forward(message: hanse.Message) -> None:
        assert kernel.send(second, message.payload) == Outcome.ok
        assert kernel.send(first, b"again") == Outcome.ok or message.payload == b"again"
        if message.payload == b"again":
            raise ValueError("on purpose")

    @kernel.on(second)
    def note(message: hanse.Message) -> None:
        got.append(message.payload)

    kernel.send(first, b"one")
    kernel.send(third, b"nobody handles this")
    handled = kernel.run(max_messages=50)
    assert handled == 50
    counts = accounted(kernel)
    assert counts.dead == counts.dead_by_reason[Outcome.invalid] > 0
    assert got[0] == b"one"
    assert "on purpose" in caplog.text
    message = kernel.receive(third)
    assert message is not None
    assert message.payload == b"nobody handles this"


def test_a_handler_that_hangs_holds_up_its_own_box_alone(kernel: hanse.Kernel) -> None:
    stuck, other = (int(agent) for agent in kernel.agents.add_many(2))
    kernel.mailboxes.configure(stuck, capacity=3)

    @kernel.on(stuck)
    async def hang(message: hanse.Message) -> bytes:
        await asyncio.Event().wait()
        return b""

    @kernel.on(other)
    async def answer(message: hanse.Message) -> bytes:
        return b"here"

    async def main() -> None:
        with pytest.raises(hanse.TimedOutError):
            await kernel.ask(stuck, b"first", timeout=0.02)
        outcomes = [kernel.send(stuck, b"more") for _ in range(5)]
        assert outcomes == [Outcome.ok] * 3 + [Outcome.full] * 2
        with pytest.raises(hanse.BusyError, match="Backpressure"):
            await kernel.ask(stuck, b"full")
        assert await kernel.ask(other, b"go", timeout=20) == b"here"
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    asyncio.run(main())
    accounted(kernel)


def test_a_loop_that_ends_with_messages_queued_leaves_them_for_the_next(
    kernel: hanse.Kernel,
) -> None:
    agent = kernel.agents.add("agent")
    got: list[bytes] = []

    async def leave() -> None:
        kernel.attach()
        for i in range(5):
            kernel.send(agent, bytes([i]))

    asyncio.run(leave())
    assert accounted(kernel).queued == 5
    kernel.on(agent)(lambda message: got.append(message.payload))

    async def take() -> None:
        kernel.attach()
        kernel.send(agent, b"last")
        for _ in range(100):
            await asyncio.sleep(0)

    asyncio.run(take())
    assert got == [bytes([i]) for i in range(5)] + [b"last"]
    assert accounted(kernel).queued == 0


def test_after_a_fork_the_child_is_refused_and_the_parent_goes_on(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("agent")
    kernel.send(agent, b"kept")
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (
            lambda: kernel.send(agent, b"x"),
            lambda: kernel.receive(agent),
            lambda: kernel.drain(),
            lambda: kernel.topics.publish(1, b"x"),
            lambda: kernel.mailboxes.counters(),
            lambda: kernel.mailboxes.dead_letters(),
        ):
            try:
                call()
            except hanse.InvalidError as error:
                refused += error.name == "Forked"
            except BaseException:
                pass
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 6
    message = kernel.receive(agent)
    assert message is not None
    assert message.payload == b"kept"


def test_a_closed_kernel_says_so_and_requests_that_wait_end(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("agent")

    async def main() -> None:
        reply = kernel.ask(agent, b"never answered")
        kernel.close()
        with pytest.raises(hanse.BusyError, match="Cancelled"):
            await reply
        with pytest.raises(hanse.InvalidError, match="Closed"):
            kernel.send(agent, b"x")

    asyncio.run(main())
