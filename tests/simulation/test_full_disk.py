"""A full disk refuses before any effect; reading goes on, and so does all else with room again."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest

import hanse
from hanse.simulation import SimulatedDisk
from tests.simulation.commands import START_NS, Performer, answer_of, draw
from tests.simulation.model import Model
from tests.simulation.schedule import check, check_deliveries, open_kernel, require

SEEDS = (11, 12)
DURABLE_SEEDS = (41, 42)
RUN_LENGTH = 22
FILLER = """
import resource, sys
import hanse
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
kernel = hanse.open(sys.argv[1])
agent = kernel.agents.add("agent")
try:
    for amount in range(1, 100_000):
        kernel.ledger.fund(agent, 1)
except hanse.StorageError as error:
    assert error.name == "LogFull", error
    assert kernel.ledger.balance(agent) == amount - 1
    assert kernel.journal.status().poisoned == ""
    print(amount - 1, kernel.journal.root, flush=True)
kernel.close()
"""


def commands_of(seed: int) -> list:
    """A batch answers `full` for its tail alone, which the model does not know."""
    commands = draw(seed, RUN_LENGTH, durable=seed in DURABLE_SEEDS)
    return [c for c in commands if c[0] not in ("dispatch_many", "send_durable_many")]


def full_run(commands: list, full_at: int) -> tuple[int, int]:
    """Space returns after each refusal's check. Returns operations, and how many were refused."""
    clock, disk, model = hanse.ManualClock(START_NS), SimulatedDisk(), Model(START_NS)
    disk.set_faults(full_at=full_at)
    refused = 0
    try:
        kernel = open_kernel(disk, clock)
    except hanse.StorageError as error:
        require(error, "LogFull")
        disk.set_faults()
        kernel = open_kernel(disk, clock)
        refused = 1
    with kernel:
        performer = Performer(kernel, clock)
        for command in commands:
            try:
                given = performer.perform(command)
            except hanse.StorageError as error:
                require(error, "LogFull")
                refused += 1
                if command[0] == "advance":  # the clock moved; what is due waits for room
                    model.now += command[1]["ns"]
                    command = ("advance", command[1] | {"ns": 0})
                if kernel.journal.count != model.count:
                    catch_up(model, kernel.journal.count, command)
                check(kernel, model)
                disk.set_faults()
                given = performer.perform(command)
            assert given == answer_of(model, copy.deepcopy(command)), command
        check(kernel, model)
        check_deliveries(kernel, model)
        assert kernel.journal.status().poisoned == ""
    return disk.operations, refused


def catch_up(model: Model, count: int, command: tuple) -> None:
    """A refused command may have applied what was due, or created the space it publishes to."""
    model.expire()
    if command[0] == "publish" and model.count < count:
        model.spaces = 1
        model.commit()
    assert model.count == count


@pytest.mark.parametrize("seed", SEEDS + DURABLE_SEEDS)
def test_a_full_disk_refuses_before_any_effect(seed, tally):
    commands = commands_of(seed)
    operations, refused = full_run(commands, 1 << 40)
    assert refused == 0
    for full_at in range(operations):
        try:
            refused += full_run(commands, full_at)[1]
        except Exception as error:
            raise AssertionError(f"reproduce: full_run(commands_of({seed}), {full_at})") from error
    tally("commands refused by a full disk", refused)


def test_a_real_file_that_may_not_grow_refuses_and_keeps_what_was_acknowledged(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    amount, root = done.stdout.splitlines()[-1].split()
    assert int(amount) > 10
    assert hanse.verify(tmp_path).root == root
    with hanse.open(tmp_path) as kernel:
        agent = kernel.agents.find("agent")
        assert kernel.ledger.balance(agent) == int(amount)
        kernel.ledger.fund(agent, 1)
