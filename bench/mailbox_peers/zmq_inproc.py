"""pyzmq over inproc: a DEALER socket an agent round one ROUTER; each hop passes the ROUTER."""

from __future__ import annotations

import time
from typing import Any

import zmq

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

AGENTS_MAX = 8_000  # libzmq's sockets are bounded by the process's file descriptors


def connected(agents: int, capacity: int = 0) -> tuple[Any, list[Any]]:
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, agents + 16)
    router = context.socket(zmq.ROUTER)
    router.set(zmq.SNDHWM, capacity)
    router.set(zmq.ROUTER_MANDATORY, 1)
    router.bind("inproc://agents")
    dealers = []
    for i in range(agents):
        dealer = context.socket(zmq.DEALER)
        dealer.set(zmq.IDENTITY, i.to_bytes(4, "little"))
        dealer.set(zmq.RCVHWM, capacity)
        dealer.connect("inproc://agents")
        dealers.append(dealer)
    return router, dealers


def _storm(agents: int, count: int) -> float:
    agents = min(agents, AGENTS_MAX)
    router, dealers = connected(agents)
    target = random_targets(agents).__next__
    start = time.perf_counter_ns()
    queued = [target() for _ in range(min(agents, TOKENS_MAX, max(1, count // 4)))]
    for agent in queued:
        router.send_multipart([agent.to_bytes(4, "little"), TOKEN])
    handled = 0
    while handled < count:
        arrived, queued = queued, []
        for agent in arrived:
            dealers[agent].send(dealers[agent].recv())
            _, token = router.recv_multipart()
            to = target()
            router.send_multipart([to.to_bytes(4, "little"), token])
            queued.append(to)
            handled += 1
    return rate(handled, start)


def _pingpong(agents: int, count: int) -> float:
    router, dealers = connected(1)
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        router.send_multipart([bytes(4), TOKEN])
        dealers[0].send(dealers[0].recv())
        router.recv_multipart()
        taken.append(time.perf_counter_ns() - start)
    return median_us(taken)


def _idle(agents: int, count: int) -> float:
    agents = min(agents, AGENTS_MAX)
    before = resident_bytes()
    connected(agents)
    return (resident_bytes() - before) / agents


def _slow(agents: int, count: int) -> float:
    agents = min(agents, AGENTS_MAX)
    router, dealers = connected(agents, SLOW_CAPACITY)
    start = time.perf_counter_ns()
    handled = 0
    for i in range(count):
        agent = i % agents
        try:
            router.send_multipart([agent.to_bytes(4, "little"), TOKEN], zmq.DONTWAIT)
        except zmq.ZMQError:
            continue
        if agent:
            dealers[agent].recv()
            handled += 1
    return rate(handled, start)


if __name__ == "__main__":
    run(storm=_storm, pingpong=_pingpong, idle=_idle, slow=_slow)
