"""python -m bench NAME … [--json] [--quick] [--dir DIR] [--make-data]"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import bench.environment  # noqa: F401  (before numpy)
from bench import data
from bench.case import REGISTRY, Case, Settings, measure
from bench.limits import measure_limits
from bench.report import json_line, print_questions, print_table

MODULES = {
    "mailbox": (
        "bench_mailbox",
        "bench_mailbox_waits",
        "bench_mailbox_native",
        "bench_mailbox_bounds",
    )
}
NAMES = (
    "mailbox", "durable", "match", "dispatch", "journal", "ledger", "latent", "policy", "embedding",
)  # fmt: skip


def load(names: list[str]) -> list[Case]:
    """The cases of these benches, in the order in which they were asked for."""
    for name in names:
        for module in MODULES.get(name, (f"bench_{name}",)):
            importlib.import_module(f"bench.{module}")
    return [chosen for name in names for chosen in REGISTRY[name]]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--case", help="only the case of this name")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, no table")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs")
    parser.add_argument("--dir", type=Path, help="where durable cases write (a real disk)")
    parser.add_argument("--make-data", action="store_true", help="vectors made by seed, not loaded")
    parser.add_argument("--long", action="store_true", help="also the cases that take minutes")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown bench {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    if options.dir is not None and not options.dir.is_dir():
        parser.error(f"--dir {options.dir}: not a directory")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    data.use_made_data(options.make_data)
    chosen = [
        c
        for c in load(options.names or list(NAMES))
        if c.name == options.case or (options.case is None and (options.long or not c.long))
    ]
    if not chosen:
        print(f"no case is called {options.case}", file=sys.stderr)
        return 2
    results = []
    with tempfile.TemporaryDirectory(prefix="hanse-bench-", dir=options.dir) as directory:
        limits = measure_limits(Path(directory), options.quick)
        settings = Settings(options.quick, Path(directory), limits)
        if not options.json:
            print_questions(chosen, limits)
        for case in chosen:
            for result in measure(case, settings):
                results.append(result)
                if options.json:
                    print(json_line(result), flush=True)
    if not options.json:
        print_table(results)
        print(f"\nmedians of {settings.rounds} rounds, contenders in turns; data: {data.source()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
