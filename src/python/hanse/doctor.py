"""What this machine gives the kernel: instruction set, device, disk, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from . import _core

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
