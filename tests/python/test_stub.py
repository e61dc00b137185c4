"""The stub of `_core` says what the module has. stubtest can't see pybind11's parameters, so they
are compared with the first line of each docstring, which pybind11 writes from the C++ signature.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from hanse import _core

STUB = Path(__file__).resolve().parents[2] / "src" / "python" / "hanse" / "_core.pyi"
# Types that both sides write in the same way.
PLAIN = {"int", "str", "bytes", "bool", "None", "float", "dict", "list", "tuple"}


def stubbed() -> dict[str, ast.FunctionDef]:
    """Functions and methods of the stub by their dotted name; the last overload wins."""
    found = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                # The buffer protocol has a name in Python from 3.12 on.
                if isinstance(item, ast.FunctionDef) and item.name != "__buffer__":
                    found[f"{node.name}.{item.name}"] = item
    return found


STUBBED = stubbed()


def at_run_time(name: str) -> Any:
    thing: Any = _core
    for part in name.split("."):
        thing = thing.__dict__[part] if isinstance(thing, type) else getattr(thing, part, None)
    return thing


def signature(doc: str) -> tuple[list[str], str] | None:
    """Parameters and result of pybind11's first line; None where there is none."""
    match = re.match(r"\w+\((.*)\) -> (.*)$", doc.split("\n", 1)[0])
    if match is None:
        return None
    flat = match[1]
    while (bare := re.sub(r"\[[^\[\]]*\]", "", flat)) != flat:
        flat = bare
    return [part.strip() for part in flat.split(",") if part.strip() not in ("", "*", "/")], match[
        2
    ]


def test_the_signature_reader_counts_parameters_not_commas() -> None:
    line = "f(self: K, a: tuple[int, dict[str, int]], *, b: object = None) -> list[int]\n\nWords."
    assert signature(line) == (["self: K", "a: tuple", "b: object = None"], "list[int]")
    assert signature("Words alone.") is None


def test_the_stub_names_everything_that_python_code_can_call() -> None:
    names = {name for name in vars(_core) if not name.startswith("_")}
    body = ast.parse(STUB.read_text()).body
    in_stub = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    in_stub |= {
        n.target.id for n in body if isinstance(n, ast.AnnAssign) and hasattr(n.target, "id")
    }
    assert names - in_stub == set()


@pytest.mark.parametrize("name", sorted(STUBBED))
def test_a_stub_has_the_parameters_and_the_result_of_the_module(name: str) -> None:
    node = STUBBED[name]
    thing = at_run_time(name)
    if isinstance(thing, property):
        thing = thing.fget
    assert thing is not None, f"{name} is in the stub alone"
    written = signature(getattr(thing, "__doc__", None) or "")
    if written is None:
        return  # METH_FASTCALL functions and slots: stubtest sees as much of them as there is
    parameters, result = written
    arguments = node.args
    count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
    count += arguments.vararg is not None
    assert len(parameters) == count, f"{name}: the module has {parameters}"
    want = ast.unparse(node.returns).split("[")[0] if node.returns else "None"
    if want in PLAIN and result.split("[")[0] in PLAIN:
        assert result.split("[")[0] == want
