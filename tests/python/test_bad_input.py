"""Every public call with every kind of wrong argument: a typed error, and nothing has changed."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from every_call import World

import hanse

NAN, INF = float("nan"), float("inf")
HUGE = 1 << 80


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
KEYED = ("transfer", "hold", "escrow")


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
    ("dispatch_many", "latents"): lambda v: not v or isinstance(v, tuple),  # a row's status
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
    ("policy.check", "context"): lambda v: v in ({}, {"nonsense": 1}, {"a": 1}),
    ("policy.check_many", "principals"): lambda v: isinstance(v, np.integer),  # one for all
    # Numbers of 128 bits; as a key this one is of 1970, and that it has expired is recorded.
    ("open_account", "user_data_128"): lambda v: type(v) is int and v == HUGE,
    **{(verb, "key"): lambda v: type(v) is int and v == HUGE for verb in KEYED},
}


def refusal(
    function: Callable[..., Any], arguments: dict[str, Any]
) -> hanse.HanseError | TypeError | None:
    try:
        function(**arguments)
    except (hanse.HanseError, TypeError) as error:
        return error
    return None


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
            error = refusal(function, {**good, name: bad})
            assert error is not None, f"{shown} was taken"
            assert (kernel.state_hash, kernel.journal.count) == (state, count), shown
            assert isinstance(error, TypeError) or error.field, shown
            refusals += 1
    assert refusals >= 10 * len(good) - 5


@pytest.mark.parametrize("method", EVERY)
def test_several_bad_arguments_at_once_are_refused_as_one_is(world: World, method: str) -> None:
    """Which of them is named may depend on the order of the checks; nothing happens in any case."""
    function, good = world.callables()[method]
    kernel = world.kernel
    draw = random.Random(method)
    for _ in range(20 if len(good) > 1 else 0):
        arguments = dict(good)
        for name in draw.sample(sorted(good), draw.randint(2, len(good))):
            right = RIGHT.get((method, name), lambda v: False)
            arguments[name] = draw.choice([b for b in bad_values(good[name]) if not right(b)])
        shown = f"{method}({arguments!r:.200})"
        state, count = kernel.state_hash, kernel.journal.count
        assert refusal(function, arguments) is not None, f"{shown} was taken"
        assert (kernel.state_hash, kernel.journal.count) == (state, count), shown


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
