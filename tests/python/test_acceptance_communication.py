"""Acceptance R12: communication at the scale of a population, with one consumer that is slow."""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

import numpy as np
import pytest

import hanse
from hanse import Outcome

AGENTS, SENDERS, TURNS, PER_TURN = 10_000, 4, 64, 15_625
CAPACITY = 64


class Run(NamedTuple):
    sent: int
    delivered: int
    refused: int
    expired: int
    others_refused: int
    digest: str
    in_order: bool
    counts: hanse.MailboxCounters


def population(seed: int, agents: int = AGENTS) -> Run:
    """A million messages of four senders to so many agents; one of them takes 8 a turn."""
    rng = np.random.default_rng(seed)
    clock = hanse.ManualClock(10**18)
    with hanse.open(clock=clock, seed=seed + 1) as kernel:
        team = kernel.agents.add("team", kind="group")
        ids = kernel.agents.add_many(agents, parent=team)
        slow = kernel.agents.add("slow")
        senders = [kernel.as_agent(int(id)) for id in ids[:SENDERS]]
        kernel.mailboxes.configure(slow, capacity=CAPACITY)
        columns: list[np.ndarray] = []
        digest = hashlib.sha256()
        refused = others_refused = sent = expired = 0

        def handle(batch: hanse.Batch) -> None:
            columns.append(np.stack([batch.to, batch.sender, batch.payload.view("<u8")[:, 0]]))
            digest.update(batch.to.tobytes() + batch.sender.tobytes() + batch.payload.tobytes())

        kernel.on_batch(team)(handle)
        taken: list[int] = []
        for turn in range(TURNS):
            to = ids[rng.integers(0, agents, PER_TURN)]
            to[:: PER_TURN // 50] = slow
            numbers = np.arange(PER_TURN, dtype="<u8") + turn * PER_TURN
            sender = senders[turn % SENDERS]
            outcomes = sender.send_many(to, numbers[:, None].view(np.uint8))
            sent += PER_TURN
            refused += int((outcomes == Outcome.full).sum())
            others_refused += int(((outcomes != Outcome.ok) & (to != slow)).sum())
            late = sender.send(int(ids[turn]), numbers[:1].tobytes(), deadline_ns=clock.now_ns + 1)
            assert late == Outcome.ok
            sent += 1
            clock.advance(2)
            kernel.run()
            for _ in range(8):
                message = kernel.receive(slow)
                if message is not None:
                    taken.append(int.from_bytes(message.payload, "little"))
                    digest.update(message.payload)
        while (message := kernel.receive(slow)) is not None:
            taken.append(int.from_bytes(message.payload, "little"))
        rows = np.concatenate(columns, axis=1)
        order = np.lexsort((np.arange(rows.shape[1]), rows[1], rows[0]))
        to, by, number = rows[:, order]
        same = (to[1:] == to[:-1]) & (by[1:] == by[:-1])
        in_order = bool((number[1:] > number[:-1])[same].all()) and taken == sorted(taken)
        counts = kernel.mailboxes.counters()
        expired = counts.expired
        delivered = rows.shape[1] + len(taken)
    return Run(
        sent, delivered, refused, expired, others_refused, digest.hexdigest(), in_order, counts
    )


@pytest.mark.parametrize("agents", [AGENTS, 1_000_000])
def test_a_million_messages_are_delivered_refused_or_expired_and_nothing_else(agents: int) -> None:
    run = population(7, agents)
    assert run.sent == 1_000_000 + TURNS
    assert run.sent == run.delivered + run.refused + run.expired
    assert run.expired == TURNS
    assert run.refused > 1_000
    assert run.others_refused == 0
    assert run.in_order
    assert run.counts.accepted == run.counts.handled + run.counts.expired
    assert run.counts.queued == 0
    again = population(7, agents)
    assert again.digest == run.digest
    assert again.counts == run.counts


def test_the_slow_ones_senders_are_told_and_nobody_else() -> None:
    with hanse.open() as kernel:
        slow, quick = kernel.agents.add("slow"), kernel.agents.add("quick")
        kernel.on(quick)(lambda message: message.payload)
        kernel.mailboxes.configure(slow, capacity=CAPACITY)

        async def main() -> None:
            kernel.attach()
            outcomes = [kernel.send(slow, b"x") for _ in range(CAPACITY + 10)]
            assert outcomes == [Outcome.ok] * CAPACITY + [Outcome.full] * 10
            with pytest.raises(hanse.BusyError) as caught:
                kernel.ask(slow, b"x")
            assert caught.value.name == "Backpressure"
            assert kernel.mailboxes.retry_after(slow) > 0
            assert await kernel.ask(quick, b"still here") == b"still here"

        asyncio.run(main())
        assert kernel.send(1 << 32 | 999_999, b"x") == Outcome.unknown
        assert kernel.send(quick, bytes((16 << 20) + 1)) == Outcome.too_large
