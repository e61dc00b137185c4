"""Rules: a total, deterministic program; default deny, forbid overrides permit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cedar import text_of_json
from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = [
    "Decision",
    "Decisions",
    "Difference",
    "DryRun",
    "GovernanceReport",
    "Lesson",
    "Obligation",
    "Policy",
    "Rule",
]

Scalar: TypeAlias = int | bool | str
ContextValue: TypeAlias = Scalar | AbstractSet[Scalar] | Sequence[Scalar]
Schema: TypeAlias = str | Mapping[str, str]


class Obligation(IntFlag):
    """What a rule asks for in return: @obligation("approval, verifier"), @redact, @rate."""

    approval = 1
    verifier = 2
    redact = 4
    rate = 8


_NOTHING = Obligation(0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say: allowed or not, at which epoch, and by which rules.

    error: a rule could not be evaluated, which denies. obligations: what the rules that allow it
    ask for in return.
    """

    allowed: bool
    epoch: int
    rules: list[str]
    error: bool = False
    obligations: Obligation = _NOTHING

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Of many questions: allowed, error bool[n], obligations uint8[n], all at one epoch."""

    allowed: NDArray[np.bool_]
    error: NDArray[np.bool_]
    obligations: NDArray[np.uint8]
    epoch: int

    def __len__(self) -> int:
        return len(self.allowed)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. shelved: none of the last dispatches came to it. lesson: the event behind it."""

    name: str
    text: str
    forbids: bool
    obligations: Obligation
    shelved: bool
    lesson: int | None
    approver: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """A rule that governance has learnt: it is part of every epoch until it is repealed.

    event: the position of its record, which its rule cites. cause: that of what led to it.
    """

    event: int
    cause: int | None
    epoch: int
    author: int
    kind: str
    rule: str
    repealed: bool


@dataclass(frozen=True, slots=True)
class GovernanceReport:
    """How many events of governance there were, and how often.

    active_days: UTC days with at least one. rate: events an active day.
    """

    events: int
    active_days: int
    by_kind: dict[str, int]

    @property
    def rate(self) -> float:
        """Events an active day; 0 where there was none."""
        return self.events / self.active_days if self.active_days else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that other rules would have made otherwise."""

    position: int
    action: str
    principal: int
    resource: int | None
    task_class: str
    allowed_before: bool
    allowed_after: bool
    obligations_before: Obligation
    obligations_after: Obligation
    rules_before: list[str]
    rules_after: list[str]


@dataclass(frozen=True, slots=True)
class DryRun:
    """decisions: tried again. count: how many differ; differences: the newest 1,000 of them."""

    decisions: int
    count: int
    differences: list[Difference]


def schema_text(schema: Schema | None) -> str:
    """Of a mapping such as {"context.tags": "Set<String>", "context.note?": "String"}."""
    if schema is None or isinstance(schema, str):
        return schema or ""
    if not isinstance(schema, Mapping):
        refuse("WrongType", "schema", f"want text or a mapping, have a {type(schema).__name__}")
    return "\n".join(f"{name}: {kind};" for name, kind in schema.items())


def _context(context: Mapping[str, object] | None) -> dict[str, object]:
    if context is not None and not isinstance(context, Mapping):
        refuse("WrongType", "context", f"want a mapping, have a {type(context).__name__}")
    return dict(context or {})


def _count(field: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        refuse("WrongType", field, f"want an int, have a {type(value).__name__}")
    if not 0 <= value < 1 << 32:
        refuse("OutOfRange", field, f"want 0 … 2^32 - 1, have {value}")
    return value


class Policy:
    """The rules of a kernel."""

    __slots__ = ("_actor", "_kernel")

    def __init__(self, kernel: Kernel, actor: int | None = None) -> None:
        self._kernel = kernel
        self._actor = actor

    def _acting(self) -> int:
        return self._kernel._acting() if self._actor is None else self._actor

    def load(self, text: str | Mapping[str, Any], *, schema: Schema | None = None) -> int:
        """Compiles and swaps in a whole new program, in a subset of Cedar's syntax.

        text: rules as text, or Cedar's JSON form ({"staticPolicies": …}) as a mapping or text.
        schema: which attributes there are besides hanse's facts, "context.tags: Set<String>;
        context.note?: String;" or the same as a mapping (Long, Bool, String, Set<Long>,
        Set<String>); any other is an error then. Lessons that stand are part of the program.
        Returns the new epoch. Raises InvalidError (PolicyCompileError with line and column,
        PolicyLockout), DeniedError; the old program stays then.
        """
        if isinstance(text, Mapping) or (isinstance(text, str) and text.lstrip().startswith("{")):
            text = text_of_json(text)
        core = self._kernel._core
        return core.load_policy(self._acting(), text, schema_text(schema))

    def check(
        self,
        principal: int,
        action: str,
        resource: int | None = None,
        context: Mapping[str, ContextValue] | None = None,
    ) -> Decision:
        """What the rules would say, without effect.

        context: facts and attributes by name, such as {"budget": 100, "resource.price": 5,
        "task_class": "x", "tags": {"a", "b"}, "internal": True}.
        Raises NotFoundError, InvalidError (WrongType where a value is not what a fact or the schema
        wants).
        """
        allowed, epoch, rules, error, obligations = self._kernel._core.check_policy(
            self._acting(), principal, action, resource, _context(context)
        )
        return Decision(allowed, epoch, rules, error, Obligation(obligations))

    def check_many(
        self,
        principals: int | NDArray[np.uint64],
        action: str,
        resources: int | NDArray[np.uint64] | None = None,
        context: Mapping[str, ContextValue | NDArray[np.int64] | NDArray[np.bool_]] | None = None,
    ) -> Decisions:
        """The same for many questions of one action, all by the same program.

        principals, resources: uint64[n], or one for all. context: a value for all, or an array
        int64[n] or bool[n]. At most 2^22 questions.
        """
        said = _context(context)
        columns = [principals, resources, *said.values()]
        count = max((c.size for c in columns if isinstance(c, np.ndarray)), default=1)
        core = self._kernel._core
        return Decisions(
            *core.check_policy_many(self._acting(), principals, action, resources, said, count)
        )

    def explain(self, decision: Decision) -> dict[str, str]:
        """The text of the rules that made a decision of the present epoch, by name.

        Empty where no rule fired: denied by default. Raises ConflictError (StaleVersion) for a
        decision of another epoch, whose rules are in the journal.
        """
        if decision.epoch != self.epoch:
            refuse("StaleVersion", "epoch", f"want {self.epoch}, have {decision.epoch}")
        texts = {rule.name: rule.text for rule in self.rules()}
        return {name: texts[name] for name in decision.rules}

    def dry_run(self, text: str, last: int = 1000, *, schema: Schema | None = None) -> DryRun:
        """The last decisions by other rules, without effect: which would have come out otherwise.

        last: how many, newest first; the kernel remembers 4,096 since it was opened. Raises what
        `load` raises.
        """
        decisions, count, listed = self._kernel._core.dry_run_policy(
            self._acting(), text, schema_text(schema), _count("last", last)
        )
        differences = []
        for row in listed:
            fields = list(row)
            fields[7:9] = Obligation(row[7]), Obligation(row[8])
            differences.append(Difference(*fields))
        return DryRun(decisions, count, differences)

    def rules(self, last: int = 1000) -> list[Rule]:
        """The rules of the present epoch in order, lessons behind what was loaded.

        shelved: for none of the last `last` dispatches (of 4,096 decisions remembered) the rule was
        looked at, because action, kinds or scopes never fit.
        """
        rows = self._kernel._core.policy_rules(_count("last", last))
        return [
            Rule(name, text, forbids, Obligation(obligations), *rest)
            for name, text, forbids, obligations, *rest in rows
        ]

    def learn(
        self, rule: str, *, kind: str = "lesson", note: str = "", cause: int | None = None
    ) -> Lesson:
        """A governance event that is a rule from the next command on.

        It can't be skipped: every program that is loaded later holds it, until `repeal`. It
        forbids, or permits with an obligation, and grants nothing. cause: the journal position of
        what led to it. The author is the root, or whom a rule permits that names Action::"learn".
        Raises DeniedError (PolicyDenied), InvalidError (PolicyCompileError, PolicyLockout),
        NotFoundError (UnknownEvent).
        """
        if not rule:
            refuse("Empty", "rule", "want one rule")
        core = self._kernel._core
        event = core.govern(self._acting(), kind, note, rule, cause)
        return next(lesson for lesson in reversed(self.lessons) if lesson.event == event)

    def record(self, kind: str, note: str = "", *, cause: int | None = None) -> int:
        """A governance event without a rule. Returns its journal position."""
        return self._kernel._core.govern(self._acting(), kind, note, "", cause)

    def repeal(self, lesson: int | Lesson, *, cause: int | None = None) -> int:
        """Ends a lesson by its event; the root's right. Returns the new epoch.

        Raises NotFoundError (UnknownEvent), ConflictError (AlreadyResolved), DeniedError.
        """
        event = lesson.event if isinstance(lesson, Lesson) else lesson
        return self._kernel._core.repeal_lesson(self._acting(), event, cause)

    def distrust(self, agent: int) -> int:
        """What the agent says is untrusted from now on: a reader of the open web, say.

        Whoever hears it, by message or task, is untrusted too, one hop further. An untrusted agent
        can't transfer, fund, add agents or change rules (PolicyDenied, whatever the rules say), and
        after 8 hops it isn't heard any more (denied). Returns the position of the event.
        """
        return self._kernel._core.set_trusted(self._acting(), agent, False)

    def trust(self, agent: int) -> int:
        """Ends distrust in one agent; for someone above it who is trusted."""
        return self._kernel._core.set_trusted(self._acting(), agent, True)

    def untrusted_hops(self, agent: int) -> int | None:
        """How many hops ago untrusted words reached the agent; 0: it is the source, None: never."""
        return self._kernel._core.untrusted_hops(self._acting(), agent)

    @property
    def lessons(self) -> list[Lesson]:
        """Every lesson that was learnt, repealed ones too."""
        return [Lesson(*row) for row in self._kernel._core.policy_lessons()]

    def report(self) -> GovernanceReport:
        """Events of governance by kind, and their rate an active day."""
        return GovernanceReport(*self._kernel._core.governance_report())

    @property
    def text(self) -> str:
        """The program as it was loaded; lessons are not in it."""
        return self._kernel._core.policy_text()

    @property
    def epoch(self) -> int:
        """Grows by one with each load, lesson and repeal."""
        return self._kernel._core.policy_epoch()
