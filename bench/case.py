"""What a case is, and how its contenders are measured: in turns, in one run, by medians."""

from __future__ import annotations

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.limits import Limits

Better = Literal["higher", "lower"]
Sample = Callable[[], float]  # does the work once and returns the value in the case's unit


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    quick: bool
    directory: Path  # where the durable cases keep their files
    limits: Limits

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 7

    def size(self, full: int, quick: int) -> int:
        """A size of the work: `quick` shows that it runs, `full` is what is reported."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Peer:
    """Another way to do the same work. `sample` is None where `requires` is not installed.

    `rounds`: timed in the first rounds only and not warmed, since each sample is a whole process.
    """

    name: str
    sample: Sample | None
    rounds: int | None = None


def peer(name: str, sample: Sample, requires: str = "") -> Peer:
    """A peer, or its absence where the module that it requires is not installed."""
    missing = bool(requires) and importlib.util.find_spec(requires) is None
    return Peer(name, None if missing else sample)


@dataclass
class Contest:
    """One case, set up: the answers are checked before anything is timed."""

    hanse: Sample
    check: Callable[[], None]
    peers: list[Peer] = field(default_factory=list)
    limit: str = ""
    limit_sample: Sample | float | None = None


SetUp = Callable[[Settings], AbstractContextManager[Contest]]


@dataclass(frozen=True)
class Case:
    """A question with its unit; `set_up` makes the contest, sized by the settings."""

    bench: str
    name: str
    question: str
    unit: str
    better: Better
    set_up: SetUp
    long: bool = False  # takes minutes: only when asked for


@dataclass(frozen=True)
class Result:
    """One line of the report: a case against one peer (or against none)."""

    bench: str
    case: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None  # how many times better than the peer
    limit: str | None
    limit_value: float | None


REGISTRY: dict[str, list[Case]] = {}


def case(bench: str, unit: str, better: Better, *, long: bool = False) -> Callable[[SetUp], SetUp]:
    """Registers a set-up function: its name is the case, its docstring the question."""

    def register(set_up: SetUp) -> SetUp:
        question = (set_up.__doc__ or "").strip().splitlines()[0]
        name = getattr(set_up, "__name__", "")
        made = Case(bench, name, question, unit, better, set_up, long)
        REGISTRY.setdefault(bench, []).append(made)
        return set_up

    return register


def rate(count: int, work: Callable[[], Any], scale: float = 1.0) -> Sample:
    """A sample of `count` units of work a second, divided by `scale` (1e6: millions)."""

    def sample() -> float:
        start = time.perf_counter_ns()
        work()
        return count / ((time.perf_counter_ns() - start) / 1e9) / scale

    return sample


def p50(count: int, one: Callable[[int], Any], scale: float = 1e3) -> Sample:
    """A sample of the median of `count` single calls, in ns / `scale` (1e3: microseconds)."""

    def sample() -> float:
        taken = []
        for i in range(count):
            start = time.perf_counter_ns()
            one(i)
            taken.append(time.perf_counter_ns() - start)
        return statistics.median(taken) / scale

    return sample


def each(count: int, work: Callable[[], Any], scale: float = 1.0) -> Sample:
    """A sample of the time of one of `count` units of work that `work` does, in ns / `scale`."""

    def sample() -> float:
        start = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - start) / count / scale

    return sample


def measure(chosen: Case, settings: Settings) -> Iterator[Result]:
    """Sets up, checks the answer, warms, then times A B A B … and yields a result for each peer."""
    with chosen.set_up(settings) as contest:
        contest.check()
        samples: dict[str, Sample] = {"": contest.hanse}
        samples |= {p.name: p.sample for p in contest.peers if p.sample is not None}
        limit_value = contest.limit_sample if isinstance(contest.limit_sample, float) else None
        if callable(contest.limit_sample):
            samples["limit"] = contest.limit_sample

        values: dict[str, list[float]] = {name: [] for name in samples}
        rounds = {p.name: p.rounds for p in contest.peers if p.rounds is not None}
        for name, sample in samples.items():
            if name not in rounds and not chosen.long:
                sample()
        for i in range(1 if chosen.long else settings.rounds):
            for name, sample in samples.items():
                if i < rounds.get(name, settings.rounds):
                    gc.collect()
                    values[name].append(sample())
        medians = {name: statistics.median(v) for name, v in values.items()}

        limit = medians.get("limit", limit_value)
        opponents: list[Peer | None] = [*contest.peers] or [None]
        for opponent in opponents:
            yield result_of(chosen, medians, opponent, contest.limit or None, limit)


def result_of(
    chosen: Case,
    medians: dict[str, float],
    against: Peer | None,
    limit: str | None,
    limit_value: float | None,
) -> Result:
    value = medians[""]
    name = against.name if against else None
    peer_value = medians.get(against.name) if against else None
    ratio = None
    if peer_value:
        ratio = value / peer_value if chosen.better == "higher" else peer_value / value
    if against and against.sample is None:
        name = f"{against.name} (missing)"
    return Result(
        chosen.bench, chosen.name, value, chosen.unit, name, peer_value, ratio, limit, limit_value
    )
