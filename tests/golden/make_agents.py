"""Writes the golden journal of the records of agents, tasks and people.

It stands beside the one of format 1, which stays as it is. `python tests/golden/make_agents.py`
writes it anew, byte for byte the same. Ed25519 is deterministic, so the signatures are, too.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import hanse
from tests.golden.make import HERE, SECOND, START_NS, artifact, facts, open_golden

NAME = "agents"


def of_agents(kernel: hanse.Kernel, worker: int, firm: int) -> None:
    """Keys, delegation, roles."""
    agents = kernel.agents
    first, second = hanse.SigningKey(bytes([1]) * 32), hanse.SigningKey(bytes([2]) * 32)
    agents.rotate(worker, key=first, to=second)
    agents.remodel(worker, "org/model@2", key=second)
    agents.embody(worker, "host:one", key=second)
    agents.revoke_key(worker)
    agents.narrow(firm, permissions=0b111, budget_max=1_000, levels=3)
    lead = agents.add("lead", parent=firm)
    agents.move(worker, lead)
    agents.pause(firm)
    agents.resume(firm)
    kernel.reputation.set_terms(half_life=3_600.0, fee_per_verdict=10)
    kernel.reputation.set_role("able", task_class="audit", mean=0.5, count=0, permissions=1)


def play(kernel: hanse.Kernel, clock: hanse.ManualClock) -> None:
    """Every record from 60 to 77 but a passport's, which needs another journal."""
    human = kernel.agents.add("human", kind="human")
    buyer = kernel.agents.add("buyer", kind="group", parent=human)
    firm = kernel.agents.add("firm", kind="group")
    key = hanse.SigningKey(bytes([1]) * 32)
    worker = kernel.agents.add("worker", parent=firm, key=key.public)
    kernel.ledger.fund(buyer, 10_000)
    of_agents(kernel, worker, firm)
    kernel.people.set_attention(human, 3)
    me, hands = kernel.as_agent(buyer), kernel.as_agent(worker)
    task = me.dispatch(
        to=worker, budget=50, task_class="audit", lease=5.0, verifier=human, role="able",
        payload=b"look", key="one",
    ).task  # fmt: skip
    hands.start(task)
    hands.hand_back(task)
    hands.start(task)
    clock.advance(6 * SECOND)
    kernel.tick()
    hands.complete(task, artifact=artifact(1))
    kernel.as_agent(human).verify(task)
    me.accept(task)
    me.rate(task, True)
    bad = me.dispatch(to=worker, budget=20, task_class="audit", verifier=human).task
    hands.complete(bad, artifact=artifact(2))
    kernel.as_agent(human).verify(bad, good=False)
    child = me.dispatch(to=worker, budget=5, parent=bad).task
    hands.declare_unknown(child)
    me.cancel(bad)
    for rule in ("send", "spend"):
        me.dispatch(to=worker, budget=7, task_class=rule, approval=rule)
    for item, allow in zip(kernel.inbox(human), (True, False), strict=True):
        kernel.as_agent(human).answer(item, allow)
    kernel.agents.revoke(buyer)


def make(directory: Path) -> dict[str, object]:
    """Writes the journal into a new directory and returns what is in it."""
    clock = hanse.ManualClock(START_NS)
    with open_golden(directory, clock) as kernel:
        play(kernel, clock)
        expected = facts(kernel)
    (directory / "lock").unlink()  # it names the process
    return expected


def main() -> None:
    target = HERE / NAME
    if target.exists():
        shutil.rmtree(target)
    expected = make(target)
    (HERE / f"{NAME}.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{expected['count']} records in {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
