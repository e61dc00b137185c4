"""nvcc's own PTX of the kernels, interpreted on one small case each: a second witness beside the
emulator, for what only nvcc sees (inline assembly, address arithmetic, vector alignment)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from ptx import launch
from ptx_memory import Memory
from ptx_module import Kernel, parse
from toolkit import compile_with_nvcc, tool

ROOT = Path(__file__).resolve().parents[2]
NONE = 0xFFFFFFFF

pytestmark = pytest.mark.skipif(tool("nvcc") is None, reason="there is no nvcc")


def kernels_of(source: str, folder: Path) -> dict[str, Kernel]:
    target = folder / "kernels.ptx"
    include = [f"-I{ROOT / 'src/cuda'}", f"-I{ROOT / 'src/cpp'}"]
    compile_with_nvcc(
        "-std=c++20", "-O3", "-arch=compute_80", "-ptx", *include, ROOT / "src/cuda" / source,
        "-o", target,
    )  # fmt: skip
    return parse(target.read_text())


def named(kernels: dict[str, Kernel], *parts: str) -> Kernel:
    found = [kernel for name, kernel in kernels.items() if all(part in name for part in parts)]
    assert len(found) == 1, list(kernels)
    return found[0]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kernel]:
    return kernels_of("capability/code_search.cu", tmp_path_factory.mktemp("ptx"))


@pytest.mark.parametrize("name", ["Int8", "Bfloat16"])
def test_a_tile_of_products_gives_the_lists_of_numpy(search: dict[str, Kernel], name: str) -> None:
    rng = np.random.default_rng(5)
    query_count, row_count, stride, kept = 3, 5, 64, 4
    halves = name == "Bfloat16"
    queries = rng.integers(-9, 10, (query_count, stride))
    rows = rng.integers(-9, 10, (row_count, stride))
    rows[3] = rows[1]  # a tie

    def codes(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
        if not halves:
            return values.astype(np.int8).tobytes()
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()

    memory = Memory()
    scales = np.array([1, 0.5, 2, 0.5, 1], np.float32)
    no_limit = struct.pack("<q5Q4I", 2**63 - 1, 0, 0, 0, 0, 0, NONE, NONE, 0, 255)
    live = bytes([1, 1, 0, 1, 1])
    columns = [bytes(8 * row_count), bytes(8 * row_count), bytes(8 * row_count),
               bytes(4 * row_count), bytes(2 * row_count), bytes(row_count), live]  # fmt: skip
    space = struct.pack("<4I", row_count, stride, int(halves), 0) + struct.pack(
        "<10Q",
        memory.add(codes(rows)),
        memory.add(scales.tobytes()),
        memory.add(bytes(4)),
        *(memory.add(column) for column in columns),
    )
    wanted = struct.pack("<5Q4I3Q", 0, 0, memory.add(no_limit), 0, 0, 0, query_count, kept, kept,
                         0, 0, 0)  # fmt: skip
    lists = [memory.add(b"\xee" * (4 * query_count * kept)) for _ in range(2)]
    row_bytes = stride * (2 if halves else 1)
    job = space + wanted + struct.pack("<Q4I2Q", memory.add(codes(queries)), row_bytes, 64, 1, 0,
                                       *lists)  # fmt: skip
    block_memory = 2 * 2 * 64 * 80 + 64 * 65 * 4 + 2 * 64 * 64 * 4
    launch(named(search, "score_split", name), memory, job, (1, 1), 256, block_memory)

    scores = (queries @ rows.T) * scales
    scores[:, 2] = -np.inf  # not live
    order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    got_scores = np.frombuffer(memory.read_back(lists[0]), np.float32).reshape(query_count, kept)
    got_rows = np.frombuffer(memory.read_back(lists[1]), np.uint32).reshape(query_count, kept)
    np.testing.assert_array_equal(got_rows, order)
    np.testing.assert_array_equal(got_scores, np.take_along_axis(scores, order, axis=1))


def test_a_hidden_state_is_multiplied_by_the_matrix(tmp_path: Path) -> None:
    kernel = named(kernels_of("latent/realign.cu", tmp_path), "multiply_hidden")
    rng = np.random.default_rng(7)
    count, dim = 2, 70
    hidden = rng.integers(-4, 5, (count, dim)).astype(np.float32)
    matrix = rng.integers(-4, 5, (dim, dim)).astype(np.float32)
    memory = Memory()
    out = memory.add(bytes(4 * count * dim))
    job = struct.pack("<3Q2IfI", memory.add(hidden.tobytes()), memory.add(matrix.tobytes()), out,
                      count, dim, 1.0, 0)  # fmt: skip
    launch(kernel, memory, job, (1, 1), 128)
    got = np.frombuffer(memory.read_back(out), np.float32).reshape(count, dim)
    np.testing.assert_array_equal(got, hidden @ matrix)


def test_pages_are_gathered_by_their_table(tmp_path: Path) -> None:
    kernel = named(kernels_of("latent/copy_pages.cu", tmp_path), "copy_pages")
    planes, tokens, heads, dim, first = 2, 20, 1, 4, 3
    pages = np.random.default_rng(9).integers(0, 1 << 30, (3, planes, 16, heads, dim), np.int32)
    table = np.array([2, 0], np.uint32)
    memory = Memory()
    out = memory.add(bytes(planes * tokens * heads * dim * 4))
    job = struct.pack("<2QQ2I", memory.add(pages.tobytes()), memory.add(table.tobytes()),
                      pages[0].nbytes, first, 0)  # fmt: skip
    row = heads * dim * 4
    job += struct.pack("<4Q6I", out, tokens * row, row, dim * 4, planes, tokens, heads, dim, 0, 0)
    job += struct.pack("<2Q2I", 0, 0, 0, 0)
    launch(kernel, memory, job, (1, 1), 256)
    got = np.frombuffer(memory.read_back(out), np.int32).reshape(planes, tokens, heads, dim)
    flat = np.concatenate([pages[2], pages[0]], axis=1)
    np.testing.assert_array_equal(got, flat[:, first : first + tokens])


def test_an_access_outside_of_every_allocation_is_an_error(tmp_path: Path) -> None:
    kernel = named(kernels_of("latent/realign.cu", tmp_path), "multiply_hidden")
    memory = Memory()
    short, out = memory.add(bytes(4)), memory.add(bytes(16))
    job = struct.pack("<3Q2IfI", short, short, out, 1, 2, 1.0, 0)
    with pytest.raises(IndexError, match="outside of every allocation"):
        launch(kernel, memory, job, (1, 1), 128)
