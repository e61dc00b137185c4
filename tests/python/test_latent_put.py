"""What another process puts into the pool: governed as in process, and gone with its maker."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hanse

SPEC = hanse.LatentSpec("model@1", layers=2, kv_heads=2, head_dim=4)
SPAWN = multiprocessing.get_context("spawn")


def block(tokens: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SPEC.shape(tokens)).astype(np.float32)


def ids(tokens: int) -> np.ndarray:
    return np.arange(tokens, dtype=np.uint32)


def write_for(path: str, ticket: bytes, pipe: Connection) -> None:
    """The other process: does what it is asked and answers with what came of it."""
    writer = hanse.LatentReader(path, ticket)
    while (question := pipe.recv()) != "end":
        verb, arguments, options = question
        try:
            if verb == "put":
                pipe.send(writer.put(*arguments, **options))
            elif verb == "sheet":
                (kv,) = arguments
                with writer.sheet(SPEC, kv.shape[2]) as sheet:
                    assert sheet.array is not None
                    assert not sheet.array.any()
                    sheet.array[:] = kv
                    pipe.send(sheet.put(**options))
            elif verb == "send and say so":
                with contextlib.suppress(hanse.HanseError):
                    writer.put(*arguments, timeout=0.001)
                pipe.send("sent")
            else:
                pipe.send(writer.release(*arguments))
        except hanse.HanseError as error:
            pipe.send((error.name, error.field))


class Writer:
    def __init__(self, exchange: hanse.LatentExchange, path: str, agent: int) -> None:
        self.exchange = exchange
        self.pipe, there = SPAWN.Pipe()
        ticket = exchange.ticket(agent)
        self.process = SPAWN.Process(target=write_for, args=(path, ticket, there))
        before = exchange.poll()
        self.process.start()
        self.wait(lambda: exchange.poll() > before)

    def wait(self, happened: Any) -> None:
        deadline = time.monotonic() + 30
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        self.pipe.send((verb, arguments, options))
        while not self.pipe.poll(0.002):
            self.exchange.poll()
        return self.pipe.recv()

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[hanse.Kernel, hanse.LatentExchange, Any]]:
    path = str(tmp_path / "socket")
    writers: list[Writer] = []
    with (
        hanse.open() as kernel,
        hanse.LatentExchange(kernel, path) as exchange,
    ):
        kernel.latents.set_size(1 << 20)

        def writer(agent: int) -> Writer:
            writers.append(Writer(exchange, path, agent))
            return writers[-1]

        yield kernel, exchange, writer
        for one in writers:
            if one.process.is_alive():
                one.pipe.send("end")
                one.process.join()


def test_what_another_process_put_is_read_found_and_continued_here(place: Any) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    one = writer(agent)
    kv = block(50)
    for verb, arguments in (("put", (kv, SPEC)), ("sheet", (kv,))):
        id = one.ask(verb, *arguments, tokens=ids(50), label=6, gloss="seen", price=7)
        (latent,) = exchange.puts()
        assert (latent.id, latent.reader) == (id, agent)
        np.testing.assert_array_equal(latent.read(), kv)
        np.testing.assert_array_equal(latent.view(), kv)
        info = latent.info
        assert (info.owner, info.label, info.gloss, info.price) == (agent, 6, "seen", 7)
        view = hanse.Prefixes(kernel._core, agent, SPEC._core())
        assert view.match(ids(50)) == 48
        longer = latent.append(block(5, 2))
        np.testing.assert_array_equal(longer.read(), np.concatenate([kv, block(5, 2)], 2))
        longer.release()
        one.ask("release", id)
        exchange.poll()
        assert exchange.puts() == []
        assert kernel.latents.status().page_bytes_used == 0


def test_it_belongs_to_the_tenant_of_its_maker(place: Any) -> None:
    kernel, exchange, writer = place
    mine = kernel.agents.add("mine", kind="group")
    theirs = kernel.agents.add("theirs", kind="group")
    writer(mine).ask("put", block(32), SPEC, tokens=ids(32))
    (latent,) = exchange.puts()
    stranger = hanse.Latent(kernel, latent.id, theirs)
    with pytest.raises(hanse.NotFoundError):
        stranger.read()
    assert hanse.Prefixes(kernel._core, theirs, SPEC._core()).match(ids(32)) == 0
    latent.grant(theirs)
    np.testing.assert_array_equal(stranger.read(), block(32))


def test_it_counts_in_the_pools_bound_and_what_does_not_fit_is_refused(place: Any) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    one = writer(agent)
    tokens = (1 << 20) // (4 * SPEC.layers * 2 * SPEC.kv_heads * SPEC.head_dim)
    half = block(tokens // 2)
    kept = kernel.latents.put(half, SPEC, owner=agent)
    kept.keep()
    kept.release()
    one.ask("put", half, SPEC)
    assert kernel.latents.status().page_bytes_used == 1 << 20
    # What is kept without a handle makes room; what has one does not.
    assert isinstance(one.ask("put", half, SPEC), int)
    assert kernel.latents.status().kept_bytes == 0
    assert one.ask("put", block(8), SPEC) == ("QuotaExceeded", "page_bytes")
    assert one.ask("put", block(tokens + 1), SPEC) == ("QuotaExceeded", "page_bytes")
    assert kernel.latents.status().page_bytes_used == 1 << 20
    assert len(exchange.puts()) == 2


def test_a_killed_writer_leaves_nothing_but_what_it_had_kept_or_others_forked(place: Any) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    one = writer(agent)
    one.ask("put", block(16), SPEC)
    fork = exchange.puts()[0].fork()
    one.ask("put", block(16, 2), SPEC)
    one.ask("put", block(32, 3), SPEC, tokens=ids(32), keep=0)
    # Killed between sending and the owner's look at it.
    one.pipe.send(("send and say so", (block(16, 4), SPEC), {}))
    assert one.pipe.recv() == "sent"
    one.kill()
    assert exchange.poll() == 0
    assert exchange.puts() == []
    status = kernel.latents.status()
    assert (status.handle_count, status.page_count) == (1, 2)
    np.testing.assert_array_equal(fork.read(), block(16))
    found, matched = hanse.Prefixes(kernel._core, agent, SPEC._core()).acquire(ids(32))
    assert matched == 32
    hanse.Latent(kernel, found, agent).release()
    fork.release()
    kernel._core.latent_evict(agent, 1 << 40)
    assert kernel.latents.status().page_bytes_used == 0


def test_what_is_put_is_handed_on_without_a_copy(place: Any, tmp_path: Path) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    one = writer(agent)
    reader = hanse.LatentReader(tmp_path / "socket", exchange.ticket(agent))
    exchange.poll()
    one.ask("put", block(20), SPEC)
    (latent,) = exchange.puts()
    assert exchange.share(latent, agent) == 2
    remote = reader.receive(5)
    assert remote is not None
    np.testing.assert_array_equal(remote.read(), block(20))
    assert len(remote.pages()) == 1  # Nothing was cut into pages.


def test_quantised_ones_are_quantised_where_they_are_kept(place: Any) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    spec = hanse.LatentSpec("model@1", 2, 2, 4, quantised=8, recent=0)
    writer(agent).ask("put", block(64), spec)
    (latent,) = exchange.puts()
    here = kernel.latents.put(block(64), spec)
    np.testing.assert_array_equal(latent.read(), here.read())


def test_bad_input_is_refused_on_either_side(place: Any, tmp_path: Path) -> None:
    kernel, exchange, writer = place
    agent = kernel.agents.add("writer")
    one = writer(agent)
    assert one.ask("put", block(4)[0], SPEC) == ("DimensionMismatch", "kv")
    assert one.ask("put", block(4), SPEC, tokens=ids(3))[0] == "DimensionMismatch"
    assert one.ask("put", block(4), SPEC, gloss="x" * 5000) == ("TooLarge", "gloss")
    bounded = hanse.LatentSpec("model@1", 2, 2, 4, position_max=3)
    assert one.ask("put", block(4), bounded) == ("OutOfRange", "position")
    assert exchange.puts() == []
    assert kernel.latents.status().page_bytes_used == 0

    writer_here = hanse.LatentReader(tmp_path / "socket", exchange.ticket(agent))
    exchange.poll()
    with writer_here.sheet(SPEC, 4) as sheet:
        shown = sheet.array
        with pytest.raises(hanse.InvalidError, match="shows its memory"):
            sheet.put()
        assert sheet.array is not None
        np.testing.assert_array_equal(sheet.array, shown)
    with pytest.raises(hanse.InvalidError, match="closed"):
        sheet.put()
    # The owner doesn't poll: nothing hangs.
    with pytest.raises(TimeoutError):
        writer_here.put(block(4), SPEC, timeout=0.01)
    # What is not sealed can be altered afterwards, so it isn't sent; nor is a file of another size.
    file = os.memfd_create("none", 0)
    os.ftruncate(file, block(4).nbytes)
    said = (0, 0, 0, 0, None, 0, False)
    for size, field in ((4, "file"), (5, "file")):
        with pytest.raises(hanse.InvalidError) as caught:
            writer_here._core.put_file(SPEC._core(), file, size, None, said, None, 10)
        assert (caught.value.name, caught.value.field) == ("BadArray", field)
    os.close(file)
    assert fcntl.F_SEAL_WRITE  # The seals are Linux's.


def test_a_closed_owner_is_said(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with hanse.open() as kernel:
        exchange = hanse.LatentExchange(kernel, path)
        writer = hanse.LatentReader(path, exchange.ticket(kernel.root))
        exchange.poll()
        exchange.close()
        with pytest.raises(hanse.InvalidError) as caught:
            writer.put(block(4), SPEC, timeout=5)
        assert caught.value.name == "Closed"
