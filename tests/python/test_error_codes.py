"""Each error code is provoked through the face, here or in a test named here, or listed as one that
can't be, with the reason."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import _core

HERE = Path(__file__).parent

SIMULATION = HERE.parent / "simulation"

# Codes that no call from Python can bring about.
OUT_OF_REACH = {
    "UnknownTier": "reserved: a tier is any number of 0 … 255, so an unknown one has no offers",
    "UnitMismatch": "accounts are named by agent and unit, so both sides are of one unit",
    "BatchAborted": "an atomic batch answers by element: the outcome aborted",
    "DeviceFailed": "needs a device that fails",
    "Invariant": "a bug of ours",
}


def provoked() -> set[str]:
    """Code names that tests of the face assert on."""
    names = {name for _, name, _ in _core.error_codes()}
    found: set[str] = set()
    for path in [*HERE.glob("test_*.py"), *SIMULATION.glob("*.py")]:
        if path.name != Path(__file__).name:
            found |= set(re.findall(r'"(\w+)"', path.read_text())) & names
    return found


def test_every_code_is_provoked_by_a_test_or_has_a_reason_why_not() -> None:
    names = {name for _, name, _ in _core.error_codes()}
    assert provoked() | RAISED_HERE | set(OUT_OF_REACH) == names
    assert all(OUT_OF_REACH.values())


RAISED_HERE = {"AmountOverflow", "Backpressure", "QuotaExceeded", "TimedOut"}


def raised(call: Callable[[], object]) -> str:
    with pytest.raises(hanse.HanseError) as caught:
        call()
    return caught.value.name


def test_what_passes_64_bits_is_an_overflow() -> None:
    with hanse.open() as kernel:
        kernel.ledger.fund(kernel.root, (1 << 64) - 1)
        state = kernel.state_hash
        assert raised(lambda: kernel.ledger.fund(kernel.root, 1)) == "AmountOverflow"
        assert kernel.state_hash == state


def test_memory_has_the_bound_that_was_given() -> None:
    with hanse.open(memory_max=64 << 20) as kernel:
        state = kernel.state_hash
        assert raised(lambda: kernel.agents.add_many(1_000_000)) == "QuotaExceeded"
        assert kernel.state_hash == state


def test_an_agent_whose_slots_are_taken_pushes_back() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(1)
        vectors = np.eye(1, 4, dtype=np.float32)
        kernel.capabilities.publish(ids, vectors, slots=1)
        kernel.ledger.fund(kernel.root, 100)
        kernel.dispatch(to=int(ids[0]), budget=5)
        state = kernel.state_hash
        assert raised(lambda: kernel.dispatch(to=int(ids[0]), budget=5)) == "Backpressure"
        assert kernel.state_hash == state


def test_a_deadline_that_has_passed_is_timed_out() -> None:
    with hanse.open(clock=hanse.ManualClock(1_000)) as kernel:
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(kernel.root, 100)
        late = lambda: kernel.dispatch(to=worker, budget=5, deadline_ns=1)  # noqa: E731
        assert raised(late) == "TimedOut"
