"""Real `kill -9` while snapshots are taken and records and extents dropped: nothing is lost.

The child works in another thread than the one that compacts, so that a kill meets both. After each
death the directory is verified, the counts are what was acknowledged, every proof can be made, and
every payload that a task or a letter still names can be read.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

import hanse
from tests.simulation.test_kill import SEED, run_and_kill

CYCLES = 12
LARGE = 6_000  # over what is kept inside of a record


def work(directory: Path, cycle: int, pipe: int) -> None:
    def say(*words: object) -> None:
        os.write(pipe, (" ".join(map(str, words)) + "\n").encode())

    say("opening")
    kernel = hanse.open(directory, segment_size=1 << 16)
    say("opened")
    chance = random.Random(SEED + cycle)

    def compact() -> None:
        while True:
            kernel.journal.snapshot()
            dropped = kernel.journal.compact(keep=chance.randrange(50), snapshots=1)
            if dropped.freed_bytes:
                say("dropped", dropped.oldest, dropped.freed_extents)

    threading.Thread(target=compact, daemon=True).start()
    buyer = kernel.as_agent(kernel.agents.find("buyer"))
    worker = kernel.agents.find("worker")
    number = 0
    while True:
        number += 1
        payload = b"%d/%d " % (cycle, number) + b"." * (LARGE if number % 3 == 0 else 10)
        key = f"{cycle}-{number}"
        task = buyer.dispatch(to=worker, budget=1, payload=payload, key=key).task
        # A request that comes to nothing leaves its bytes behind, which nothing names.
        if number % 5 == 0:
            with pytest.raises(hanse.HanseError):
                buyer.dispatch(to=1 << 40, budget=1, payload=payload + b"lost")
        if number % 2:
            buyer.void(task)
        say("done", number, task)


@pytest.mark.parametrize("cycles", [CYCLES, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_killed_while_compacting_loses_nothing(tmp_path: Path, cycles: int, tally):
    directory = tmp_path / "state"
    with hanse.open(directory, segment_size=1 << 16) as kernel:
        kernel.agents.add_many(["buyer", "worker"])
        kernel.ledger.fund(kernel.agents.find("buyer"), 10_000_000)
    chance = random.Random(SEED)
    told: dict[int, tuple[int, int]] = {}  # task: (cycle, number)
    oldest, dropped = 0, 0
    for cycle in range(cycles):
        text = run_and_kill(directory, cycle, chance, work)
        for line in text.split("\n")[:-1]:  # the last one may be cut
            verb, *rest = line.split()
            assert verb != "failed", line
            if verb == "done":
                told[int(rest[1])] = (cycle, int(rest[0]))
            elif verb == "dropped":
                dropped, oldest = dropped + 1, max(oldest, int(rest[0]))
        verified = hanse.verify(directory)
        assert verified.balanced
        with hanse.open(directory, read_only=True) as kernel:
            assert (kernel.journal.root, kernel.state_hash) == (verified.root, verified.state_hash)
            assert kernel.journal.status().oldest >= oldest
            for task, (of_cycle, number) in told.items():
                size = LARGE if number % 3 == 0 else 10
                seen = kernel.tasks.get(task).payload
                assert seen == b"%d/%d " % (of_cycle, number) + b"." * size
            count = kernel.journal.count
            for position in chance.sample(range(count), min(count, 20)):
                assert kernel.journal.prove(position).verify()
    assert dropped > 0, "nothing was ever dropped"
    tally("processes killed while compacting", cycles)
    tally("compactions that outlived them", dropped)
