"""Writes the golden journal with a snapshot and a leaf file, which every later version must read.

`python tests/golden/make_snapshot.py` writes it anew, byte for byte the same. A build that can't
reproduce it has changed a format: then the version of what changed is raised, and the golden of the
older one stays.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import hanse
from tests.golden.make import SECOND, SEGMENT_SIZE, START_NS, make

HERE = Path(__file__).resolve().parent
AGENTS = 300  # more than the leaves of two blocks
Facts = dict[str, object]


def make_snapshot(directory: Path) -> Facts:
    """The journal of format 1, reopened, grown, and compacted behind its snapshots."""
    make(directory)
    clock = hanse.ManualClock(START_NS + 7 * 24 * 3600 * SECOND)
    with hanse.open(directory, clock=clock, segment_size=SEGMENT_SIZE, background=False) as kernel:
        for number in range(AGENTS):
            kernel.agents.add(f"later {number}")
            if number in (AGENTS // 2, AGENTS - 2):
                kernel.journal.snapshot()
        kernel.journal.compact()
        status = kernel.journal.status()
        return {
            "count": status.count,
            "oldest": status.oldest,
            "root": kernel.journal.root,
            "state_hashes": kernel.state_hashes(),
            "snapshots": [[s.count, s.state_hash] for s in kernel.journal.snapshots()],
            "proof_of_3": list(kernel.journal.prove(3).path),
        }


if __name__ == "__main__":
    target = HERE / "snapshot-1"
    shutil.rmtree(target, ignore_errors=True)
    facts = make_snapshot(target)
    (HERE / "snapshot-1.json").write_text(json.dumps(facts, indent=1) + "\n")
    sys.stdout.write(f"{facts['count']} records, root {facts['root']}\n")
