"""What the run is about, before any kernel: population, tasks, vectors, offers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from . import population
from .embed import Embedder, Vectors, centred
from .market import PRICE_RATIO, Offers, Reader, offers_of
from .population import Documented, Population
from .progress import Progress
from .report import Report
from .tasks import Task, derive, masked, sample


class DemoError(Exception):
    """The run cannot go on, or its evidence does not hold; `status` is the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; agents None: the population as it is."""

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
    report.files, report.inspected_modules = counts.files, counts.inspected_modules
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
