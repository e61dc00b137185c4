"""The emulator's fragment layouts against an independent one: CUTLASS's MMA_Traits."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
from toolkit import headers, tool

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.skipif(
    tool("nvcc") is None, reason="there is no nvcc, whose headers CUTLASS includes"
)


def cutlass_headers() -> Path:
    spec = importlib.util.find_spec("cutlass_library")
    if spec is None or spec.origin is None:
        pytest.skip("there is no nvidia-cutlass")
    return Path(spec.origin).parent / "source/include"


def build_and_run(folder: Path, fragments: str) -> subprocess.CompletedProcess[str]:
    program = folder / "oracle"
    # Alone in a folder: beside it lies the emulator's cuda_runtime_api.h.
    (folder / "fragments.hpp").write_text(fragments)
    system = [cutlass_headers(), *headers()]
    include = [f"-I{folder}", *(f"-isystem{path}" for path in system)]
    source = str(HERE / "oracle/fragments.cpp")
    made = subprocess.run(
        ["g++", "-std=c++17", "-O0", "-w", *include, source, "-o", str(program)],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return subprocess.run([program], capture_output=True, text=True)


def test_the_emulated_fragments_are_those_of_cutlass(tmp_path: Path) -> None:
    ran = build_and_run(tmp_path, (HERE / "emulator/fragments.hpp").read_text())
    # 512 + 256 bytes and 128 sums, 256 + 128 halves and 128 sums.
    assert ran.stdout == "1408 compared, 0 wrong\n"


def test_a_wrong_fragment_is_noticed(tmp_path: Path) -> None:
    text = (HERE / "emulator/fragments.hpp").read_text()
    changed = text.replace("row / 8 + byte / 16 * 2", "row / 8 * 2 + byte / 16")
    assert changed != text
    ran = build_and_run(tmp_path, changed)
    assert ran.returncode == 1
    assert "lane" in ran.stdout
