"""The run from end to end; then the evidence that it left is checked."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hanse

from ..doctor import flush_p50_us
from . import world
from .market import LARGE, SMALL
from .orchestrator import Orchestrator
from .progress import Progress
from .report import Report, percentile
from .scene import DemoError, Options, prepare


def _account(
    kernel: hanse.Kernel, orchestrator: Orchestrator, there: world.World, report: Report
) -> None:
    """The books, as the kernel kept them."""
    tally = orchestrator.tally
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


def claim_directory(directory: Path) -> None:
    """Makes the directory of a new state; anything that is already in it is in the way."""
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DemoError(f"--dir {directory}: is not writable")
    names = {each.name for each in directory.iterdir()}
    if not names:
        return
    if {"lock", "extents"} & names:
        raise DemoError(
            f"--dir {directory}: already holds a hanse state; choose a new directory, "
            f"or look at this one with hanse show {directory}"
        )
    raise DemoError(f"--dir {directory}: is not empty and holds no hanse state")


def run(options: Options, progress: Progress) -> Report:
    """The whole demo. Raises DemoError, MissingModelError, hanse.errors.HanseError, OSError."""
    begun = time.perf_counter()
    if options.directory is not None:
        claim_directory(options.directory)
    report = Report()
    scene = prepare(options, report, progress)
    with _directory(options) as directory:
        with hanse.open(str(directory), seed=options.seed) as kernel:
            there = world.build(
                kernel, scene.callables, scene.vectors, scene.offers, scene.tasks,
                copies=scene.copies, seed=options.seed, embedder=scene.embedder, progress=progress,
            )  # fmt: skip
            orchestrator = Orchestrator(kernel, scene, there, options)
            orchestrator.measure(report, progress)
            orchestrator.run(progress)
            orchestrator.compare_all_large(report, progress)
            _account(kernel, orchestrator, there, report)
        report.flush_p50_us = flush_p50_us(directory)
        _verify(directory, report, progress)
    report.directory = str(options.directory or "")
    report.kept = options.directory is not None
    report.memory_peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.seconds = time.perf_counter() - begun
    return report
