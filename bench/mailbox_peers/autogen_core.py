"""AutoGen core: one SingleThreadedAgentRuntime, an agent for each topic source."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)

from bench.mailbox_peers.shape import (
    TOKEN,
    TOKENS_MAX,
    median_us,
    random_targets,
    rate,
    resident_bytes,
    run,
)


@dataclass
class Token:
    payload: str  # 64 characters: its log writes messages as JSON, which has no bytes


TEXT = TOKEN.decode()


class State:
    """What the agents of one run share."""

    def __init__(self, agents: int, wanted: int, forwards: bool) -> None:
        self.target = random_targets(agents).__next__
        self.wanted = wanted
        self.forwards = forwards
        self.handled = 0
        self.done = asyncio.Event()


class Forwarder(RoutedAgent):
    state: State

    def __init__(self) -> None:
        super().__init__("forwards tokens")

    @message_handler
    async def token(self, message: Token, ctx: MessageContext) -> Token:
        state = Forwarder.state
        if not state.forwards and self.id.key == "0":
            await asyncio.Event().wait()  # the slow one
        state.handled += 1
        if state.handled >= state.wanted:
            state.done.set()
        elif state.forwards:
            await self.publish_message(message, TopicId("token", str(state.target())))
        return message


async def runtime_of(state: State) -> Any:
    runtime = SingleThreadedAgentRuntime(ignore_unhandled_exceptions=True)
    Forwarder.state = state
    await Forwarder.register(runtime, "forwarder", Forwarder)
    await runtime.add_subscription(TypeSubscription("token", "forwarder"))
    return runtime


async def _storm(agents: int, count: int) -> float:
    state = State(agents, count, forwards=True)
    runtime = await runtime_of(state)
    runtime.start()
    start = time.perf_counter_ns()
    for i in range(min(agents, TOKENS_MAX, max(1, count // 4))):
        await runtime.publish_message(Token(TEXT), TopicId("token", str(i)))
    await state.done.wait()
    return rate(state.handled, start)


async def _pingpong(agents: int, count: int) -> float:
    state = State(agents, count + 1, forwards=False)
    runtime = await runtime_of(state)
    runtime.start()
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await runtime.send_message(Token(TEXT), AgentId("forwarder", "1"))
        taken.append(time.perf_counter_ns() - start)
    return median_us(taken)


async def _idle(agents: int, count: int) -> float:
    state = State(agents, 1, forwards=False)
    runtime = await runtime_of(state)
    before = resident_bytes()
    for i in range(agents):
        await runtime.try_get_underlying_agent_instance(AgentId("forwarder", str(i)))
    return (resident_bytes() - before) / agents


async def _slow(agents: int, count: int) -> float:
    state = State(agents, count - len(range(0, count, agents)), forwards=False)
    runtime = await runtime_of(state)
    runtime.start()
    start = time.perf_counter_ns()
    for i in range(count):
        await runtime.publish_message(Token(TEXT), TopicId("token", str(i % agents)))
    await state.done.wait()
    return rate(state.handled, start)


if __name__ == "__main__":
    run(
        storm=lambda agents, count: asyncio.run(_storm(agents, count)),
        pingpong=lambda agents, count: asyncio.run(_pingpong(agents, count)),
        idle=lambda agents, count: asyncio.run(_idle(agents, count)),
        slow=lambda agents, count: asyncio.run(_slow(agents, count)),
    )
