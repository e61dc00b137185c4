"""mailbox: what do bounds, deadlines and lanes cost, and whom does a slow consumer hold up?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np

import hanse
from bench.bench_mailbox import AGENTS, PAYLOAD_BYTES, forwards, owned, put_in, tokens
from bench.case import Contest, Settings, case, peer, rate

FAR_NS = 4 * 10**18  # a deadline that no run meets
CAP_BYTES = 256 << 20


@case("mailbox", "M messages/s", "higher")
@contextlib.contextmanager
def bounded(settings: Settings) -> Iterator[Contest]:
    """How fast is the storm with credit, a deadline and a lane on each message, beside without?"""
    agents, in_flight = settings.size(AGENTS, 500), settings.size(10_000, 500)
    count = settings.size(300_000, 5_000)

    def storm(kernel: hanse.Kernel, bounds: bool) -> Callable[[], int]:
        ids = kernel.agents.add_many(agents)
        next_target = cycle(forwards(ids, 65_536).tolist()).__next__
        send = kernel.send
        if bounds:
            kernel.mailboxes.configure(ids, capacity=1024, policy="credit")

            @kernel.on(ids)
            def forward_bounded(message: hanse.Message) -> None:
                send(next_target(), message.payload, lane=1, deadline_ns=FAR_NS)
        else:

            @kernel.on(ids)
            def forward(message: hanse.Message) -> None:
                send(next_target(), message.payload)

        put_in(kernel, ids, tokens(in_flight))
        return lambda: kernel.run(max_messages=count)

    with owned() as plain, owned() as strict:
        work, work_bounded = storm(plain, False), storm(strict, True)

        def check() -> None:
            assert work() == work_bounded() == count
            counts = strict.mailboxes.counters()
            assert counts.lanes[1].handled >= count - in_flight
            assert counts.expired == counts.dead == 0

        yield Contest(
            hanse=rate(count, work_bounded, 1e6),
            check=check,
            peers=[peer("the same without", rate(count, work, 1e6))],
        )


@case("mailbox", "times the p99 alone", "lower", long=True)
@contextlib.contextmanager
def slow_minute(settings: Settings) -> Iterator[Contest]:
    """How much later are the others served while one gets 100 times what it handles, for 60 s?"""
    seconds = 1.0 if settings.quick else 60.0
    agents, payload = 200, bytes(PAYLOAD_BYTES)
    with owned() as kernel:
        ids = kernel.agents.add_many(agents)
        slow, others = int(ids[0]), ids[1:].tolist()
        kernel.mailboxes.configure(slow, capacity=256, policy="credit")
        sent_ns = [0]
        waited: list[int] = []

        @kernel.on(ids[1:])
        def answer(message: hanse.Message) -> None:
            waited.append(time.perf_counter_ns() - sent_ns[0])

        def serve(duration: float, flood: bool) -> float:
            """p99 in ns of the others, who are each sent to in turn."""
            waited.clear()
            end, next_other = time.perf_counter() + duration, cycle(others).__next__
            refused = 0
            while time.perf_counter() < end:
                if flood:
                    for _ in range(100):
                        refused += kernel.send(slow, payload) == hanse.Outcome.full
                    assert kernel.receive(slow) is not None
                sent_ns[0] = time.perf_counter_ns()
                kernel.send(next_other(), payload)
                kernel.run()
            assert not flood or refused > 0
            assert kernel.memory()["mailboxes"] < CAP_BYTES
            return float(np.percentile(waited, 99))

        def sample() -> float:
            before = kernel.memory()["mailboxes"]
            alone = serve(min(seconds, 5.0), flood=False)
            beside = serve(seconds, flood=True)
            assert kernel.memory()["mailboxes"] <= before + (1 << 20), "memory grew"
            return beside / alone

        def check() -> None:
            serve(0.1, flood=True)
            counts = kernel.mailboxes.counters()
            assert counts.accepted == counts.handled + counts.queued

        yield Contest(hanse=sample, check=check, limit="not held up at all", limit_sample=1.0)
