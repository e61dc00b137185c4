"""What the peers share: their command line, and the numbers that they draw before the clock."""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle

SHAPES = ("storm", "pingpong", "idle", "slow")
TOKEN = bytes(64)
TOKENS_MAX = 10_000
SLOW_CAPACITY = 64
SEED = 7

Shape = Callable[[int, int], float]  # (agents, count) -> the figure


def random_targets(agents: int) -> Iterator[int]:
    """Where the next token goes: the same numbers for every peer, drawn before the clock."""
    generator = random.Random(SEED)
    return cycle([generator.randrange(agents) for _ in range(65_536)])


def rate(count: int, start_ns: int) -> float:
    return count / ((time.perf_counter_ns() - start_ns) / 1e9)


def median_us(taken_ns: list[int]) -> float:
    return statistics.median(taken_ns) / 1e3


def resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(**shapes: Shape) -> None:
    """Does what the command line says and prints the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=[name for name in SHAPES if name in shapes])
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    print(shapes[options.shape](options.agents, options.count), flush=True)
    # Not a clean end: ten thousand actors are not stopped one by one.
    os._exit(0)
