"""Every case of every bench under pytest-benchmark: `pytest bench` (sizes: BENCH_QUICK=1)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import NAMES, load
from bench.case import Case, Contest, Sample, Settings
from bench.limits import measure_limits


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    quick = bool(os.environ.get("BENCH_QUICK"))
    directory: Path = tmp_path_factory.mktemp("bench")
    return Settings(quick, directory, measure_limits(directory, quick))


@pytest.fixture(scope="module")
def contest(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Contest]:
    chosen: Case = request.param
    with chosen.set_up(settings) as ready:
        ready.check()
        yield ready


CASES = [chosen for chosen in load(list(NAMES)) if not chosen.long]


@pytest.mark.parametrize(
    "contest", CASES, indirect=True, ids=[f"{c.bench}-{c.name}" for c in CASES]
)
@pytest.mark.parametrize("who", ["hanse", "peer", "limit"])
def test_case(contest: Contest, who: str, settings: Settings, benchmark: Any) -> None:
    sample: Sample | None = contest.hanse
    if who == "peer":
        sample = contest.peers[0].sample if contest.peers else None
        benchmark.extra_info["peer"] = contest.peers[0].name if contest.peers else None
    if who == "limit":
        sample = contest.limit_sample if callable(contest.limit_sample) else None
        benchmark.extra_info["limit"] = contest.limit
    if sample is None:
        pytest.skip(f"there is no {who} to time")
    values: list[float] = []

    def once() -> None:
        values.append(sample())

    benchmark.pedantic(once, rounds=settings.rounds, warmup_rounds=1)
    benchmark.extra_info["value"] = sorted(values)[len(values) // 2]
