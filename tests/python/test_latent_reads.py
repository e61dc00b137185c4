"""Reading what another made costs what it asked, in the commit of the dispatch."""

from pathlib import Path

import numpy as np
import pytest

import hanse
from hanse.inspection import explain

SPEC = hanse.LatentSpec("model@1", 1, 1, 4)


def states(tokens: int) -> np.ndarray:
    return np.zeros(SPEC.shape(tokens), np.float32)


def people(kernel: hanse.Kernel) -> tuple[int, int, int]:
    return tuple(kernel.agents.add(name, parent=kernel.root) for name in ("asks", "made", "works"))  # type: ignore[return-value]


def test_producers_are_paid_for_reads_exactly_and_it_survives_reopening(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hanse.open(tmp_path) as kernel:
        asks, made, works = people(kernel)
        other = kernel.agents.add("other", parent=kernel.root)
        kernel.ledger.fund(asks, 10_000)
        context = kernel.latents.put(states(1_000), SPEC, owner=made, price=300_000)
        added = hanse.Latent(kernel, context.id, other).append(states(50))
        own = kernel.latents.put(states(500), SPEC, owner=asks, price=1_000_000)
        part = added.slice(55, first=995)
        receipt = kernel.as_agent(asks).dispatch(
            to=works, budget=1_000, latents=[added, own, part.slice(10)]
        )
        # 1,000 and 50 tokens at 0.3; one's own for nothing; 5 and 5 at 0.3, each rounded up.
        event = kernel.journal.event(receipt.position)
        assert event.type == "tasked"
        paid = {made: 300 + 2, other: 15 + 2}
        assert {agent: kernel.ledger.balance(agent) for agent in paid} == paid
        work = kernel.as_agent(works)
        with pytest.raises(hanse.BudgetError):
            kernel.as_agent(asks).dispatch(to=works, budget=301, latents=[context, own, added])
        work.complete(receipt.task, artifact=bytes([7] * 32))
        kernel.as_agent(asks).accept(receipt.task)
        worked = kernel.ledger.balance(works)
        assert worked == 1_000 - sum(paid.values())
        state = kernel.state_hash
    assert hanse.verify(tmp_path).state_hash == state
    explain(tmp_path, receipt.task)
    assert ", of which 319 for reading latents" in capsys.readouterr().out
    with hanse.open(tmp_path) as kernel:
        assert {agent: kernel.ledger.balance(agent) for agent in paid} == paid
        assert kernel.state_hash == state


def test_a_dispatch_without_a_price_is_recorded_as_before(tmp_path: Path) -> None:
    with hanse.open(tmp_path) as kernel:
        asks, made, works = people(kernel)
        kernel.ledger.fund(asks, 100)
        free = kernel.latents.put(states(10), SPEC, owner=made)
        receipt = kernel.as_agent(asks).dispatch(to=works, budget=10, latents=[free])
        assert kernel.journal.event(receipt.position).type == "dispatched"
        assert kernel.ledger.balance(made) == 0


def test_reads_come_out_of_the_budget_before_the_workers_price() -> None:
    with hanse.open() as kernel:
        asks, made, works = people(kernel)
        kernel.ledger.fund(asks, 1_000)
        dear = kernel.latents.put(states(100), SPEC, owner=made, price=1_000_000)
        kernel.capabilities.publish(
            np.array([works], np.uint64), np.ones((1, 4), np.float32), price=50
        )
        me = kernel.as_agent(asks)
        query = np.ones(4, np.float32)
        for budget in (99, 149):
            with pytest.raises(hanse.BudgetError):
                me.dispatch(query=query, budget=budget, latents=[dear])
        assert kernel.ledger.balance(made) == 0
        receipt = me.dispatch(query=query, budget=150, latents=[dear], key="once")
        again = me.dispatch(query=query, budget=150, latents=[dear], key="once")
        assert again.position == receipt.position
        assert kernel.ledger.balance(made) == 100
        kernel.ledger.set_rates(fresh=1_000_000)
        with pytest.raises(hanse.BudgetError) as refused:  # The worker's 50 stay covered.
            kernel.as_agent(works).complete(
                receipt.task, artifact=bytes([7] * 32), usage=hanse.Usage(fresh=1)
            )
        assert refused.value.name == "ExceedsHold"


@pytest.mark.parametrize("answer", ["allow", "deny", "silence"])
def test_a_task_that_waits_for_a_person_pays_for_reads_when_it_is_allowed(
    tmp_path: Path, answer: str
) -> None:
    clock = hanse.ManualClock(1_000_000_000)
    with hanse.open(tmp_path, clock=clock) as kernel:
        asks, made, works = people(kernel)
        human = kernel.agents.add("human", kind="human", parent=kernel.root)
        kernel.ledger.fund(asks, 1_000)
        context = kernel.latents.put(states(100), SPEC, owner=made, price=1_000_000)
        receipt = kernel.as_agent(asks).dispatch(
            to=works, budget=300, latents=[context], approval="spend", approver=human
        )
        assert kernel.journal.event(receipt.position).type == "tasked_unpaid"
        assert kernel.ledger.balance(made) == 0
        account = kernel.ledger.account(asks)
        assert (account.available, account.debits_posted) == (700, 0)  # Reserved, not spent.
        waiting = kernel.state_hash
    assert hanse.verify(tmp_path).state_hash == waiting
    with hanse.open(tmp_path, clock=clock) as kernel:
        kernel.journal.snapshot()
    with hanse.open(tmp_path, clock=clock) as kernel:
        if answer == "silence":
            clock.advance(10**18)
            kernel.tick()
        else:
            mine = kernel.as_agent(human)
            (item,) = kernel.inbox(human)
            mine.answer(item, allow=answer == "allow")
        paid = 100 if answer == "allow" else 0
        assert kernel.ledger.balance(made) == paid
        if answer == "allow":
            work = kernel.as_agent(works)
            work.complete(receipt.task, artifact=bytes([7] * 32))
            kernel.as_agent(asks).accept(receipt.task)
        worked = kernel.ledger.balance(works)
        assert worked == (200 if answer == "allow" else 0)
        assert kernel.ledger.balance(asks) == 1_000 - worked - paid
        state = kernel.state_hash
    assert hanse.verify(tmp_path).state_hash == state
