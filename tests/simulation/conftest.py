"""Counts what the simulation did and says so at the end of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

_tally: Counter[str] = Counter()


@pytest.fixture
def tally() -> Callable[[str, int], None]:
    """Adds to a line of the summary."""

    def add(what: str, count: int) -> None:
        assert count > 0, f"no {what}: the test tested nothing"
        _tally[what] += count

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _tally:
        return
    terminalreporter.write_sep("-", "simulation")
    for what, count in _tally.items():
        terminalreporter.write_line(f"{count:>8,} {what}")
