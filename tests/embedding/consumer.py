"""hanse in a Python program without the package, by ctypes: as consumer.c.

HANSE_LIBRARY is the path of libhanse.so.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from ctypes import (
    c_char,
    c_char_p,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

AGENTS, DIM = 1000, 8
library = ctypes.CDLL(os.environ["HANSE_LIBRARY"])
library.hanse_error_text.restype = c_char_p


class Sized(ctypes.Structure):
    """Begins with its own size; every other field is 0."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)
        self.size_bytes = ctypes.sizeof(self)


def fields(**kinds: object) -> list[tuple[str, object]]:
    return [("size_bytes", c_uint32), *kinds.items()]


class Agents(Sized):
    _fields_ = fields(
        kind=c_uint32, parent=c_uint64, names=c_void_p, identities=c_void_p, permissions=c_uint64,
        budget_max=c_uint64, narrowed=c_uint32, zero=c_uint32,
    )  # fmt: skip


class Offers(Sized):
    _fields_ = fields(
        offer=c_uint32, space=c_char_p, count=c_uint32, dim=c_uint32, agents=c_void_p,
        vectors=c_void_p, prices=c_void_p, tiers=c_void_p, skills=c_void_p, regions=c_void_p,
        policy_bits=c_void_p, slots=c_void_p, versions=c_void_p,
    )  # fmt: skip


class MatchRequest(Sized):
    _fields_ = fields(
        k=c_uint32, space=c_char_p, queries=c_void_p, query_count=c_uint32, dim=c_uint32,
        feasible=c_void_p, threads=c_uint32, zero=c_uint32,
    )  # fmt: skip


class Found(ctypes.Structure):
    _fields_ = [
        ("agent", c_uint64), ("offer", c_uint32), ("version", c_uint32), ("score", c_float),
        ("zero", c_uint32),
    ]  # fmt: skip


class Delivery(Sized):
    _fields_ = fields(
        kind=c_int32, to=c_uint64, sender=c_uint64, payload_size=c_uint64, sequence=c_uint64,
        request=c_uint64, task=c_uint64, deadline_ns=c_uint64, attempt=c_uint32,
        latent_missing=c_uint32, task_class=c_char * 72, durable=c_uint32, lane=c_uint32,
    )  # fmt: skip


class DispatchRequest(Sized):
    _fields_ = fields(
        dim=c_uint32, to=c_uint64, query=c_void_p, space=c_char_p, feasible=c_void_p,
        task_class=c_char_p, payload=c_char_p, payload_size=c_size_t, key=c_char_p,
        key_size=c_size_t, budget=c_uint64, unit=c_char_p, deadline_ns=c_uint64,
        verifier_required=c_uint32, zero=c_uint32,
    )  # fmt: skip


class Receipt(Sized):
    _fields_ = fields(
        outcome=c_int32, durability=c_int32, attempt=c_uint32, task=c_uint64, agent=c_uint64,
        offer=c_uint32, version=c_uint32, score=c_float, zero=c_uint32, price=c_uint64,
        held=c_uint64, epoch=c_uint64, position=c_uint64, reason=c_char * 160,
    )  # fmt: skip


class Task(Sized):
    _fields_ = fields(
        state=c_int32, requester=c_uint64, worker=c_uint64, verifier=c_uint64, attempt=c_uint32,
        tier=c_uint32, offer=c_uint32, version=c_uint32, price=c_uint64, budget=c_uint64,
        spent=c_uint64, dispatched_ns=c_uint64, deadline_ns=c_uint64, dispatched_at=c_uint64,
        changed_at=c_uint64, artifact=ctypes.c_uint8 * 32,
    )  # fmt: skip


class Verification(Sized):
    _fields_ = fields(
        balanced=c_uint32, record_count=c_uint64, segment_count=c_uint64,
        journal_size_bytes=c_uint64, extent_count=c_uint64, torn_bytes=c_uint64,
        root=ctypes.c_uint8 * 32, state_hash=ctypes.c_uint8 * 32,
    )  # fmt: skip


SIGNATURES = {
    "open": [c_char_p, c_void_p, c_void_p],
    "close": [c_void_p],
    "agents_add": [c_void_p, c_uint64, c_void_p, c_uint32, c_void_p],
    "fund": [c_void_p, c_uint64, c_uint64, c_uint64, c_char_p, c_void_p],
    "balance": [c_void_p, c_uint64, c_uint64, c_char_p, c_void_p],
    "publish": [c_void_p, c_uint64, c_void_p, c_void_p],
    "match": [c_void_p, c_uint64, c_void_p, c_void_p, c_void_p],
    "send": [c_void_p, c_uint64, c_uint64, c_char_p, c_size_t],
    "receive": [c_void_p, c_uint64, c_void_p, c_void_p, c_size_t],
    "dispatch": [c_void_p, c_uint64, c_void_p, c_void_p],
    "void": [c_void_p, c_uint64, c_uint64, c_void_p],
    "task_state": [c_void_p, c_uint64, c_uint64, c_void_p],
    "verify": [c_char_p, c_void_p],
}
for name, arguments in SIGNATURES.items():
    getattr(library, f"hanse_{name}").argtypes = arguments


def call(name: str, *arguments: object) -> None:
    status = getattr(library, f"hanse_{name}")(*arguments)
    if status != 0:
        raise RuntimeError(f"{name}: status {status}: {library.hanse_error_text().decode()}")


def open_kernel(directory: str | None) -> c_void_p:
    kernel = c_void_p()
    call("open", directory and directory.encode(), None, ctypes.byref(kernel))
    return kernel


def add(kernel: c_void_p, count: int) -> ctypes.Array[c_uint64]:
    ids = (c_uint64 * count)()
    call("agents_add", kernel, 0, ctypes.byref(Agents()), count, ids)
    return ids


def vectors(first: int, count: int) -> ctypes.Array[c_float]:
    values = [math.sin(i + 1 + 10 * d) for i in range(first, first + count) for d in range(DIM)]
    return (c_float * len(values))(*values)


def address(array: ctypes.Array[c_float]) -> int:
    return ctypes.addressof(array)


def publish_all(kernel: c_void_p, agents: ctypes.Array[c_uint64]) -> None:
    everyone, prices = vectors(0, AGENTS), (c_int64 * AGENTS)(*[1] * AGENTS)
    offers = Offers(
        count=AGENTS,
        dim=DIM,
        agents=ctypes.addressof(agents),
        vectors=address(everyone),
        prices=ctypes.addressof(prices),
    )
    call("publish", kernel, 0, ctypes.byref(offers), None)


def match(kernel: c_void_p, agents: ctypes.Array[c_uint64], query: ctypes.Array[c_float]) -> None:
    found, count = (Found * 3)(), c_int32()
    request = MatchRequest(k=3, queries=address(query), query_count=1, dim=DIM)
    call("match", kernel, 0, ctypes.byref(request), found, ctypes.byref(count))
    assert count.value == 3
    assert found[0].agent == agents[5]


def begin(directory: str) -> None:
    kernel = open_kernel(directory)
    agents, query = add(kernel, AGENTS), vectors(5, 1)
    publish_all(kernel, agents)
    match(kernel, agents, query)

    head, buffer = Delivery(), ctypes.create_string_buffer(64)
    call("send", kernel, agents[0], agents[1], b"hello", 5)
    call("receive", kernel, agents[1], ctypes.byref(head), buffer, 64)
    assert buffer.raw[: head.payload_size] == b"hello"

    call("fund", kernel, 0, agents[0], 1000, None, None)
    wanted = DispatchRequest(
        dim=DIM,
        query=address(query),
        payload=b"what to do",
        payload_size=10,
        budget=100,
        key=b"key-1",
        key_size=5,
    )
    receipt = Receipt()
    call("dispatch", kernel, agents[0], ctypes.byref(wanted), ctypes.byref(receipt))
    assert receipt.agent == agents[5]
    assert receipt.held == 100
    print(f"task {receipt.task}", flush=True)
    threading.Event().wait()


def resume(directory: str, task: int) -> None:
    kernel = open_kernel(directory)
    state, head, buffer = Task(), Delivery(), ctypes.create_string_buffer(64)
    call("task_state", kernel, 0, task, ctypes.byref(state))
    assert state.state == 0
    assert state.budget == 100
    call("receive", kernel, state.worker, ctypes.byref(head), buffer, 64)
    assert head.task == task
    available = c_uint64()
    call("balance", kernel, 0, state.requester, None, ctypes.byref(available))
    assert available.value == 900
    call("close", kernel)
    found = Verification()
    call("verify", directory.encode(), ctypes.byref(found))
    assert found.balanced == 1
    assert found.record_count > 4
    print("ok")


def operations() -> dict[str, Callable[[], None]]:
    """Each is what a caller of this language would write."""
    kernel = open_kernel(None)
    agents, query = add(kernel, AGENTS), vectors(5, 1)
    publish_all(kernel, agents)
    call("fund", kernel, 0, agents[0], 1000, None, None)
    sender, receiver, one = agents[0], agents[1], (c_uint64 * 1)(agents[5])
    head, buffer, payload = Delivery(), ctypes.create_string_buffer(64), bytes(64)
    offers = Offers(count=1, dim=DIM, agents=ctypes.addressof(one), vectors=address(query))
    request = DispatchRequest(to=receiver, payload=b"x" * 64, payload_size=64, budget=1)
    receipt = Receipt()
    at, to, wanted, given = map(ctypes.byref, (head, receipt, request, offers))

    def talk() -> None:
        call("send", kernel, sender, receiver, payload, 64)
        call("receive", kernel, receiver, at, buffer, 64)

    def dispatch() -> None:
        call("dispatch", kernel, sender, wanted, to)
        call("receive", kernel, receiver, at, buffer, 64)
        call("void", kernel, sender, receipt.task, None)

    return {
        "open": lambda: call("close", open_kernel(None)),
        "publish": lambda: call("publish", kernel, 0, given, None),
        "match": lambda: match(kernel, agents, query),
        "talk": talk,
        "dispatch": dispatch,
    }


def bench(operation: str, count: int) -> None:
    run = operations()[operation]
    begun = time.perf_counter_ns()
    for _ in range(count):
        run()
    print(f"{(time.perf_counter_ns() - begun) / count:.1f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin", directory]:
            begin(directory)
        case ["resume", directory, task]:
            resume(directory, int(task))
        case ["bench", operation, count]:
            bench(operation, int(count))
        case _:
            raise SystemExit("begin DIR, resume DIR TASK or bench OPERATION COUNT")
