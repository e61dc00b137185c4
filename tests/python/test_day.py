"""The example of a day of work: its report is what the books say."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import hanse

PATH = Path(__file__).resolve().parents[2] / "examples" / "day.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("day", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["day"] = module
    spec.loader.exec_module(module)
    return module


def test_a_day_of_a_small_firm_adds_up() -> None:
    day = load()
    clock = hanse.ManualClock(day.DAY_START)
    with hanse.open(clock=clock) as kernel:
        firm = day.found(kernel, 2, 6, 300)
        told = day.live(kernel, clock, firm, 720, seed=7)
        whole = told["all"]
        assert sum(cost.spend for cost in told["classes"].values()) == whole.spend
        assert sum(cost.spend for cost in told["hours"]) == whole.spend
        assert sum(cost.spend for cost in told["teams"].values()) == whole.spend
        assert told["totals"].debits == told["totals"].credits
        assert whole.spend == kernel.tasks.economics().spend
        assert whole.accepted > 0
        assert told["refused"].get("insufficient_funds", 0) > 0
        waits = sum(len(item) for items in told["waiting"].values() for item in items)
        assert waits > 0
        assert waits == sum(
            kernel.tasks.get(1 << 32 | i).state == "offered" for i in range(kernel.tasks.count())
        )
        text = "\n".join(day.lines(told))
        for part in ("an artifact", "insufficient_funds", "waits"):
            assert part in text
        page = day.page(told)
        assert page.count("<svg") == 4
        assert not re.search(r"(src|href)=|https?://|<script", page)


def test_the_same_seed_makes_the_same_day() -> None:
    day = load()
    reports = []
    for _ in range(2):
        clock = hanse.ManualClock(day.DAY_START)
        with hanse.open(clock=clock) as kernel:
            firm = day.found(kernel, 2, 4, 80)
            told = day.live(kernel, clock, firm, 192, seed=3)
            reports.append(day.lines(told))
    assert reports[0] == reports[1]
