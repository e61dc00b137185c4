"""The kernel as Python sees it: the whole path of one task, and what the package promises."""

import hashlib
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse import _core

DIM = 8
START_NS = 1_700_000_000_000_000_000


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def artifact(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize("durability", ["each", "batch", "memory"])
def test_a_task_goes_all_the_way_and_survives_a_reopening(tmp_path: Path, durability: str) -> None:
    directory = None if durability == "memory" else tmp_path / "state"
    with hanse.open(directory, durability=durability) as kernel:
        assert kernel.durability == durability
        team = kernel.agents.add("team", kind="group")
        kernel.ledger.fund(team, 10_000)
        workers = kernel.agents.add_many(20, parent=team)
        offers = vectors(20)
        versions = kernel.capabilities.publish(workers, offers, price=100)
        assert versions.dtype == np.uint32
        assert versions.tolist() == [1] * 20
        me = kernel.as_agent(team)

        found = me.match(offers[7], k=3)
        assert int(found.agents[0, 0]) == int(workers[7])
        assert found.counts.tolist() == [3]

        receipt = me.dispatch(query=offers[7], budget=500, payload=b"do it", task_class="sum")
        assert receipt.outcome == hanse.Outcome.ok
        assert receipt.agent == int(workers[7])
        assert receipt.durability == durability
        assert (receipt.price, receipt.reserved) == (100, 500)
        assert kernel.ledger.balance(team) == 9_500

        batch = kernel.drain()
        assert len(batch) == 0
        (delivery,) = batch.tasks
        assert delivery.task == receipt.task
        assert delivery.payload == b"do it"
        assert delivery.task_class == "sum"
        assert (delivery.worker, delivery.requester) == (receipt.agent, team)

        worker = kernel.as_agent(receipt.agent)
        worker.complete(receipt.task, artifact=artifact("done"))
        me.accept(receipt.task)
        task = kernel.tasks.get(receipt.task)
        assert task.state == "accepted"
        assert task.artifact == artifact("done").hex()
        assert kernel.ledger.balance(team) == 9_900
        assert kernel.ledger.balance(receipt.agent) == 100
        totals = kernel.ledger.totals()
        assert totals.debits == totals.credits
        state, root, count = kernel.state_hash, kernel.journal.root, kernel.journal.count
        for position in range(count):
            assert kernel.journal.prove(position).verify()

    if directory is None:
        return
    with hanse.open(directory) as kernel:
        assert kernel.state_hash == state
        assert kernel.journal.root == root
        assert kernel.tasks.get(receipt.task).state == "accepted"
    report = hanse.verify(directory)
    assert report.count == count
    assert report.root == root
    assert report.state_hash == state
    assert report.balanced


def test_every_verb_of_a_closed_kernel_says_closed() -> None:
    kernel = hanse.open()
    agent = kernel.agents.add("one")
    me = kernel.as_agent(agent)
    kernel.close()
    kernel.close()
    assert kernel.closed
    calls = [
        lambda: kernel.agents.add(),
        lambda: kernel.drain(),
        lambda: kernel.receive(agent),
        lambda: kernel.state_hash,
        lambda: kernel.journal.root,
        lambda: kernel.flush(),
        lambda: kernel.send(agent, b""),
        lambda: me.send(agent, b""),
        lambda: me.match(vectors(1)),
        lambda: kernel.ledger.fund(agent, 1),
        lambda: kernel.latents.status(),
        lambda: kernel.policy.text,
    ]
    for call in calls:
        with pytest.raises(hanse.InvalidError) as caught:
            call()
        assert caught.value.name == "Closed"


def test_a_kernel_opened_before_a_fork_is_refused_in_the_child() -> None:
    script = """
import os, sys, hanse
kernel = hanse.open()
agent = kernel.agents.add("one")
me = kernel.as_agent(agent)
pid = os.fork()
if pid == 0:
    names = []
    for call in (lambda: kernel.agents.add(), lambda: me.send(agent, b"x"), kernel.close):
        try:
            call()
        except hanse.InvalidError as error:
            names.append(error.name)
    del me, kernel
    os._exit(0 if names == ["Forked"] * 3 else 1)
status = os.waitpid(pid, 0)[1]
kernel.agents.add("two")
kernel.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_importing_the_package_imports_neither_asyncio_nor_its_friends() -> None:
    script = (
        "import sys, numpy; before = set(sys.modules); import hanse; "
        "print(*sorted(set(sys.modules) - before)); "
        "assert not {'asyncio', 'logging', 'hanse.loop'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_any_thread_may_call_the_record_plane() -> None:
    with hanse.open() as kernel:
        added: list[np.ndarray] = []

        def add() -> None:
            for _ in range(50):
                added.append(kernel.agents.add_many(3))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = np.concatenate(added)
        assert len(np.unique(ids)) == 600
        assert kernel.agents.count() == 601


def test_messages_belong_to_the_thread_that_drains_them() -> None:
    with hanse.open() as kernel:
        agent = kernel.agents.add("one")
        kernel.drain()
        names: list[str] = []

        def drain() -> None:
            try:
                kernel.drain()
            except hanse.InvalidError as error:
                names.append(error.name)

        thread = threading.Thread(target=drain)
        thread.start()
        thread.join()
        assert names == ["WrongThread"]
        assert kernel.as_agent(agent).send(agent, b"x") == hanse.Outcome.ok


def test_the_same_commands_under_the_same_clock_give_the_same_state_and_root() -> None:
    def play() -> tuple[str, str]:
        clock = hanse.ManualClock(START_NS)
        with hanse.open(clock=clock) as kernel:
            team = kernel.agents.add("team", kind="group")
            clock.advance(1_000)
            kernel.ledger.fund(team, 77)
            kernel.capabilities.publish(kernel.agents.add_many(5, parent=team), vectors(5))
            return kernel.state_hash, kernel.journal.root

    assert play() == play()


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        assert kernel.now_ns == clock.now_ns == START_NS
        clock.advance(5)
        assert kernel.now_ns == START_NS + 5
        clock.set(START_NS + 7)
        assert kernel.now_ns == START_NS + 7


def test_memory_and_hashes_are_given_by_concept() -> None:
    with hanse.open() as kernel:
        kernel.agents.add_many(1_000)
        assert kernel.memory()["agents"] > 0
        hashes = kernel.state_hashes()
        assert set(hashes) == {"agent", "capability", "policy", "ledger", "task", "all"}
        assert hashes["all"] == kernel.state_hash
        before = kernel.state_hashes()["ledger"]
        kernel.ledger.fund(kernel.agents.add("x"), 5)
        assert kernel.state_hashes()["ledger"] != before


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"durability": "sometimes"}, "durability"),
        ({"memory_max": -1}, "memory_max"),
        ({"memory_max": 1 << 80}, "memory_max"),
        ({"seed": 1.5}, "seed"),
        ({"fee_basis_points": 10_001}, "fee_basis_points"),
        ({"read_only": 1}, "read_only"),
    ],
)
def test_a_bad_option_of_open_names_itself(options: dict[str, object], field: str) -> None:
    with pytest.raises(hanse.InvalidError) as caught:
        hanse.open(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    with hanse.open(tmp_path), pytest.raises(hanse.StorageError) as caught:
        hanse.open(tmp_path)
    assert caught.value.name == "Locked"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(hanse.StorageError) as caught:
        hanse.open(path)
    assert caught.value.name == "UnusableDirectory"


def test_a_read_only_kernel_answers_and_refuses_to_change(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        kernel.agents.add("one")
        state = kernel.state_hash
    with hanse.open(tmp_path, read_only=True) as kernel:
        assert kernel.state_hash == state
        assert kernel.agents.find("one") is not None
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.agents.add("two")
        assert caught.value.name == "ReadOnly"


def test_a_flipped_bit_is_found_by_verify(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        kernel.agents.add_many(10)
    segment = max((p for p in tmp_path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(segment.read_bytes())
    at = data.index(next(byte for byte in data[4096:] if byte), 4096) + 40
    data[at] ^= 1
    segment.write_bytes(data)
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify(tmp_path)
    assert caught.value.name == "LogCorrupt"


def test_verify_reports_its_progress(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        kernel.agents.add_many(10)
    seen: list[tuple[int, int]] = []
    hanse.verify(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]


def test_the_stub_names_every_parameterless_part_of_the_native_module() -> None:
    stub = (Path(hanse.__file__).parent / "_core.pyi").read_text()

    def public(owner: object) -> set[str]:
        return {name for name in vars(owner) if not name.startswith("_")}

    for name in public(_core):
        assert re.search(rf"^(def |class |){name}\b", stub, re.M), name
        member = getattr(_core, name)
        if isinstance(member, type):
            body = re.split(r"^(?=\S)", stub.split(f"\nclass {name}:", 1)[1], flags=re.M)[0]
            stubbed = set(re.findall(r"^    (?:def )?(\w+)[(:]", body, re.M)) - {"__init__"}
            assert stubbed == public(member), name


def test_the_stub_has_as_many_parameters_as_each_native_signature() -> None:
    stub = (Path(hanse.__file__).parent / "_core.pyi").read_text()
    checked = 0
    for name, member in vars(_core.Kernel).items():
        doc = (getattr(member, "__doc__", None) or "").splitlines()
        if name.startswith("_") or not doc or not doc[0].startswith(name + "("):
            continue
        native = doc[0].count("arg")
        kernel = stub.split("\nclass Kernel:", 1)[1]
        text = re.search(rf"def {name}\((.*?)\) ->", kernel, re.S)
        assert text is not None, name
        names = re.findall(r"(\w+):", text.group(1))
        assert len(names) == native, (name, doc[0])
        checked += 1
    assert checked > 60


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.exists():
        assert f'version = "{hanse.__version__}"' in project.read_text()


def test_everything_public_has_a_docstring() -> None:
    for name in hanse.__all__:
        value = getattr(hanse, name)
        assert value.__doc__, name
        if not isinstance(value, type) or not value.__module__.startswith("hanse"):
            continue
        for member_name, member in vars(value).items():
            if member_name.startswith("_") or isinstance(member, int):
                continue
            if callable(member) or isinstance(member, property):
                assert member.__doc__, f"{name}.{member_name}"
