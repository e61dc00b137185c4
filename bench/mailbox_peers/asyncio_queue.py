"""asyncio: a queue and a coroutine for each agent."""

from __future__ import annotations

import asyncio
import contextlib
import time

from bench.mailbox_peers.shape import (
    SLOW_CAPACITY,
    TOKEN,
    TOKENS_MAX,
    median_us,
    random_targets,
    rate,
    resident_bytes,
    run,
)


async def _storm(agents: int, count: int) -> float:
    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(agents)]
    target = random_targets(agents).__next__
    done = asyncio.Event()
    handled = 0

    async def agent(own: asyncio.Queue[bytes]) -> None:
        nonlocal handled
        while True:
            token = await own.get()
            handled += 1
            if handled >= count:
                done.set()
            queues[target()].put_nowait(token)

    running = [asyncio.create_task(agent(queue)) for queue in queues]
    await asyncio.sleep(0)
    start = time.perf_counter_ns()
    for i in range(min(agents, TOKENS_MAX)):
        queues[i].put_nowait(TOKEN)
    await done.wait()
    figure = rate(handled, start)
    for task in running:
        task.cancel()
    return figure


async def _pingpong(agents: int, count: int) -> float:
    requests: asyncio.Queue[bytes] = asyncio.Queue()
    replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve() -> None:
        while True:
            replies.put_nowait((await requests.get())[::-1])

    server = asyncio.create_task(serve())
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        requests.put_nowait(TOKEN)
        await replies.get()
        taken.append(time.perf_counter_ns() - start)
    server.cancel()
    return median_us(taken)


async def _idle(agents: int, count: int) -> float:
    before = resident_bytes()

    async def agent(own: asyncio.Queue[bytes]) -> None:
        await own.get()

    queues: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(agents)]
    running = [asyncio.create_task(agent(queue)) for queue in queues]
    await asyncio.sleep(0)
    figure = (resident_bytes() - before) / agents
    for task in running:
        task.cancel()
    return figure


async def _slow(agents: int, count: int) -> float:
    queues = [asyncio.Queue[bytes](SLOW_CAPACITY if i == 0 else 0) for i in range(agents)]
    handled = 0
    done = asyncio.Event()
    wanted = count - len(range(0, count, agents))

    async def agent(own: asyncio.Queue[bytes]) -> None:
        nonlocal handled
        while True:
            await own.get()
            handled += 1
            if handled == wanted:
                done.set()

    running = [asyncio.create_task(agent(queue)) for queue in queues[1:]]
    await asyncio.sleep(0)
    start = time.perf_counter_ns()
    for i in range(count):
        with contextlib.suppress(asyncio.QueueFull):
            queues[i % agents].put_nowait(TOKEN)
        if i % 1024 == 1023:
            await asyncio.sleep(0)
    await done.wait()
    figure = rate(handled, start)
    for task in running:
        task.cancel()
    return figure


if __name__ == "__main__":
    run(
        storm=lambda agents, count: asyncio.run(_storm(agents, count)),
        pingpong=lambda agents, count: asyncio.run(_pingpong(agents, count)),
        idle=lambda agents, count: asyncio.run(_idle(agents, count)),
        slow=lambda agents, count: asyncio.run(_slow(agents, count)),
    )
