"""Puts each seeded bug into the core, one at a time, and looks which test notices.

    python tests/seeded_bugs.py build/seeded [--numbers 1,2,3] [--seconds 120] [--jobs 2]

Wants a build with HANSE_SEEDED_BUGS=ON (preset `seeded`), where the environment's HANSE_SEEDED_BUG
says which of the places marked HANSE_SEEDED_BUG(n) is wrong. First the simulator runs, then the
fault tests, then the GoogleTests that are named for the concept; the first that fails, crashes or
hangs has killed the bug. Without a bug all of them must pass. Exits with 1 when fewer than 98 % are
killed. Programs that are not built are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
WANTED = 0.98

JOURNAL = "Journal*:DamagedLog*:Disk*:Merkle*"
SUITES = {
    "journal": JOURNAL,
    "ledger": "Ledger*:Transfer*:Hold*:Budget*",
    "task": "Task*",
    "kernel": "Kernel*:Task*:Durable*",
    "mailbox": "Durable*",
    "capability": "Capability*",
    "agent": "Agent*",
    "policy": "Policy*",
}


def places() -> dict[int, str]:
    """Number of each bug and the concept that it is in, from the marks in the source."""
    found: dict[int, str] = {}
    core = HERE.parent / "src" / "cpp"
    for path in sorted(core.rglob("*.cpp")):
        for number in re.findall(r"HANSE_SEEDED_BUG\((\d+)\)", path.read_text()):
            found[int(number)] = path.relative_to(core).parts[0]
    return found


def fails(command: list[str], bug: int, seconds: float) -> bool:
    """Whether a run with that bug in it fails, dies or does not come to an end."""
    environment = {**os.environ, "HANSE_SEEDED_BUG": str(bug)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return bug != 0
    return done.returncode != 0


def runs(build: Path, concept: str, seeds: int) -> list[tuple[str, list[str]]]:
    simulation = [str(build / "hanse_simulation"), "--first", "--seeds", f"1:{seeds + 1}"]
    suite = [str(build / "hanse_tests"), "--gtest_brief=1", f"--gtest_filter={SUITES[concept]}"]
    every = [
        ("simulation", [*simulation, "--operations", "600"]),
        ("faults", [str(build / "hanse_fault_tests"), "--gtest_brief=1"]),
        (f"gtest {concept}", suite),
    ]
    return [(name, command) for name, command in every if Path(command[0]).exists()]


def kill(build: Path, bug: int, concept: str, seeds: int) -> str | None:
    """Who noticed; None: nobody."""
    for name, command in runs(build, concept, seeds):
        if fails(command, bug, 120):
            return name
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--numbers", default="")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    bugs = places()
    wanted = [int(number) for number in options.numbers.split(",") if number] or sorted(bugs)
    for concept in sorted({bugs[number] for number in wanted}):
        for name, command in runs(options.build, concept, options.seeds):
            if fails(command, 0, 600):
                print(f"without a bug, {name} fails: {' '.join(command)}")
                return 1
    start = time.monotonic()

    def one(number: int) -> tuple[int, str | None, bool]:
        if time.monotonic() - start > options.seconds:
            return number, None, False
        return number, kill(options.build, number, bugs[number], options.seeds), True

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, wanted))
    tried = [(number, by) for number, by, ran in results if ran]
    for number, by in tried:
        print(f"{number:3} {bugs[number]:10} {by or 'SURVIVED'}")
    killed = sum(by is not None for _, by in tried)
    print(f"{killed} of {len(tried)} killed, {len(wanted) - len(tried)} not tried for want of time")
    return 0 if tried and killed >= WANTED * len(tried) else 1


if __name__ == "__main__":
    sys.exit(main())
