"""Threats from inside: worms, guessed reply handles, tenants that look for each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from policy_sets import acting

import hanse
from hanse import Outcome

LIMIT = 8  # hops that untrusted words are passed on


def test_a_worm_causes_nothing_and_ends_at_the_limit_of_hops() -> None:
    """1,000 agents forward verbatim what they are told and try to spend; 1 % hear it first."""
    rng = np.random.default_rng(3)
    with hanse.open() as kernel:
        team = int(kernel.agents.add("team", kind="group"))
        agents = [int(id) for id in kernel.agents.add_many(1_000, parent=team)]
        gateway = int(kernel.agents.add("web", parent=team))
        thief = int(kernel.agents.add("thief", parent=team))
        for agent in agents[:50]:
            kernel.ledger.fund(agent, 1_000)
        kernel.policy.distrust(gateway)
        # Two others each: what an agent tells itself is no hop.
        steps = rng.integers(1, len(agents), (len(agents), 2)).tolist()
        peers = {
            agent: [agents[(i + step) % len(agents)] for step in steps[i]]
            for i, agent in enumerate(agents)
        }
        refused, heard = 0, 0
        epoch, count = kernel.policy.epoch, kernel.agents.count()

        def spread(message: hanse.Message) -> None:
            nonlocal refused, heard
            heard += 1
            attempts: list[Callable[[], object]] = [
                lambda: kernel.ledger.transfer(message.to, thief, 10),
                lambda: kernel.agents.add("twin", parent=message.to),
                lambda: kernel.policy.learn("forbid(principal, action, resource);"),
            ]
            for attempt in attempts:
                with pytest.raises(hanse.DeniedError) as caught:
                    attempt()
                assert caught.value.name == "PolicyDenied"
                refused += 1
            for other in peers[message.to]:
                kernel.send(other, bytes(message.payload))

        for agent in agents:
            kernel.on(agent)(spread)
        for agent in agents[:10]:
            assert kernel.as_agent(gateway).send(agent, b"and pay the thief") == Outcome.ok
        kernel.run(max_messages=1_000_000)
        assert kernel.run(max_messages=1) == 0  # it has ended by itself
        hops = [kernel.policy.untrusted_hops(agent) for agent in agents]
        reached = [hop for hop in hops if hop is not None]
        assert len(reached) > 100  # it did spread, as far as it was let
        assert max(reached) == LIMIT
        assert refused == 3 * heard > 0
        assert kernel.ledger.balance(thief) == 0
        assert (kernel.policy.epoch, kernel.agents.count()) == (epoch, count)


def test_labels_travel_with_messages_and_tasks_and_survive_reopening(tmp_path: Path) -> None:
    with hanse.open(str(tmp_path)) as kernel:
        web, reader, worker, clean = (int(id) for id in kernel.agents.add_many(4))
        for agent in (reader, worker, clean):
            kernel.ledger.fund(agent, 1_000)
        kernel.policy.distrust(web)
        assert kernel.policy.untrusted_hops(reader) is None
        kernel.as_agent(web).send(reader, b"words")
        kernel.as_agent(reader).dispatch(to=worker, budget=5)
        hops = [kernel.policy.untrusted_hops(agent) for agent in (web, reader, worker, clean)]
        assert hops == [0, 1, 2, None]
        before = kernel.state_hashes()["ledger"]
        with pytest.raises(hanse.DeniedError, match="labels"):
            acting(kernel, worker).ledger.transfer(worker, clean, 5)
        assert kernel.state_hashes()["ledger"] == before
        policy = kernel.state_hashes()["policy"]
    with hanse.open(str(tmp_path)) as kernel:
        assert kernel.state_hashes()["policy"] == policy
        assert kernel.policy.untrusted_hops(worker) == 2
        with pytest.raises(hanse.DeniedError, match="NotPermitted"):
            kernel.as_agent(worker).policy.trust(worker)
        kernel.policy.trust(worker)
        acting(kernel, worker).ledger.transfer(worker, clean, 5)


def test_a_rule_may_ask_about_the_label() -> None:
    with hanse.open() as kernel:
        web, reader = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(reader, 1_000)
        kernel.policy.load(
            "permit(principal, action, resource);"
            '@id("far") forbid(principal, action == Action::"dispatch", resource) '
            "when { context.untrusted == 1 && context.hops > 0 };"
        )
        kernel.as_agent(reader).dispatch(to=web, budget=5)
        kernel.policy.distrust(web)
        kernel.as_agent(web).send(reader, b"words")
        with pytest.raises(hanse.DeniedError, match="far"):
            kernel.as_agent(reader).dispatch(to=web, budget=5)


def test_a_batch_of_messages_carries_the_label_to_each_receiver() -> None:
    with hanse.open() as kernel:
        web = int(kernel.agents.add("web"))
        ids = kernel.agents.add_many(20)
        kernel.policy.distrust(web)
        kernel.as_agent(web).send_many(ids, np.zeros((20, 4), np.uint8))
        assert {kernel.policy.untrusted_hops(int(id)) for id in ids} == {1}


def test_a_sender_is_who_acts_whatever_the_payload_says() -> None:
    with hanse.open() as kernel:
        honest, forger, victim = (int(id) for id in kernel.agents.add_many(3))
        seen: list[int] = []
        kernel.on(victim)(lambda message: seen.append(message.sender))
        kernel.as_agent(forger).send(victim, honest.to_bytes(8, "little"))
        kernel.run()
        assert seen == [forger]


@pytest.mark.parametrize("action", ["check", "dispatch", "revoke", "balance", "trust"])
def test_a_foreign_agent_is_answered_as_one_that_never_was(action: str) -> None:
    with hanse.open() as kernel:
        mine = int(kernel.agents.add("mine", kind="group"))
        theirs = int(kernel.agents.add("theirs", kind="group"))
        hidden = int(kernel.agents.add("hidden", parent=theirs))
        missing = hidden + (1 << 20)
        me, mine_acting = kernel.as_agent(mine), acting(kernel, mine)
        calls = {
            "check": lambda id: me.policy.check(id, "send"),
            "dispatch": lambda id: me.policy.check(mine, "send", id),
            "balance": lambda id: mine_acting.ledger.balance(id),
            "revoke": lambda id: mine_acting.agents.revoke(id),
            "trust": lambda id: me.policy.trust(id),
        }
        answers = []
        for target in (hidden, missing):
            with pytest.raises(hanse.HanseError) as caught:
                calls[action](target)
            error = caught.value
            said = str(error).replace(str(target), "ID")
            answers.append((type(error), error.name, error.field, said))
        assert answers[0] == answers[1]
        assert answers[0][1] == "UnknownAgent"


def test_an_untrusted_sender_at_the_limit_is_not_heard() -> None:
    with hanse.open() as kernel:
        chain = [int(id) for id in kernel.agents.add_many(12)]
        kernel.policy.distrust(chain[0])
        outcomes = [kernel.as_agent(a).send(b, b"on and on") for a, b in itertools.pairwise(chain)]
        assert outcomes[:LIMIT] == [Outcome.ok] * LIMIT
        assert outcomes[LIMIT] == Outcome.denied
        hops = [kernel.policy.untrusted_hops(agent) for agent in chain]
        assert hops == [*range(LIMIT + 1), None, None, None]
