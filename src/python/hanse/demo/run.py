"""The run: match, dispatch, work, judge, escalate, account; then the evidence is checked."""

from __future__ import annotations

import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hanse

from . import population, world
from .embed import Embedder, Vectors, centred
from .market import LARGE, PRICE_RATIO, SMALL, Offers, Reader, offers_of, usage_cost
from .population import Documented, Population
from .progress import Progress
from .report import Report, TierFigures, hit_rate, percentile
from .tasks import Task, derive, masked, sample

_MATCH_ROWS = 256
_SINGLES_MAX = 200
HITS = 10


class DemoError(Exception):
    """The run cannot go on, or its evidence does not hold; `status` is the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Options:
    agents: int | None = None
    tasks: int = 10_000
    seed: int = 0
    threads: int = 1
    batch: int = 256
    directory: Path | None = None


@dataclass(slots=True)
class Scene:
    """What the run is about, before any kernel."""

    callables: list[Documented]
    vectors: Vectors
    offers: Offers
    tasks: list[Task]
    queries: Vectors
    queries_masked: Vectors
    copies: int
    embedder: Embedder
    reader: Reader


@dataclass(slots=True)
class Wave:
    """Tasks on their way, of one tier: numbers of the tasks and ids given by the kernel."""

    numbers: NDArray[np.int64]
    ids: NDArray[np.uint64]


@dataclass(slots=True)
class Tally:
    """What is counted while the tasks run."""

    dispatch_seconds: float = 0
    dispatched_in_batches: int = 0
    singles: list[float] = field(default_factory=list)
    small: TierFigures = field(default_factory=TierFigures)
    large: TierFigures = field(default_factory=TierFigures)
    outcomes: dict[str, int] = field(default_factory=dict)
    sent_again: int = 0
    diverted: int = 0
    context_reads: int = 0
    # Token kinds of each task as its first worker used them, for the all-large comparison.
    dispatched: list[int] = field(default_factory=list)

    def refuse(self, outcome: int, count: int = 1) -> None:
        name = hanse.Outcome(outcome).name
        self.outcomes[name] = self.outcomes.get(name, 0) + count


def sample_callables(found: Population, count: int, seed: int) -> list[Documented]:
    """`count` of the callables, chosen by their hash under `seed`, in the order of their names."""

    def rank(each: Documented) -> bytes:
        return hashlib.sha256(f"{seed}\0{each.name}".encode()).digest()

    return sorted(sorted(found.callables, key=rank)[:count], key=lambda each: each.name)


def prepare(options: Options, report: Report, progress: Progress) -> Scene:
    """Population, tasks and vectors; says on `progress` what was found."""
    embedder = Embedder()  # first: without its weights there is nothing to do
    with progress.stage("sources read"):
        found = population.collect()
    callables, counts = found.callables, found.counts
    progress.note(
        f"Python {found.python}: {len(callables):,} documented callables in "
        f"{len(found.packages):,} packages, from {counts.files:,} sources "
        f"({counts.skipped_files:,} skipped) and {counts.inspected_modules:,} compiled modules; "
        f"{counts.repeated_docs:,} repeated docstrings and {counts.repeated_names:,} repeated "
        f"names dropped"
    )
    progress.note(f"population sha256 {found.digest}")
    if options.agents is not None and options.agents < len(callables):
        callables = sample_callables(found, options.agents, options.seed)
        progress.note(f"of these, {len(callables):,} chosen by hash")
    with progress.stage("tasks derived") as stage:
        every = derive(callables)
        tasks = sample(every, options.tasks, options.seed)
        stage.advance(len(every))
    if not tasks:
        raise DemoError("no docstring of this population gives a task: ask for more agents")
    progress.note(f"{len(every):,} tasks, {len(tasks):,} taken")
    with progress.stage("texts embedded"):
        vectors = centred(embedder.embed([each.text for each in callables]))
        texts = [task.text for task in tasks]
        hidden = [masked(task.text, callables[task.origin].name) for task in tasks]
        queries = centred(embedder.embed(texts))
        queries_masked = centred(embedder.embed(hidden))
    offers = offers_of(callables, vectors)

    report.python = found.python
    report.population_digest = found.digest
    report.callables = len(callables)
    report.copies = max(0, (options.agents or 0) - len(callables))
    report.packages = len(offers.packages)
    report.tasks = len(tasks)
    report.price_ratio = PRICE_RATIO
    report.dispatch_batch = options.batch
    return Scene(
        callables, vectors, offers, tasks, queries, queries_masked, report.copies, embedder,
        Reader(callables, offers, vectors),
    )  # fmt: skip


class Market:
    """The tasks of a scene, driven through a kernel."""

    def __init__(
        self, kernel: hanse.Kernel, scene: Scene, there: world.World, options: Options
    ) -> None:
        self._kernel = kernel
        self._scene = scene
        self._world = there
        self._options = options
        self._me = kernel.as_agent(there.requester)
        self._payloads = [task.text.encode() for task in scene.tasks]
        self._number_of: dict[int, int] = {}
        self._tokens: dict[str, int] = {}
        self._artifact: dict[int, bytes] = {}
        self._cached_tiers: set[int] = set()
        self._first_choice = np.full(len(scene.tasks), -1, np.int64)
        self.tally = Tally()

    # --- quality of the matching

    def _match(
        self, queries: Vectors, tier: int, k: int, name: str, progress: Progress
    ) -> NDArray[np.uint64]:
        found = np.zeros((len(queries), k), np.uint64)
        with progress.stage(name, len(queries)) as stage:
            for begin in range(0, len(queries), _MATCH_ROWS):
                rows = slice(begin, begin + _MATCH_ROWS)
                matches = self._me.match(
                    queries[rows], k=k, tier=tier, threads=self._options.threads
                )
                found[rows] = matches.agents
                stage.advance(len(found[rows]))
        return found

    def measure(self, report: Report, progress: Progress) -> None:
        """hit@1 and hit@10, with and without the callable's own name; copies count as origins."""
        wanted = [task.origin for task in self._scene.tasks]
        begun = time.perf_counter()
        found = self._match(self._scene.queries, SMALL, HITS, "matches measured", progress)
        report.match_rate = len(wanted) / (time.perf_counter() - begun)
        self._first_choice = found[:, 0].astype(np.int64)
        rows = self._world.origins(found).tolist()
        report.hit_at_1 = hit_rate(rows, wanted, 1)
        report.hit_at_10 = hit_rate(rows, wanted, HITS)
        found = self._match(self._scene.queries_masked, SMALL, HITS, "  own name masked", progress)
        rows = self._world.origins(found).tolist()
        report.hit_at_1_masked = hit_rate(rows, wanted, 1)
        report.hit_at_10_masked = hit_rate(rows, wanted, HITS)

    def compare_all_large(self, report: Report, progress: Progress) -> None:
        """What every task that was dispatched would have cost at the large tier alone.

        The generalist is found by the same matching and answers as it would have; nothing of it
        is dispatched.
        """
        numbers = np.array(self.tally.dispatched, np.int64)
        found = self._match(self._scene.queries[numbers], LARGE, 1, "compared with large", progress)
        index = (found[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        total = 0
        for number, package in zip(numbers, self._world.package_of[index], strict=True):
            answer = self._answer_large(int(number), int(package))
            total += usage_cost(self._usage(int(number), answer, cached=True), LARGE)
            if self._scene.tasks[number].text in answer:
                report.accepted_all_large += 1
                total += int(self._scene.offers.large_prices[package]) * 1_000_000
        report.spend_all_large_micro = total

    # --- what the workers do

    def _token_count(self, text: str) -> int:
        count = self._tokens.get(text)
        if count is None:
            count = self._tokens[text] = self._scene.embedder.token_count(text)
        return count

    def _answer_large(self, number: int, package: int) -> str:
        task = self._scene.tasks[number]
        row = self._scene.reader.best(package, task.text, self._scene.queries[number])
        return self._scene.callables[row].doc

    def _usage(self, number: int, answer: str, *, cached: bool) -> dict[str, int]:
        """Tokens by the embedding model's own tokenizer. The context is written once a tier."""
        context = self._world.context_kv.shape[2]
        return {
            "fresh": self._token_count(self._scene.tasks[number].text),
            "cache_read": context if cached else 0,
            "cache_write": 0 if cached else context,
            "output": self._token_count(answer),
        }

    def _work(self, delivery: Any, tier: int) -> tuple[str, dict[str, int]]:
        """One worker, one task: reads its context by handle, answers, counts its tokens."""
        number = self._number_of[delivery.task]
        if bytes(delivery.payload) != self._payloads[number]:
            raise DemoError(f"task {delivery.task} was delivered with another payload", 1)
        (context,) = delivery.latents
        if not np.array_equal(context.read(), self._world.context_kv):
            raise DemoError(f"task {delivery.task} was delivered with another context", 1)
        self.tally.context_reads += 1
        index = delivery.worker & 0xFFFFFFFF
        if tier == SMALL:
            answer = self._scene.callables[int(self._world.origin_of[index])].doc
        else:
            answer = self._answer_large(number, int(self._world.package_of[index]))
        usage = self._usage(number, answer, cached=tier in self._cached_tiers)
        self._cached_tiers.add(tier)
        return answer, usage

    def _deliveries(self, count: int) -> Iterator[Any]:
        """The next `count` tasks that the kernel hands out."""
        left = count
        while left:
            batch = self._kernel.drain(max_messages=left)
            if not batch.tasks:
                raise DemoError(f"{left} dispatched tasks were not delivered", 1)
            yield from batch.tasks
            left -= len(batch.tasks)

    # --- what the requester does

    def _key(self, number: int, verified: bool) -> bytes:
        return f"{'verified' if verified else 'task'}-{number}".encode()

    def _send(self, numbers: NDArray[np.int64], verified: bool) -> Wave:
        """One batch of dispatches. What policy refuses is sent again, once, with a verifier."""
        begun = time.perf_counter()
        receipts = self._me.dispatch_many(
            budgets=world.BUDGET,
            queries=np.ascontiguousarray(self._scene.queries[numbers]),
            payloads=[self._payloads[number] for number in numbers],
            keys=[self._key(number, verified) for number in numbers],
            task_class="find",
            latents=[self._world.context],
            tier=SMALL,
            verify=verified,
        )
        self.tally.dispatch_seconds += time.perf_counter() - begun
        self.tally.dispatched_in_batches += len(numbers)
        sent = receipts.status == hanse.Outcome.ok
        for status in receipts.status[~sent]:
            self.tally.refuse(int(status))
        wave = self._accept_receipts(numbers[sent], receipts.tasks[sent], receipts.agents[sent])
        denied = numbers[receipts.status == hanse.Outcome.denied]
        if len(denied) and not verified:
            self.tally.sent_again += len(denied)
            again = self._send(denied, verified=True)
            wave = Wave(
                np.concatenate([wave.numbers, again.numbers]), np.concatenate([wave.ids, again.ids])
            )
        return wave

    def _accept_receipts(
        self, numbers: NDArray[np.int64], ids: NDArray[np.uint64], agents: NDArray[np.uint64]
    ) -> Wave:
        self._number_of.update(zip(ids.tolist(), numbers.tolist(), strict=True))
        self.tally.dispatched += numbers.tolist()
        self.tally.small.dispatched += len(numbers)
        self.tally.diverted += int((agents.astype(np.int64) != self._first_choice[numbers]).sum())
        return Wave(numbers, ids)

    def _send_one(self, number: int) -> Wave:
        """A dispatch on its own, timed; refused ones go through the batch with a verifier."""
        begun = time.perf_counter()
        try:
            receipt = self._me.dispatch(
                budget=world.BUDGET,
                query=self._scene.queries[number],
                payload=self._payloads[number],
                key=self._key(number, False),
                task_class="find",
                latents=[self._world.context],
                tier=SMALL,
            )
        except hanse.errors.DeniedError as error:
            if error.name != "PolicyDenied":
                raise
            self.tally.refuse(hanse.Outcome.denied)
            self.tally.sent_again += 1
            return self._send(np.array([number]), verified=True)
        finally:
            self.tally.singles.append((time.perf_counter() - begun) * 1e6)
        return self._accept_receipts(
            np.array([number]),
            np.array([receipt.task], np.uint64),
            np.array([receipt.agent], np.uint64),
        )

    def _settle(self, wave: Wave, tier: int) -> NDArray[np.uint64]:
        """Delivers, works, completes and judges a wave; returns the ids that were rejected."""
        figures = self.tally.small if tier == SMALL else self.tally.large
        ids, artifacts, usage, good = [], [], [], []
        for delivery in self._deliveries(len(wave.ids)):
            answer, tokens = self._work(delivery, tier)
            ids.append(delivery.task)
            artifacts.append(hashlib.sha256(answer.encode()).digest())
            usage.append(list(tokens.values()))
            good.append(self._scene.tasks[self._number_of[delivery.task]].text in answer)
        if not ids:
            return np.empty(0, np.uint64)
        tasks, accept = np.array(ids, np.uint64), np.array(good, bool)
        hashes = np.frombuffer(b"".join(artifacts), np.uint8).reshape(-1, 32)
        done = self._kernel.complete_many(tasks, hashes, np.array(usage, np.uint64))
        complete = self._only_ok(done, tasks)
        self._give_up(tasks[done != hanse.Outcome.ok])
        accept = accept[done == hanse.Outcome.ok]
        right, wrong = complete[accept], complete[~accept]
        auditor = self._world.auditor
        if len(right):
            accepted = self._kernel.accept_many(right, verifier=auditor)
            figures.accepted += len(self._only_ok(accepted, right))
        if len(wrong):
            wrong = self._only_ok(self._kernel.reject_many(wrong, verifier=auditor), wrong)
            figures.rejected += len(wrong)
        return wrong

    def _only_ok(self, outcomes: NDArray[np.uint8], values: NDArray[np.uint64]) -> Any:
        """The values whose outcome is ok; the others are counted as refusals."""
        ok = outcomes == hanse.Outcome.ok
        for outcome in outcomes[~ok]:
            self.tally.refuse(int(outcome))
        return values[ok]

    def _escalate(self, tasks: NDArray[np.uint64]) -> Wave:
        """Rejected work goes on to the large tier, in one transition each."""
        numbers = np.array([self._number_of[task] for task in tasks.tolist()], np.int64)
        if not len(tasks):
            return Wave(numbers, tasks)
        receipts = self._me.escalate_many(
            tasks, queries=np.ascontiguousarray(self._scene.queries[numbers]), tier=LARGE
        )
        sent = receipts.status == hanse.Outcome.ok
        self.tally.large.dispatched += int(sent.sum())
        self._give_up(tasks[~sent])
        return Wave(numbers[sent], self._only_ok(receipts.status, tasks))

    def _give_up(self, tasks: NDArray[np.uint64]) -> None:
        """What is still reserved for these tasks goes back to the requester."""
        if len(tasks):
            self._only_ok(self._kernel.void_many(tasks), tasks)

    def _finish(self, wave: Wave) -> None:
        """Small first; what is rejected goes on to large; nobody larger is left after that."""
        rejected = self._settle(wave, SMALL)
        self._give_up(self._settle(self._escalate(rejected), LARGE))

    def run(self, progress: Progress) -> None:
        count = len(self._scene.tasks)
        singles = min(_SINGLES_MAX, count // 4)
        with progress.stage("dispatched one at a time", singles) as stage:
            for number in range(singles):
                self._finish(self._send_one(number))
                stage.advance(1)
        with progress.stage("dispatched in batches", count - singles) as stage:
            for begin in range(singles, count, self._options.batch):
                numbers = np.arange(begin, min(begin + self._options.batch, count))
                self._finish(self._send(numbers, verified=False))
                stage.advance(len(numbers))


def _account(kernel: hanse.Kernel, market: Market, there: world.World, report: Report) -> None:
    """The books, as the kernel kept them."""
    tally = market.tally
    total = kernel.tasks.economics()
    report.small, report.large = tally.small, tally.large
    report.small.agents = report.callables + report.copies
    report.large.agents = report.packages
    report.small.spend = int(kernel.tasks.economics(tier=SMALL).spend)
    report.large.spend = int(kernel.tasks.economics(tier=LARGE).spend)
    report.spend = int(total.spend)
    report.cost_per_accepted = total.cost_per_accepted
    report.cache_read_share = float(total.reads_share)
    report.refusals.update(tally.outcomes)
    report.sent_again, report.diverted = tally.sent_again, tally.diverted
    report.context_reads = tally.context_reads
    report.context_bytes = there.context_kv.nbytes
    report.dispatch_rate = tally.dispatched_in_batches / max(tally.dispatch_seconds, 1e-9)
    report.dispatch_p50_us = percentile(tally.singles, 0.5)
    report.dispatch_p99_us = percentile(tally.singles, 0.99)
    report.dispatch_singles = len(tally.singles)
    totals = kernel.ledger.totals(unit=world.UNIT)
    report.unit = world.UNIT
    report.debits, report.credits = int(totals.debits), int(totals.credits)
    kernel.flush()
    report.journal_bytes = int(kernel.journal.status().size_bytes)
    report.events = int(kernel.journal.count)
    report.root, report.state_hash = kernel.journal.root, kernel.state_hash


def _verify(directory: Path, report: Report, progress: Progress) -> None:
    """Reopens the directory and recomputes everything; a difference is an error."""
    begun = time.perf_counter()
    with progress.stage("reopened and verified"):
        verified = hanse.verify(str(directory))
        with hanse.open(str(directory), read_only=True) as kernel:
            reopened = (kernel.journal.root, kernel.state_hash)
    for what, want, have in (
        ("Merkle root", report.root, verified.root),
        ("state hash", report.state_hash, verified.state_hash),
        ("reopened Merkle root", report.root, reopened[0]),
        ("reopened state hash", report.state_hash, reopened[1]),
    ):
        if want != have:
            raise DemoError(f"{what} differs after the run: want {want}, have {have}", 1)
    if not verified.balanced or not report.balanced:
        raise DemoError("the books do not balance", 1)
    report.verified_seconds = time.perf_counter() - begun


@contextmanager
def _directory(options: Options) -> Iterator[Path]:
    if options.directory is not None:
        yield options.directory
        return
    with tempfile.TemporaryDirectory(prefix="hanse-demo-") as path:
        yield Path(path) / "state"


def check_directory(directory: Path) -> None:
    """A run writes a new state: anything that is already there is in the way."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DemoError(f"--dir {directory}: is not a directory")
    names = {each.name for each in directory.iterdir()}
    if not names:
        return
    if any(name.endswith(".log") or name in ("lock", "extents") for name in names):
        raise DemoError(
            f"--dir {directory}: already holds a hanse state; choose a new directory, "
            f"or look at this one with hanse show {directory}"
        )
    raise DemoError(f"--dir {directory}: is not empty and holds no hanse state")


def run(options: Options, progress: Progress) -> Report:
    """The whole demo. Raises DemoError, MissingModelError, hanse.errors.HanseError, OSError."""
    begun = time.perf_counter()
    if options.directory is not None:
        check_directory(options.directory)
    report = Report()
    scene = prepare(options, report, progress)
    with _directory(options) as directory:
        with hanse.open(str(directory), seed=options.seed) as kernel:
            there = world.build(
                kernel, scene.callables, scene.vectors, scene.offers, scene.tasks,
                copies=scene.copies, seed=options.seed, embedder=scene.embedder, progress=progress,
            )  # fmt: skip
            market = Market(kernel, scene, there, options)
            market.measure(report, progress)
            market.run(progress)
            market.compare_all_large(report, progress)
            _account(kernel, market, there, report)
        _verify(directory, report, progress)
    report.directory = str(options.directory or "")
    report.kept = options.directory is not None
    report.memory_peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.seconds = time.perf_counter() - begun
    return report


def threads_available() -> int:
    return len(os.sched_getaffinity(0))
