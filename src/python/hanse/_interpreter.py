"""Refuses what was not tried: a second interpreter of a process, and a Python without a lock.

The kernel's threads would meet Python objects of the other one there, and pybind11 takes the lock
of the main interpreter while the module is loaded, so this is asked before that. A free-threaded
build would take its lock back when the module is loaded, with a warning, and the bindings were
never run there.
"""

from __future__ import annotations

import sys
from importlib import import_module


def _require_main() -> None:
    name = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    try:
        interpreters = import_module(name)
    except ImportError:  # a Python without them
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError("hanse runs in the main interpreter of a process, not in another")


def _require_lock() -> None:
    if "t" in getattr(sys, "abiflags", ""):
        raise ImportError("hanse runs in a Python with the GIL, not in a free-threaded build")


_require_lock()
_require_main()
