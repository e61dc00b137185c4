"""Cedar's JSON form of policies as the text that a kernel loads.

The form is Cedar's "JSON policy format", as `policies_to_json_str` of cedarpy writes it. What
hanse's rules don't know (templates, records, extension functions) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from .reasons import refuse

__all__ = ["text_of_json"]

_BETWEEN = {"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "&&", "||", "in"}
_METHODS = {"contains", "containsAll", "containsAny"}
_NESTING_MAX = 64
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _refuse(what: str) -> NoReturn:
    refuse("PolicyCompileError", "policy", f"line 1, column 1: expected Cedar's JSON, got {what}")


def _quoted(text: object) -> str:
    if not isinstance(text, str):
        _refuse(f"{text!r} where a string belongs")
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


def _entity(entity: Any) -> str:
    try:
        return f"{entity['type']}::{_quoted(entity['id'])}"
    except (TypeError, KeyError):
        _refuse(f"{entity!r} where an entity belongs")


def _scope(party: str, scope: Any) -> str:
    match scope:
        case {"op": "All"}:
            return party
        case {"op": "==" | "in" as sign, "entity": entity}:
            return f"{party} {sign} {_entity(entity)}"
        case {"op": "in", "entities": list() as entities}:
            return f"{party} in [{', '.join(_entity(entity) for entity in entities)}]"
        case {"op": "is", "entity_type": str() as kind, "in": {"entity": entity}}:
            return f"{party} is {kind} in {_entity(entity)}"
        case {"op": "is", "entity_type": str() as kind}:
            return f"{party} is {kind}"
    _refuse(f"{scope!r} as the scope of {party}")


def _pattern(parts: Any) -> str:
    written = ""
    for part in parts:
        match part:
            case "Wildcard":
                written += "*"
            case {"Literal": str() as text}:
                written += _quoted(text)[1:-1].replace("*", "\\*")
            case _:
                _refuse(f"{part!r} in a pattern")
    return f'"{written}"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, Mapping) and "__entity" in value:
        return _entity(value["__entity"])
    return _quoted(value)


def _within(left: str, body: Mapping[str, Any], depth: int) -> str:
    test = f"{left} is {body['entity_type']}"
    return f"({test} in {_expression(body['in'], depth)})" if "in" in body else f"({test})"


def _expression(node: Any, depth: int = 0) -> str:
    if depth > _NESTING_MAX:
        _refuse(f"more than {_NESTING_MAX} levels of nesting")
    if not isinstance(node, Mapping) or len(node) != 1:
        _refuse(f"{node!r} where an expression belongs")
    [(kind, body)] = node.items()

    def inner(name: str) -> str:
        if not isinstance(body, Mapping) or name not in body:
            _refuse(f"{kind!r} without {name!r}")
        return _expression(body[name], depth + 1)

    if kind == "Value":
        return _value(body)
    if kind == "Var":
        return str(body)
    if kind == "Set":
        return f"[{', '.join(_expression(one, depth + 1) for one in body)}]"
    if kind in _BETWEEN:
        return f"({inner('left')} {kind} {inner('right')})"
    if kind in _METHODS:
        return f"{inner('left')}.{kind}({inner('right')})"
    if kind == "if-then-else":
        return f"(if {inner('if')} then {inner('then')} else {inner('else')})"
    match kind:
        case "!":
            return f"(!{inner('arg')})"
        case "neg":
            return f"(-({inner('arg')}))"
        case "isEmpty":
            return f"{inner('arg')}.isEmpty()"
        case ".":
            return f"{inner('left')}[{_quoted(body.get('attr'))}]"
        case "has":
            return f"({inner('left')} has {_quoted(body.get('attr'))})"
        case "like":
            return f"({inner('left')} like {_pattern(body.get('pattern', ()))})"
        case "is":
            return _within(inner("left"), body, depth + 1)
    _refuse(f"{kind!r}, which hanse's rules don't know")


def _policy(name: str, policy: Any) -> str:
    if not isinstance(policy, Mapping):
        _refuse(f"{policy!r} where a policy belongs")
    written = {"id": name, **policy.get("annotations", {})}
    lines = [f"@{key}({_quoted(value)})" for key, value in written.items()]
    effect = policy.get("effect")
    if effect not in ("permit", "forbid"):
        _refuse(f"{effect!r} as an effect")
    scopes = [_scope(party, policy.get(party)) for party in ("principal", "action", "resource")]
    lines.append(f"{effect}({', '.join(scopes)})")
    for condition in policy.get("conditions", ()):
        match condition:
            case {"kind": "when" | "unless" as kind, "body": body}:
                lines.append(f"{kind} {{ {_expression(body)} }}")
            case _:
                _refuse(f"{condition!r} as a condition")
    return "\n".join(lines) + ";"


def text_of_json(policies: str | Mapping[str, Any]) -> str:
    """The rules of Cedar's JSON form as text.

    policies: {"staticPolicies": {"policy0": {…}}}, or its text. A policy is named by its @id, else
    by its key. Raises InvalidError (PolicyCompileError).
    """
    if isinstance(policies, str):
        try:
            policies = json.loads(policies)
        except ValueError as error:
            _refuse(str(error))
    if not isinstance(policies, Mapping) or "staticPolicies" not in policies:
        _refuse("no staticPolicies")
    if policies.get("templates") or policies.get("templateLinks"):
        _refuse("templates, which hanse's rules don't know")
    return "\n".join(_policy(name, one) for name, one in policies["staticPolicies"].items())
