"""Writes the golden journal of durable boxes: format 1, with the records that came later.

`python tests/golden/make_durable.py` writes it anew, byte for byte the same.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import hanse

if __package__:
    from tests.golden.make import HERE, SECOND, START_NS, open_golden
else:
    from make import HERE, SECOND, START_NS, open_golden

NAME = "format-1-durable"


def facts(kernel: hanse.Kernel) -> dict[str, object]:
    """What a reader must find."""
    boxes, dead = {}, {}
    for name in ("first", "second", "gone"):
        agent = kernel.agents.find(name)
        boxes[name] = dataclasses.asdict(kernel.mailboxes.durable_box(agent))
        dead[name] = [
            [letter.sequence, letter.attempt, letter.reason.name, letter.payload.hex()]
            for letter in kernel.mailboxes.durable_dead_letters(agent)
        ]
    return {
        "count": kernel.journal.count,
        "root": kernel.journal.root,
        "state_hashes": kernel.state_hashes(),
        "events": [event.type for event in kernel.journal.events()],
        "boxes": boxes,
        "dead": dead,
        "states": [
            kernel.mailboxes.state(kernel.agents.find(name)).hex() for name in ("first", "sender")
        ],
    }


def make(directory: Path) -> dict[str, object]:
    """Writes the journal into a new directory and returns what is in it."""
    clock = hanse.ManualClock(START_NS)
    with open_golden(directory, clock) as kernel:
        team = kernel.agents.add("team", kind="group")
        members = kernel.agents.add_many(["sender", "first", "second", "gone"], parent=team)
        sender, first, second, gone = (int(id) for id in members)
        kernel.mailboxes.durable([first, second, gone], attempts=2, in_flight=4, capacity=8)
        me, him = kernel.as_agent(sender), kernel.as_agent(first)
        me.send_durable(first, b"one", key="k1")
        me.send_durable(first, b"x" * 5000, key=7)
        clock.advance(SECOND)
        to = [first, second, gone, first, first]
        payloads = [b"two", b"three", b"late", b"four", b"five"]
        me.send_durable_many(ids_of(to), payloads, keys=[None, "k2", None, "k1", None])
        him.commit(ack=[0], send=[(second, b"answer", "a1")], state=b"counted 1")
        him.give_back([2])
        him.give_back([2])
        me.commit(state=b"s" * 5000)
        kernel.agents.revoke(gone)
        clock.advance(SECOND)
    with open_golden(directory, clock) as kernel:  # sends out again what is not acknowledged
        kernel.as_agent(second).commit(ack=[1])
        expected = facts(kernel)
    (directory / "lock").unlink()  # it names the process
    return expected


def ids_of(ids: list[int]):
    import numpy as np

    return np.array(ids, dtype=np.uint64)


def main() -> None:
    target = HERE / NAME
    if target.exists():
        shutil.rmtree(target)
    expected = make(target)
    (HERE / f"{NAME}.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{expected['count']} records in {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
