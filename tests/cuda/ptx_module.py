"""Reads PTX: the kernels of a module as lists of instructions, labels and shared variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple


class Instruction(NamedTuple):
    guard: str
    negated: bool
    words: tuple[str, ...]  # "ld.global.v4.f32" split at its dots
    operands: tuple[str, ...]


@dataclass
class Kernel:
    name: str
    parameters: list[tuple[str, int]]  # name, bytes
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0


KERNEL = re.compile(r"(?:\.visible )?\.entry (\w+)\((.*?)\)(.*?)\n\{(.*?)\n\}", re.DOTALL)
PARAMETER = re.compile(
    r"\.param (?:\.align \d+ )?\.(\w+)(?: \.ptr(?: \.\w+)*(?: \.align \d+)?)? (\w+)(?:\[(\d+)\])?"
)
STATIC_SHARED = re.compile(r"\.shared (?:\.align (\d+) )?\.b8 (\w+)\[(\d+)\]")
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]\s][^,{}\[\]]*")


def size_of(kind: str) -> int:
    return 1 if kind == "pred" else int(re.sub(r"\D", "", kind)) // 8


def parse(text: str) -> dict[str, Kernel]:
    """The kernels of one module, by their mangled names."""
    text = re.sub(r"//[^\n]*", "", text)
    kernels = {}
    outside = re.findall(r"\.extern \.shared (?:\.align \d+ )?\.b8 (\w+)\[\]", text)
    globally = STATIC_SHARED.findall(text)
    for name, head, _, body in KERNEL.findall(text):
        kernel = Kernel(name, [])
        for kind, parameter, count in PARAMETER.findall(head):
            kernel.parameters.append((parameter, int(count) if count else size_of(kind)))
        for align, variable, size in globally:
            place_shared(kernel, variable, int(size), int(align or 1))
        for statement in body.split(";"):
            parse_statement(kernel, " ".join(statement.split()))
        for variable in outside:  # dynamic: behind everything else
            kernel.shared[variable] = (kernel.shared_bytes + 15) // 16 * 16
        kernels[name] = kernel
    return kernels


def place_shared(kernel: Kernel, name: str, size: int, align: int) -> None:
    if name in kernel.shared:
        return
    kernel.shared[name] = (kernel.shared_bytes + align - 1) // align * align
    kernel.shared_bytes = kernel.shared[name] + size


def parse_statement(kernel: Kernel, text: str) -> None:
    while True:
        text = text.lstrip("{} ") if not text.startswith(("{%", "[")) else text
        label = re.match(r"(\$\w+):\s*", text)
        if label is None:
            break
        kernel.labels[label[1]] = len(kernel.code)
        text = text[label.end() :]
    if found := STATIC_SHARED.match(text):
        place_shared(kernel, found[2], int(found[3]), int(found[1] or 1))
        return
    if not text or text.startswith("."):
        return
    guard, negated = "", False
    if found := re.match(r"@(!?)(%p\d+) ", text):
        guard, negated, text = found[2], found[1] == "!", text[found.end() :]
    operation, _, rest = text.partition(" ")
    operands = tuple(part.strip() for part in OPERAND.findall(rest))
    kernel.code.append(Instruction(guard, negated, tuple(operation.split(".")), operands))
