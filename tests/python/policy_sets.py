"""Random policy sets and requests that hanse and Cedar both understand, and what each answers."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hanse
from hanse.agent import Agents
from hanse.capability import Capabilities
from hanse.ledger import Ledger

KINDS = {"agent": "Agent", "human": "Human", "group": "Group", "tool": "Tool"}
FACTS = ["context.budget", "context.amount", "context.attempt", "resource.tier", "principal.depth"]
ATTRIBUTES = ["a", "b", "c", "d", "an odd name"]
ACTIONS = ["dispatch", "send", "transfer", "publish"]
NUMBERS = [0, 1, 2, 3, -1, 7, 100, 2**62, 2**63 - 1, -(2**63)]
TEXTS = ["", "a", "ab", "a*b", "résumé", 'q"q', "line\nbreak", "\\"]
PATTERNS = ["*", "a*", "*b", "a\\*b", "*é*", "ab", ""]


def acting(kernel: hanse.Kernel, agent: int) -> Any:
    """The parts of a kernel as a handler of the agent finds them."""
    within: Any = SimpleNamespace(_core=kernel._core, _acting=lambda: agent)
    return SimpleNamespace(
        agents=Agents(within), capabilities=Capabilities(within), ledger=Ledger(within)
    )


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Writer:
    """Writes conditions; what is known to be of the wrong type is never written."""

    def __init__(self, seed: int, names: list[tuple[str, str]]) -> None:
        self.random = random.Random(seed)
        self.names = names

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def entity(self) -> str:
        name, kind = self.random.choice(self.names)
        return f"{KINDS[kind]}::{quoted(name)}"

    def attribute(self) -> str:
        name = self.random.choice(ATTRIBUTES)
        return (
            f'context["{name}"]' if " " in name or self.random.random() < 0.2 else f"context.{name}"
        )

    def has(self) -> str:
        name = self.random.choice(ATTRIBUTES)
        return f"(context has {quoted(name) if ' ' in name else name})"

    def conditional(self, depth: int, kind: str) -> str:
        branch = getattr(self, kind)
        return f"(if {self.boolean(depth)} then {branch(depth)} else {branch(depth)})"

    def integer(self, depth: int) -> str:
        if depth == 0 or self.random.random() < 0.4:
            return self.pick(str(self.random.choice(NUMBERS)), self.pick(*FACTS), self.attribute())
        depth -= 1
        match self.random.randrange(5):
            case 0:
                return f"({self.integer(depth)} + {self.integer(depth)})"
            case 1:
                return f"({self.integer(depth)} - {self.integer(depth)})"
            case 2:
                return f"({self.integer(depth)} * {self.integer(depth)})"
            case 3:
                return f"(-({self.integer(depth)}))"
        return self.conditional(depth, "integer")

    def text(self, depth: int) -> str:
        if depth == 0 or self.random.random() < 0.7:
            return self.pick(
                quoted(self.random.choice(TEXTS)), self.attribute(), "context.task_class"
            )
        return self.conditional(depth - 1, "text")

    def set_of(self, kind: str) -> str:
        if self.random.random() < 0.4:
            return self.attribute()
        pool: list[Any] = NUMBERS if kind == "integer" else TEXTS
        elements = self.random.choices(pool, k=self.random.randint(1, 3))
        return "[" + ", ".join(str(e) if isinstance(e, int) else quoted(e) for e in elements) + "]"

    def membership(self, depth: int) -> str:
        kind = self.pick("integer", "text")
        if self.random.random() < 0.1:
            return f"{self.attribute()}.isEmpty()"
        method = self.pick("contains", "containsAll", "containsAny")
        other = self.set_of(kind) if method != "contains" else getattr(self, kind)(depth)
        return f"{self.set_of(kind)}.{method}({other})"

    def equality(self, depth: int) -> str:
        sign = self.pick("==", "!=")
        match self.random.randrange(4):
            case 0:
                return f"({self.integer(depth)} {sign} {self.integer(depth)})"
            case 1:
                return f"({self.text(depth)} {sign} {self.text(depth)})"
            case 2:
                return f"({self.set_of('integer')} {sign} {self.set_of('integer')})"
        return f"({self.boolean(depth)} {sign} {self.boolean(depth)})"

    def party(self) -> str:
        party = self.pick("principal", "resource")
        listed = ", ".join(self.entity() for _ in range(self.random.randint(1, 3)))
        return self.pick(
            f"{party} {self.pick('==', '!=', 'in')} {self.entity()}",
            f"{party} in [{listed}]",
            f"{party} is {self.pick(*KINDS.values())}",
            f"{party} is {self.pick(*KINDS.values())} in {self.entity()}",
            f"principal {self.pick('==', 'in')} resource",
            f'action {self.pick("==", "!=")} Action::"{self.pick(*ACTIONS)}"',
            f'action in [Action::"{self.pick(*ACTIONS)}", Action::"{self.pick(*ACTIONS)}"]',
        )

    def boolean(self, depth: int) -> str:
        if depth == 0:
            return self.pick("true", "false", self.attribute(), self.has(), f"({self.party()})")
        depth -= 1
        match self.random.randrange(10):
            case 0:
                return f"({self.boolean(depth)} && {self.boolean(depth)})"
            case 1:
                return f"({self.boolean(depth)} || {self.boolean(depth)})"
            case 2:
                return f"(!{self.boolean(depth)})"
            case 3:
                return self.membership(depth)
            case 4:
                return self.equality(depth)
            case 5:
                sign = self.pick("<", "<=", ">", ">=")
                return f"({self.integer(depth)} {sign} {self.integer(depth)})"
            case 6:
                return f"({self.text(depth)} like {self.pattern()})"
            case 7:
                return self.conditional(depth, "boolean")
            case 8:
                return f"({self.party()})"
        return f"({self.has()} && {self.boolean(depth)})"

    def pattern(self) -> str:
        return '"' + self.random.choice(PATTERNS) + '"'

    def scope(self, party: str) -> str:
        kind = self.pick(*KINDS.values())
        return self.pick(
            party,
            party,
            f"{party} == {self.entity()}",
            f"{party} in {self.entity()}",
            f"{party} is {kind}",
            f"{party} is {kind} in {self.entity()}",
        )

    def rule(self) -> str:
        action = self.pick(
            "action",
            f'action == Action::"{self.pick(*ACTIONS)}"',
            f'action in [Action::"{self.pick(*ACTIONS)}", Action::"{self.pick(*ACTIONS)}"]',
        )
        head = f"({self.scope('principal')}, {action}, {self.scope('resource')})"
        clauses = ""
        for _ in range(self.random.randint(0, 2)):
            condition = self.boolean(self.random.randint(0, 3))
            clauses += f" {self.pick('when', 'when', 'unless')} {{ {condition} }}"
        return f"{self.pick('permit', 'permit', 'forbid')}{head}{clauses};"

    def policies(self) -> str:
        # Cedar has no way to ask for a decision about no rule: at least one.
        return "\n".join(self.rule() for _ in range(self.random.randint(1, 8)))

    def context(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            name.removeprefix("context."): self.random.choice(NUMBERS)
            for name in FACTS
            if name.startswith("context.")
        }
        said["task_class"] = self.random.choice(TEXTS)
        for name in ATTRIBUTES:
            if self.random.random() < 0.8:
                said[name] = self.value()
        return said

    def value(self) -> Any:
        pool: list[Any] = self.random.choice([NUMBERS, TEXTS])
        few = self.random.choices(pool, k=self.random.randint(0, 3))
        return self.random.choice(
            [
                self.random.choice(NUMBERS),
                self.random.choice(TEXTS),
                self.random.random() < 0.5,
                few,
            ]
        )


@dataclass
class Population:
    """Agents in a kernel, and the same as Cedar's entities."""

    kernel: hanse.Kernel
    ids: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, kind: str, parent: str | None, tier: int) -> None:
        above = self.kernel.root if parent is None else self.ids[parent]
        self.ids[name] = int(self.kernel.agents.add(name, kind=kind, parent=above))
        self.kinds[name], self.parents[name], self.tiers[name] = kind, parent, tier

    @property
    def names(self) -> list[tuple[str, str]]:
        return list(self.kinds.items())

    def uid(self, name: str) -> dict[str, str]:
        return {"type": KINDS[self.kinds[name]], "id": name}

    def depth(self, name: str) -> int:
        parent = self.parents[name]
        return 1 if parent is None else 1 + self.depth(parent)

    def entities(self) -> list[dict[str, Any]]:
        return [
            {
                "uid": self.uid(name),
                "attrs": {"depth": self.depth(name), "tier": self.tiers[name]},
                "parents": [self.uid(parent)] if parent else [],
            }
            for name, parent in self.parents.items()
        ]


def population(kernel: hanse.Kernel) -> Population:
    people = Population(kernel)
    people.add("north", "group", None, 1)
    people.add("south", "group", None, 2)
    people.add("team", "group", "north", 3)
    people.add("ada", "human", "team", 0)
    people.add("bot", "agent", "team", 2)
    people.add("bert", "agent", "south", 1)
    people.add("saw", "tool", "bot", 7)
    return people


@dataclass(frozen=True)
class Answer:
    allowed: bool
    error: bool
    rules: frozenset[int]  # that decided, or that failed


def hanse_answer(people: Population, request: dict[str, Any]) -> Answer:
    context = dict(request["context"])
    context["resource.tier"] = people.tiers[request["resource"]]
    context["principal.depth"] = people.depth(request["principal"])
    decision = people.kernel.policy.check(
        people.ids[request["principal"]],
        request["action"],
        people.ids[request["resource"]],
        context,
    )
    rules = frozenset(int(n) for name in decision.rules for n in re.findall(r"\d+", name))
    return Answer(decision.allowed, decision.error, rules)


def cedar_answers(people: Population, text: str, requests: list[dict[str, Any]]) -> list[Answer]:
    """An error in a rule skips it in Cedar and denies here: so an error is what is expected."""
    import cedarpy

    def uid(name: str) -> str:
        return f"{KINDS[people.kinds[name]]}::{quoted(name)}"

    asked = [
        {
            "principal": uid(request["principal"]),
            "action": f'Action::"{request["action"]}"',
            "resource": uid(request["resource"]),
            "context": request["context"],
        }
        for request in requests
    ]
    answers = []
    for result in cedarpy.is_authorized_batch(asked, text, people.entities()):
        failed = {
            int(n) for e in result.diagnostics.errors for n in re.findall(r"`policy(\d+)`", e)
        }
        if result.diagnostics.errors:
            answers.append(Answer(False, True, frozenset(failed)))
        else:
            fired = {int(name.removeprefix("policy")) for name in result.diagnostics.reasons}
            answers.append(Answer(result.allowed, False, frozenset(fired)))
    return answers


@dataclass
class Tally:
    requests: int = 0
    allowed: int = 0
    denied: int = 0
    errors: int = 0
    differences: list[str] = field(default_factory=list)


def load(kernel: hanse.Kernel, text: str) -> str:
    """Loads the rules, about the actions asked for alone where else the root were locked out."""
    try:
        kernel.policy.load(text + KEEP)
    except hanse.InvalidError as error:
        if error.name != "PolicyLockout":
            raise
        listed = ", ".join(f'Action::"{action}"' for action in ACTIONS)
        text = text.replace(", action, ", f", action in [{listed}], ")
        kernel.policy.load(text + KEEP)
    return text


def compare(people: Population, seed: int, count: int, tally: Tally) -> None:
    """One policy set and `count` requests, by both."""
    writer = Writer(seed, people.names)
    text = load(people.kernel, writer.policies())
    requests = []
    for _ in range(count):
        requests.append(
            {
                "principal": writer.random.choice(people.names)[0],
                "action": writer.random.choice(ACTIONS),
                "resource": writer.random.choice(people.names)[0],
                "context": writer.context(),
            }
        )
    for request, theirs in zip(requests, cedar_answers(people, text, requests), strict=True):
        ours = hanse_answer(people, request)
        tally.requests += 1
        tally.allowed += ours.allowed
        tally.denied += not ours.allowed
        tally.errors += ours.error
        # A decision names eight rules at most, and there are no more here.
        if ours != theirs:
            tally.differences.append(
                f"seed {seed}\n{text}\n{request}\nhanse {ours}\ncedar {theirs}"
            )


# Asked about by none of the requests: it keeps the root's right to load the next set.
KEEP = (
    '\n@id("keep") permit(principal, action in [Action::"load_policy", Action::"learn"], resource);'
)
