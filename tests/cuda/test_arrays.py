"""Arrays on a device, and spaces that stay there, by way of the emulated device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated_device import PLUGIN, Device, Dlpack, Interface

hanse = pytest.importorskip("hanse")

pytestmark = pytest.mark.skipif(not PLUGIN.exists(), reason=f"there is no {PLUGIN}")

DIM = 16
Make = Callable[..., Any]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("HANSE_CUDA_PLUGIN", str(PLUGIN))
    found = Device()
    found.fail_after(-1)
    yield found
    found.fail_after(-1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def vectors_of(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal((count, DIM)).astype(np.float32)


def filled(rng: np.random.Generator, count: int, metric: str = "cosine") -> Any:
    index = hanse.CapabilityIndex(DIM, metric, background=False)
    prices = rng.integers(0, 100, count)
    index.add(np.arange(1, count + 1, dtype=np.uint64), vectors_of(rng, count), price=prices)
    return index


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


# --- arrays


@pytest.mark.parametrize("make", [Interface, Dlpack])
def test_vectors_and_ids_on_a_device_are_added_as_those_on_the_host(
    device: Device, rng: np.random.Generator, make: Make
) -> None:
    ids, vectors = np.arange(1, 9, dtype=np.uint64), vectors_of(rng, 8)
    there, here = hanse.CapabilityIndex(DIM), hanse.CapabilityIndex(DIM)
    there.add(make(device, ids), make(device, vectors), price=5)
    here.add(ids, vectors, price=5)
    queries = vectors_of(rng, 3)
    assert_same(there.search(make(device, queries), 4), here.search(queries, 4))
    there.upsert(make(device, ids[:1]), make(device, vectors[1:2]))
    np.testing.assert_array_equal(there.get(1), there.get(2))


def test_half_and_brain_floats_on_a_device_are_widened(
    device: Device, rng: np.random.Generator
) -> None:
    index, query = filled(rng, 20), vectors_of(rng, 1)
    half = query.astype(np.float16)
    assert_same(index.search(Dlpack(device, half), 3), index.search(half.astype(np.float32), 3))
    brain = (query.view(np.uint32) >> 16).astype(np.uint16)
    widened = (brain.astype(np.uint32) << 16).view(np.float32)
    assert_same(index.search(Dlpack(device, brain, code=4), 3), index.search(widened, 3))


def test_a_read_comes_after_the_work_on_the_stream_that_the_array_names(
    device: Device, rng: np.random.Generator
) -> None:
    index, queries = filled(rng, 20), vectors_of(rng, 2)
    expected = index.search(queries, 3)
    # The copy to the device is only queued there when the search begins.
    assert_same(index.search(Interface(device, queries, stream=device.stream()), 3), expected)
    mine = device.stream()
    assert_same(
        index.search(Interface(device, queries, stream=device.stream()), 3, stream=mine), expected
    )


def test_the_owner_of_a_dlpack_array_is_told_the_stream(
    device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = filled(rng, 20)
    queries = Dlpack(device, vectors_of(rng, 1))
    index.search(queries, 3)
    own = device.stream()
    index.search(queries, 3, stream=own)
    index.search(queries, 3, stream=types.SimpleNamespace(ptr=own))
    index.search(queries, 3, stream=types.SimpleNamespace(cuda_stream=own))
    current = device.stream()
    cupy: Any = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(ptr=current))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    index.search(queries, 3)
    assert queries.streams == [1, own, own, own, current]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"strides": (4, 64)}, hanse.InvalidError),
        ({"strides": (DIM * 4, 3)}, hanse.InvalidError),
        ({"mask": object()}, hanse.InvalidError),
        ({"version": 1}, hanse.InvalidError),
        ({"typestr": "nonsense"}, hanse.InvalidError),
        ({"typestr": "<i4"}, hanse.InvalidError),
        ({"shape": (-1, DIM)}, hanse.InvalidError),
        ({"data": None}, hanse.InvalidError),
    ],
)
def test_a_device_array_that_can_t_be_taken_is_refused_by_name(
    device: Device, rng: np.random.Generator, said: dict[str, Any], error: type[Exception]
) -> None:
    index = filled(rng, 5)
    queries = Interface(device, vectors_of(rng, 2))
    queries.__cuda_array_interface__.update(said)
    with pytest.raises(error) as raised:
        index.search(queries, 3)
    assert raised.value.field == "queries"  # type: ignore[attr-defined]
    with pytest.raises(error):
        index.add(np.array([77, 78], np.uint64), queries)
    assert len(index) == 5


def test_strides_complex_numbers_and_streams_that_are_none_are_refused(
    device: Device, rng: np.random.Generator
) -> None:
    index, values = filled(rng, 5), vectors_of(rng, 2)
    with pytest.raises(hanse.InvalidError, match="C-contiguous"):
        index.search(Dlpack(device, values, strides=(1, 2)), 3)
    with pytest.raises(hanse.InvalidError, match="plain numbers"):
        index.search(Dlpack(device, values, code=5), 3)
    for stream in ("default", 1.0, True, -1, 1 << 64):
        with pytest.raises(hanse.InvalidError) as raised:
            index.search(Dlpack(device, values), 3, stream=stream)
        assert raised.value.field == "stream"


@pytest.mark.parametrize("make", [Interface, Dlpack])
def test_without_a_plug_in_a_device_array_is_no_device(
    device: Device, rng: np.random.Generator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, queries = filled(rng, 5), make(device, vectors_of(rng, 2))
    monkeypatch.setenv("HANSE_CUDA_PLUGIN", "/nowhere/libhanse_cuda.so")
    for call in (
        lambda: index.search(queries, 3),
        lambda: index.add(np.array([77, 78], np.uint64), queries),
        lambda: index.search(vectors_of(rng, 1), 3, device="cuda"),
    ):
        with pytest.raises(hanse.DeviceError) as raised:
            call()
        assert raised.value.name == "NoDevice"
    assert len(index) == 5


# --- a space on the device


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
def test_a_search_on_the_device_answers_as_the_exact_one(
    device: Device, rng: np.random.Generator, metric: str
) -> None:
    index, queries = filled(rng, 300, metric), vectors_of(rng, 5)
    for k, options in (
        (10, {}),
        (64, {}),
        (3, {"max_price": 40}),
        (3, {"max_price": np.array([10, 20, 30, 40, 50])}),
        (5, {"mask": np.arange(300) % 3 == 0}),
        (4, {"max_price": 0}),
    ):
        expected = index.search(queries, k, recall=1, **options)
        assert_same(index.search(queries, k, recall=1, device="cuda", **options), expected)
        found = index.search(queries, k, device="cuda", explain=True, **options)
        np.testing.assert_array_equal(found.counts, expected.counts)
        assert (found.ids == expected.ids).mean() > 0.9  # 8 bits may lose one
        plans = {explanation.plan for explanation in found.explanations}
        assert plans <= {"device", "nothing", "scan"}
    assert index.stats()["plans"]["device"] > 0
    assert index.stats()["device_memory_bytes"] > 300 * DIM * 5


def test_the_device_follows_every_change(device: Device, rng: np.random.Generator) -> None:
    index, queries = filled(rng, 80), vectors_of(rng, 3)

    def check() -> None:
        for options in ({}, {"max_price": 50}):
            expected = index.search(queries, 7, recall=1, **options)
            assert_same(index.search(queries, 7, recall=1, device="cuda", **options), expected)

    check()
    index.update(np.arange(1, 81, dtype=np.uint64), price=rng.integers(0, 100, 80))
    check()
    index.upsert(np.array([3, 4], np.uint64), queries[:2])
    check()
    index.remove(np.array([3, 9], np.uint64))
    check()
    more = np.arange(1000, 1100, dtype=np.uint64)  # more than there was room for
    index.add(more, vectors_of(rng, 100), price=1)
    check()


def test_a_ranking_is_left_to_the_cpu_and_too_large_a_k_is_refused(
    device: Device, rng: np.random.Generator
) -> None:
    index, queries = filled(rng, 60), vectors_of(rng, 2)
    rank = hanse.Ranking(price=0.01)
    expected = index.search(queries, 5, recall=1, rank=rank, explain=True)
    found = index.search(queries, 5, recall=1, rank=rank, device="cuda", explain=True)
    assert_same(found, expected)
    assert all(explanation.plan != "device" for explanation in found.explanations)
    with pytest.raises(hanse.InvalidError, match="64"):
        index.search(queries, 65, device="cuda")
    for name in ("gpu", 0, b"cuda"):
        with pytest.raises(hanse.InvalidError) as raised:
            index.search(queries, 5, device=name)
        assert raised.value.field == "device"


def test_a_match_on_the_device_sees_prices_and_revocations_of_this_moment(
    device: Device, rng: np.random.Generator
) -> None:
    with hanse.open() as kernel:
        agents = kernel.agents.add_many([f"worker {i}" for i in range(40)])
        kernel.capabilities.publish(agents, vectors_of(rng, 40), price=np.arange(40))
        queries = vectors_of(rng, 2)

        def check() -> Any:
            expected = kernel.match(queries, 5, recall=1, max_price=30)
            found = kernel.match(Dlpack(device, queries), 5, recall=1, max_price=30, device="cuda")
            for name in ("agents", "offers", "versions", "scores", "counts"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            return found

        best = int(check().agents[0, 0])
        kernel.agents.revoke(best)
        assert best not in check().agents


def test_a_failure_of_the_device_changes_nothing_and_names_the_code(
    device: Device, rng: np.random.Generator
) -> None:
    index, queries = filled(rng, 40), vectors_of(rng, 2)
    expected = index.search(queries, 5, recall=1)
    refused, calls = 0, 0
    while True:  # each call of CUDA in turn is the one that fails
        device.fail_after(calls)
        try:
            found = index.search(queries, 5, recall=1, device="cuda")
        except hanse.DeviceError as error:
            assert error.name == "DeviceFailed"
            assert "cuda" in str(error)
            refused += 1
        else:
            assert_same(found, expected)
            break
        assert_same(index.search(queries, 5, recall=1), expected)
        device.fail_after(-1)
        assert_same(index.search(queries, 5, recall=1, device="cuda"), expected)
        calls += 1
        index = filled(np.random.default_rng(11), 40)  # an empty device again
    assert refused > 10


def test_a_failed_read_adds_nothing(device: Device, rng: np.random.Generator) -> None:
    index, more = filled(rng, 5), Dlpack(device, vectors_of(rng, 2))
    device.fail_after(0)
    with pytest.raises(hanse.DeviceError, match="cudaErrorLaunchFailure"):
        index.add(np.array([77, 78], np.uint64), more)
    assert len(index) == 5


# --- latents

SPEC = dict(model="m", layers=2, kv_heads=2, head_dim=4, dtype="float32")


@pytest.mark.parametrize("make", [Interface, Dlpack])
def test_a_latent_is_put_from_a_device_and_read_back_to_it(
    device: Device, rng: np.random.Generator, make: Make
) -> None:
    spec = hanse.LatentSpec(**SPEC)
    kv = rng.standard_normal((2, 2, 20, 2, 4)).astype(np.float32)
    with hanse.open() as kernel:
        latent = kernel.latents.put(make(device, kv), spec)
        np.testing.assert_array_equal(latent.read(), kv)
        longer = latent.append(make(device, kv[:, :, :3]))
        assert longer.tokens == 23
        planes = [make(device, np.ascontiguousarray(plane)) for plane in kv.reshape(4, 20, 2, 4)]
        np.testing.assert_array_equal(kernel.latents.put(planes, spec, step=1).read(), kv)
        out = make(device, np.zeros_like(kv))
        assert latent.read(out=out, stream=device.stream()) is out
        np.testing.assert_array_equal(device.get(out.address, kv.shape, np.float32), kv)


def test_device_memory_is_never_adopted_and_a_failed_copy_leaves_no_latent(
    device: Device, rng: np.random.Generator
) -> None:
    spec = hanse.LatentSpec(**SPEC)
    kv = np.zeros((2, 2, 20, 2, 4), np.float32)
    with hanse.open() as kernel:
        with pytest.raises(hanse.DeviceError) as raised:
            kernel.latents.adopt(Dlpack(device, kv), spec)
        assert raised.value.name == "NoDevice"
        given = Dlpack(device, kv)
        device.fail_after(0)
        with pytest.raises(hanse.DeviceError, match="cudaErrorLaunchFailure"):
            kernel.latents.put(given, spec)
        device.fail_after(-1)
        assert kernel.latents.status().handle_count == 0
        latent = kernel.latents.put(given, spec)
        out = Interface(device, kv)
        device.fail_after(0)
        with pytest.raises(hanse.DeviceError, match="cudaErrorLaunchFailure"):
            latent.read(out=out)
        device.fail_after(-1)
        out.__cuda_array_interface__["data"] = (out.address, True)
        with pytest.raises(hanse.InvalidError, match="writable"):
            latent.read(out=out)
        with pytest.raises(hanse.InvalidError):
            latent.read(out=Dlpack(device, kv[:, :, :5]))
        np.testing.assert_array_equal(latent.read(), kv)


def test_the_c_face_takes_device_pointers(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")
    home = next(
        home
        for home in (Path(hanse.__file__).parent, Path(hanse._core.__file__).parent)
        if (home / "include" / "hanse.h").is_file()
    )
    program, source = tmp_path / "device", Path(__file__).parent / "c_face/device.c"
    made = subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{home}/include", source, "-o",
         program, f"-L{home}/lib", "-lhanse", f"-Wl,-rpath,{home}/lib", "-ldl"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    ran = subprocess.run(
        [program], capture_output=True, text=True,
        env={**os.environ, "HANSE_CUDA_PLUGIN": str(PLUGIN)},
    )  # fmt: skip
    assert ran.stdout == "ok\n", ran.stderr
