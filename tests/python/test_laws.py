"""The invariants of the design, one named test each: 1 to 16 here, 17 to 26 in
test_laws_evidence.py. All through the public face.

These do not apply yet, each because the part it speaks of is not built:
    2   key history is hash-linked: an agent has a genesis key, and no rotation of it.
    17  lanes: a box has one, so order is by (sender, receiver).
    18  cancelled messages: none can be taken back, so that term is absent from the sum.
    26  holds for dispatch and escalate; other verbs that policy refuses raise, without an event.
Durable mailboxes are not built either: 17, 18 and 19 hold while the process lives.
"""

import hashlib
import itertools
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reopening import START_NS, open_at

import hanse

LAW = settings(max_examples=25, deadline=None, derandomize=True)
ALLOW = "permit(principal, action, resource);"


def fresh() -> hanse.Kernel:
    return hanse.open(clock=hanse.ManualClock(START_NS))


def artifact(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def refused(name: str, call: object) -> hanse.HanseError:
    with pytest.raises(hanse.HanseError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name, caught.value
    return caught.value


@LAW
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=12))
def test_invariant_01_an_id_is_never_reused(steps: list[tuple[int, bool]]) -> None:
    with fresh() as kernel:
        seen = {kernel.root}
        for count, revoke in steps:
            ids = set(kernel.agents.add_many(count).tolist())
            assert len(ids) == count
            assert not ids & seen
            seen |= ids
            if revoke:
                kernel.agents.revoke(min(ids))
        assert kernel.agents.count() == len(seen)


@LAW
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 15), st.integers(0, 20)),
        min_size=1,
        max_size=30,
    )
)
def test_invariant_03_the_chain_is_acyclic_16_deep_at_most_and_only_narrows(
    steps: list[tuple[int, int, int]],
) -> None:
    with fresh() as kernel:
        ids = [kernel.agents.add(permissions=0b1111, budget_max=20)]
        for pick, permissions, budget in steps:
            parent = kernel.agents.get(ids[pick % len(ids)])
            wider = permissions & ~parent.permissions or budget > parent.budget_max
            add = partial(
                kernel.agents.add, parent=parent.id, permissions=permissions, budget_max=budget
            )
            if parent.depth == 16:
                refused("DelegationDepth", add)
            elif wider:
                refused("AttenuationViolation", add)
            else:
                ids.append(add())
        for id in ids:
            agent = kernel.agents.get(id)
            depth = agent.depth
            while agent.parent:
                above = kernel.agents.get(agent.parent)
                assert agent.permissions & ~above.permissions == 0
                assert agent.budget_max <= above.budget_max
                agent = above
                depth -= 1
            assert (agent.id, depth) == (kernel.root, 0)


def test_invariant_03_the_chain_ends_at_16() -> None:
    with fresh() as kernel:
        parent = kernel.root
        for _ in range(16):
            parent = kernel.agents.add(parent=parent)
        refused("DelegationDepth", lambda: kernel.agents.add(parent=parent))


@pytest.mark.parametrize("generation", [0, 1, 15])
def test_invariant_04_a_revoked_agent_and_its_descendants_cause_no_new_effect(
    generation: int,
) -> None:
    with fresh() as kernel:
        lead = agent = kernel.agents.add("lead", kind="group")
        for _ in range(generation):
            agent = kernel.agents.add(parent=agent)
        worker = kernel.agents.add("worker")
        vectors = np.eye(1, 4, dtype=np.float32)
        kernel.capabilities.publish(np.array([agent], np.uint64), vectors)
        kernel.ledger.fund(agent, 100)
        me = kernel.as_agent(agent)
        mine = me.dispatch(to=worker, budget=10).task
        given_to_me = me.dispatch(to=agent, budget=10).task
        kernel.agents.revoke(lead)
        state, count = kernel.state_hash, kernel.journal.count
        for call in (
            lambda: me.dispatch(to=worker, budget=1, key="k"),
            lambda: me.dispatch_many(to=worker, budgets=np.array([1], np.uint64)),
            lambda: me.match(vectors),
            lambda: me.complete(given_to_me, artifact=artifact(1)),
            lambda: me.void(mine),
            lambda: me.escalate(mine, to=worker),
        ):
            assert refused("Revoked", call).id == lead
        assert me.send(worker, b"x") == hanse.Outcome.revoked
        assert kernel.send(agent, b"x") == hanse.Outcome.revoked
        # Nor does anyone find it or give it work.
        assert kernel.match(vectors, k=1).counts.tolist() == [0]
        kernel.ledger.fund(kernel.root, 10)
        count += 1
        refused("Revoked", lambda: kernel.dispatch(to=agent, budget=1))
        assert kernel.journal.count == count
        assert kernel.state_hashes()["task"] == kernel.state_hashes()["task"]
        assert kernel.state_hash != state  # by the funding of the root alone


@LAW
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.booleans()), max_size=20))
def test_invariant_05_and_06_versions_increase_and_exactly_one_can_be_found(
    steps: list[tuple[int, int, bool]],
) -> None:
    with fresh() as kernel:
        ids = kernel.agents.add_many(3)
        query = np.ones(4, np.float32)
        stands: dict[tuple[int, int], int] = {}
        last: dict[tuple[int, int], int] = {}
        for which, offer, withdraw in steps:
            id = int(ids[which])
            if withdraw and (id, offer) in stands:
                kernel.capabilities.withdraw(id, offer=offer)
                del stands[id, offer]
            else:
                (version,) = kernel.capabilities.publish(
                    ids[which : which + 1], query.reshape(1, 4), offer=offer
                )
                assert version > last.get((id, offer), 0)
                stands[id, offer] = last[id, offer] = int(version)
        if last:
            found = kernel.match(query, k=20)
            count = int(found.counts[0])
            rows = zip(found.agents[0, :count], found.offers[0, :count], strict=True)
            keys = [(int(agent), int(offer)) for agent, offer in rows]
            assert len(set(keys)) == len(keys)
            assert dict(zip(keys, found.versions[0, :count].tolist(), strict=True)) == stands


@LAW
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 7), st.integers(0, 2)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 3),
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted),
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 7)),
    st.none() | st.integers(0, 2),
)
def test_invariant_07_a_match_is_feasible_or_absent(
    rows: list[tuple[int, int, int, int]],
    max_price: int,
    tier: list[int],
    masks: tuple[int, int, int],
    region: int | None,
) -> None:
    every, some, none = masks
    with fresh() as kernel:
        ids = kernel.agents.add_many(len(rows))
        price, tiers, skills, regions = np.array(rows).T
        kernel.capabilities.publish(
            ids,
            np.ones((len(rows), 4), np.float32),
            price=price.astype(np.int64),
            tier=tiers.astype(np.uint8),
            skills=skills.astype(np.uint64),
            region=regions.astype(np.uint16),
        )
        feasible = (price <= max_price) & (tiers >= tier[0]) & (tiers <= tier[1])
        feasible &= (skills & every == every) & (skills & none == 0)
        feasible &= (skills & some != 0) | (some == 0)
        if region is not None:
            feasible &= regions == region
        found = kernel.match(
            np.ones((1, 4), np.float32),
            k=10,
            max_price=max_price,
            tier=(tier[0], tier[1]),
            skills=hanse.all_of(every) & hanse.any_of(some) & hanse.none_of(none),
            region=region,
        )
        want = ids[feasible][:10]  # equal scores: in the order of ids
        assert found.counts.tolist() == [len(want)]
        assert found.agents[0, : len(want)].tolist() == want.tolist()


def test_invariant_08_every_decision_names_its_epoch_and_the_rules_that_fired(
    tmp_path: Path,
) -> None:
    kernel, _ = open_at(tmp_path)
    with kernel:
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(kernel.root, 1_000)
        epoch = kernel.policy.load(
            ALLOW + '@id("cheap only") forbid(principal, action == Action::"dispatch", resource)'
            " when { context.budget > 50 };"
        )
        receipt = kernel.dispatch(to=worker, budget=50)
        assert receipt.epoch == epoch == kernel.policy.epoch
        event = kernel.journal.event(receipt.position or 0)
        assert event.fields["epoch"] == str(epoch)
        assert event.fields["rules"] == "1"
        error = refused("PolicyDenied", lambda: kernel.dispatch(to=worker, budget=51))
        assert "cheap only" in error.detail
        assert f"epoch {epoch}" in error.detail
        event = kernel.journal.event(error.position or 0)
        assert (event.type, event.fields["epoch"]) == ("refused", str(epoch))
        assert event.fields["rules"] == "1"
        decision = kernel.policy.check(kernel.root, "dispatch", worker, {"budget": 51})
        assert (decision.allowed, decision.epoch, decision.rules) == (False, epoch, ["cheap only"])


@LAW
@given(st.lists(st.sampled_from(["permit", "forbid", "error", "other"]), max_size=4))
def test_invariant_09_default_deny_forbid_overrides_and_an_error_denies(rules: list[str]) -> None:
    scope = '(principal, action == Action::"send", resource)'
    texts = {
        "permit": f"permit{scope};",
        "forbid": f"forbid{scope};",
        "error": f"permit{scope} when {{ context.budget * 4611686018427387904 > 0 }};",
        "other": 'permit(principal, action == Action::"transfer", resource);',
    }
    repeal = 'permit(principal, action in [Action::"load_policy", Action::"learn"], resource);'
    with fresh() as kernel:
        kernel.policy.load(repeal + "".join(texts[rule] for rule in rules))
        decision = kernel.policy.check(kernel.root, "send", kernel.root, {"budget": 8})
        assert decision.allowed == ("permit" in rules and not {"forbid", "error"} & set(rules))


def test_invariant_10_a_policy_swap_is_atomic_at_one_position(tmp_path: Path) -> None:
    kernel, _ = open_at(tmp_path, durability="batch")
    with kernel:
        worker = kernel.agents.add("worker")
        kernel.ledger.fund(kernel.root, 100_000)
        stop = threading.Event()

        def swap() -> None:
            for i in range(20):
                kernel.policy.load(ALLOW + "// " + str(i))
            stop.set()

        thread = threading.Thread(target=swap)
        thread.start()
        while not stop.is_set():
            kernel.dispatch_many(to=worker, budgets=np.ones(50, np.uint64))
        thread.join()
        epoch = 0
        for event in kernel.journal.events():
            if event.type == "policy_loaded":
                assert event.fields["epoch"] == str(epoch + 1)
                epoch += 1
            elif event.type == "dispatched":
                assert event.fields["epoch"] == str(epoch)
        assert epoch == kernel.policy.epoch
        text, before = kernel.policy.text, kernel.state_hash
        refused("PolicyCompileError", lambda: kernel.policy.load(ALLOW + "permit("))
        refused("PolicyLockout", lambda: kernel.policy.load("forbid(principal, action, resource);"))
        assert (kernel.policy.text, kernel.state_hash) == (text, before)


@LAW
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 60), st.booleans()),
        max_size=30,
    )
)
def test_invariant_11_debits_equal_credits_in_every_unit(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    with fresh() as kernel:
        ids = [int(id) for id in kernel.agents.add_many(4)]
        refusals: set[str] = set()
        for unit in ("usd_micro", "tokens"):
            kernel.ledger.fund(ids[0], 100, unit=unit)
        for debit, credit, amount, hold in steps:
            unit = "tokens" if amount % 2 else "usd_micro"
            step = kernel.ledger.hold if hold else kernel.ledger.transfer
            try:
                step(ids[debit], ids[credit], amount, unit=unit)
            except hanse.HanseError as error:
                refusals.add(error.name)
            for name in ("usd_micro", "tokens"):
                totals = kernel.ledger.totals(name)
                assert totals.debits == totals.credits
                assert totals.debits_pending == totals.credits_pending
                accounts = [a for a in kernel.ledger.accounts() if a.unit == name]
                assert sum(a.debits_posted for a in accounts) == totals.debits
                assert sum(a.credits_posted for a in accounts) == totals.credits
                assert sum(a.debits_pending for a in accounts) == totals.debits_pending
                assert all(a.available >= 0 for a in accounts if a.purpose != "issuance")
        assert refusals <= {"InsufficientFunds", "OutOfRange", "UnknownAccount"}


def test_invariant_12_a_limit_is_never_passed_under_concurrency() -> None:
    with fresh() as kernel:
        payer, payee, worker = (int(id) for id in kernel.agents.add_many(3))
        kernel.ledger.fund(payer, 500)
        me = kernel.as_agent(payer)
        spent: list[int] = []
        lowest: list[int] = []
        refusals: set[str] = set()

        def spend() -> None:
            for i in range(120):
                try:
                    if i % 3 == 0:
                        me.dispatch(to=worker, budget=2)
                    elif i % 3 == 1:
                        kernel.ledger.hold(payer, payee, 2)
                    else:
                        kernel.ledger.transfer(payer, payee, 2)
                    spent.append(2)
                except hanse.BudgetError as error:
                    refusals.add(error.name)
                lowest.append(kernel.ledger.balance(payer))

        threads = [threading.Thread(target=spend) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(spent) == 500
        assert refusals == {"InsufficientFunds"}
        assert min(lowest) == 0 == kernel.ledger.balance(payer)


ENDINGS = ("post", "void", "expire")


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ENDINGS, ENDINGS)))
def test_invariant_13_a_reservation_resolves_exactly_once(first: str, second: str) -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 10)
        hold = kernel.ledger.hold(a, b, 4, expires_ns=START_NS + 100)
        ends = {
            "post": lambda: kernel.ledger.post(hold),
            "void": lambda: kernel.ledger.void(hold),
            "expire": lambda: (clock.advance(1_000), kernel.tick())[1],
        }
        ends[first]()
        balances = (6, 4) if first == "post" else (10, 0)
        if second == "expire":
            assert ends[second]() == 0
        else:
            refused("AlreadyResolved", ends[second])
        assert (kernel.ledger.balance(a), kernel.ledger.balance(b)) == balances
        assert kernel.ledger.totals().debits_pending == 0


VERBS = ("complete", "accept", "reject", "void", "escalate", "expire")
LEGAL = {
    "dispatched": {"complete": "completed", "void": "voided", "expire": "expired"},
    "completed": {
        "accept": "accepted",
        "reject": "rejected",
        "void": "voided",
        "escalate": "dispatched",
        "expire": "expired",
    },
    "rejected": {"void": "voided", "escalate": "dispatched", "expire": "expired"},
    "accepted": {},
    "voided": {},
    "expired": {},
}


@LAW
@given(st.lists(st.sampled_from(VERBS), max_size=8))
def test_invariant_14_only_legal_transitions_happen(verbs: list[str]) -> None:
    clock = hanse.ManualClock(START_NS)
    with hanse.open(clock=clock) as kernel:
        workers = [int(id) for id in kernel.agents.add_many(2)]
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=workers[0], budget=10, deadline_ns=START_NS + 1_000).task
        state, attempt = "dispatched", 1
        calls = {
            "complete": lambda: kernel.complete(task, artifact=artifact(attempt)),
            "accept": lambda: kernel.accept(task),
            "reject": lambda: kernel.reject(task),
            "void": lambda: kernel.void(task),
            "escalate": lambda: kernel.escalate(task, to=workers[attempt % 2]),
        }
        for verb in verbs:
            to = LEGAL[state].get(verb)
            if verb == "expire":
                clock.advance(2_000)
                assert kernel.tick() == (1 if to else 0)
            elif to:
                calls[verb]()
                attempt += verb == "escalate"
            else:
                before = kernel.state_hash
                refused("IllegalTransition" if LEGAL[state] else "AlreadyResolved", calls[verb])
                assert kernel.state_hash == before
            state = to or state
            found = kernel.tasks.get(task)
            assert (found.state, found.attempt) == (state, attempt)
            held = kernel.ledger.totals().debits_pending
            assert held == (10 if LEGAL[state] else 0)


def test_invariant_15_accepted_needs_an_artifact_and_the_verification_that_policy_asks_for() -> (
    None
):
    with fresh() as kernel:
        worker, auditor = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(kernel.root, 100)
        task = kernel.dispatch(to=worker, budget=10).task
        refused("IllegalTransition", lambda: kernel.accept(task))
        kernel.complete(task, artifact=bytes(32))
        refused("IllegalTransition", lambda: kernel.accept(task))
        kernel.policy.load(
            ALLOW + 'forbid(principal, action == Action::"accept", resource)'
            ' when { context.task_class == "law" && context.verified == 0 };'
        )
        task = kernel.dispatch(to=worker, budget=10, task_class="law").task
        kernel.complete(task, artifact=artifact(1))
        refused("PolicyDenied", lambda: kernel.accept(task))
        refused("NotPermitted", lambda: kernel.accept(task, verifier=worker))
        assert kernel.tasks.get(task).state == "completed"
        kernel.accept(task, verifier=auditor)
        assert kernel.tasks.get(task).verifier == auditor


@LAW
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 1)), max_size=20))
def test_invariant_16_the_same_key_gives_the_same_receipt(
    steps: list[tuple[int, int, int]],
) -> None:
    with fresh() as kernel:
        worker = kernel.agents.add("worker")
        requesters = [int(id) for id in kernel.agents.add_many(2)]
        for requester in requesters:
            kernel.ledger.fund(requester, 1_000)
        used: dict[tuple[int, int], tuple[int, hanse.Receipt]] = {}
        for key, budget, who in steps:
            me = kernel.as_agent(requesters[who])
            before = used.get((key, who))
            count = kernel.journal.count
            call = lambda: me.dispatch(to=worker, budget=budget, key=f"key {key}")  # noqa: B023, E731
            if before is None:
                used[key, who] = budget, call()
                assert kernel.journal.count == count + 1
                continue
            assert kernel.journal.count == count
            if before[0] == budget:
                again = call()
                assert again.outcome == hanse.Outcome.replayed
                assert (again.task, again.position) == (before[1].task, before[1].position)
            else:
                refused("IdempotencyConflict", call)
            assert kernel.journal.count == count
        assert kernel.tasks.count() == len(used)
