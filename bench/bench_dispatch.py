"""dispatch: match, budget, policy, delivery and record in one call: how fast, durable or not?"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Contest, Settings, case, p50, peer, rate
from bench.composed import Composed, composed
from bench.data import ROWS, Population, population
from bench.filled import numpy_top

BUDGET = 1
FUNDS = 1 << 50
PAYLOAD = b"summarise the third chapter in two sentences, please"
BATCH = 1_000
REQUESTER = 0  # in the peer's account table


@dataclass
class Desk:
    """A funded requester with a population of workers, and the peer beside it."""

    kernel: hanse.Kernel
    me: Any
    team: int
    ids: npt.NDArray[np.uint64]
    people: Population
    peer: Composed

    def check_books(self) -> None:
        """Debits are credits, and what is reserved is what the tasks were promised."""
        totals = self.kernel.ledger.totals()
        assert totals.debits == totals.credits
        assert totals.debits_pending == totals.credits_pending == BUDGET * self.kernel.tasks.count()


@contextlib.contextmanager
def desk(settings: Settings, *, durable: bool, offers: bool) -> Iterator[Desk]:
    rows = settings.size(ROWS, 3_000) if offers else settings.size(10_000, 500)
    people = population(settings.size(ROWS, 3_000), settings.size(500, 20))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.directory)))
        state = folder / "state" if durable else None
        kernel = stack.enter_context(
            hanse.open(state, durability="each") if durable else hanse.open()
        )
        team = kernel.agents.add("team", kind="group")
        kernel.ledger.fund(team, FUNDS)
        ids = kernel.agents.add_many(rows, parent=team)
        if offers:
            kernel.capabilities.publish(ids, people.vectors, price=BUDGET)
            wait_for_graph(kernel, people.queries[0])
        other = stack.enter_context(composed(folder / "peer.sqlite" if durable else None))
        other.open_accounts([(REQUESTER, FUNDS)])
        yield Desk(kernel, kernel.as_agent(team), team, ids, people, other)


def wait_for_graph(kernel: hanse.Kernel, query: Any) -> None:
    """Until the offers just published are in the graph: their folding takes a core for seconds."""
    while True:
        found = kernel.match(query, 1, explain=True)
        if all(each.pending == 0 for each in found.explanations):
            return
        time.sleep(0.1)


def check_nearest(scores: Any, queries: Any, vectors: Any) -> None:
    """A match promises 0.95 of the nearest on average, and no score that no one has."""
    _, best = numpy_top(queries, vectors, 1)
    assert np.all(scores <= best[:, 0] + 1e-5)
    found = np.mean(np.abs(scores - best[:, 0]) < 1e-5)
    assert found >= 0.95, f"only {found:.3f} of the dispatches went to the nearest"


@case("dispatch", "µs p50", "lower")
@contextlib.contextmanager
def match_durable_single(settings: Settings) -> Iterator[Contest]:
    """How long does one dispatch by query among 60,000 × 384 take, on disk when it returns?"""
    count = settings.size(200, 10)
    with desk(settings, durable=True, offers=True) as at:
        queries, vectors = at.people.queries, at.people.vectors

        def one(i: int) -> Any:
            return at.me.dispatch(query=queries[i % len(queries)], budget=BUDGET, payload=PAYLOAD)

        def peer_one(i: int) -> None:
            best, _ = numpy_top(queries[i % len(queries)][None], vectors, 1)
            at.peer.dispatch(REQUESTER, best[0].tolist(), PAYLOAD, BUDGET)

        def check() -> None:
            asked = min(count, len(queries))
            scores = []
            for i in range(asked):
                receipt = one(i)
                scores.append(receipt.score)
                assert receipt.position < at.kernel.journal.durable_count
            check_nearest(np.array(scores), queries[:asked], vectors)
            at.check_books()

        yield Contest(
            hanse=p50(count, one),
            check=check,
            peers=[peer("numpy + SQLite FULL", p50(count, peer_one), "sqlite3")],
            limit="one fdatasync",
            limit_sample=settings.limits.fdatasync_p50_us,
        )


@case("dispatch", "dispatches/s", "higher")
@contextlib.contextmanager
def match_durable_batch(settings: Settings) -> Iterator[Contest]:
    """The same in batches of 1,000, one flush a batch, on one thread: how many a second?"""
    count = settings.size(BATCH, 50)
    with desk(settings, durable=True, offers=True) as at:
        repeats = -(-count // len(at.people.queries))
        queries = np.tile(at.people.queries, (repeats, 1))[:count]
        vectors = at.people.vectors
        budgets = np.full(count, BUDGET, np.uint64)
        payloads = [PAYLOAD] * count

        def work() -> Any:
            return at.me.dispatch_many(queries=queries, budgets=budgets, payloads=payloads)

        def peer_work() -> None:
            best, _ = numpy_top(queries, vectors, 1)
            at.peer.dispatch(REQUESTER, best[:, 0].tolist(), PAYLOAD, BUDGET)

        def check() -> None:
            receipts = work()
            assert not np.any(receipts.status)
            check_nearest(receipts.scores, queries, vectors)
            at.check_books()

        yield Contest(
            hanse=rate(count, work),
            check=check,
            peers=[peer("numpy + SQLite FULL", rate(count, peer_work), "sqlite3")],
            limit="the match alone",
            limit_sample=rate(count, lambda: at.me.match(queries, 1)),
        )


@case("dispatch", "dispatches/s", "higher")
@contextlib.contextmanager
def direct_durable_batch(settings: Settings) -> Iterator[Contest]:
    """To a known agent, durable, in batches of 1,000: how many a second?"""
    count = settings.size(BATCH, 50)
    batches = settings.size(10, 2)
    with desk(settings, durable=True, offers=False) as at:
        to = at.ids[np.arange(count) % len(at.ids)]
        workers = to.tolist()
        budgets = np.full(count, BUDGET, np.uint64)
        payloads = [PAYLOAD] * count

        def work() -> None:
            for _ in range(batches):
                at.me.dispatch_many(to=to, budgets=budgets, payloads=payloads)

        def peer_work() -> None:
            for _ in range(batches):
                at.peer.dispatch(REQUESTER, workers, PAYLOAD, BUDGET)

        def check() -> None:
            receipts = at.me.dispatch_many(to=to, budgets=budgets, payloads=payloads)
            assert not np.any(receipts.status)
            np.testing.assert_array_equal(receipts.agents, to)
            at.check_books()

        yield Contest(
            hanse=rate(count * batches, work),
            check=check,
            peers=[peer("SQLite FULL", rate(count * batches, peer_work), "sqlite3")],
            limit="one fdatasync a batch",
            limit_sample=count / settings.limits.fdatasync_p50_us * 1e6,
        )


@case("dispatch", "µs p50", "lower")
@contextlib.contextmanager
def direct_durable_single(settings: Settings) -> Iterator[Contest]:
    """To a known agent, one at a time, on disk when it returns: how long?"""
    yield from direct_single(settings, durable=True)


@case("dispatch", "µs p50", "lower")
@contextlib.contextmanager
def direct_memory_single(settings: Settings) -> Iterator[Contest]:
    """To a known agent, one at a time, in memory: how long?"""
    yield from direct_single(settings, durable=False)


def direct_single(settings: Settings, *, durable: bool) -> Iterator[Contest]:
    count = settings.size(300, 10) if durable else settings.size(10_000, 100)
    with desk(settings, durable=durable, offers=False) as at:
        workers = at.ids.tolist()

        def one(i: int) -> Any:
            return at.me.dispatch(to=workers[i % len(workers)], budget=BUDGET, payload=PAYLOAD)

        def peer_one(i: int) -> None:
            at.peer.dispatch(REQUESTER, (workers[i % len(workers)],), PAYLOAD, BUDGET)

        def check() -> None:
            receipts = [one(i) for i in range(100)]
            assert [r.agent for r in receipts] == [workers[i % len(workers)] for i in range(100)]
            at.check_books()

        yield Contest(
            hanse=p50(count, one),
            check=check,
            peers=[
                peer(f"SQLite {'FULL' if durable else ':memory:'}", p50(count, peer_one), "sqlite3")
            ],
            limit="one fdatasync" if durable else "",
            limit_sample=settings.limits.fdatasync_p50_us if durable else None,
        )


@case("dispatch", "µs p50", "lower")
@contextlib.contextmanager
def direct_memory_single_native(settings: Settings) -> Iterator[Contest]:
    """The same as an embedding program calls it, without Python in between: how long?"""
    count = settings.size(10_000, 100)
    with desk(settings, durable=False, offers=False) as at:
        workers = at.ids.tolist()
        unit = at.kernel.ledger._unit("usd_micro")

        def sample() -> float:
            spent = at.kernel._core.time_dispatch(at.team, workers[0], PAYLOAD, BUDGET, unit, count)
            return float(np.median(spent)) / 1_000

        def peer_one(i: int) -> None:
            at.peer.dispatch(REQUESTER, (workers[i % len(workers)],), PAYLOAD, BUDGET)

        def check() -> None:
            before = at.kernel.tasks.count()
            at.kernel._core.time_dispatch(at.team, workers[0], PAYLOAD, BUDGET, unit, 100)
            assert at.kernel.tasks.count() == before + 100
            at.check_books()

        yield Contest(
            hanse=sample,
            check=check,
            peers=[peer("SQLite :memory:", p50(count, peer_one), "sqlite3")],
        )
