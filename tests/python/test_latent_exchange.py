"""Latents that leave: to disk, to other processes, and what is left when one is killed."""

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


def read_for(path: str, ticket: bytes, pipe: Connection) -> None:
    """The other process: keeps each hand-off and answers what it is asked of the newest."""
    reader = hanse.LatentReader(path, ticket)
    kept = []
    while (question := pipe.recv()) != "end":
        try:
            if question == "receive":
                kept.append(reader.receive(10))
                pipe.send(kept[-1].read())
            elif question == "read":
                pipe.send(kept[-1].read())
            elif question == "drop":
                kept.pop()
                pipe.send(None)
        except hanse.HanseError as error:
            pipe.send(error.name)


class Other:
    def __init__(self, path: str, ticket: bytes) -> None:
        self.pipe, there = SPAWN.Pipe()
        self.process = SPAWN.Process(target=read_for, args=(path, ticket, there))
        self.process.start()

    def ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


@pytest.fixture
def others() -> Iterator[list[Other]]:
    started: list[Other] = []
    yield started
    for other in started:
        if other.process.is_alive():
            other.pipe.send("end")
            other.process.join()


def connect(exchange: hanse.LatentExchange, other: Other) -> None:
    deadline = time.monotonic() + 30
    before = exchange.poll()
    while exchange.poll() == before and other.process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_another_process_reads_the_same_bytes_until_the_hand_off_is_ended(
    tmp_path: Path, others: list[Other]
) -> None:
    path = str(tmp_path / "socket")
    with hanse.open() as kernel, hanse.LatentExchange(kernel, path) as exchange:
        agent = kernel.agents.add("reader")
        latent = kernel.latents.put(block(50), SPEC, owner=agent)
        longer = latent.append(block(9, 2))
        others.append(Other(path, exchange.ticket(agent)))
        connect(exchange, others[0])
        assert exchange.share(longer, agent) == 1
        np.testing.assert_array_equal(others[0].ask("receive"), longer.read())
        longer.release()
        latent.release()
        assert kernel.latents.status().page_count > 0
        assert exchange.end(longer, agent) == 1
        assert others[0].ask("read") == "Revoked"
        others[0].ask("drop")
        exchange.poll()
        assert exchange.share_count == 0
        assert kernel.latents.status().page_count == 0


def test_a_killed_reader_leaves_no_page_behind_and_a_live_one_keeps_its_own(
    tmp_path: Path, others: list[Other]
) -> None:
    path = str(tmp_path / "socket")
    with hanse.open() as kernel, hanse.LatentExchange(kernel, path) as exchange:
        agent = kernel.agents.add("reader")
        latent = kernel.latents.put(block(50), SPEC, owner=agent)
        for _ in range(2):
            others.append(Other(path, exchange.ticket(agent)))
            connect(exchange, others[-1])
        assert exchange.share(latent, agent) == 2
        for other in others:
            np.testing.assert_array_equal(other.ask("receive"), block(50))
        latent.release()
        others[0].kill()
        assert exchange.poll() == 1
        assert exchange.share_count == 1
        # What is stored now takes no page that the other one still shows.
        kernel.latents.put(block(200, 9), SPEC, owner=agent)
        np.testing.assert_array_equal(others[1].ask("read"), block(50))
        others[1].kill()
        assert exchange.poll() == 0
        assert kernel.latents.status().page_count == 13


def own_for(path: str, pipe: Connection) -> None:
    kernel = hanse.open()
    exchange = hanse.LatentExchange(kernel, path)
    agent = kernel.agents.add("reader")
    latent = kernel.latents.put(block(50), SPEC, owner=agent)
    pipe.send(exchange.ticket(agent))
    while exchange.poll() == 0:
        time.sleep(0.01)
    exchange.share(latent, agent)
    pipe.send("shared")
    time.sleep(600)


def test_a_killed_owner_leaves_its_readers_what_they_have_and_no_more(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    here, there = SPAWN.Pipe()
    owner = SPAWN.Process(target=own_for, args=(path, there))
    owner.start()
    reader = hanse.LatentReader(path, here.recv())
    assert here.recv() == "shared"
    remote = reader.receive(10)
    assert remote is not None
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    np.testing.assert_array_equal(remote.read(), block(50))
    with pytest.raises(hanse.InvalidError) as caught:
        reader.receive(10)
    assert caught.value.name == "Closed"
    page = remote.pages()[0]
    del remote, reader
    np.testing.assert_array_equal(page, block(50)[:, :, :16])
    with pytest.raises(ValueError, match="read-only"):
        page[0] = 1


def test_a_wrong_ticket_gets_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with hanse.open() as kernel, hanse.LatentExchange(kernel, path) as exchange:
        ticket = bytearray(exchange.ticket(kernel.root))
        ticket[5] ^= 1
        reader = hanse.LatentReader(path, bytes(ticket))
        assert exchange.poll() == 0
        with pytest.raises(hanse.InvalidError):
            reader.receive(1)
        with pytest.raises(hanse.StorageError):
            hanse.LatentReader(path + "-none", exchange.ticket(kernel.root))


def test_what_was_sealed_comes_back_for_its_tenant_and_key_alone() -> None:
    with hanse.open() as kernel:
        one = kernel.agents.add("one", kind="group")
        latent = kernel.latents.put(block(20), SPEC, gloss="a thought", label=5)
        sealed = latent.seal(b"key")
        back = kernel.latents.unseal(sealed, b"key")
        np.testing.assert_array_equal(back.read(), block(20))
        assert (back.info.gloss, back.info.label) == ("a thought", 5)
        theirs = kernel.latents.put(block(20), SPEC, owner=one).seal(b"key")
        for bad, key in [
            (sealed[:-1], b"key"),
            (sealed, b"other"),
            (theirs, b"key"),
            (b"", b"key"),
        ]:
            with pytest.raises(hanse.LatentError) as caught:
                kernel.latents.unseal(bad, key)
            assert caught.value.name == "LatentCorrupt"


@pytest.mark.slow
def test_no_one_of_100000_alterations_is_accepted() -> None:
    random = np.random.default_rng(2)
    with hanse.open() as kernel:
        sealed = kernel.latents.put(block(20), SPEC).seal(b"key")
        for place, change in zip(
            random.integers(0, len(sealed), 100_000), random.integers(1, 256, 100_000), strict=True
        ):
            altered = bytearray(sealed)
            altered[place] ^= change
            with pytest.raises(hanse.LatentError):
                kernel.latents.unseal(bytes(altered), b"key")
        for _ in range(10_000):
            kernel.latents.unseal(sealed, b"key").release()


def test_the_disk_gives_back_what_it_was_given_or_says_that_it_is_lost(tmp_path: Path) -> None:
    clock = hanse.ManualClock(10**18)
    with hanse.open(clock=clock) as kernel, hanse.DiskTier(kernel, tmp_path, 7_000) as tier:
        latent = kernel.latents.put(block(20), SPEC)
        stored = tier.store(latent)
        latent.release()
        tier.flush()
        assert kernel.latents.status().page_count == 0
        tier.expect(stored)
        back = tier.fetch(stored)
        assert back is not None
        np.testing.assert_array_equal(back.read(), block(20))

        # There is room for two: a third one drops the oldest that is not pinned, if there is one.
        other = tier.store(kernel.latents.put(block(20, 2), SPEC), ttl=5, pin=True)
        third = tier.store(back, pin=True)
        tier.flush()
        assert tier.fetch(stored) is None
        assert tier.lost == 0
        assert tier.fetch(tier.store(back)) is None
        assert tier.lost == 1
        tier.pin(third, False)
        clock.advance(6 * 10**9)
        assert tier.fetch(other) is None

        gone, altered = tier.store(back), tier.store(back)
        tier.flush()
        file = next(tmp_path.glob("*.latent"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(hanse.LatentError) as caught:
            tier.fetch(altered)
        assert caught.value.name == "LatentCorrupt"
        for path in tmp_path.glob("*.latent"):
            path.unlink()
        assert tier.fetch(gone) is None
        assert tier.size_bytes == 0
    assert list(tmp_path.iterdir()) == []


def write_for(path: str, pipe: Connection) -> None:
    """Puts, hands over, appends and releases without end; each latent holds one number."""
    kernel = hanse.open()
    exchange = hanse.LatentExchange(kernel, path)
    pipe.send(exchange.ticket(kernel.root))
    while exchange.poll() == 0:
        time.sleep(0.01)
    number = 0
    while True:
        number += 1
        latent = kernel.latents.put(np.full(SPEC.shape(20), number, np.float32), SPEC)
        longer = latent.append(np.full(SPEC.shape(30), number, np.float32))
        latent.release()
        exchange.share(longer, kernel.root)
        longer.release()
        exchange.poll()


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_moment_never_shows_half_of_what_it_wrote(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(9)
    seen = 0
    for cycle in range(20):
        path = str(tmp_path / f"socket-{cycle}")
        here, there = SPAWN.Pipe()
        writer = SPAWN.Process(target=write_for, args=(path, there))
        writer.start()
        reader = hanse.LatentReader(path, here.recv())
        held: list[tuple[float, list[np.ndarray]]] = []
        end = time.monotonic() + float(random.uniform(0.01, 0.3))
        killed = False
        while True:
            if not killed and time.monotonic() > end:
                assert writer.pid is not None
                os.kill(writer.pid, signal.SIGKILL)
                killed = True
            try:
                remote = reader.receive(5)
            except hanse.InvalidError:
                break
            assert remote is not None
            pages = remote.pages()
            held = [*held[-20:], (float(pages[0].flat[0]), pages)]
            seen += 1
            # Neither what is new nor what is held was written over.
            for number, arrays in held:
                assert all((array == number).all() for array in arrays)
        writer.join()
        for number, arrays in held:
            assert all((array == number).all() for array in arrays)
    assert seen > 200
