"""The report: a table for people, JSON lines for machines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from bench.case import Case, Result
from bench.limits import Limits

COLUMNS = ("case", "value", "unit", "peer", "peer value", "ratio", "limit", "limit value")


def number(value: float | None) -> str:
    """Three significant digits, with thousands separated; a dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cells(result: Result) -> tuple[str, ...]:
    ratio = "–" if result.ratio is None else f"{number(result.ratio)} ×"
    return (
        f"{result.bench} {result.case}",
        number(result.value),
        result.unit,
        result.peer or "–",
        number(result.peer_value),
        ratio,
        result.limit or "–",
        number(result.limit_value),
    )


def json_line(result: Result) -> str:
    """One object; a value that is not a number becomes null."""
    fields = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(result).items()
    }
    return json.dumps(fields, ensure_ascii=False)


def print_table(results: list[Result]) -> None:
    """With rich where it is installed, else in plain columns."""
    rows = [cells(result) for result in results]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print_plain([COLUMNS, *rows])
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A pipe has no width of its own, and a cut cell would hide a figure.
    if not console.is_terminal:
        print_plain([COLUMNS, *rows])
        return
    console.print(table)


def print_plain(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def print_questions(chosen: list[Case], limits: Limits) -> None:
    """What is asked, and what the machine can do."""
    for line in limits.lines():
        print(line)
    print()
    for asked in chosen:
        print(
            f"{asked.bench} {asked.name}: {asked.question} [{asked.unit}, {asked.better} is better]"
        )
    print()
