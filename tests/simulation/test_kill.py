"""Real `kill -9` on a real directory: what was acknowledged is there, and the books balance.

Each cycle forks a child that opens the directory, works, and says what it was told over a pipe; the
parent kills it, verifies the directory and compares. When the child dies is chance, so nothing here
rests on how far it came, except that all cycles together came somewhere.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hanse

SEED = 2024
CYCLES = 50
STATES = {
    "dispatch": ("dispatched", "completed", "accepted", "rejected"),
    "complete": ("completed", "accepted", "rejected"),
    "accept": ("accepted",),
    "reject": ("rejected",),
}
Work = Callable[[Path, int, int], None]  # (directory, cycle, writing end), until it is killed
EVENTS = {
    "dispatch": "dispatched",
    "complete": "completed",
    "accept": "judged",
    "reject": "judged",
}


@dataclass
class Told:
    """What children were told: (verb, task, position), and which task each key got."""

    lines: list[tuple[str, int, int]] = field(default_factory=list)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hear(self, text: str) -> None:
        for line in text.split("\n")[:-1]:  # the last one may be cut
            verb, *rest = line.split()
            assert verb != "failed", line
            if verb == "dispatch":
                key, task, position = rest[0], int(rest[1]), int(rest[2])
                assert self.keys.setdefault(key, (task, position)) == (task, position)
                self.lines.append((verb, task, position))
            elif verb in STATES:
                self.lines.append((verb, int(rest[0]), int(rest[1])))


def artifact_of(task: int) -> bytes:
    return hashlib.sha256(str(task).encode()).digest()


def work(directory: Path, cycle: int, pipe: int) -> None:
    """The child: until it is killed."""

    def say(*words: object) -> None:
        os.write(pipe, (" ".join(map(str, words)) + "\n").encode())

    chance = random.Random(SEED + cycle)
    say("opening")
    kernel = hanse.open(directory, segment_size=1 << 18)
    say("opened")
    buyer = kernel.as_agent(kernel.agents.find("buyer"))
    worker = kernel.as_agent(kernel.agents.find("worker"))
    number = 0
    while True:
        number += 1
        key = f"{cycle}-{number if chance.random() < 0.8 else max(number - 1, 1)}"
        receipt = buyer.dispatch(
            to=worker.id, budget=10, payload=b"w" * (int(key.split("-")[1]) % 7 * 1000), key=key
        )
        say("dispatch", key, receipt.task, receipt.position)
        for task in kernel.drain().tasks:
            say("complete", task.task, worker.complete(task.task, artifact=artifact_of(task.task)))
            if task.task % 3:
                say("accept", task.task, buyer.accept(task.task))
            else:
                say("reject", task.task, buyer.reject(task.task))


def fork_child(directory: Path, cycle: int, work: Work) -> tuple[int, int]:
    """Returns (pid, reading end). No kernel is open here while forking."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Threads of a numeric library idle; the child uses none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid != 0:
        os.close(writing)
        return pid, reading
    try:
        work(directory, cycle, writing)
    except BaseException:
        os.write(writing, ("failed " + traceback.format_exc().replace("\n", " | ")).encode())
        os.write(writing, b"\n")
    finally:
        os._exit(1)


def read_until(pipe: int, word: str) -> str:
    text = ""
    while word + "\n" not in text:
        part = os.read(pipe, 1 << 16)
        assert part, f"the child ended before it was {word}: {text}"
        text += part.decode()
    return text


def run_and_kill(directory: Path, cycle: int, chance: random.Random, work: Work = work) -> str:
    """What the child said until it died; every fifth dies while it opens."""
    pid, pipe = fork_child(directory, cycle, work)
    try:
        recovering = cycle % 5 == 4
        text = read_until(pipe, "opening" if recovering else "opened")
        time.sleep(chance.uniform(0, 0.004) if recovering else chance.uniform(0.005, 0.08))
        os.kill(pid, signal.SIGKILL)
        while part := os.read(pipe, 1 << 16):
            text += part.decode()
    finally:
        os.close(pipe)
        _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), text
    return text


def check(directory: Path, told: Told, since: int, roots: dict[int, str]) -> None:
    verified = hanse.verify(directory)
    assert verified.balanced
    with hanse.open(directory, read_only=True) as kernel:
        assert kernel.journal.root == verified.root
        assert kernel.state_hash == verified.state_hash
        totals = kernel.ledger.totals()
        assert (totals.debits, totals.debits_pending) == (totals.credits, totals.credits_pending)
        for count, root in roots.items():
            assert kernel.journal.root_at(count) == root, "history has changed"
        roots[verified.count] = verified.root
        for verb, task, position in told.lines[since:]:
            assert position < verified.count, f"{verb} of {task} at {position} is lost"
            assert kernel.tasks.get(task).state in STATES[verb]
            assert kernel.journal.event(position).type == EVENTS[verb]
        buyer = kernel.as_agent(kernel.agents.find("buyer"))
        for key, (task, position) in told.keys.items():
            receipt = buyer.lookup(key)
            assert (receipt.task, receipt.position) == (task, position), key


@pytest.mark.parametrize("cycles", [CYCLES, pytest.param(500, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path, cycles: int, tally):
    directory = tmp_path / "state"
    with hanse.open(directory, segment_size=1 << 18) as kernel:
        buyer, worker = kernel.agents.add_many(["buyer", "worker"])
        kernel.ledger.fund(int(buyer), 10_000_000)
        assert kernel.agents.find("worker") == int(worker)
    chance, told, roots = random.Random(SEED), Told(), {}
    for cycle in range(cycles):
        since = len(told.lines)
        told.hear(run_and_kill(directory, cycle, chance))
        check(directory, told, since, roots)
    check(directory, told, 0, roots)
    assert len(roots) > cycles // 2, "hardly any child came to do anything"
    tally("processes killed with kill -9", cycles)
    tally("acknowledgements that outlived them", len(told.lines))
