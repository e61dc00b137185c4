"""Agents: one tree that only narrows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hanse


def test_an_agent_is_what_was_added() -> None:
    with hanse.open() as kernel:
        team = kernel.agents.add("team", kind="group", permissions=0b111, budget_max=500)
        agent = kernel.agents.add("ann", kind="human", parent=team, permissions=0b101, key=b"k")
        ann = kernel.agents.get(agent)
        assert (ann.id, ann.name, ann.kind, ann.parent) == (agent, "ann", "human", team)
        assert (ann.tenant, ann.depth, ann.live) == (team, 2, True)
        assert (ann.permissions, ann.budget_max) == (0b101, 500)
        assert ann.identity is not None
        assert len(ann.identity) == 64
        assert kernel.agents.get(team).identity is None
        assert kernel.agents.get(kernel.root).parent == 0


def test_ids_are_counted_found_and_iterated() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(["a", "b", "c"])
        assert ids.dtype == np.uint64
        assert len(kernel.agents) == kernel.agents.count() == 4
        assert [agent.name for agent in kernel.agents][1:] == ["a", "b", "c"]
        assert kernel.agents.find("b") == int(ids[1])
        assert kernel.agents.find("b", parent=int(ids[0])) is None
        assert kernel.agents.find("z") is None
        assert int(ids[2]) in kernel.agents
        assert ids[2] in kernel.agents
        assert 5 not in kernel.agents
        assert -1 not in kernel.agents
        assert 1 << 70 not in kernel.agents
        assert "a" not in kernel.agents


def test_a_revoked_agent_and_all_below_it_cause_no_new_effect() -> None:
    with hanse.open() as kernel:
        team = kernel.agents.add("team", kind="group")
        child = kernel.agents.add("child", parent=team)
        other = kernel.agents.add("other")
        assert kernel.as_agent(child).send(other, b"x") == hanse.Outcome.ok
        position = kernel.agents.revoke(team)
        assert kernel.journal.event(position).type if kernel.directory else position > 0
        assert not kernel.agents.get(child).live
        assert kernel.as_agent(child).send(other, b"x") == hanse.Outcome.revoked
        assert kernel.send(child, b"x") == hanse.Outcome.revoked
        with pytest.raises(hanse.DeniedError) as caught:
            kernel.agents.add(parent=child)
        assert caught.value.name == "Revoked"


def test_a_tenant_does_not_see_another_tenants_agents() -> None:
    with hanse.open() as kernel:
        one = kernel.agents.add("one", kind="group")
        two = kernel.agents.add("two", kind="group")
        mine = kernel.agents.add("mine", parent=one)
        theirs = kernel.agents.add("theirs", parent=two)
        seen: list[tuple[bool, bool]] = []

        @kernel.on(mine)
        def handle(message: hanse.Message) -> None:
            seen.append((mine in kernel.agents, theirs in kernel.agents))

        kernel.send(mine, b"look")
        assert kernel.run() == 1
        assert seen == [(True, False)]


def test_delegation_is_16_deep_and_no_deeper() -> None:
    with hanse.open() as kernel:
        parent = kernel.root
        for _ in range(16):
            parent = kernel.agents.add(parent=parent)
        assert kernel.agents.get(parent).depth == 16
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.agents.add(parent=parent)
        assert caught.value.name == "DelegationDepth"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20, unique=True))
def test_every_name_that_goes_in_comes_out(names: list[str]) -> None:
    with hanse.open() as kernel:
        if any(len(name.encode("utf-8", "surrogatepass")) > 256 for name in names):
            return
        ids = kernel.agents.add_many(names)
        assert [kernel.agents.get(int(id)).name for id in ids] == names
        assert [kernel.agents.find(name) for name in names] == ids.tolist()


def test_names_are_a_sequence_of_text() -> None:
    with hanse.open() as kernel:
        for names in ("abc", b"abc", 3.0, {"a"}, None):
            with pytest.raises(hanse.InvalidError) as caught:
                kernel.agents.add_many(names)  # type: ignore[arg-type]
            assert caught.value.name == "WrongType"
        with pytest.raises(hanse.InvalidError):
            kernel.agents.add_many(["a", 5])  # type: ignore[list-item]
        assert kernel.agents.count() == 1
