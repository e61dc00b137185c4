"""Writes the golden journal of format 1, which every later version must read.

`python tests/golden/make.py` writes it anew, byte for byte the same. A build that can't reproduce
it has changed the format; it must still read the old one, so that a new one gets a name of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

import hanse

HERE = Path(__file__).resolve().parent
START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
SEGMENT_SIZE = 1 << 16
SEED = 20_240_601
ACCOUNT_FIELDS = (
    "owner", "purpose", "unit", "debits_pending", "debits_posted", "credits_pending",
    "credits_posted", "remainder",
)  # fmt: skip
POLICY = """permit(principal, action, resource);
@id("dear") forbid(principal, action == Action::"dispatch", resource) when { resource.price > 40 };
"""


def artifact(number: int) -> bytes:
    return hashlib.sha256(b"artifact %d" % number).digest()


def open_golden(directory: Path, clock: hanse.ManualClock) -> hanse.Kernel:
    """Without the flusher thread, whose expiries would come at a moment of its own choosing."""
    return hanse.open(
        directory,
        clock=clock,
        seed=SEED,
        segment_size=SEGMENT_SIZE,
        fee_basis_points=500,
        background=False,
    )


def found(kernel: hanse.Kernel) -> tuple[int, int, int]:
    """Agents, offers, money and rules; returns buyer, worker and auditor."""
    team = kernel.agents.add("team", kind="group")
    buyer, worker, dear, auditor, gone = (
        int(id) for id in kernel.agents.add_many(5, parent=team, kind="agent")
    )
    kernel.ledger.fund(buyer, 10_000)
    kernel.ledger.set_rates(tier=1, fresh=2_500_000, output=7_000_001)
    kernel.capabilities.publish(
        np.array([worker, dear, gone], dtype=np.uint64),
        np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float32),
        price=np.array([25, 50, 5], dtype=np.int64),
        tier=np.array([1, 2, 1], dtype=np.uint8),
        slots=4,
    )
    kernel.capabilities.withdraw(gone)
    kernel.agents.revoke(gone)
    kernel.policy.load(POLICY)
    return buyer, worker, auditor


def settle(kernel: hanse.Kernel, buyer: int, worker: int, auditor: int) -> None:
    """A task that is paid, one that moves on, and three refusals."""
    me, him = kernel.as_agent(buyer), kernel.as_agent(worker)
    query = np.array([1, 0.1, 0, 0], dtype=np.float32)
    paid = me.dispatch(
        query=query, budget=300, task_class="sum", key="order-1", payload=b"p" * 5000
    )
    him.complete(paid.task, artifact=artifact(1), usage=hanse.Usage(fresh=7, output=3))
    me.accept(paid.task, verifier=auditor)
    moved = me.dispatch(to=worker, budget=200, task_class="sum", key=b"order-2")
    him.complete(moved.task, artifact=artifact(2), usage=hanse.Usage(fresh=1))
    me.reject(moved.task)
    me.escalate(moved.task, to=auditor)
    me.void(me.dispatch(to=auditor, budget=10).task)
    for refused in (
        {"query": np.array([0, 1, 0, 0], dtype=np.float32), "budget": 90, "tier": 2},
        {"to": worker, "budget": 1_000_000, "key": "order-3"},
    ):
        try:
            me.dispatch(**refused)
        except (hanse.DeniedError, hanse.BudgetError):
            continue
        raise AssertionError(f"this was to be refused: {refused}")


def move(kernel: hanse.Kernel, buyer: int, worker: int, clock: hanse.ManualClock) -> None:
    """Transfers and holds of every kind; a task and a hold that expire; tasks left unfinished."""
    ledger, me = kernel.ledger, kernel.as_agent(buyer)
    ledger.transfer(buyer, worker, 17, key=4)
    ledger.transfer(buyer, worker, 17, key=4)
    ledger.post(ledger.hold(buyer, worker, 100), 60)
    ledger.void(ledger.hold(buyer, worker, 30))
    ledger.hold(buyer, worker, 5, expires_ns=clock.now_ns + SECOND)
    me.dispatch(to=worker, budget=40, deadline_ns=clock.now_ns + SECOND)
    clock.advance(2 * SECOND)
    kernel.tick()
    for number in range(6):
        to = worker if number % 2 else kernel.root
        me.dispatch(to=to, budget=26 + number, key=f"left-{number}")
        clock.advance(SECOND)


def facts(kernel: hanse.Kernel) -> dict[str, object]:
    """What a reader must find."""
    return {
        "count": kernel.journal.count,
        "root": kernel.journal.root,
        "state_hashes": kernel.state_hashes(),
        "events": [event.type for event in kernel.journal.events()],
        "balances": [
            [getattr(account, field) for field in ACCOUNT_FIELDS]
            for account in kernel.ledger.accounts()
        ],
        "tasks": [
            [task.id, task.state, task.worker, task.attempt, task.price, task.spent, task.artifact]
            for task in map(kernel.tasks.get, ((1 << 32) + n for n in range(kernel.tasks.count())))
        ],
        "agents": [[agent.id, agent.name, agent.kind, agent.live] for agent in kernel.agents],
        "epoch": kernel.policy.epoch,
    }


def make(directory: Path) -> dict[str, object]:
    """Writes the journal into a new directory and returns what is in it."""
    clock = hanse.ManualClock(START_NS)
    with open_golden(directory, clock) as kernel:
        buyer, worker, auditor = found(kernel)
        settle(kernel, buyer, worker, auditor)
        move(kernel, buyer, worker, clock)
    with open_golden(directory, clock) as kernel:  # delivers again what is unfinished
        kernel.as_agent(worker).complete((1 << 32) + 5, artifact=artifact(5))
        expected = facts(kernel)
    (directory / "lock").unlink()  # it names the process
    return expected


def main() -> None:
    target = HERE / "format-1"
    if target.exists():
        shutil.rmtree(target)
    expected = make(target)
    text = json.dumps(expected, indent=1)
    (HERE / "format-1.json").write_text(text + "\n")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{expected['count']} records, {size} bytes in {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
