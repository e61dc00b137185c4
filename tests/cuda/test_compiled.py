"""What nvcc made of the kernels, for each architecture: registers, spills, shared memory, and
which instructions do the work. Nothing here needs a device."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from toolkit import compile_with_nvcc, tool

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "src/cuda"
ARCHITECTURES = ["80", "90a", "100", "120"]
# The most that each kernel may take on any architecture; a change that needs more says why.
BUDGETS = json.loads((ROOT / "tests/cuda/budgets.json").read_text())
SOURCES = sorted(path for path in KERNELS.rglob("*.cu") if path.name != "plugin.cu")

pytestmark = pytest.mark.skipif(tool("nvcc") is None, reason="there is no nvcc")


class Usage(NamedTuple):
    registers: int
    spilled: int
    shared_bytes: int


def kernel_of(symbol: str) -> str:
    """`_ZN5hanse…11score_splitINS0_4Int8EEEvNS0_3JobE` -> `score_split<Int8>`."""
    names = sorted(BUDGETS, key=len, reverse=True)
    for name in names:
        plain, _, argument = name.rstrip(">").partition("<")
        if f"{len(plain)}{plain}" in symbol and (not argument or argument in symbol):
            return str(name)
    raise AssertionError(f"{symbol} has no budget")


def usages(log: str) -> Iterator[tuple[str, str, Usage]]:
    pattern = re.compile(
        r"Compiling entry function '(\w+)' for 'sm_(\w+)'.*?(\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
        re.DOTALL,
    )
    for symbol, arch, stores, loads, registers, rest in pattern.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        yield (
            kernel_of(symbol),
            arch,
            Usage(int(registers), int(stores) + int(loads), int(shared[1]) if shared else 0),
        )


@pytest.fixture(scope="module", params=SOURCES, ids=lambda path: path.stem)
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    source: Path = request.param
    target = tmp_path_factory.mktemp("cubin") / f"{source.stem}.o"
    codes = [
        word for arch in ARCHITECTURES
        for word in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")
    ]  # fmt: skip
    include = [f"-I{KERNELS}", f"-I{ROOT / 'src/cpp'}"]
    made = compile_with_nvcc(
        "-std=c++20", "-O3", "-lineinfo", "--Werror=all-warnings", "-Xptxas=-v,-Werror",
        "--threads", "2", *codes, *include, "-c", source, "-o", target,
    )  # fmt: skip
    return target, made.stdout + made.stderr


def test_no_kernel_spills_or_takes_more_than_its_budget(compiled: tuple[Path, str]) -> None:
    found = list(usages(compiled[1]))
    assert {arch for _, arch, _ in found} == set(ARCHITECTURES)
    for kernel, arch, usage in found:
        budget = BUDGETS[kernel]
        assert usage.spilled == 0, f"{kernel} spills on sm_{arch}"
        assert usage.registers <= budget["registers"], f"{kernel} on sm_{arch}: {usage}"
        assert usage.shared_bytes <= budget["shared_bytes"], f"{kernel} on sm_{arch}: {usage}"


def instructions(target: Path, arch: str) -> dict[str, list[str]]:
    """Names of the instructions of each kernel, in order."""
    cuobjdump, nvdisasm = tool("cuobjdump"), tool("nvdisasm")
    if cuobjdump is None or nvdisasm is None:
        pytest.skip("there is no cuobjdump, or no nvdisasm that it runs")
    path = f"{nvdisasm.parent}:{os.environ['PATH']}"
    listing = subprocess.run(
        [cuobjdump, "-sass", "-arch", f"sm_{arch}", target],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert listing.returncode == 0, listing.stderr
    kernels: dict[str, list[str]] = {}
    names: list[str] = []
    for line in listing.stdout.splitlines():
        if match := re.match(r"\s*Function : (\w+)", line):
            names = kernels.setdefault(kernel_of(match[1]), [])
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", line):
            names.append(match[1])
    assert kernels
    return kernels


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_instructions_that_do_the_work_are_there(compiled: tuple[Path, str], arch: str) -> None:
    for kernel, names in instructions(compiled[0], arch).items():
        assert not any(name.startswith(("LDL", "STL")) for name in names), f"{kernel}: local memory"
        for wanted in BUDGETS[kernel].get("instructions", []):
            assert any(name.startswith(wanted) for name in names), f"{kernel} has no {wanted}"
