"""One scenario, three endings: still open, closed and reopened, killed and reopened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hanse

START_NS = 1_700_000_000_000_000_000

Facts = dict[str, Any]  # what a check must know of the play; survives JSON
Play = Callable[[hanse.Kernel, hanse.ManualClock], Facts]
Check = Callable[[hanse.Kernel, Facts], None]


def open_at(directory: Path, **options: Any) -> tuple[hanse.Kernel, hanse.ManualClock]:
    """A kernel whose clock stands at START_NS, or where the facts of the play say."""
    clock = hanse.ManualClock(options.pop("now_ns", START_NS))
    return hanse.open(directory, clock=clock, **options), clock


def holds_through_reopening(directory: Path, play: Play, check: Check, **options: Any) -> None:
    """Plays and checks, closes, reopens and checks again; state and root stay byte for byte."""
    kernel, clock = open_at(directory, **options)
    with kernel:
        facts: Facts = json.loads(json.dumps(play(kernel, clock)))
        check(kernel, facts)
        state, root, now = kernel.state_hash, kernel.journal.root, clock.now_ns
    report = hanse.verify(directory)
    assert (report.state_hash, report.root, report.balanced) == (state, root, True)
    kernel, _ = open_at(directory, now_ns=now, read_only=True)
    with kernel:
        assert (kernel.state_hash, kernel.journal.root) == (state, root)
    kernel, _ = open_at(directory, now_ns=now)
    with kernel:
        check(kernel, facts)


_CHILD = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import importlib
from pathlib import Path
from reopening import open_at
module = importlib.import_module(sys.argv[2])
kernel, clock = open_at(Path(sys.argv[4]), **json.loads(sys.argv[5]))
facts = getattr(module, sys.argv[3])(kernel, clock)
print(json.dumps([facts, kernel.state_hash, kernel.journal.root, clock.now_ns]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def holds_through_a_kill(directory: Path, play: Play, check: Check, **options: Any) -> None:
    """Plays in another process, which is killed (kill -9) at the end; reopens here and checks."""
    where = [os.path.dirname(__file__), play.__module__, play.__name__, str(directory)]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *where, json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    facts, state, root, now = json.loads(done.stdout.splitlines()[-1])
    kernel, _ = open_at(directory, now_ns=now, read_only=True)
    with kernel:
        assert (kernel.state_hash, kernel.journal.root) == (state, root)
    kernel, _ = open_at(directory, now_ns=now)
    with kernel:
        check(kernel, facts)
