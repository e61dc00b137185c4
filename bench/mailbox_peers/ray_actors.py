"""Ray: agents shared out to 4 actors, which are processes; ten thousand would not start."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray

from bench.mailbox_peers.shape import (
    TOKEN,
    median_us,
    random_targets,
    rate,
    resident_bytes,
    run,
)

ACTORS = 4
IN_FLIGHT = 64


@ray.remote(num_cpus=0)
class Worker:
    def handle(self, agent: int, token: bytes) -> bytes:
        return token

    def never(self) -> None:
        time.sleep(3600)

    def resident(self) -> int:
        return resident_bytes()


def workers() -> list[Any]:
    ray.init(num_cpus=2, logging_level=logging.ERROR, include_dashboard=False, log_to_driver=False)
    started = [Worker.remote() for _ in range(ACTORS)]
    ray.get([worker.handle.remote(0, TOKEN) for worker in started])
    return started


def _storm(agents: int, count: int) -> float:
    started = workers()
    targets = random_targets(agents)
    start = time.perf_counter_ns()
    flying: list[Any] = []
    for sent, agent in zip(range(count), targets, strict=False):
        flying.append(started[agent % ACTORS].handle.remote(agent, TOKEN))
        if len(flying) == IN_FLIGHT or sent == count - 1:
            ray.get(flying)
            flying = []
    return rate(count, start)


def _pingpong(agents: int, count: int) -> float:
    worker = workers()[0]
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        ray.get(worker.handle.remote(0, TOKEN))
        taken.append(time.perf_counter_ns() - start)
    return median_us(taken)


def _idle(agents: int, count: int) -> float:
    started = workers()
    return sum(ray.get([worker.resident.remote() for worker in started])) / ACTORS


def _slow(agents: int, count: int) -> float:
    started = workers()
    started[0].never.remote()
    start = time.perf_counter_ns()
    flying, handled = [], 0
    for i in range(count):
        flying_one = started[i % ACTORS].handle.remote(i, TOKEN)
        if i % ACTORS:
            flying.append(flying_one)
        if len(flying) == IN_FLIGHT or i == count - 1:
            handled += len(ray.get(flying))
            flying = []
    return rate(handled, start)


if __name__ == "__main__":
    run(storm=_storm, pingpong=_pingpong, idle=_idle, slow=_slow)
