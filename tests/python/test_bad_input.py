"""Every public call with every kind of wrong argument: a typed error, and nothing has changed."""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hanse

NAN, INF = float("nan"), float("inf")
HUGE = 1 << 80
ABSENT = object()  # leave the argument out


class World:
    """A kernel with one of everything, and a good call of every public method."""

    def __init__(self) -> None:
        kernel = self.kernel = hanse.open(clock=hanse.ManualClock(10**18))
        self.team = kernel.agents.add("team", kind="group")
        self.ids = kernel.agents.add_many(4, parent=self.team)
        self.worker = int(self.ids[0])
        self.vectors = np.eye(4, dtype=np.float32)
        kernel.capabilities.publish(self.ids, self.vectors, price=10)
        kernel.ledger.fund(self.team, 10_000)
        kernel.ledger.fund(kernel.root, 10_000)
        self.spec = hanse.LatentSpec("m@1", layers=1, kv_heads=1, head_dim=4)
        self.kv = np.zeros(self.spec.shape(3), np.float32)
        self.latent = kernel.latents.put(self.kv, self.spec)
        self.hold = kernel.ledger.hold(self.team, self.worker, 5)
        self.task = kernel.dispatch(to=self.worker, budget=100, key="used").task
        self.tasks = np.array([self.task], np.uint64)
        self.index = hanse.CapabilityIndex(4)
        self.index.add(self.ids, self.vectors)

    def callables(self) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
        kernel, one = self.kernel, np.array([5], np.uint64)
        wide = {"artifacts": np.ones((1, 32), np.uint8), "usage": np.zeros((1, 4), np.uint64)}
        keyed = {"tasks": self.tasks}
        return {
            "agents.add": (
                kernel.agents.add,
                {
                    "name": "x",
                    "kind": "agent",
                    "parent": self.team,
                    "permissions": 1,
                    "budget_max": 1,
                    "key": b"k",
                },
            ),
            "agents.add_many": (
                kernel.agents.add_many,
                {
                    "n_or_names": 2,
                    "parent": self.team,
                    "kind": "agent",
                    "permissions": 1,
                    "budget_max": 1,
                },
            ),
            "agents.get": (kernel.agents.get, {"agent": self.worker}),
            "agents.find": (kernel.agents.find, {"name": "team", "parent": kernel.root}),
            "agents.revoke": (kernel.agents.revoke, {"agent": self.worker}),
            "create_space": (
                kernel.capabilities.create_space,
                {"name": "s", "dim": 4, "metric": "cosine", "model": "m"},
            ),
            "publish": (
                kernel.capabilities.publish,
                {
                    "ids": self.ids,
                    "vectors": self.vectors,
                    "price": 1,
                    "tier": 1,
                    "skills": 1,
                    "region": 1,
                    "policy_bits": 1,
                    "slots": 1,
                    "offer": 1,
                    "space": "default",
                    "versions": np.full(4, 9, np.uint32),
                },
            ),
            "withdraw": (
                kernel.capabilities.withdraw,
                {"agent": self.worker, "offer": 0, "space": "default"},
            ),
            "match": (
                kernel.match,
                {
                    "queries": self.vectors,
                    "k": 1,
                    "max_price": 1,
                    "tier": (0, 1),
                    "skills": 1,
                    "region": 1,
                    "tenant": self.team,
                    "space": "default",
                    "threads": 1,
                    "explain": True,
                },
            ),
            "dispatch": (
                kernel.dispatch,
                {
                    "to": self.worker,
                    "budget": 5,
                    "task_class": "c",
                    "payload": b"p",
                    "latents": (self.latent,),
                    "unit": "usd_micro",
                    "deadline_ns": 0,
                    "key": "k",
                    "max_price": 100,
                    "tier": 0,
                    "skills": 0,
                    "region": 0,
                    "tenant": self.team,
                    "space": "default",
                    "verify": True,
                },
            ),
            "dispatch by query": (kernel.dispatch, {"query": self.vectors[0], "budget": 50}),
            "dispatch_many": (
                kernel.dispatch_many,
                {
                    "to": self.ids[:1],
                    "budgets": one,
                    "payloads": np.zeros((1, 4), np.uint8),
                    "keys": ["k"],
                    "task_class": "c",
                    "latents": (),
                    "unit": "usd_micro",
                    "deadline_ns": 0,
                    "verify": False,
                    "atomic": False,
                },
            ),
            "dispatch_many by query": (
                kernel.dispatch_many,
                {"queries": self.vectors, "budgets": np.full(4, 50, np.uint64)},
            ),
            "complete": (
                kernel.complete,
                {
                    "task": self.task,
                    "artifact": bytes(32),
                    "usage": hanse.Usage(),
                    "total_tokens": 0,
                },
            ),
            "complete_many": (kernel.complete_many, {"tasks": self.tasks, **wide}),
            "accept": (kernel.accept, {"task": self.task, "verifier": self.team}),
            "reject": (kernel.reject, {"task": self.task, "verifier": self.team}),
            "void": (kernel.void, {"task": self.task}),
            "accept_many": (kernel.accept_many, {**keyed, "verifier": self.team}),
            "reject_many": (kernel.reject_many, {**keyed, "verifier": self.team}),
            "void_many": (kernel.void_many, keyed),
            "escalate": (
                kernel.escalate,
                {
                    "task": self.task,
                    "to": self.worker,
                    "max_price": 1,
                    "tier": 0,
                    "skills": 0,
                    "region": 0,
                    "space": "default",
                },
            ),
            "escalate_many": (kernel.escalate_many, {**keyed, "queries": self.vectors[:1]}),
            "lookup": (kernel.lookup, {"key": "used"}),
            "send": (
                lambda to, payload: typed(kernel.send(to, payload)),
                {"to": self.worker, "payload": b"x"},
            ),
            "send_many": (
                kernel.send_many,
                {"to": self.ids[:1], "payloads": np.zeros((1, 4), np.uint8)},
            ),
            "drain": (kernel.drain, {"max_messages": 5}),
            "receive": (kernel.receive, {"agent": self.worker}),
            "on": (lambda agents: kernel.on(agents)(print), {"agents": self.worker}),
            "on_batch": (lambda group: kernel.on_batch(group)(print), {"group": self.team}),
            "run": (kernel.run, {"max_messages": 5}),
            "as_agent": (kernel.as_agent, {"agent": self.worker}),
            "fund": (kernel.ledger.fund, {"agent": self.worker, "amount": 1, "unit": "gold"}),
            "set_rates": (
                kernel.ledger.set_rates,
                {
                    "unit": "gold",
                    "tier": 1,
                    "fresh": 1,
                    "cache_read": 1,
                    "cache_write": 1,
                    "output": 1,
                },
            ),
            "transfer": (
                kernel.ledger.transfer,
                {
                    "debit": self.team,
                    "credit": self.worker,
                    "amount": 1,
                    "unit": "usd_micro",
                    "key": 7,
                },
            ),
            "transfer_many": (
                kernel.ledger.transfer_many,
                {
                    "debit": self.ids[:1],
                    "credit": self.team,
                    "amounts": 1,
                    "unit": "usd_micro",
                    "keys": one,
                    "atomic": True,
                },
            ),
            "hold": (
                kernel.ledger.hold,
                {
                    "debit": self.team,
                    "credit": self.worker,
                    "amount": 1,
                    "unit": "usd_micro",
                    "expires_ns": 0,
                    "key": 8,
                },
            ),
            "post": (kernel.ledger.post, {"hold": self.hold, "amount": 1}),
            "ledger.void": (kernel.ledger.void, {"hold": self.hold}),
            "balance": (kernel.ledger.balance, {"agent": self.team, "unit": "usd_micro"}),
            "account": (
                kernel.ledger.account,
                {"agent": self.team, "unit": "usd_micro", "purpose": "balance"},
            ),
            "totals": (kernel.ledger.totals, {"unit": "usd_micro"}),
            "policy.load": (kernel.policy.load, {"text": "permit(principal, action, resource);"}),
            "policy.check": (
                kernel.policy.check,
                {
                    "principal": self.team,
                    "action": "send",
                    "resource": self.worker,
                    "context": {"budget": 1},
                },
            ),
            "tasks.get": (kernel.tasks.get, {"task": self.task}),
            "economics": (kernel.tasks.economics, {"task_class": "c"}),
            "economics of a tier": (kernel.tasks.economics, {"tier": 1}),
            "latents.put": (
                kernel.latents.put,
                {
                    "kv": self.kv,
                    "spec": self.spec,
                    "tokens": np.arange(3, dtype=np.uint32),
                    "step": 1,
                    "position_base": 1,
                    "ttl": 1.0,
                    "owner": self.team,
                },
            ),
            "latents.get": (kernel.latents.get, {"id": self.latent.id}),
            "longest_prefix": (
                kernel.latents.longest_prefix,
                {"tokens": np.arange(3, dtype=np.uint32), "spec": self.spec},
            ),
            "latent.append": (self.latent.append, {"kv": self.kv, "step": 1}),
            "latent.slice": (self.latent.slice, {"n": 2}),
            "latent.grant": (self.latent.grant, {"reader": self.team}),
            "latent.read": (self.latent.read, {"spec": self.spec}),
            "prove": (kernel.journal.prove, {"position": 0, "count": 1}),
            "prove_consistency": (kernel.journal.prove_consistency, {"old_count": 1, "count": 2}),
            "root_at": (kernel.journal.root_at, {"count": 1}),
            "leaf": (kernel.journal.leaf, {"position": 1}),
            "event": (kernel.journal.event, {"position": 0}),
            "index": (hanse.CapabilityIndex, {"dim": 4, "metric": "cosine"}),
            "index.upsert": (self.index.upsert, {"ids": self.ids, "vectors": self.vectors}),
            "index.remove": (self.index.remove, {"ids": one}),
            "index.search": (self.index.search, {"queries": self.vectors, "k": 1, "threads": 1}),
            "index.get": (self.index.get, {"id": self.worker}),
            "clock": (hanse.ManualClock, {"start_ns": 1}),
        }


def typed(outcome: int) -> int:
    """A daily outcome is an answer for `send`; here what is no message counts as refused."""
    if outcome != hanse.Outcome.ok:
        raise hanse.InvalidError(1002, "OutOfRange", "to")
    return outcome


# By the type of the good argument: what no method takes in its place.
STRANGE: list[Any] = [object(), {}, {"a": 1}, 1j, lambda: 0, NAN, -INF, type]
BAD: dict[type, list[Any]] = {
    bool: [2, "yes", None, 1.0],
    int: ["1", b"1", 1.5, INF, -1, -HUGE, HUGE, [1], True, np.array([1]), np.float32(1)],
    float: ["1", b"1", [1], -1.0, INF],
    str: [b"x", 5, ["x"], "\ud800", "x" * 100_000],
    bytes: ["x", 5, ["x"], np.zeros((2, 8), np.uint8)[:, ::2], b"x" * ((16 << 20) + 1)],
    tuple: [(1,), (1, 2, 3), ("a", "b"), (1.5, 2), 5.5, "x", -1, HUGE],
    list: [5, b"x", [5], [1.5], [""], ["x" * 65], [b"x", 5]],
    dict: [5, "abc", [1], {1: 2}, {"budget": "x"}, {"budget": HUGE}, {"nonsense": 1}],
    hanse.LatentSpec: [
        5,
        "m@1",
        hanse.LatentSpec("m", 0, 1, 4),
        hanse.LatentSpec("m", 1, 1, 4, dtype="float64"),
        hanse.LatentSpec("m", -1, 1, 4),
        hanse.LatentSpec("m", 1, 1, 4, rope_base=NAN),
        hanse.LatentSpec("m", 1, 1, 4, rope_base=INF),
        hanse.LatentSpec(5, 1, 1, 4),  # type: ignore[arg-type]
    ],
    hanse.Usage: [5, (1, 2), (1, 2, 3, 4, 5), "abcd", hanse.Usage(-1), hanse.Usage(1.5)],  # type: ignore[arg-type]
}


def bad_arrays(good: np.ndarray) -> list[Any]:
    """Wrong dtype, byte order, dimensions, steps, order, and what is no array."""
    wrong = [
        good.astype(np.float64 if good.dtype != np.float64 else np.float32),
        good.astype(good.dtype.newbyteorder()) if good.dtype.itemsize > 1 else good.astype("S1"),
        good.astype(object),
        good.astype("S4"),
        good[None],
        good.reshape(-1)[0],
        good.tolist(),
        "array",
        np.repeat(good, 2, axis=0)[::2] if len(good) > 1 else np.zeros((0, 0, 0)),
    ]
    if good.ndim > 1 and min(good.shape) > 1:
        wrong.append(np.asfortranarray(good))
    return [array for array in wrong if array is not None]


def bad_values(good: Any) -> list[Any]:
    if isinstance(good, np.ndarray):
        return bad_arrays(good) + STRANGE
    kind = next((kind for kind in BAD if type(good) is kind), None)
    return (BAD[kind] if kind else [5, "x", None]) + STRANGE


EVERY = sorted(World().callables())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    with world.kernel:
        yield world


# What looks wrong and is right: the argument takes a whole range, or more than one type.
RIGHT: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("agents.find", "name"): lambda v: isinstance(v, str),  # no such name
    ("economics", "task_class"): lambda v: isinstance(v, str),  # has done nothing yet
    ("dispatch", "latents"): lambda v: not v,  # none
    ("dispatch_many", "latents"): lambda v: not v or v == (1,),  # the latter a row's status
    ("dispatch_many", "to"): lambda v: isinstance(v, np.integer),  # one for all
    ("dispatch_many", "budgets"): lambda v: isinstance(v, np.integer),
    ("dispatch_many by query", "budgets"): lambda v: isinstance(v, np.integer),
    ("transfer_many", "debit"): lambda v: isinstance(v, np.integer),
    ("run", "max_messages"): lambda v: isinstance(v, int) and v > 0 and v is not True,
    ("on", "agents"): lambda v: isinstance(v, dict) and not v,  # no one
    ("agents.add", "key"): lambda v: isinstance(v, bytes),  # of any length: it is hashed
    ("dispatch", "key"): lambda v: isinstance(v, bytes) and len(v) <= 64,
    ("lookup", "key"): lambda v: isinstance(v, bytes),
    ("dispatch_many", "keys"): lambda v: v == ["x" * 65],  # too large, says its row's status
    ("longest_prefix", "spec"): lambda v: isinstance(v, hanse.LatentSpec),  # none is stored
    ("policy.check", "context"): lambda v: v == {},
}


@pytest.mark.parametrize("method", EVERY)
def test_a_bad_argument_is_refused_with_a_type_and_changes_nothing(
    world: World, method: str
) -> None:
    function, good = world.callables()[method]
    kernel = world.kernel
    refusals = 0
    for name, value in good.items():
        for bad in bad_values(value):
            shown = f"{method}({name}={bad!r:.60})"
            if RIGHT.get((method, name), lambda v: False)(bad):
                continue
            state, count = kernel.state_hash, kernel.journal.count
            with pytest.raises((hanse.HanseError, TypeError)) as caught:
                function(**{**good, name: bad})
                pytest.fail(shown)
            assert (kernel.state_hash, kernel.journal.count) == (state, count), shown
            if isinstance(caught.value, hanse.HanseError):
                assert caught.value.field, shown
            refusals += 1
    assert refusals >= 10 * len(good) - 5


@pytest.mark.parametrize("method", EVERY)
def test_a_missing_argument_or_one_too_many_is_a_type_error(world: World, method: str) -> None:
    function, good = world.callables()[method]
    state = world.kernel.state_hash
    with pytest.raises(TypeError):
        function(**good, nonsense=1)
    with pytest.raises(TypeError):
        function(*range(20))
    assert world.kernel.state_hash == state


# Pure Python, or handles and clocks that need no kernel.
NEED_NO_KERNEL = {"index", "index.upsert", "index.remove", "index.search", "index.get", "clock"}
NEED_NO_KERNEL |= {"on", "on_batch"}  # only note the function


def outcome_of(function: Callable[..., Any], good: dict[str, Any]) -> str:
    try:
        function(**good)
    except hanse.HanseError as error:
        return error.name
    return "ok"


def test_every_call_on_a_closed_kernel_says_closed() -> None:
    world = World()
    world.kernel.close()
    for method, (function, good) in world.callables().items():
        if method not in NEED_NO_KERNEL:
            assert outcome_of(function, good) == "Closed", method


def test_every_call_after_a_fork_says_forked() -> None:
    world = World()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        wrong = [
            f"{method}: {outcome}"
            for method, (function, good) in world.callables().items()
            if method not in NEED_NO_KERNEL and (outcome := outcome_of(function, good)) != "Forked"
        ]
        os.write(write, ("; ".join(wrong) or "all").encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said == "all"
    world.kernel.agents.add("the parent goes on")
    world.kernel.close()


# Messages belong to the thread that drains them; what ends a task or an agent ends once.
OF_ONE_THREAD = {"drain", "receive", "run"}


def test_every_call_from_another_thread_works_but_those_that_drain() -> None:
    world = World()
    world.kernel.drain()
    wrong: list[str] = []

    def work() -> None:
        for method, (function, good) in world.callables().items():
            outcome = outcome_of(function, good)
            if (outcome == "WrongThread") != (method in OF_ONE_THREAD):
                wrong.append(f"{method}: {outcome}")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert wrong == []
    world.kernel.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"directory": 5}, TypeError),
        ({"directory": b"x\0y"}, (hanse.HanseError, TypeError)),
        ({"directory": "x\0y"}, hanse.HanseError),
        ({"directory": ""}, hanse.HanseError),
        ({"clock": 5}, (hanse.HanseError, TypeError)),
        ({"clock": object()}, (hanse.HanseError, TypeError)),
        ({"segment_size": 1}, hanse.InvalidError),
        ({"segment_size": -1}, hanse.InvalidError),
        ({"memory_max": NAN}, hanse.InvalidError),
        ({"seed": -1}, hanse.InvalidError),
        ({"durability": 5}, (hanse.HanseError, TypeError)),
        ({"durability": "each"}, hanse.HanseError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_open_refuses_what_it_cant_use(options: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        hanse.open(**options)


@pytest.mark.parametrize("start", [(1 << 64) - 1, 1 << 63, 0])
def test_a_clock_at_the_end_of_time_stops_nothing(start: int) -> None:
    with hanse.open(clock=hanse.ManualClock(start)) as kernel:
        for i in range(3):
            kernel.agents.add(f"agent {i}")
        assert kernel.agents.count() == 4
