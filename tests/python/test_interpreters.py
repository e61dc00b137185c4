"""Where hanse can be imported, and where it says that it can't."""

from __future__ import annotations

import subprocess
import sys

import pytest

INSIDE = """
try:
    import hanse._core
except ImportError as error:
    print(error, flush=True)
"""


def test_a_second_interpreter_of_a_process_is_refused_with_the_reason() -> None:
    name = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    pytest.importorskip(name)
    program = f"import {name} as found\nfound.run_string(found.create(), {INSIDE!r})\n"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert "interpreter" in ran.stdout, ran.stdout + ran.stderr


def test_a_free_threaded_build_is_refused_with_the_reason() -> None:
    # As such a build says of itself (PEP 703); the flag is read before anything is loaded.
    program = f"import sys\nsys.abiflags += 't'\n{INSIDE}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "free-threaded" in ran.stdout, ran.stdout + ran.stderr
