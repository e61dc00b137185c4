"""Rules: default deny, forbid overrides, named rules, a new epoch with each load."""

import pytest

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
        assert list(kernel.policy.rules) == ["everyone", "dear"]
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
        ({"context": {"weather": 1}}, "context"),
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
