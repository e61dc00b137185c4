"""pykka: a ThreadingActor, so a thread, for each agent."""

from __future__ import annotations

import threading
import time
from typing import Any

import pykka

from bench.mailbox_peers.shape import (
    TOKEN,
    TOKENS_MAX,
    median_us,
    random_targets,
    rate,
    resident_bytes,
    run,
)

threading.stack_size(256 << 10)


class State:
    """What the actors of one run share."""

    def __init__(self, agents: int, wanted: int, forwards: bool) -> None:
        self.target = random_targets(agents).__next__
        self.wanted = wanted
        self.forwards = forwards
        self.handled = 0
        self.done = threading.Event()
        self.actors: list[Any] = []


class Forwarder(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self, state: State, slow: bool = False) -> None:
        super().__init__()
        self.state = state
        self.slow = slow

    def on_receive(self, message: bytes) -> bytes:
        state = self.state
        if self.slow:
            time.sleep(3600)
        state.handled += 1  # not exact under threads, and need not be: it ends the run
        if state.handled >= state.wanted:
            state.done.set()
        elif state.forwards:
            state.actors[state.target()].tell(message)
        return message


def started(state: State, agents: int, slow: bool = False) -> None:
    state.actors = [Forwarder.start(state, slow and i == 0) for i in range(agents)]


def _storm(agents: int, count: int) -> float:
    state = State(agents, count, forwards=True)
    started(state, agents)
    start = time.perf_counter_ns()
    for i in range(min(agents, TOKENS_MAX, max(1, count // 4))):
        state.actors[i].tell(TOKEN)
    state.done.wait()
    return rate(state.handled, start)


def _pingpong(agents: int, count: int) -> float:
    state = State(agents, count + 1, forwards=False)
    started(state, 1)
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        state.actors[0].ask(TOKEN)
        taken.append(time.perf_counter_ns() - start)
    return median_us(taken)


def _idle(agents: int, count: int) -> float:
    state = State(agents, 1, forwards=False)
    before = resident_bytes()
    started(state, agents)
    return (resident_bytes() - before) / agents


def _slow(agents: int, count: int) -> float:
    # The counter is not locked, so the run ends a little before the last message.
    wanted = (count - len(range(0, count, agents))) * 9 // 10
    state = State(agents, wanted, forwards=False)
    started(state, agents, slow=True)
    start = time.perf_counter_ns()
    for i in range(count):
        state.actors[i % agents].tell(TOKEN)
    state.done.wait()
    return rate(state.handled, start)


if __name__ == "__main__":
    run(storm=_storm, pingpong=_pingpong, idle=_idle, slow=_slow)
