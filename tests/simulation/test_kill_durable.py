"""Real `kill -9` while messages move through durable boxes: each takes effect once.

A counter numbers its messages and keeps the number in its state; a worker answers each in an outbox
that adds one to its own state. Whatever instant the process dies at, the three counts of a record
agree.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import hanse
from tests.simulation.test_kill import CYCLES, SEED, run_and_kill


def names(kernel: hanse.Kernel) -> tuple[int, int, int]:
    found = [kernel.agents.find(name) for name in ("counter", "worker", "sink")]
    return found[0], found[1], found[2]


def number(state: bytes) -> int:
    return int(state or b"0")


def work(directory: Path, cycle: int, pipe: int) -> None:
    """The child: until it is killed."""

    def say(*words: object) -> None:
        os.write(pipe, (" ".join(map(str, words)) + "\n").encode())

    chance = random.Random(SEED + cycle)
    say("opening")
    kernel = hanse.open(directory, segment_size=1 << 18)
    say("opened")
    counter, worker, sink = names(kernel)
    me = kernel.as_agent(counter)
    sent = number(kernel.mailboxes.state(counter))
    while True:
        for _ in range(chance.randrange(1, 4)):
            sent += 1
            payload = b"%d" % sent + b"." * (sent % 7 * 1000)
            me.commit(send=[(worker, payload, f"m{sent}")], state=b"%d" % sent)
            say("sent", sent)
            if chance.random() < 0.3:
                assert me.send_durable(worker, payload, key=f"m{sent}") == hanse.Outcome.replayed
        for message in kernel.drain().durable:
            if message.to != worker:
                continue
            with kernel.outbox(message) as out:
                done = number(out.state) + 1
                assert message.payload.split(b".")[0] == b"%d" % done
                out.state = b"%d" % done
                out.send(sink, message.payload[:20], key=f"r{message.sequence}")
            say("done", done)


def check(directory: Path, text: str) -> int:
    """Everything said is there; returns how much was said."""
    told = {"sent": 0, "done": 0}
    lines = [line.split() for line in text.split("\n")[:-1]]  # the last one may be cut
    for verb, *rest in lines:
        assert verb != "failed", rest
        if verb in told:
            told[verb] = int(rest[0])
    assert hanse.verify(directory).balanced
    with hanse.open(directory, read_only=True) as kernel:
        counter, worker, sink = names(kernel)
        box, out = kernel.mailboxes.durable_box(worker), kernel.mailboxes.durable_box(sink)
        sent, done = (number(kernel.mailboxes.state(agent)) for agent in (counter, worker))
        assert sent == box.accepted >= told["sent"]
        assert done == box.acknowledged == out.accepted >= told["done"]
        assert box.accepted == box.acknowledged + box.queued
    return len(lines)


@pytest.mark.parametrize("cycles", [CYCLES, pytest.param(500, marks=pytest.mark.slow)])
def test_each_message_takes_effect_once_whenever_the_process_dies(
    tmp_path: Path, cycles: int, tally
):
    directory = tmp_path / "state"
    with hanse.open(directory, segment_size=1 << 18) as kernel:
        kernel.agents.add_many(["counter", "worker", "sink"])
        _, worker, sink = names(kernel)
        kernel.mailboxes.durable([worker, sink], capacity=1 << 20, attempts=65_535)
    chance, said = random.Random(SEED), 0
    for cycle in range(cycles):
        said += check(directory, run_and_kill(directory, cycle, chance, work))
    assert said > 4 * cycles, "hardly any child came to do anything"
    tally("processes killed amid durable messages", cycles)
    tally("durable effects that outlived them", said)
