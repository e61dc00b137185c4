"""The tools that watch over the kernels, proved: each bug put in must be caught by a named check.

A mutant is one textual change of a kernel's source. It is compiled as the emulated tests are,
linked with their other objects, and run; the unchanged program passes the same tests.

Needs a build of `hanse_simt_tests`; HANSE_SIMT_BUILD names its folder, else it is build/dev.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HANSE_SIMT_BUILD", ROOT / "build/dev")).resolve()
KERNELS = ROOT / "src/cuda"
PARITY = "Expected equality of these values"

pytestmark = pytest.mark.skipif(
    not (BUILD / "hanse_simt_tests").exists(), reason=f"no hanse_simt_tests in {BUILD}"
)


class Mutant(NamedTuple):
    """What is changed, in which unit it is compiled, and who must notice."""

    name: str
    unit: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    tests: str = "DeviceCodeSearch.*"


SEARCH = "capability/code_search.cu"
LIST = "capability/best_list.cuh"

MUTANTS = [
    Mutant(
        "a barrier is missing before a stage is read",
        SEARCH,
        SEARCH,
        "__syncthreads();  // what all threads asked for this step is there",
        "",
        ("data race", "unfinished copy", "uninitialised shared memory"),
    ),
    Mutant(
        "a barrier is missing before scores are read",
        SEARCH,
        SEARCH,
        "__syncthreads();  // all scores of the tile are there",
        "",
        ("data race", "uninitialised shared memory"),
    ),
    Mutant(
        "a barrier is missing before a stage is written again",
        SEARCH,
        SEARCH,
        "__syncthreads();  // this stage, and the scores, may be written again",
        "",
        ("data race",),
    ),
    Mutant(
        "a warp's barrier is missing before a list moves",
        SEARCH,
        LIST,
        "__syncwarp();  // every lane has read its places before any moves",
        "",
        ("data race",),
    ),
    Mutant(
        "half of a block skips a barrier",
        SEARCH,
        SEARCH,
        "__syncthreads();  // all scores of the tile are there",
        "if (warp < 4) __syncthreads();",
        ("divergent barrier",),
    ),
    Mutant(
        "only some lanes vote",
        SEARCH,
        SEARCH,
        "const bool better = goes_before",
        "if (scores[i] < 0) continue;\n    const bool better = goes_before",
        ("divergent warp",),
    ),
    Mutant(
        "a launch asks for too little shared memory",
        SEARCH,
        SEARCH,
        "threads_in_block,\n               sizeof(BlockMemory)",
        "threads_in_block,\n               sizeof(BlockMemory) - 4",
        ("out of bounds",),
    ),
    Mutant(
        "lists begin without being cleared",
        SEARCH,
        SEARCH,
        "clear(memory.best_scores[q], memory.best_rows[q]);",
        "(void)q;",
        ("uninitialised shared memory",),
    ),
    Mutant(
        "an asynchronous copy is not waited for",
        SEARCH,
        SEARCH,
        "copy_async_wait<1>();",
        "copy_async_wait<2>();",
        ("unfinished copy",),
    ),
    Mutant(
        "all splits write one list",
        SEARCH,
        SEARCH,
        "(size_t(blockIdx.y) * job.search.query_count + first_query + q)",
        "(size_t(first_query) + q)",
        ("data race",),
    ),
    Mutant(
        "a fragment of rows is read from a wrong lane's place",
        SEARCH,
        SEARCH,
        "word_at(&stage.rows[row + j * product_rows][byte]),",
        "word_at(&stage.rows[row + j * product_rows][first + (lane + 1) % 4 * 4]),",
        (PARITY,),
    ),
    Mutant(
        "the fragments of queries have their halves swapped",
        SEARCH,
        SEARCH,
        "const uint32_t byte = first + lane % 4 * 4;\n    const uint32_t a[4] = {\n"
        "        word_at(&stage.queries[query][byte]), word_at(&stage.queries[query + 8][byte]),",
        "const uint32_t byte = first + lane % 4 * 4;\n    const uint32_t a[4] = {\n"
        "        word_at(&stage.queries[query + 8][byte]), word_at(&stage.queries[query][byte]),",
        (PARITY,),
    ),
    Mutant(
        "the tail takes one row too many",
        SEARCH,
        SEARCH,
        "if (row >= job.space.row_count) return false;",
        "if (row > job.space.row_count) return false;",
        ("out of bounds",),
    ),
    Mutant(
        "a tile's last row is left out",
        SEARCH,
        SEARCH,
        "no_row = row >= job.space.row_count;",
        "no_row = row + 1 >= job.space.row_count;",
        (PARITY,),
    ),
    Mutant(
        "ties go to the higher row",
        SEARCH,
        LIST,
        "row < other_row",
        "row > other_row",
        (PARITY,),
    ),
    Mutant(
        "sums of 8-bit products are cut to 16 bits",
        SEARCH,
        SEARCH,
        "float(sums[j][i])",
        "float(int16_t(sums[j][i]))",
        (PARITY,),
    ),
    Mutant(
        "queries are encoded on another stream",
        SEARCH,
        SEARCH,
        "HANSE_LAUNCH(encode_queries, query_warps, threads_in_block, 0, cuda_stream",
        "HANSE_LAUNCH(encode_queries, query_warps, threads_in_block, 0, nullptr",
        ("stream order",),
    ),
    Mutant(
        "a page is taken from the next entry of the table",
        "latent/copy_pages.cu",
        "latent/elements.cuh",
        "pages.device_page_table[at / device_page_tokens]",
        "pages.device_page_table[at / device_page_tokens + 1]",
        (PARITY,),
        "DeviceLatent.*",
    ),
    Mutant(
        "scales are used before all of them are there",
        "latent/quantise_pages.cu",
        "latent/quantise_pages.cu",
        "__syncthreads();  // all scales are there",
        "",
        ("data race", "uninitialised shared memory"),
        "DeviceLatent.*",
    ),
    Mutant(
        "a row's rest behind the turned part is left out",
        "latent/copy_pages.cu",
        "latent/copy_pages.cu",
        "for (uint32_t i = 2 * half + lane; i < copy.dim; i += warp_size)",
        "for (uint32_t i = 2 * half + lane; i + 1 < copy.dim; i += warp_size)",
        (PARITY,),
        "DeviceLatent.*",
    ),
    Mutant(
        "hidden states are overwritten while others read them",
        "latent/realign.cu",
        "latent/realign.cu",
        "__syncthreads();  // the last part has been read",
        "",
        ("data race",),
        "DeviceLatent.*",
    ),
    Mutant(
        "rows lie at odd addresses in shared memory",
        SEARCH,
        SEARCH,
        "depth_pitch = depth_bytes + 16",
        "depth_pitch = depth_bytes + 4",
        ("misaligned",),
    ),
]


# Built by the preset `tsan`: there the compiler's own race detector watches, whose fibers CUDA
# threads are.
WITNESSED = Path(os.environ.get("HANSE_SIMT_TSAN", ROOT / "build/tsan")).resolve()
RACES = [
    mutant
    for mutant in MUTANTS
    if mutant.caught_by[0] == "data race" and mutant.name != "all splits write one list"
]


def run(command: list[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def compile_mutant(mutant: Mutant, folder: Path, build: Path = BUILD) -> Path:
    objects = build / "CMakeFiles/hanse_simt_tests.dir"
    source = (KERNELS / mutant.file).read_text()
    assert source.count(mutant.old) == 1, f"{mutant.file} has {mutant.old!r} not once"
    changed = folder / "kernels" / mutant.file
    changed.parent.mkdir(parents=True)
    changed.write_text(source.replace(mutant.old, mutant.new))
    unit = folder / "unit.cpp"
    unit.write_text(f'#include "{mutant.unit}"\n')
    include = [folder / "kernels", KERNELS, ROOT / "src/cpp", ROOT / "tests/cuda/emulator"]
    flags = ["-std=c++20", "-O1", "-fPIE", "-ffp-contract=off", "-fsanitize=thread", "-w"]
    made = run(
        ["g++", *flags, *(f"-I{path}" for path in include), "-c", unit, "-o", folder / "o.o"]
    )
    assert made.returncode == 0, made.stderr
    own = objects / "emulated" / f"{mutant.unit.replace('/', '_')}.cpp.o"
    others = [path for path in objects.rglob("*.o") if path != own]
    assert len(others) + 1 == len(list(objects.rglob("*.o")))
    program = folder / "program"
    libraries = [build / "libhanse_core.a", "-lgtest_main", "-lgtest", "-lpthread", "-ldl"]
    # The switch brings the calls before each access; only there is its library linked, too.
    witness = ["-fsanitize=thread"] if build == WITNESSED else []
    made = run(["g++", *witness, folder / "o.o", *others, *libraries, "-o", program])
    assert made.returncode == 0, made.stderr
    return program


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_seeded_bug_is_caught_by_its_check(mutant: Mutant, tmp_path: Path) -> None:
    program = compile_mutant(mutant, tmp_path)
    ran = run([program, f"--gtest_filter={mutant.tests}", "--gtest_fail_fast"], timeout=120)
    assert ran.returncode == 1, "nobody noticed"
    assert any(name in ran.stdout for name in mutant.caught_by), ran.stdout[-2000:]


@pytest.mark.skipif(
    not (WITNESSED / "hanse_simt_tests").exists(), reason=f"no hanse_simt_tests in {WITNESSED}"
)
@pytest.mark.parametrize("mutant", RACES, ids=lambda mutant: mutant.name)
def test_a_race_within_a_block_is_seen_by_the_thread_sanitizer_as_well(
    mutant: Mutant, tmp_path: Path
) -> None:
    program = compile_mutant(mutant, tmp_path, WITNESSED)
    # Its shadow and a wide randomisation of addresses can collide.
    still = ["setarch", "-R"]
    if shutil.which("setarch") is None or run([*still, "true"]).returncode != 0:
        still = []
    ran = run(
        [*still, program, f"--gtest_filter={mutant.tests}"],
        timeout=300,
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"},
    )
    assert ran.returncode != 0, "nobody noticed"
    assert "ThreadSanitizer: data race" in ran.stderr, ran.stderr[-2000:]


def test_without_a_bug_the_same_tests_pass() -> None:
    filters = ":".join({mutant.tests for mutant in MUTANTS})
    ran = run([BUILD / "hanse_simt_tests", f"--gtest_filter={filters}"], timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:]
