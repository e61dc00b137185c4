"""Messages: bounded, in order, counted, handled once."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse
from hanse import Outcome


@pytest.fixture
def kernel():
    with hanse.open() as opened:
        yield opened


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.binary(max_size=200))))
def test_what_is_sent_comes_out_in_order(messages: list[tuple[int, int, bytes]]) -> None:
    with hanse.open() as kernel:
        ids = [int(id) for id in kernel.agents.add_many(4)]
        views = [kernel.as_agent(id) for id in ids]
        for sender, to, payload in messages:
            assert views[sender].send(ids[to], payload) == Outcome.ok
        batch = kernel.drain()
        assert len(batch) == len(messages)
        for to in range(4):
            rows = np.flatnonzero(batch.to == ids[to])
            got = [
                (int(batch.sender[i]), batch.payload[i, : batch.size[i]].tobytes()) for i in rows
            ]
            assert got == [(ids[s], p) for s, t, p in messages if t == to]
            sequence = batch.sequence[rows].tolist()
            if sequence:
                assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
        counts = kernel.counters()
        assert counts["accepted"] == counts["handled"] == len(messages)


def test_send_takes_any_contiguous_buffer(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    me = kernel.as_agent(a)
    for payload in (b"abc", bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", np.uint8)):
        assert me.send(b, payload) == Outcome.ok  # type: ignore[arg-type]
        message = kernel.receive(b)
        assert message is not None
        assert (message.payload, message.sender, message.kind) == (b"abc", a, 0)
    assert me.send(np.uint64(b), b"") == Outcome.ok  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        me.send(b)  # type: ignore[call-arg]
    for bad in (-1, 1 << 64, 1.0, "x", None):
        with pytest.raises(hanse.InvalidError):
            me.send(bad, b"")  # type: ignore[arg-type]
    with pytest.raises(hanse.InvalidError) as caught:
        me.send(b, np.zeros((4, 4), np.uint8)[:, :2])  # type: ignore[arg-type]
    assert caught.value.name == "BadArray"


def test_a_full_box_is_back_pressure_and_an_unknown_agent_an_outcome(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    kernel.drain()  # now this thread owns the boxes; before, a ring stands in front of them
    outcomes = [kernel.send(agent, b"x") for _ in range(1_100)]
    assert set(outcomes) == {Outcome.ok, Outcome.full}
    assert outcomes.index(Outcome.full) == outcomes.count(Outcome.ok)
    assert kernel.send(1 << 32 | 999, b"x") == Outcome.unknown
    assert kernel.counters()["refused_full"] == outcomes.count(Outcome.full)


def test_policy_stands_before_the_box(kernel: hanse.Kernel) -> None:
    left = kernel.agents.add("left", kind="group")
    right = kernel.agents.add("right", kind="group")
    a, b = kernel.agents.add(parent=left), kernel.agents.add(parent=right)
    kernel.policy.load(
        "permit(principal, action, resource);"
        '@id("wall") forbid(principal in Agent::"left", action == Action::"send",'
        ' resource in Agent::"right");'
    )
    assert kernel.as_agent(a).send(b, b"x") == Outcome.denied
    assert kernel.as_agent(b).send(a, b"x") == Outcome.ok


def test_send_many_answers_each_row(kernel: hanse.Kernel) -> None:
    ids = kernel.agents.add_many(3)
    to = np.array([ids[0], 77, ids[2]], np.uint64)
    payloads = np.frombuffer(b"aabbcc", np.uint8).reshape(3, 2)
    outcomes = kernel.send_many(to, payloads)
    assert outcomes.tolist() == [Outcome.ok, Outcome.unknown, Outcome.ok]
    batch = kernel.drain()
    assert sorted(row.tobytes() for row in batch.payload) == [b"aa", b"cc"]
    sizes = np.array([0, 1, 2], np.uint32)
    assert kernel.send_many(ids, (payloads, sizes)).tolist() == [0, 0, 0]
    batch = kernel.drain()
    assert batch.size.tolist() == [0, 1, 2]
    assert batch.payload.tolist() == [[0, 0], [98, 0], [99, 99]]


@pytest.mark.parametrize(
    ("to", "payloads", "name"),
    [
        (np.zeros(3, np.int64), np.zeros((3, 2), np.uint8), "WrongType"),
        (np.zeros(3, np.uint64), np.zeros((2, 2), np.uint8), "DimensionMismatch"),
        (np.zeros(3, np.uint64), np.zeros(3, np.uint8), "DimensionMismatch"),
        (
            np.zeros(1, np.uint64),
            (np.zeros((1, 2), np.uint8), np.array([3], np.uint32)),
            "OutOfRange",
        ),
    ],
)
def test_a_bad_send_many_sends_nothing(
    kernel: hanse.Kernel, to: np.ndarray, payloads: np.ndarray, name: str
) -> None:
    with pytest.raises(hanse.InvalidError) as caught:
        kernel.send_many(to, payloads)
    assert caught.value.name == name
    assert kernel.counters()["accepted"] == 0


def test_a_batch_outlives_its_kernel() -> None:
    kernel = hanse.open()
    ids = kernel.agents.add_many(50)
    payloads = np.random.default_rng(3).integers(0, 255, (50, 64), np.uint8)
    kernel.send_many(ids, payloads)
    batch = kernel.drain()
    kernel.send_many(ids, payloads[::-1].copy())
    kernel.drain()
    payload = batch.payload
    order = np.argsort(batch.to)
    kernel.close()
    del batch, kernel
    np.testing.assert_array_equal(payload[order], payloads)
    assert not payload.flags.writeable or payload.base is None


def test_on_beats_on_batch_and_the_nearest_group_wins(kernel: hanse.Kernel) -> None:
    outer = kernel.agents.add("outer", kind="group")
    inner = kernel.agents.add("inner", kind="group", parent=outer)
    far, near, own = (
        kernel.agents.add("far", parent=outer),
        kernel.agents.add("near", parent=inner),
        kernel.agents.add("own", parent=inner),
    )
    seen: list[tuple[str, list[int]]] = []
    kernel.on_batch(outer)(lambda batch: seen.append(("outer", batch.to.tolist())))
    kernel.on_batch(inner)(lambda batch: seen.append(("inner", batch.to.tolist())))
    kernel.on(own)(lambda message: seen.append(("on", [message.to])))
    for agent in (far, near, own, near):
        kernel.send(agent, b"x")
    assert kernel.run() == 4
    assert sorted(seen) == [("inner", [near, near]), ("on", [own]), ("outer", [far])]


def test_messages_without_a_handler_stay_for_drain_and_receive(kernel: hanse.Kernel) -> None:
    a, b, c = (int(id) for id in kernel.agents.add_many(3))
    got: list[bytes] = []
    kernel.on(a)(lambda message: got.append(message.payload))
    for i in range(3):
        for agent in (a, b, c):
            kernel.send(agent, b"%d" % i)
    assert kernel.run() == 3
    kernel.send(b, b"3")
    assert kernel.run() == 0
    assert got == [b"0", b"1", b"2"]
    first = kernel.receive(c)
    assert first is not None
    assert first.payload == b"0"
    payloads: dict[int, list[bytes]] = {b: [], c: []}
    while len(batch := kernel.drain()):
        for i in range(len(batch)):
            payloads[int(batch.to[i])].append(batch.payload[i, : batch.size[i]].tobytes())
    assert payloads == {b: [b"0", b"1", b"2", b"3"], c: [b"1", b"2"]}


def test_a_later_handler_gets_what_was_left(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))
    kernel.on(a)(lambda message: None)
    for i in range(5):
        kernel.send(b, b"%d" % i)
    kernel.run()
    got: list[bytes] = []
    kernel.on(b)(lambda message: got.append(message.payload))
    kernel.send(b, b"5")
    assert kernel.run() == 6
    assert got == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_run_stops_at_its_limit_and_loses_nothing(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    got: list[bytes] = []
    kernel.on(agent)(lambda message: got.append(message.payload))
    for i in range(10):
        kernel.send(agent, b"%d" % i)
    assert kernel.run(max_messages=4) == 4
    assert kernel.run() == 6
    assert got == [b"%d" % i for i in range(10)]


def test_a_handler_acts_as_its_agent(kernel: hanse.Kernel) -> None:
    a, b = (int(id) for id in kernel.agents.add_many(2))

    @kernel.on(a)
    def forward(message: hanse.Message) -> None:
        kernel.send(b, message.payload + b"!")

    kernel.send(a, b"hi")
    assert kernel.run() == 1
    message = kernel.receive(b)
    assert message is not None
    assert (message.sender, message.payload) == (a, b"hi!")
    kernel.send(b, b"")
    message = kernel.receive(b)
    assert message is not None
    assert message.sender == kernel.root


def test_a_handler_that_raises_makes_a_dead_letter(
    kernel: hanse.Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    team = kernel.agents.add("team", kind="group")
    alone = kernel.agents.add("alone")
    member = kernel.agents.add("member", parent=team)

    def fail(_: object) -> None:
        raise RuntimeError("no")

    kernel.on(alone)(fail)
    kernel.on_batch(team)(fail)
    for agent in (alone, member, member):
        kernel.send(agent, b"payload")
    with caplog.at_level(logging.ERROR, "hanse"):
        assert kernel.run() == 3
    counts = kernel.counters()
    assert counts["handler_failures"] == counts["dead"] == 3
    assert counts["accepted"] == 3
    assert counts["handled"] == counts["queued"] == counts["expired"] == 0
    letters = kernel.dead_letters()
    assert {letter.to for letter in letters} == {alone, member}
    assert {letter.payload for letter in letters} == {b"payload"}
    assert "RuntimeError: no" in caplog.text


def test_an_interrupt_loses_no_message(kernel: hanse.Kernel) -> None:
    agent = kernel.agents.add("one")
    got: list[bytes] = []

    @kernel.on(agent)
    def handle(message: hanse.Message) -> None:
        if message.payload == b"1" and b"1" not in got:
            got.append(b"1")
            raise KeyboardInterrupt
        got.append(message.payload)

    for i in range(4):
        kernel.send(agent, b"%d" % i)
    with pytest.raises(KeyboardInterrupt):
        kernel.run()
    kernel.run()
    assert got == [b"0", b"1", b"2", b"3"]


def test_a_task_reaches_its_workers_handler(kernel: hanse.Kernel) -> None:
    team = kernel.agents.add("team", kind="group")
    worker = kernel.agents.add("worker", parent=team)
    kernel.ledger.fund(team, 100)
    spec = hanse.LatentSpec("m@1", layers=1, kv_heads=1, head_dim=2)
    kv = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 1, 2)
    me = kernel.as_agent(team)
    context = kernel.latents.put(kv, spec, owner=team)
    seen: list[hanse.Message] = []

    @kernel.on(worker)
    def handle(message: hanse.Message) -> None:
        seen.append(message)
        np.testing.assert_array_equal(message.latents[0].read(spec), kv)
        kernel.complete(message.task, artifact=bytes(range(32)))

    receipt = me.dispatch(to=worker, budget=10, payload=b"go", latents=[context])
    assert kernel.run() == 1
    assert kernel.counters()["handler_failures"] == 0
    assert (seen[0].task, seen[0].kind, seen[0].attempt) == (receipt.task, 4, 1)
    assert not seen[0].latent_missing
    assert kernel.tasks.get(receipt.task).state == "completed"


def test_a_handler_for_an_unknown_agent_is_refused(kernel: hanse.Kernel) -> None:
    with pytest.raises(hanse.NotFoundError):
        kernel.on(12345)(lambda message: None)
    with pytest.raises(hanse.NotFoundError):
        kernel.on_batch(12345)(lambda batch: None)

    async def handler(batch: object) -> None: ...

    with pytest.raises(hanse.InvalidError):
        kernel.on_batch(kernel.root)(handler)
