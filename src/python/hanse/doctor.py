"""What this machine gives the kernel: instruction set, device, disk, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from . import _core

_SIZES = (100_000, 4_096)  # rows, tokens: long enough to time
_SIZES_SMALL = (500, 64)  # for a tool that slows every access down
_TIMEOUT_S = 600
_FLUSHES = 64
_FLUSH_BYTES = 4096


def flush_p50_us(directory: str | os.PathLike[str] | None = None) -> float:
    """Median of writing 4 KiB and flushing it, in `directory` or where temporary files go."""
    times = []
    with tempfile.NamedTemporaryFile(prefix="hanse-doctor-", dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, _FLUSHES * _FLUSH_BYTES)
        os.fsync(file.fileno())
        for number in range(_FLUSHES):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"\x5a" * _FLUSH_BYTES, number * _FLUSH_BYTES)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def _device() -> tuple[bool, str]:
    """(usable, what is known of it): the core loads its device plug-in only when asked."""
    detail = _core.device_status()
    # Without a device the line begins with the name of the error.
    return not detail.startswith(("NoDevice", "DeviceFailed")), detail


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def examine() -> dict[str, Any]:
    """Everything, by name; `device_usable` is what `--gpu` asks for."""
    usable, detail = _device()
    return {
        "hanse": _version("hanse"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "wordllama": _version("wordllama"),
        "rich": _version("rich"),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_level": _core.cpu_level(),
        "device": detail,
        "device_usable": usable,
        "flush_p50_us": round(flush_p50_us(), 1),
        "flush_in": tempfile.gettempdir(),
    }


def _races() -> str:
    """What compute-sanitizer says of the kernels, or that it is not there."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "not looked for: compute-sanitizer is not on the PATH"
    rows, tokens = _SIZES_SMALL
    program = f"import hanse; hanse._core.device_check({rows}, {tokens})"
    said = []
    for kind in ("memcheck", "racecheck"):
        command = [tool, "--tool", kind, "--error-exitcode", "9", sys.executable, "-c", program]
        try:
            status = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            said.append(f"{kind} took more than {_TIMEOUT_S} s")
            continue
        said.append(f"{kind} {'clean' if status == 0 else f'failed with status {status}'}")
    return ", ".join(said)


def examine_device(*, small: bool = False) -> dict[str, Any]:
    """Kernels of the device against the CPU, races and times, by name.

    `device_equal` says whether every answer was the CPU's, bit for bit. Raises DeviceError.
    """
    rows, tokens = _SIZES_SMALL if small else _SIZES
    report: dict[str, Any] = {"device": _core.device_status(), "device_equal": True}
    for name, equal, wrong, took_us, size in _core.device_check(rows, tokens):
        verdict = "equal to the CPU" if equal else f"{wrong} answers differ from the CPU's"
        report[name] = f"{verdict}, {took_us:.0f} µs, {size / took_us / 1e3:.1f} GB/s at least"
        report["device_equal"] &= equal
    report["races"] = _races()
    return report
