"""`hanse ledger`: the books of a directory in words, as JSON, or as a SQLite file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from .history import Entries, EntryKind
from .kernel import Kernel
from .kernel import open as open_kernel
from .ledger import PURPOSES, Account

_QUERY = ("agent", "task", "hold", "start", "stop", "since_ns", "until_ns", "after", "unit")
_BAR = 30


class Bar:
    """How far a long read is, on stderr, where someone is looking."""

    def __init__(self) -> None:
        self.shown = False

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        full = _BAR * done // max(total, 1)
        line = f"\r[{'#' * full}{'.' * (_BAR - full)}] {done:,} of {total:,} records"
        print(line, end="", file=sys.stderr, flush=True)
        self.shown = True

    def end(self) -> None:
        """Leaves the line to others."""
        if self.shown:
            print(file=sys.stderr)


def _accounts(kernel: Kernel, at: int | None) -> list[dict[str, Any]]:
    def row(account: Account) -> dict[str, Any]:
        return dataclasses.asdict(account) | {"available": account.available}

    return [row(account) for account in kernel.ledger.accounts(at=at)]


def _print_accounts(kernel: Kernel, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        name = kernel.agents.get(row["owner"]).name or f"#{row['owner']}"
        print(
            f"{name + ' ' + row['purpose']:<40} {row['unit']:<10} available {row['available']:,}  "
            f"debits {row['debits_posted']:,} (+{row['debits_pending']:,} held)  "
            f"credits {row['credits_posted']:,} (+{row['credits_pending']:,} held)"
            + ("  closed" if row["closed"] else "")
        )


def _rows(kernel: Kernel, page: Entries) -> list[dict[str, Any]]:
    names = list(page.columns)
    columns = [column.tolist() for column in page.columns.values()]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    for row in rows:
        row["kind"] = EntryKind(row["kind"]).name
        row["unit"] = kernel._core.unit_name(row["unit"])
        for side in ("debit_purpose", "credit_purpose"):
            row[side] = PURPOSES[row[side]]
    return rows


def _print_entries(rows: list[dict[str, Any]], after: int | None) -> None:
    for row in rows:
        print(
            f"{row['position']:>8}  {row['kind']:<11} {row['amount']:>16,} {row['unit']:<10} "
            f"{row['debit']} {row['debit_purpose']} -> {row['credit']} {row['credit_purpose']}"
            + (f"  hold {row['hold']}" if row["hold"] else "")
            + (f"  task {row['task']}" if row["task"] else "")
        )
    if after is not None:
        print(f"more: --after {after}")


def run(directory: Path, arguments: argparse.Namespace) -> None:
    """One of accounts, entries, export."""
    bar = Bar()
    with open_kernel(str(directory), read_only=True) as kernel:
        if arguments.what == "accounts":
            rows = _accounts(kernel, arguments.at)
            if arguments.json:
                print(json.dumps({"at": arguments.at, "accounts": rows}))
            else:
                _print_accounts(kernel, rows)
            return
        try:
            if arguments.what == "export":
                count = kernel.ledger.export_sqlite(arguments.file, progress=bar)
            else:
                query = {name: getattr(arguments, name) for name in _QUERY}
                given = {name: value for name, value in query.items() if value is not None}
                page = kernel.ledger.entries(limit=arguments.limit, progress=bar, **given)
        finally:
            bar.end()
        if arguments.what == "export":
            found = {"file": str(arguments.file), "entries": count}
            print(json.dumps(found) if arguments.json else f"{count:,} entries in {arguments.file}")
            return
        rows = _rows(kernel, page)
        if arguments.json:
            print(json.dumps({"entries": rows, "next": page.next}))
        else:
            _print_entries(rows, page.next)
