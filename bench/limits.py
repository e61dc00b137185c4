"""What this machine can do at best, measured in the same run as everything that it limits."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hanse import _core

MEMCPY_BYTES = 256 << 20
BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Limits:
    """The physical limits; a benchmark's own limit is computed from them or measured beside it."""

    memcpy_gb_per_s: float  # bytes copied (not read + written), warm
    fdatasync_p50_us: float  # after a 4 KiB write into a preallocated file
    cache_line_round_trip_ns: float  # NaN where the process may use only one CPU

    def lines(self) -> list[str]:
        """For people."""
        sync = f"{self.fdatasync_p50_us:,.0f} µs"
        if self.fdatasync_p50_us < 5:
            sync += " (no real disk: durable figures mean nothing here; choose another --dir)"
        return [
            f"memcpy                  {self.memcpy_gb_per_s:,.1f} GB/s (256 MiB, warm)",
            f"fdatasync p50           {sync}",
            f"cache-line round trip   {self.cache_line_round_trip_ns:,.0f} ns",
        ]


def memcpy_gb_per_s(size_bytes: int = MEMCPY_BYTES, rounds: int = 7) -> float:
    """Median over `rounds` of a copy between two arrays that were touched before."""
    source = np.arange(size_bytes, dtype=np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        np.copyto(target, source)
        taken.append(time.perf_counter_ns() - start)
    return size_bytes / statistics.median(taken)


def fdatasync_p50_us(directory: Path, count: int = 200) -> float:
    """Median of a 4 KiB pwrite and fdatasync into a file whose blocks are already written."""
    block = os.urandom(BLOCK_BYTES)
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        file.write(bytes(BLOCK_BYTES) * count)
        file.flush()
        os.fsync(file.fileno())
        taken = []
        for i in range(count):
            start = time.perf_counter_ns()
            os.pwrite(file.fileno(), block, i * BLOCK_BYTES)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1e3


def measure_limits(directory: Path, quick: bool = False) -> Limits:
    """Measures all of them; `directory` is the one whose disk the durable cases use."""
    return Limits(
        memcpy_gb_per_s=memcpy_gb_per_s(rounds=3 if quick else 7),
        fdatasync_p50_us=fdatasync_p50_us(directory, 50 if quick else 400),
        cache_line_round_trip_ns=float(_core.cache_line_round_trip_ns()),
    )
