"""The emulator's fragment layouts against an independent one: CUTLASS's MMA_Traits."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def cutlass_headers() -> Path:
    spec = importlib.util.find_spec("cutlass_library")
    if spec is None or spec.origin is None:
        pytest.skip("there is no nvidia-cutlass")
    return Path(spec.origin).parent / "source/include"


def cuda_headers() -> Path:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc, whose headers CUTLASS includes")
    return Path(nvcc).resolve().parent.parent / "include"


def build_and_run(folder: Path, fragments: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "oracle"
    include = [f"-I{fragments}", f"-isystem{cutlass_headers()}", f"-isystem{cuda_headers()}"]
    source = str(HERE / "oracle/fragments.cpp")
    made = subprocess.run(
        ["g++", "-std=c++17", "-O0", "-w", *include, source, "-o", str(program)],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return subprocess.run([program], capture_output=True, text=True)


def test_the_emulated_fragments_are_those_of_cutlass(tmp_path: Path) -> None:
    ran = build_and_run(tmp_path, HERE / "emulator")
    # 512 + 256 bytes and 128 sums, 256 + 128 halves and 128 sums.
    assert ran.stdout == "1408 compared, 0 wrong\n"


def test_a_wrong_fragment_is_noticed(tmp_path: Path) -> None:
    text = (HERE / "emulator/fragments.hpp").read_text()
    changed = text.replace("row / 8 + byte / 16 * 2", "row / 8 * 2 + byte / 16")
    assert changed != text
    (tmp_path / "fragments.hpp").write_text(changed)
    ran = build_and_run(tmp_path, tmp_path)
    assert ran.returncode == 1
    assert "lane" in ran.stdout
