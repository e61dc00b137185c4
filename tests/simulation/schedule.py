"""One schedule: commands, a disk with a fault in it, and what must be true of kernels after it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest

import hanse
from hanse.simulation import SimulatedCrash, SimulatedDisk
from tests.simulation.commands import (
    START_NS,
    Command,
    Performer,
    answer_of,
    artifact_of,
    draw,
    id_of,
    number_of,
)
from tests.simulation.durable_commands import check_boxes, check_letters
from tests.simulation.model import Model

# Four batches a segment, so that a short run seals and creates several.
SEGMENT_SIZE = 1 << 14
IDENTITY = 7
MODES = ("none", "all", "random", "torn")


def open_kernel(
    disk: SimulatedDisk, clock: hanse.ManualClock, *, fee: int = 0, read_only: bool = False
) -> hanse.Kernel:
    return hanse.open(
        disk=disk,
        background=False,
        clock=clock,
        seed=IDENTITY,
        segment_size=SEGMENT_SIZE,
        fee_basis_points=fee,
        read_only=read_only,
    )


def purse_facts(kernel: hanse.Kernel, model: Model) -> dict[object, tuple[int, ...]]:
    facts: dict[object, tuple[int, ...]] = {}
    for account in kernel.ledger.accounts():
        owner = number_of(account.owner) if account.purpose == "balance" else account.purpose
        posted = account.credits_posted - account.debits_posted
        facts[owner] = (posted, account.debits_pending, account.credits_pending, account.remainder)
    return facts


def check_keys(kernel: hanse.Kernel, model: Model) -> None:
    for actor in (1, 3, 4, 5, 6):
        if actor >= len(model.agents):
            continue
        me = kernel.as_agent(id_of(actor))
        for number in range(6):
            key = f"k{number}"
            stored = model.keys.get((actor, key))
            try:
                receipt = me.lookup(key)
            except hanse.NotFoundError:
                assert stored is None, f"the key {key} of {actor} is lost"
                continue
            assert stored is not None, f"the key {key} of {actor} is known too soon"
            assert receipt.position == stored[1][-1]
            if stored[1][0] == "ok":
                assert receipt.outcome == hanse.Outcome.replayed
                assert number_of(receipt.task) == stored[1][1]
            else:
                assert receipt.task == 0


def check(kernel: hanse.Kernel, model: Model) -> None:
    """Everything that a caller can see is as the model says, and the books balance."""
    assert kernel.journal.count == model.count
    assert kernel.agents.count() == len(model.agents)
    for number in range(len(model.agents)):
        assert kernel.agents.get(id_of(number)).live == model.live(number), number
    assert kernel.policy.epoch == model.epoch
    expected = {
        owner: (purse.posted, purse.outgoing, purse.incoming, purse.remainder)
        for owner, purse in model.purses.items()
    }
    assert purse_facts(kernel, model) == expected
    totals = kernel.ledger.totals()
    assert totals.debits == totals.credits
    assert totals.debits_pending == totals.credits_pending
    assert kernel.tasks.count() == len(model.tasks)
    for number, task in enumerate(model.tasks):
        found = kernel.tasks.get(id_of(number))
        seen = (found.state, number_of(found.worker), found.spent, found.attempt, found.price)
        assert seen == (task.state, task.worker, task.spent, task.attempt, task.price), number
        places = (found.dispatched_at, found.changed_at, found.hold, found.deadline_ns)
        assert places == (task.dispatched_at, task.changed_at, task.hold, task.deadline_ns), number
        artifact = bytes(32) if task.artifact is None else artifact_of(task.artifact)
        assert bytes.fromhex(found.artifact) == artifact, number
        assert found.payload == task.payload, number
    check_keys(kernel, model)
    check_boxes(kernel, model)


def check_deliveries(kernel: hanse.Kernel, model: Model) -> None:
    batch = kernel.drain()
    given = [(number_of(task.task), task.attempt, number_of(task.to)) for task in batch.tasks]
    assert given == model.take_deliveries()
    check_letters(batch, model)


@dataclass
class Reference:
    """The run without a fault: what every other run of the same commands is held against."""

    commands: list[Command]
    fee: int
    models: Model  # its history has the world at every count
    ends: list[int]  # the count after each command
    told: list[int]  # how many records the caller knows of after each command
    roots: list[str]  # by count
    hashes: dict[int, str]  # by count, where a command ended there
    operations: int


def reference_run(seed: int, count: int, fee: int = 0, durable: bool = False) -> Reference:
    commands = draw(seed, count, fee, durable)
    clock, disk = hanse.ManualClock(START_NS), SimulatedDisk()
    model = Model(START_NS, fee)
    ends, told, hashes = [], [], {}
    with open_kernel(disk, clock, fee=fee) as kernel:
        hashes[1] = kernel.state_hash
        performer = Performer(kernel, clock)
        for number, command in enumerate(commands):
            expected = answer_of(model, copy.deepcopy(command))
            given = performer.perform(command)
            where = f"seed {seed}, command {number}: {command}"
            assert given == expected, f"{where}\nkernel {given}\nmodel {expected}"
            assert kernel.journal.durable_count >= model.durable, where
            try:
                check(kernel, model)
                check_deliveries(kernel, model)
            except AssertionError as error:
                raise AssertionError(f"{where}\n{error}") from error
            ends.append(model.count)
            told.append(model.durable)
            hashes[model.count] = kernel.state_hash
        roots = [kernel.journal.root_at(n) for n in range(model.count + 1)]
    return Reference(commands, fee, model, ends, told, roots, hashes, disk.operations)


@dataclass
class Interrupted:
    """A run that a fault ended: how many commands were answered, and the time it was."""

    disk: SimulatedDisk
    clock: hanse.ManualClock
    opened: bool
    answered: int
    error: Exception | None


def interrupted_run(reference: Reference, **faults: int) -> Interrupted:
    disk, clock = SimulatedDisk(), hanse.ManualClock(START_NS)
    disk.set_faults(**faults)
    run = Interrupted(disk, clock, False, 0, None)
    kernel = None
    try:
        kernel = open_kernel(disk, clock, fee=reference.fee)
        run.opened = True
        performer = Performer(kernel, clock)
        for command in reference.commands:
            performer.perform(command)
            run.answered += 1
        kernel.close()
    except (SimulatedCrash, hanse.StorageError) as error:
        run.error = error
    if isinstance(run.error, hanse.StorageError):
        require(run.error, "Poisoned", "StorageFailed")
        if kernel is not None and not kernel.closed:
            check_poisoned(kernel)
    return run


def check_poisoned(kernel: hanse.Kernel) -> None:
    """After a failed sync nothing is taken any more, and reading goes on."""
    for _ in range(2):
        with pytest.raises(hanse.StorageError, match=r"^Poisoned"):
            kernel.ledger.fund(kernel.root, 1)
    totals = kernel.ledger.totals()
    assert totals.debits == totals.credits
    kernel.close()
    kernel.close()


def require(error: hanse.HanseError, *names: str) -> None:
    """The error is one of these."""
    assert error.name in names, error


def told_of(reference: Reference, run: Interrupted) -> int:
    if run.answered:
        return reference.told[run.answered - 1]
    return 1 if run.opened else 0


def check_survivor(reference: Reference, run: Interrupted, image: SimulatedDisk) -> Model | None:
    """Read-only: the state is the model's after a prefix that has all that was acknowledged.

    None: nothing was, and there is no journal yet.
    """
    told = told_of(reference, run)
    most = reference.ends[min(run.answered, len(reference.ends) - 1)] if run.opened else 1
    try:
        kernel = open_kernel(image, run.clock, read_only=True)
    except hanse.StorageError as error:
        require(error, "UnusableDirectory")
        assert told == 0, "the journal is gone"
        return None
    with kernel:
        count = kernel.journal.count
        assert told <= count <= most, f"{told} records were acknowledged, {count} are there"
        assert kernel.journal.root == reference.roots[count], "another root than without the crash"
        model = reference.models.back_to(count, run.clock.now_ns)
        if count in reference.hashes:
            assert kernel.state_hash == reference.hashes[count]
        check(kernel, model)
    return model


def check_recovery(reference: Reference, run: Interrupted, image: SimulatedDisk) -> None:
    """The survivor opens for writing, delivers again what is unfinished, and goes on."""
    clock = hanse.ManualClock(run.clock.now_ns)
    model = check_survivor(reference, run, image)
    prefix = 0 if model is None else model.count
    if model is None:
        model = Model(run.clock.now_ns, reference.fee)
    else:
        model.reopen()
    with open_kernel(image, clock, fee=reference.fee) as kernel:
        check(kernel, model)
        check_deliveries(kernel, model)
        if prefix:
            assert kernel.journal.root_at(prefix) == reference.roots[prefix]
        go_on(reference, run.answered, prefix, kernel, clock, model)
        check(kernel, model)
        check_deliveries(kernel, model)
        live = kernel.state_hash, kernel.journal.root
    with open_kernel(image.recover("none"), clock, read_only=True) as kernel:
        assert (kernel.state_hash, kernel.journal.root) == live


def retries(command: Command) -> bool:
    """Whether a client may safely repeat it: it has a key."""
    name, arguments = command
    if name == "dispatch":
        return arguments["request"]["key"] is not None
    if name == "send_durable":
        return arguments["key"] is not None
    return name == "transfer" and arguments["key"] != 0


def go_on(
    reference: Reference,
    answered: int,
    prefix: int,
    kernel: hanse.Kernel,
    clock: hanse.ManualClock,
    model: Model,
) -> None:
    """What was not answered is put again, unless it happened and has no key; then the rest."""
    performer = Performer(kernel, clock)
    rest = reference.commands[answered:]
    if rest and prefix >= reference.ends[answered] and not retries(rest[0]):
        rest = rest[1:]
    for number, command in enumerate(rest):
        expected = answer_of(model, copy.deepcopy(command))
        assert performer.perform(command) == expected, f"afterwards, command {number}: {command}"
