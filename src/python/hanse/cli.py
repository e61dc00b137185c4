"""The command `hanse`: demo, verify, checkpoint, show, explain, ledger, doctor.

Exit status: 0 done, 1 the evidence does not hold, 2 the command could not be carried out,
130 interrupted. An error is one line on stderr, never a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .evidence import (
    EvidenceError,
    UsageError,
    add_commands,
    existing,
    print_columns,
    threads_available,
)

if TYPE_CHECKING:
    from .demo.report import Report

__all__ = ["main"]

AGENTS_MAX = 10_000_000
TASKS_MAX = 1_000_000
BATCH_MAX = 8_192
_AT_FAULT = ("LogCorrupt", "ExtentMissing", "Invariant")
THREADS_MAX = 1_024


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        print(f"hanse: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.replace("_", "").replace(",", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"want a whole number, have {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"want {low} to {high}, have {value}")
        return value

    return parse


def _task_id(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"want a task's id, have {text!r}") from None
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"want a task's id below 2^64, have {text}")
    # Ids of tasks are index | 1 << 32; people count the tasks from 0.
    return value if value >= 1 << 32 else value | 1 << 32


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="put the documented callables of this Python to work as agents",
        description="Every documented callable of this Python installation becomes an agent; the "
        "rest of its docstring becomes a task for whoever it describes. Matching, policy, money, "
        "delivery and record run through the kernel; then the record is reopened and verified.",
        epilog="examples:\n"
        "  hanse demo                            in a temporary directory, removed afterwards\n"
        "  hanse demo --dir state --tasks 1000   keeps the state for verify, show and explain\n"
        "  hanse demo --agents 1000000           adds perturbed copies up to a million agents\n"
        "  hanse demo --json | tail -1           one object for machines",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--agents",
        type=_number(2, AGENTS_MAX),
        metavar="N",
        help="how many callables and copies: more than the population adds perturbed copies, "
        "fewer takes a sample (default: the population)",
    )
    demo.add_argument(
        "--tasks", type=_number(1, TASKS_MAX), default=10_000, metavar="N",
        help="at most so many tasks (default: 10000)",
    )  # fmt: skip
    demo.add_argument(
        "--dir", type=Path, metavar="DIR", help="a new directory that keeps the state"
    )
    demo.add_argument(
        "--seed", type=_number(0, 2**63 - 1), default=0, metavar="N",
        help="of the sample, the order and the noise (default: 0)",
    )  # fmt: skip
    demo.add_argument(
        "--threads", type=_number(1, THREADS_MAX), default=threads_available(), metavar="N",
        help="of a match (default: those of the machine)",
    )  # fmt: skip
    demo.add_argument(
        "--batch", type=_number(1, BATCH_MAX), default=256, metavar="N",
        help="tasks dispatched at once (default: 256)",
    )  # fmt: skip
    demo.add_argument(
        "--json", action="store_true", help="one JSON object on the last line of stdout"
    )
    demo.set_defaults(run=_demo)


def _add_readers(commands: argparse._SubParsersAction[_Parser]) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    show = commands.add_parser(
        "show",
        help="agents, accounts, tasks and last events of a directory",
        description="Opens a directory read only, also beside a running kernel.",
        epilog="example:\n  hanse show state --limit 30",
        formatter_class=raw,
    )
    show.add_argument("directory", type=Path, metavar="DIR")
    show.add_argument(
        "--limit", type=_number(1, 10_000), default=12, metavar="N",
        help="rows of each list (default: 12)",
    )  # fmt: skip
    show.set_defaults(run=_show)

    explain = commands.add_parser(
        "explain",
        help="why a task went where it went, and what it cost",
        description="Candidates, rules that fired, transitions with their positions in the "
        "journal, and the money of one task.",
        epilog="examples:\n  hanse explain state 0             the first task\n"
        "  hanse explain state 4294967296    the same, by its id",
        formatter_class=raw,
    )
    explain.add_argument("directory", type=Path, metavar="DIR")
    explain.add_argument("task", type=_task_id, metavar="TASK", help="its id, or its number from 0")
    explain.set_defaults(run=_explain)

    doctor = commands.add_parser(
        "doctor",
        help="what this machine gives the kernel",
        description="Instruction set, device, disk and versions.",
        epilog="examples:\n  hanse doctor\n  hanse doctor --gpu    fails where there is no device",
        formatter_class=raw,
    )
    doctor.add_argument(
        "--gpu",
        action="store_true",
        help="also run the device's kernels against the CPU; exit status 1 where there is no "
        "usable device or an answer differs",
    )
    doctor.add_argument(
        "--small", action="store_true", help="with --gpu: sizes of seconds, no times"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object on stdout")
    doctor.set_defaults(run=_doctor)


def _add_ledger(commands: argparse._SubParsersAction[_Parser]) -> None:
    ledger = commands.add_parser(
        "ledger",
        help="accounts, entries and holds of a directory, now or in the past",
        description="Opens a directory read only, also beside a running kernel.",
        epilog="examples:\n  hanse ledger state accounts --at 120\n"
        "  hanse ledger state entries --agent 4294967298 --limit 50 --json\n"
        "  hanse ledger state export report.sqlite",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ledger.add_argument("directory", type=Path, metavar="DIR")
    kinds = ledger.add_subparsers(title="what", required=True, metavar="WHAT")
    number = _number(0, 2**64 - 1)
    accounts = kinds.add_parser("accounts", help="every account and its balance")
    accounts.add_argument("--at", type=number, metavar="POSITION", help="after this record")
    entries = kinds.add_parser("entries", help="what moved, in the order of the journal")
    for name, text in (
        ("agent", "of the accounts of an agent, by its id"),
        ("task", "of a task, by its id"),
        ("hold", "of a hold"),
        ("start", "from this position on"),
        ("stop", "up to, not including, this position"),
        ("since-ns", "from this time on, in nanoseconds since 1970"),
        ("until-ns", "up to, not including, this time"),
        ("after", "where the page before ended"),
    ):
        entries.add_argument(f"--{name}", type=number, metavar="N", help=text)
    entries.add_argument("--unit", help="in this unit")
    entries.add_argument("--limit", type=_number(1, 65_536), default=100, metavar="N",
                         help="rows of a page (default: 100)")  # fmt: skip
    export = kinds.add_parser("export", help="a new SQLite file for reports")
    export.add_argument("file", type=Path, metavar="FILE")
    for kind in (accounts, entries, export):
        kind.add_argument("--json", action="store_true", help="one JSON object on stdout")
    accounts.set_defaults(run=_ledger, what="accounts")
    entries.set_defaults(run=_ledger, what="entries")
    export.set_defaults(run=_ledger, what="export")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hanse",
        description="A coordination kernel for populations of AI agents.",
        epilog="examples:\n  hanse demo --dir state\n  hanse verify state\n  hanse show state\n"
        "  hanse explain state 0\n  hanse doctor",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    add_commands(commands, _number)
    _add_readers(commands)
    _add_ledger(commands)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from .demo.embed import MissingModelError
    from .demo.progress import progress_for
    from .demo.run import run
    from .demo.scene import DemoError, Options

    options = Options(
        agents=arguments.agents,
        tasks=arguments.tasks,
        seed=arguments.seed,
        threads=arguments.threads,
        batch=arguments.batch,
        directory=arguments.dir,
    )
    try:
        with progress_for(plain=arguments.json) as progress:
            report: Report = run(options, progress)
    except MissingModelError as error:
        raise UsageError(str(error)) from error
    except DemoError as error:
        raise (EvidenceError if error.status == 1 else UsageError)(str(error)) from error
    if arguments.json:
        print(json.dumps(report.json()))
        return 0
    from .demo.report import render

    render(report)
    if report.kept:
        print(f"kept in {report.directory}: try hanse show {report.directory}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from . import inspection

    inspection.show(existing(arguments.directory), arguments.limit)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from . import inspection

    inspection.explain(existing(arguments.directory), arguments.task)
    return 0


def _ledger(arguments: argparse.Namespace) -> int:
    from . import bookkeeping

    bookkeeping.run(existing(arguments.directory), arguments)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from . import doctor

    found = doctor.examine()
    if arguments.gpu and found["device_usable"]:
        found |= doctor.examine_device(small=arguments.small)
    if arguments.json:
        print(json.dumps(found))
    else:
        print_columns(found)
    if arguments.gpu and not found["device_usable"]:
        raise EvidenceError(f"no usable device: {found['device']}")
    if arguments.gpu and not found["device_equal"]:
        raise EvidenceError("the device does not answer as the CPU does")
    return 0


def _say(message: str) -> None:
    line = " ".join(str(message).split())
    print(f"hanse: {line}", file=sys.stderr)


def _status_of(error: Exception) -> int:
    """1 where what is on disk is at fault, 2 where the command is."""
    if isinstance(error, EvidenceError):
        return 1
    return 1 if getattr(error, "name", "") in _AT_FAULT else 2


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    from .errors import HanseError

    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        kept = getattr(arguments, "dir", None)
        _say("interrupted" + (f"; what was recorded is intact in {kept}" if kept else ""))
        return 130
    except BrokenPipeError:
        # The reader has gone, as `head` does: nothing to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UsageError, EvidenceError, HanseError, OSError) as error:
        _say(str(error))
        return _status_of(error)
    except MemoryError:
        _say("not enough memory: ask for fewer agents")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
