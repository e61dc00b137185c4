"""Rules: default deny, forbid overrides, named rules, a new epoch with each load."""

from pathlib import Path

import numpy as np
import pytest
from policy_sets import acting

import hanse

RULES = """
@id("everyone") permit(principal, action, resource);
@id("dear") forbid(principal, action == Action::"dispatch", resource)
when { context.budget > 100 && context.task_class == "summary" };
"""


def test_a_decision_names_its_rules_and_epoch() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        born = kernel.policy.epoch
        assert kernel.policy.text == "permit(principal, action, resource);"
        epoch = kernel.policy.load(RULES)
        assert epoch == kernel.policy.epoch == born + 1
        assert kernel.policy.text == RULES
        assert [rule.name for rule in kernel.policy.rules()] == ["everyone", "dear"]
        fine = kernel.policy.check(a, "dispatch", b, {"budget": 100, "task_class": "summary"})
        assert (fine.allowed, fine.epoch, fine.rules) == (True, epoch, ["everyone"])
        assert fine
        dear = kernel.policy.check(
            a, "dispatch", b, {"context.budget": 101, "task_class": "summary"}
        )
        assert (dear.allowed, dear.rules) == (False, ["dear"])
        assert not dear
        assert kernel.policy.check(a, "dispatch", b, {"budget": 101}).allowed


def test_a_denied_dispatch_is_recorded_and_named() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 1_000)
        kernel.policy.load(RULES)
        hashes = kernel.state_hashes()
        with pytest.raises(hanse.DeniedError) as caught:
            kernel.as_agent(a).dispatch(to=b, budget=101, task_class="summary")
        assert caught.value.name == "PolicyDenied"
        assert caught.value.position == kernel.journal.count - 1
        assert "dear" in caught.value.detail
        assert kernel.state_hashes()["ledger"] == hashes["ledger"]


@pytest.mark.parametrize("text", ["permit", "permit(principal, action, resource) when { 1 };", "§"])
def test_rules_that_do_not_compile_leave_the_old_ones(text: str) -> None:
    with hanse.open() as kernel:
        before = (kernel.policy.text, kernel.policy.epoch, kernel.state_hash)
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.policy.load(text)
        assert caught.value.name == "PolicyCompileError"
        assert "line 1" in caught.value.detail
        assert (kernel.policy.text, kernel.policy.epoch, kernel.state_hash) == before


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"action": "fly"}, "action"),
        ({"action": 3}, "action"),
        ({"context": 5}, "context"),
        ({"context": {"weather": 1.5}}, "weather"),
        ({"context": {"weather": [["nested"]]}}, "weather"),
        ({"context": {"task_class": 5}}, "task_class"),
        ({"context": {"budget": 1 << 63}}, "budget"),
        ({"context": {"budget": "much"}}, "budget"),
    ],
)
def test_a_bad_question_names_its_field(arguments: dict[str, object], field: str) -> None:
    with hanse.open() as kernel:
        question = {"principal": kernel.root, "action": "send"} | arguments
        with pytest.raises(hanse.InvalidError) as caught:
            kernel.policy.check(**question)  # type: ignore[arg-type]
        assert caught.value.field == field


def test_an_unknown_principal_is_not_found() -> None:
    with hanse.open() as kernel, pytest.raises(hanse.NotFoundError):
        kernel.policy.check(12345, "send")


FREE = """
permit(principal, action, resource);
@id("outside") forbid(principal, action == Action::"send", resource)
when { context has external && context.external && !context.tags.contains("public") };
@id("large") forbid(principal, action in [Action::"send", Action::"publish"], resource)
when { context.size > 10 } unless { false };
"""


def test_the_context_may_say_anything_that_a_rule_asks_for() -> None:
    with hanse.open() as kernel:
        agent = int(kernel.agents.add("a"))
        kernel.policy.load(FREE)

        def ask(**context: object) -> hanse.Decision:
            return kernel.policy.check(agent, "send", agent, {"size": 1, **context})  # type: ignore[arg-type]

        assert ask().allowed
        assert ask(external=False).allowed
        assert ask(external=True, tags={"public", "news"}).allowed
        assert ask(external=True, tags=["secret"]).rules == ["outside"]
        assert ask(size=11).rules == ["large"]
        missing = kernel.policy.check(agent, "publish", agent)
        assert (missing.allowed, missing.error, missing.rules) == (False, True, ["large"])
        wrong = ask(size="much")
        assert (wrong.allowed, wrong.error) == (False, True)
        explained = kernel.policy.explain(ask(size=11))
        assert list(explained) == ["large"]
        assert explained["large"].startswith('@id("large") forbid')


def test_a_decision_of_another_epoch_is_not_explained_by_this_one() -> None:
    with hanse.open() as kernel:
        decision = kernel.policy.check(kernel.root, "send")
        kernel.policy.load(RULES)
        with pytest.raises(hanse.ConflictError, match="StaleVersion"):
            kernel.policy.explain(decision)


def test_a_schema_refuses_what_it_does_not_know_at_load_and_in_a_question() -> None:
    schema = {"context.size": "Long", "context.tags": "Set<String>", "context.note?": "String"}
    rules = "permit(principal, action, resource) unless { context has size && context.size >= 5 };"
    with hanse.open() as kernel:
        kernel.policy.load(rules, schema=schema)
        for bad in ("context.other == 1", 'context.size == "x"', "context.tags.contains(1)"):
            with pytest.raises(hanse.InvalidError, match="line 1, column") as caught:
                kernel.policy.load(
                    f"permit(principal, action, resource) when {{ {bad} }};", schema=schema
                )
            assert caught.value.name == "PolicyCompileError"
        with pytest.raises(hanse.InvalidError, match="PolicyCompileError") as caught:
            kernel.policy.load(rules, schema={"context.size": "Float"})
        assert caught.value.field == "schema"
        assert kernel.policy.check(kernel.root, "send", context={"size": 4}).allowed
        for context in ({"size": "4"}, {"size": True}, {"tags": [1]}, {"other": 4}):
            with pytest.raises(hanse.InvalidError, match="WrongType"):
                kernel.policy.check(kernel.root, "send", context=context)  # type: ignore[arg-type]


def test_a_schema_survives_reopening(tmp_path: object) -> None:
    directory = str(tmp_path)
    rules = "permit(principal, action, resource) when { principal has team || true };"
    with hanse.open(directory) as kernel:
        kernel.policy.load(rules, schema="principal.team?: String;")
        before = kernel.state_hash
    with hanse.open(directory) as kernel:
        assert kernel.state_hash == before
        with pytest.raises(hanse.InvalidError, match="WrongType"):
            kernel.policy.check(kernel.root, "send", context={"principal.team": 5})


def test_many_questions_are_answered_as_each_alone() -> None:
    with hanse.open() as kernel:
        ids = kernel.agents.add_many(300)
        kernel.policy.load(
            """
            permit(principal, action == Action::"dispatch", resource)
            when { context.budget < 50 && context.fast };
            permit(principal, action in [Action::"load_policy", Action::"learn"], resource);
            """
        )
        rng = np.random.default_rng(7)
        budgets, fast = rng.integers(0, 100, 300), rng.random(300) < 0.5
        to = int(ids[0])
        many = kernel.policy.check_many(
            ids, "dispatch", to, {"budget": budgets, "fast": fast, "task_class": "x"}
        )
        assert len(many) == 300
        assert many.epoch == kernel.policy.epoch
        np.testing.assert_array_equal(many.allowed, (budgets < 50) & fast)
        assert not many.error.any()
        for i in range(0, 300, 37):
            alone = kernel.policy.check(
                int(ids[i]), "dispatch", to, {"budget": int(budgets[i]), "fast": bool(fast[i])}
            )
            assert alone.allowed == many.allowed[i]
        with pytest.raises(hanse.InvalidError, match="BadArray"):
            kernel.policy.check_many(ids, "dispatch", ids[:7])
        with pytest.raises(hanse.NotFoundError):
            kernel.policy.check_many(np.array([5, 6], np.uint64), "dispatch")


def test_a_dry_run_lists_what_other_rules_would_have_said() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 10_000)
        me = kernel.as_agent(a)
        for budget in (5, 50, 500):
            me.dispatch(to=b, budget=budget, task_class="summary")
        before = (kernel.state_hash, kernel.journal.count, kernel.policy.epoch)
        dry = kernel.policy.dry_run(RULES, last=3)
        assert (dry.decisions, dry.count) == (3, 1)
        only = dry.differences[0]
        assert (only.action, only.principal, only.resource) == ("dispatch", a, b)
        assert (only.allowed_before, only.allowed_after) == (True, False)
        assert only.rules_after == ["dear"]
        assert kernel.policy.dry_run(kernel.policy.text).count == 0
        with pytest.raises(hanse.InvalidError, match="PolicyCompileError"):
            kernel.policy.dry_run("permit")
        with pytest.raises(hanse.DeniedError, match="NotPermitted"):
            me.policy.dry_run(RULES)
        assert (kernel.state_hash, kernel.journal.count, kernel.policy.epoch) == before


def test_a_rule_that_no_dispatch_comes_to_is_shelved() -> None:
    with hanse.open() as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 1_000)
        kernel.policy.load(
            """
            @id("all") permit(principal, action, resource);
            @id("tools") forbid(principal, action == Action::"dispatch", resource is Tool);
            @id("never") forbid(principal, action == Action::"dispatch", resource) when { false };
            """
        )
        kernel.as_agent(a).dispatch(to=b, budget=5)
        assert [r.name for r in kernel.policy.rules() if r.shelved] == ["tools"]
        tool = int(kernel.agents.add("saw", kind="tool"))
        with pytest.raises(hanse.DeniedError):
            kernel.as_agent(a).dispatch(to=tool, budget=5)
        assert [r.name for r in kernel.policy.rules() if r.shelved] == []
        kernel.as_agent(a).dispatch(to=b, budget=5)
        assert [r.name for r in kernel.policy.rules(last=1) if r.shelved] == ["tools"]


@pytest.mark.parametrize(
    ("action", "attempt"),
    [
        ("publish", lambda k, a, b: acting(k, a).capabilities.publish(
            np.array([a], np.uint64), np.ones((1, 4), np.float32))),
        ("transfer", lambda k, a, b: acting(k, a).ledger.transfer(a, b, 5)),
        ("add_agent", lambda k, a, b: acting(k, a).agents.add("child", parent=a)),
        ("revoke", lambda k, a, b: acting(k, a).agents.revoke(a)),
        ("fund", lambda k, a, b: k.ledger.fund(a, 5)),
    ],
)  # fmt: skip
def test_every_refusal_by_policy_is_one_event_and_nothing_else(
    tmp_path: Path, action: str, attempt: object
) -> None:
    with hanse.open(str(tmp_path)) as kernel:
        a, b = (int(id) for id in kernel.agents.add_many(2))
        kernel.ledger.fund(a, 1_000)
        kernel.policy.load(
            "permit(principal, action, resource);"
            f'@id("no") forbid(principal, action == Action::"{action}", resource);'
        )
        hashes, count = kernel.state_hashes(), kernel.journal.count
        with pytest.raises(hanse.DeniedError) as caught:
            attempt(kernel, a, b)  # type: ignore[operator]
        assert caught.value.name == "PolicyDenied"
        assert "no" in caught.value.detail
        assert kernel.journal.count == count + 1
        assert caught.value.position == count
        event = kernel.journal.event(count)
        assert event.type == "denied"
        assert (event.fields["rules[0]"], event.fields["epoch"]) == ("1", str(kernel.policy.epoch))
        assert kernel.state_hashes() == hashes
