"""The programs of tests/embedding, built against the installed library, for timing.

Where the sources or a language's tool are not there, that language is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hanse
from hanse import _core

SOURCES = Path(__file__).resolve().parents[1] / "tests/embedding"
# An editable install keeps compiled files beside `_core`, not beside the sources.
HOME = next(
    (
        home
        for home in (Path(hanse.__file__).parent, Path(_core.__file__ or "").parent)
        if (home / "lib" / "libhanse.so").is_file()
    ),
    None,
)
TIMEOUT_S = 600


class Missing(Exception):
    """Why a language is left out."""


def tool(*names: str) -> str:
    """The first of these programs that is there. Raises Missing."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise Missing(f"no {names[0]}")


def run(command: list[str], **extra: str) -> str:
    """What it prints. Raises Missing where it fails."""
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **extra}
    )
    if ran.returncode != 0:
        raise Missing(f"{command[0]}: {ran.stderr[-500:]}")
    return ran.stdout


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hanse-embedding-")


def _library() -> Path:
    if HOME is None:
        raise Missing("this install has no libhanse.so")
    return HOME / "lib"


def c_program() -> list[str]:
    """Raises Missing, as all of these."""
    folder = _library()
    program = f"{_folder().name}/c"
    run([tool("cc", "gcc"), "-std=c11", "-O2", f"-I{folder.parent / 'include'}",
         str(SOURCES / "consumer.c"), "-o", program, f"-L{folder}", "-lhanse", "-lm",
         f"-Wl,-rpath,{folder}"])  # fmt: skip
    return [program]


def rust_program() -> list[str]:
    target = f"{_folder().name}/rust"
    run([tool("cargo"), "build", "--release", "--offline", "--quiet", "--manifest-path",
         str(SOURCES / "rust/Cargo.toml"), "--target-dir", target],
        HANSE_LIB=str(_library()))  # fmt: skip
    return [f"{target}/release/consumer"]


def node_program() -> list[str]:
    if not Path(os.environ.get("HANSE_NODE_MODULES", ""), "koffi").is_dir():
        raise Missing("HANSE_NODE_MODULES names no folder with koffi")
    return [tool("node"), str(SOURCES / "consumer.js")]


def ctypes_program() -> list[str]:
    return [sys.executable, str(SOURCES / "consumer.py")]


PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "C": c_program,
    "Rust": rust_program,
    "Node (koffi)": node_program,
    "Python (ctypes)": ctypes_program,
}


@cache
def programs() -> dict[str, list[str]]:
    """By language; those that can't be built are missing."""
    found = {}
    for name, build in PROGRAMS.items():
        try:
            found[name] = build()
        except Missing as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return found


def nanoseconds(program: list[str], operation: str, count: int) -> float:
    """Of one operation, in a process of its own."""
    library = str(_library() / "libhanse.so")
    modules = os.environ.get("HANSE_NODE_MODULES", "")
    out = run([*program, "bench", operation, str(count)], HANSE_LIBRARY=library, NODE_PATH=modules)
    return float(out)
