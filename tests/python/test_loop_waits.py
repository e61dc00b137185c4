"""Waiting for messages: in a thread, by a descriptor, in a loop, and never by polling."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time

import pytest

import hanse
from hanse import Outcome


def test_receive_waits_for_a_message_of_another_thread() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        assert kernel.receive(agent) is None
        ready = threading.Event()

        def send() -> None:
            ready.wait(10)
            for i in range(3):
                assert kernel.send(agent, b"%d" % i) == Outcome.ok

        thread = threading.Thread(target=send)
        thread.start()
        ready.set()
        messages = [kernel.receive(agent, timeout=20) for _ in range(3)]
        thread.join()
        assert [m.payload for m in messages if m is not None] == [b"0", b"1", b"2"]


def test_receive_gives_up_after_its_timeout() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        other = kernel.agents.add("other")
        kernel.send(other, b"not for one")
        assert kernel.receive(agent, timeout=0.01) is None
        for bad in (0, -1, "x", True):
            with pytest.raises(hanse.InvalidError):
                kernel.receive(agent, timeout=bad)  # type: ignore[arg-type]


def test_receive_with_a_timeout_is_refused_inside_a_loop() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")

        async def main() -> None:
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.receive(agent, timeout=1)
            assert caught.value.name == "WrongThread"

        asyncio.run(main())


def test_another_thread_than_the_owner_can_not_wait() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        kernel.drain()
        caught: list[str] = []

        def wait() -> None:
            try:
                kernel.receive(agent, timeout=1)
            except hanse.InvalidError as error:
                caught.append(error.name)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
        assert caught == ["WrongThread"]


def test_a_descriptor_says_when_to_run() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        got: list[bytes] = []
        kernel.on(agent)(lambda message: got.append(message.payload))
        fd = kernel.fileno()
        assert kernel.fileno() == fd
        assert select.select([fd], [], [], 0)[0] == []
        for _ in range(3):
            thread = threading.Thread(target=kernel.send, args=(agent, b"x"))
            thread.start()
            assert select.select([fd], [], [], 20)[0] == [fd]
            thread.join()
            assert kernel.run() == 1
            assert select.select([fd], [], [], 0)[0] == []
        assert got == [b"x"] * 3


def test_a_batch_from_another_thread_wakes_the_loop_once() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        got: list[bytes] = []
        kernel.on(agent)(lambda message: got.append(message.payload))

        async def main() -> None:
            kernel.attach()
            await asyncio.sleep(0)
            bridge = kernel._loop
            assert bridge is not None
            thread = threading.Thread(
                target=lambda: [kernel.send(agent, b"%d" % i) for i in range(100)]
            )
            # The loop does not run meanwhile: all hundred are one wake.
            thread.start()
            thread.join()
            assert os.eventfd_read(bridge._fd) == 1
            os.eventfd_write(bridge._fd, 1)
            while len(got) < 100:
                await asyncio.sleep(0)

        asyncio.run(main())
        assert got == [b"%d" % i for i in range(100)]


def test_an_idle_loop_has_nothing_to_do() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        kernel.on(agent)(lambda message: message.payload)

        async def main() -> None:
            assert await kernel.ask(agent, b"x", timeout=30) == b"x"
            await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            assert not loop._ready  # type: ignore[attr-defined]
            live = [h for h in loop._scheduled if not h.cancelled()]  # type: ignore[attr-defined]
            assert live == []

        asyncio.run(main())


def test_a_long_queue_leaves_the_loop_to_its_other_tasks() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(100)
        handled = 0

        @kernel.on(ids)
        def handle(message: hanse.Message) -> None:
            nonlocal handled
            handled += 1
            time.sleep(0.0001)

        async def main() -> list[int]:
            kernel.attach()
            for _ in range(20):
                for agent in ids:
                    kernel.send(int(agent), b"")
            seen = []
            while handled < 2_000:
                await asyncio.sleep(0)
                seen.append(handled)
            return seen

        assert len(set(asyncio.run(main()))) > 3


def test_a_loop_that_closed_with_messages_queued_loses_none() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        got: list[bytes] = []

        async def main() -> None:
            kernel.attach()
            for i in range(5):
                kernel.send(agent, b"%d" % i)

        asyncio.run(main())
        kernel.on(agent)(lambda message: got.append(message.payload))
        kernel.send(agent, b"5")
        assert kernel.run() == 6
        assert got == [b"%d" % i for i in range(6)]
