"""Writes the golden journal of the later records of the ledger.

It stands beside the one of format 1, which stays as it is. `python tests/golden/make_ledger.py`
writes it anew, byte for byte the same.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

import hanse
from tests.golden.make import HERE, SECOND, START_NS, facts, open_golden

NAME = "ledger"


def play(kernel: hanse.Kernel, clock: hanse.ManualClock) -> None:
    """Every group of fields that a line may have, refusals among them."""
    ledger = kernel.ledger
    team = kernel.agents.add("team", kind="group")
    buyer, seller, arbiter, bank = (int(id) for id in kernel.agents.add_many(4, parent=team))
    ledger.open_account(bank, limit="credits", code=9, user_data_128=1 << 99, user_data_64=3)
    ledger.fund(buyer, 100_000)
    ledger.set_budget(team, 5_000)
    stamp = (clock.now_ns // 1_000_000) << 16 | 0x7000
    keys = np.array([[stamp, 1 << 63 | n] for n in range(4)], np.uint64)
    held = ledger.hold_many(
        np.full(4, buyer, np.uint64),
        np.array([seller, seller, arbiter, 1], np.uint64),
        np.array([10, 20, 30, 40], np.uint64),
        keys=keys,
        expires_ns=clock.now_ns + SECOND,
    )
    ledger.post_many(held.holds[:2], np.array([0, 5], np.uint64))
    ledger.move_many(
        np.array([0, 1, 0], np.uint8),
        debit=np.array([buyer, buyer, bank], np.uint64),
        credit=np.array([seller, bank, seller], np.uint64),
        amounts=np.array([7, 0, 3], np.uint64),
        flags=np.array([1, 1 | 2, 0], np.uint8),
        chain_keys=np.array([5, 0, 0], np.uint64),
        code=np.array([1, 2, 3], np.uint16),
        user_data_32=4,
    )
    ledger.transfer(bank, seller, 11, code=4, user_data_128=1 << 70)
    paid = ledger.escrow(buyer, seller, 400, arbiter=arbiter)
    ledger.post(paid)
    for verdict in (True, False, None):
        hold = ledger.hold(buyer, seller, 50, key=100)
        hold = ledger.hold(buyer, seller, 50) if verdict is not True else hold
        ledger.mark_unknown(hold, evidence=bytes(range(32)))
        if verdict is not None:
            ledger.reconcile(hold, paid=verdict)
    ledger.hold(buyer, seller, 0, flags=hanse.TransferFlag.closing_credit)
    clock.advance(2 * SECOND)
    kernel.tick()
    moves = ledger.transfer_many(np.full(2, buyer, np.uint64), seller, 1)
    assert (moves == hanse.TransferOutcome.credit_closed).all()


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
