"""Puts each seeded bug into the core, one at a time, and looks which test notices.

    python tests/seeded_bugs.py build/seeded [--numbers 1,2,3] [--results FILE] [--again]

Wants a build with HANSE_SEEDED_BUGS=ON (preset `seeded`), where the environment's HANSE_SEEDED_BUG
says which of the places marked HANSE_SEEDED_BUG(n) is wrong. A few schedules of the simulator run
first, then the GoogleTests named for the concept, many schedules, and the fault tests; the first
that fails, crashes or hangs has killed the bug. Without a bug all of them must pass. FILE (JSON)
keeps each result as it comes: bugs that are in it are not run again, and with --again what killed
them last time is tried first. Exits with 1 when fewer than 98 % are killed. Programs that are not
built are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
WANTED = 0.98
SURVIVED = "SURVIVED"

SUITES = {
    "journal": "Journal*:Damaged*:Disk*:Merkle*:LogScan*:Extent*",
    "ledger": "Ledger*:Transfer*:Hold*:Budget*:Limits*",
    "task": "Task*",
    "kernel": "Kernel*:Task*:Durable*:Snapshot*",
    "mailbox": "Durable*",
    "capability": "Capability*",
    "agent": "Agent*:Delegation*",
    "policy": "Policy*",
}
# Long runs, and what no bug is seeded in.
LEFT_OUT = "*Oracle*:*Threads*:*eight_threads*"
FIRST_FAILED = re.compile(r"\[  FAILED  \] ([\w./]+)")
VIOLATION = re.compile(r"^seed (\d+)")


def places() -> dict[int, str]:
    """Number of each bug and the concept that it is in, from the marks in the source."""
    found: dict[int, str] = {}
    core = HERE.parent / "src" / "cpp"
    for path in sorted(core.rglob("*.cpp")):
        for number in re.findall(r"HANSE_SEEDED_BUG\((\d+)\)", path.read_text()):
            found[int(number)] = path.relative_to(core).parts[0]
    return found


def failure(command: list[str], bug: int, seconds: float) -> str | None:
    """What fails, dies or does not come to an end with that bug in it; None: nothing."""
    environment = {**os.environ, "HANSE_SEEDED_BUG": str(bug)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end" if bug != 0 else None
    if done.returncode == 0:
        return None
    said = done.stdout.decode(errors="replace")
    named = FIRST_FAILED.search(said)
    if named is not None:
        return named.group(1)
    seeds = [line for line in said.splitlines() if VIOLATION.match(line)]
    if seeds:
        return seeds[0].split(":")[0].split(" (")[0]
    return "crash" if done.returncode < 0 else f"exit {done.returncode}"


def runs(build: Path, concept: str, seeds: int) -> list[tuple[str, list[str]]]:
    """Name and command of each test, the most likely killers first."""
    simulation = [str(build / "hanse_simulation"), "--first", "--twice", "0", "--seeds"]
    gtest = ["--gtest_brief=1", "--gtest_fail_fast"]
    suite = [str(build / "hanse_tests"), *gtest, f"--gtest_filter={SUITES[concept]}-{LEFT_OUT}"]
    faults = [str(build / "hanse_fault_tests"), *gtest]
    every = [
        ("simulation", [*simulation, "1:9", "--operations", "600"]),
        (f"gtest {concept}", suite),
        ("simulation", [*simulation, f"9:{seeds + 9}"]),
        ("faults", faults),
    ]
    return [(name, command) for name, command in every if Path(command[0]).exists()]


def kill(build: Path, bug: int, concept: str, seeds: int, seconds: float, hint: str) -> str:
    """Who noticed, or SURVIVED."""
    order = runs(build, concept, seeds)
    order.sort(key=lambda run: not (hint and hint.startswith(run[0])))
    stop = time.monotonic() + seconds
    for name, command in order:
        left = stop - time.monotonic()
        if left <= 0:
            break
        found = failure(command, bug, left)
        if found is not None:
            return f"{name}: {found}"
    return SURVIVED


class Results:
    """What is known so far, on disk as soon as it is known."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.lock = path, threading.Lock()
        self.known: dict[int, str] = {}
        if path is not None and path.exists():
            self.known = {int(n): str(by) for n, by in json.loads(path.read_text()).items()}

    def add(self, number: int, by: str) -> None:
        with self.lock:
            self.known[number] = by
            if self.path is not None:
                text = json.dumps({str(n): self.known[n] for n in sorted(self.known)}, indent=1)
                self.path.write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--numbers", default="")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of the whole run")
    parser.add_argument("--each", type=float, default=240, help="seconds of one bug, at most")
    parser.add_argument("--seeds", type=int, default=120)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    bugs, results = places(), Results(options.results)
    asked = [int(number) for number in options.numbers.split(",") if number] or sorted(bugs)
    wanted = [number for number in asked if options.again or number not in results.known]
    sound: set[tuple[str, ...]] = set()
    for concept in sorted({bugs[number] for number in wanted}):
        for name, command in runs(options.build, concept, options.seeds):
            if tuple(command) in sound:
                continue
            sound.add(tuple(command))
            found = failure(command, 0, 900)
            if found is not None:
                print(f"without a bug, {name} fails: {found}: {' '.join(command)}")
                return 1
    start = time.monotonic()

    def one(number: int) -> None:
        if time.monotonic() - start > options.seconds:
            return
        hint = results.known.get(number, "")
        by = kill(options.build, number, bugs[number], options.seeds, options.each, hint)
        results.add(number, by)
        print(f"{number:3} {bugs[number]:10} {by}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, wanted))
    tried = [number for number in asked if number in results.known]
    survivors = [number for number in tried if results.known[number] == SURVIVED]
    killed = len(tried) - len(survivors)
    print(f"{killed} of {len(tried)} killed, {len(asked) - len(tried)} not tried for want of time")
    print(f"survivors: {survivors}")
    return 0 if tried and killed >= WANTED * len(tried) else 1


if __name__ == "__main__":
    sys.exit(main())
