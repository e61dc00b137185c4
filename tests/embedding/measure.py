"""What a call costs from each runtime: 64 bytes sent and received, one at a time, in memory.

    HANSE_PREFIX=… HANSE_NODE_MODULES=… python tests/embedding/measure.py

Every program is the one that test_embedding.py runs, so its answers are checked there. Rounds are
interleaved; the C program, which does nothing but call, is the floor of the run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_embedding import by_cpp, by_ctypes, by_node, by_pkg_config, by_rust, library_folder

ROUNDS = 5
RUNTIMES = {
    "C": by_pkg_config,
    "C++": by_cpp,
    "Rust": by_rust,
    "Node (koffi)": by_node,
    "Python (ctypes)": by_ctypes,
}


def main() -> None:
    environment = {
        **os.environ,
        "HANSE_LIBRARY": str(library_folder() / "libhanse.so"),
        "NODE_PATH": os.environ.get("HANSE_NODE_MODULES", ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        programs = {}
        for name, build in RUNTIMES.items():
            target = Path(folder, build.__name__)
            target.mkdir()
            try:
                programs[name] = build(target)
            except pytest.skip.Exception as reason:
                print(f"{name}: left out, {reason}")
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(ROUNDS):
            for name, program in programs.items():
                ran = subprocess.run(
                    [*program, "bench"], capture_output=True, text=True, check=True, env=environment
                )
                times[name].append(float(ran.stdout))
    floor = statistics.median(times["C"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:16} {median:8.1f} ns a message, {median / floor:5.1f} × C")


if __name__ == "__main__":
    main()
