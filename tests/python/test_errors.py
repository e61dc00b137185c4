"""Every error class is raised through the face, names its field, and changes nothing."""

import copy
import hashlib
import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import hanse
from hanse import _core, errors

BASES = {
    "InvalidError": ValueError,
    "NotFoundError": LookupError,
    "ConflictError": hanse.HanseError,
    "DeniedError": PermissionError,
    "BudgetError": hanse.HanseError,
    "BusyError": hanse.HanseError,
    "TimedOutError": TimeoutError,
    "StorageError": OSError,
    "LatentError": hanse.HanseError,
    "DeviceError": hanse.HanseError,
    "InternalError": hanse.HanseError,
}


class World:
    """A kernel with a funded team, four workers with offers, and one task of each kind."""

    def __init__(self, kernel: hanse.Kernel) -> None:
        self.kernel = kernel
        self.team = kernel.agents.add("team", kind="group")
        self.poor = kernel.agents.add("poor", parent=self.team, budget_max=50)
        self.ids = kernel.agents.add_many(4, parent=self.team)
        self.vectors = np.eye(4, dtype=np.float32)
        kernel.capabilities.publish(self.ids, self.vectors, price=10, tier=2)
        kernel.ledger.fund(self.team, 1_000)
        self.me = kernel.as_agent(self.team)
        self.task = self.me.dispatch(to=int(self.ids[0]), budget=100, key="used").task
        self.spec = hanse.LatentSpec("m@1", layers=1, kv_heads=1, head_dim=4)
        self.kv = np.zeros((1, 2, 3, 1, 4), np.float32)
        self.latent = kernel.latents.put(self.kv, self.spec)
        self.hold = kernel.ledger.hold(self.team, self.poor, 5)


@pytest.fixture
def world() -> Iterator[World]:
    with hanse.open(clock=hanse.ManualClock(10**18)) as kernel:
        yield World(kernel)


DIGEST = hashlib.sha256(b"x").digest()

REFUSALS: dict[str, tuple[str, Callable[[World], object]]] = {
    "a list for ids": (
        "WrongType",
        lambda w: w.kernel.capabilities.publish([1], w.vectors[:1]),  # type: ignore[arg-type]
    ),
    "float64 vectors": (
        "WrongType",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors.astype(np.float64)),
    ),
    "big endian ids": (
        "WrongType",
        lambda w: w.kernel.capabilities.publish(w.ids.astype(">u8"), w.vectors),
    ),
    "a column in steps": (
        "BadArray",
        lambda w: w.kernel.capabilities.publish(np.repeat(w.ids, 2)[::2], w.vectors),
    ),
    "Fortran vectors": (
        "BadArray",
        lambda w: w.kernel.capabilities.publish(w.ids, np.asfortranarray(w.vectors)),
    ),
    "one dimension for two": (
        "DimensionMismatch",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors[0]),
    ),
    "too few vectors": (
        "DimensionMismatch",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors[:3]),
    ),
    "another dimension": (
        "DimensionMismatch",
        lambda w: w.kernel.capabilities.publish(w.ids, np.ones((4, 5), np.float32)),
    ),
    "NaN": (
        "BadVector",
        lambda w: w.kernel.capabilities.publish(w.ids, np.full((4, 4), np.nan, np.float32)),
    ),
    "infinity": (
        "BadVector",
        lambda w: w.me.match(np.full((1, 4), np.inf, np.float32)),
    ),
    "a zero vector": (
        "BadVector",
        lambda w: w.kernel.capabilities.publish(w.ids, np.zeros((4, 4), np.float32)),
    ),
    "a negative price": (
        "OutOfRange",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors, price=-1),
    ),
    "a negative price in a column": (
        "OutOfRange",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors, price=np.array([1, 2, 3, -4])),
    ),
    "a huge tier": (
        "OutOfRange",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors, tier=256),
    ),
    "k of nothing": ("OutOfRange", lambda w: w.me.match(w.vectors, k=0)),
    "a huge k": ("OutOfRange", lambda w: w.me.match(w.vectors, k=1 << 40)),
    "a negative amount": ("OutOfRange", lambda w: w.kernel.ledger.fund(w.team, -1)),
    "an amount beyond 64 bits": ("OutOfRange", lambda w: w.kernel.ledger.fund(w.team, 1 << 64)),
    "a number of 10,000 digits": ("OutOfRange", lambda w: w.kernel.ledger.fund(w.team, 10**9999)),
    "a float for an amount": ("WrongType", lambda w: w.kernel.ledger.fund(w.team, 1.0)),  # type: ignore[arg-type]
    "a bool for an amount": ("WrongType", lambda w: w.kernel.ledger.fund(w.team, True)),
    "text for a payload": (
        "WrongType",
        lambda w: w.me.dispatch(to=w.poor, budget=1, payload="x"),  # type: ignore[arg-type]
    ),
    "text for a message": ("WrongType", lambda w: w.me.send(w.poor, "x")),  # type: ignore[arg-type]
    "bytes for a name": ("WrongType", lambda w: w.kernel.agents.add(b"x")),  # type: ignore[arg-type]
    "a name that UTF-8 can't hold": ("WrongType", lambda w: w.kernel.agents.add("\ud800")),
    "a kind that is none": ("OutOfRange", lambda w: w.kernel.agents.add(kind="robot")),
    "a count beyond all bounds": ("OutOfRange", lambda w: w.kernel.agents.add_many(1 << 40)),
    "neither to nor query": ("OutOfRange", lambda w: w.me.dispatch(budget=1)),
    "an empty key": ("Empty", lambda w: w.me.dispatch(to=w.poor, budget=1, key="")),
    "a long key": ("TooLarge", lambda w: w.me.dispatch(to=w.poor, budget=1, key="x" * 65)),
    "a long task class": (
        "TooLarge",
        lambda w: w.me.dispatch(to=w.poor, budget=1, task_class="x" * 65),
    ),
    "a payload over 16 MiB": (
        "PayloadTooLarge",
        lambda w: w.me.dispatch(to=w.poor, budget=1, payload=bytes((16 << 20) + 1)),
    ),
    "an artifact of 3 bytes": (
        "DimensionMismatch",
        lambda w: w.me.complete(w.task, artifact=b"abc"),
    ),
    "usage that does not add up": (
        "UsageInconsistent",
        lambda w: w.kernel.complete(
            w.task, artifact=DIGEST, usage=hanse.Usage(fresh=1), total_tokens=2
        ),
    ),
    "rules that are none": ("PolicyCompileError", lambda w: w.kernel.policy.load("permit(")),
    "more permissions than the parent": (
        "AttenuationViolation",
        lambda w: w.kernel.agents.add("x", parent=w.poor, budget_max=51),
    ),
    "an unknown agent": ("UnknownAgent", lambda w: w.kernel.agents.get(1 << 32 | 999)),
    "an unknown space": ("UnknownSpace", lambda w: w.me.match(w.vectors, space="nowhere")),
    "an unknown offer": ("UnknownOffer", lambda w: w.kernel.capabilities.withdraw(w.poor)),
    "an unknown task": ("UnknownTask", lambda w: w.kernel.tasks.get(1 << 32 | 999)),
    "an unknown unit": ("UnknownAccount", lambda w: w.kernel.ledger.balance(w.team, unit="gold")),
    "an unknown hold": ("UnknownTransfer", lambda w: w.kernel.ledger.post(999)),
    "an unknown latent": ("UnknownLatent", lambda w: w.kernel.latents.get(1 << 32 | 999)),
    "an unknown position": ("UnknownEvent", lambda w: w.kernel.journal.prove(1 << 40)),
    "an old version": (
        "StaleVersion",
        lambda w: w.kernel.capabilities.publish(w.ids, w.vectors, versions=np.ones(4, np.uint32)),
    ),
    "a key with another body": (
        "IdempotencyConflict",
        lambda w: w.me.dispatch(to=int(w.ids[0]), budget=101, key="used"),
    ),
    "a name that is taken": ("NameTaken", lambda w: w.kernel.agents.add("team")),
    "a transition that is illegal": ("IllegalTransition", lambda w: w.me.accept(w.task)),
    "another's task": (
        "NotPermitted",
        lambda w: w.kernel.as_agent(int(w.ids[1])).complete(w.task, artifact=DIGEST),
    ),
    "more than there is": (
        "InsufficientFunds",
        lambda w: w.kernel.ledger.transfer(w.team, w.poor, 10**6),
    ),
    "more than a hold": ("ExceedsHold", lambda w: w.kernel.ledger.post(w.hold, 6)),
    "other latents": (
        "LatentIncompatible",
        lambda w: w.latent.read(hanse.LatentSpec("m@2", layers=1, kv_heads=1, head_dim=4)),
    ),
    "no event loop": ("WrongThread", lambda w: w.me.ask(w.poor, b"x")),
}
# A refusal that is itself an event; a denied transfer poisons nothing without a key.
RECORDED = {"more than there is", "more than a hold", "an unknown hold"}


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.replace(" ", "_"))
def test_a_refusal_is_typed_and_changes_nothing(world: World, case: str) -> None:
    name, call = REFUSALS[case]
    state, count = world.kernel.state_hash, world.kernel.journal.count
    with pytest.raises(hanse.HanseError) as caught:
        call(world)
    error = caught.value
    assert error.name == name, error
    assert error.field
    assert name in str(error)
    assert world.kernel.state_hash == state
    if case not in RECORDED:
        assert world.kernel.journal.count == count


def test_the_codes_of_the_package_are_those_of_the_core() -> None:
    rows = _core.error_codes()
    assert len({number for number, _, _ in rows}) == len(rows)
    assert len({name for _, name, _ in rows}) == len(rows)
    for number, name, class_name in rows:
        with pytest.raises(getattr(errors, class_name)) as caught:
            _core.raise_error(number, "field", "detail", 7, 9)
        error = caught.value
        assert type(error).__name__ == class_name
        assert isinstance(error, BASES[class_name])
        assert (error.code, error.name) == (number, name)
        assert (error.field, error.detail, error.id, error.position) == ("field", "detail", 7, 9)
        assert str(error) == f"{name}: field: detail (id 7) (position 9)"


def test_every_class_of_error_has_a_code() -> None:
    assert {class_name for _, _, class_name in _core.error_codes()} == set(BASES)
    assert set(errors.__all__) == set(BASES) | {"HanseError"}


def test_the_outcomes_of_the_package_are_those_of_the_core() -> None:
    assert {outcome.name: int(outcome) for outcome in hanse.Outcome} == _core.outcomes()


def test_an_error_without_id_and_position_has_none() -> None:
    with pytest.raises(hanse.InvalidError) as caught:
        _core.raise_error(1002, "field", "", None, None)
    assert caught.value.id is None
    assert caught.value.position is None
    assert str(caught.value) == "OutOfRange: field"


@pytest.mark.parametrize("class_name", sorted(BASES))
def test_an_error_survives_pickle_and_copy(class_name: str) -> None:
    number = next(n for n, _, c in _core.error_codes() if c == class_name)
    with pytest.raises(hanse.HanseError) as caught:
        _core.raise_error(number, "field", "detail", 7, 9)
    caught.value.reasons = {"price": 3}
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert type(twin) is type(caught.value)
        assert str(twin) == str(caught.value)
        assert twin.position == 9
        assert twin.reasons == {"price": 3}
