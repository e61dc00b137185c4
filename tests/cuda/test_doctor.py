"""`hanse doctor --gpu` on the emulated device, as a user runs it on a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

hanse = pytest.importorskip("hanse")

BUILD = Path(os.environ.get("HANSE_SIMT_BUILD", Path(__file__).resolve().parents[2] / "build/dev"))
PLUGIN = BUILD / "libhanse_emulated.so"
SIZES = """
import hanse
for sizes in ((0, 32), (1, 0), (1, 33), (1 << 30, 32)):
    try:
        hanse._core.device_check(*sizes)
    except hanse.InvalidError as error:
        print(error.field)
"""

pytestmark = pytest.mark.skipif(not PLUGIN.exists(), reason=f"no emulated device in {BUILD}")


def run(program: str, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **extra},
    )


def doctor(*words: str, plugin: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from hanse.cli import main; raise SystemExit(main(sys.argv[1:]))"
    return run(program, "doctor", *words, HANSE_CUDA_PLUGIN=plugin)


def test_the_doctor_runs_each_kernel_against_the_cpu_and_says_so() -> None:
    ran = doctor("--gpu", "--small", "--json", plugin=str(PLUGIN.resolve()))
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["device_usable"]
    assert found["device_equal"]
    assert "emulated device" in found["device"]
    for name in ("code_search int8", "copy_pages", "quantise_pages 8 bits"):
        assert found[name].startswith("equal to the CPU"), found
    assert found["races"]


def test_without_a_device_the_doctor_says_why_and_fails() -> None:
    ran = doctor("--gpu", plugin="/nowhere/libhanse_cuda.so")
    assert ran.returncode == 1
    assert "no usable device" in ran.stderr


def test_sizes_that_no_check_can_have_are_refused() -> None:
    ran = run(SIZES, HANSE_CUDA_PLUGIN=str(PLUGIN.resolve()))
    assert ran.stdout.split() == ["rows", "tokens", "tokens", "rows"], ran.stderr
