"""Cases of the bench `latent` between two processes of one host."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import hanse
from bench.case import Contest, Settings, case, each, peer

SPEC = hanse.LatentSpec("bench/made@1", layers=30, kv_heads=3, head_dim=64)
SHOWN = 8  # bytes of the state that the other process answers with


@case("latent", "µs", "lower")
@contextlib.contextmanager
def hand_off_process(settings: Settings) -> Iterator[Contest]:
    """How long until another process sees 1,024 tokens of state and has said what it sees?

    Both ways are the same round trip: the state is named (a hand-off by hanse; an offset in shared
    memory that is mapped once, by a pipe), the other process looks at it and answers by a socket.
    The limit is that round trip with nothing named: two wake-ups of a process that sleeps.
    """
    count = settings.size(500, 20)
    random = np.random.default_rng(3)
    kv = random.standard_normal(SPEC.shape(settings.size(1_024, 64)), dtype=np.float32)
    expected = kv.reshape(-1)[: SHOWN // 4].tobytes()
    with hanse.open() as kernel, handed_over(kernel, kv) as (exchange, pipe, answers):
        context = kernel.latents.put(kv, SPEC)

        def by_hanse() -> None:
            pipe.send(("hanse", count))
            for _ in range(count):
                exchange.share(context, kernel.root)
                assert answers.recv(SHOWN) == expected
            exchange.poll()

        def by_shared_memory() -> None:
            pipe.send(("shared memory", count))
            for _ in range(count):
                pipe.send_bytes(b"\0\0\0\0")
                assert answers.recv(SHOWN) == expected

        def by_nothing() -> None:
            pipe.send(("echo", count))
            for _ in range(count):
                answers.send(b"?")
                answers.recv(SHOWN)

        def check() -> None:
            by_hanse()
            by_shared_memory()

        yield Contest(
            hanse=each(count, by_hanse, 1e3),
            check=check,
            peers=[peer("shared memory + pipe", each(count, by_shared_memory, 1e3))],
            limit="socket round trip",
            limit_sample=each(count, by_nothing, 1e3),
        )


@contextlib.contextmanager
def handed_over(
    kernel: hanse.Kernel, kv: npt.NDArray[np.float32]
) -> Iterator[tuple[hanse.LatentExchange, Any, socket.socket]]:
    """An exchange with one connected reader in another process, a pipe to it and its answers."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        tempfile.NamedTemporaryFile(dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory() as directory,
        hanse.LatentExchange(kernel, f"{directory}/socket") as exchange,
    ):
        memory.write(kv.tobytes())
        memory.flush()
        ticket = exchange.ticket(kernel.root)
        process = context.Process(
            target=show, args=(f"{directory}/socket", ticket, there, theirs, memory.name)
        )
        process.start()
        here.recv()
        while exchange.poll() == 0:
            pass
        try:
            yield exchange, here, ours
        finally:
            here.send(("end", 0))
            process.join()


def show(path: str, ticket: bytes, pipe: Any, answers: socket.socket, name: str) -> None:
    """The other process: sleeps until something is named, looks at it and says what it sees."""
    reader = hanse.LatentReader(path, ticket)
    with open(name, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pipe.send("ready")
    while (asked := pipe.recv())[0] != "end":
        for _ in range(asked[1]):
            if asked[0] == "hanse":
                remote = reader.receive()
                assert remote is not None
                answers.send(remote.pages()[0].reshape(-1)[: SHOWN // 4].tobytes())
            elif asked[0] == "shared memory":
                at = int.from_bytes(pipe.recv_bytes(), "little")
                answers.send(memory[at : at + SHOWN])
            else:
                answers.recv(1)
                answers.send(bytes(SHOWN))
    memory.close()
