"""A small interpreter of PTX, so that what nvcc really wrote runs somewhere: the inline assembly as
it is, the address arithmetic of the front end, the alignment of vector accesses.

Threads run one after another between barriers. Every access must lie within one allocation and
be aligned; shared memory begins as 0xff. It knows the instructions that the kernels use and raises
NotImplementedError for any other. Rounding of float32 is IEEE's, by way of double.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator

from ptx_memory import MASK32, MASK64, SHARED, Memory, bits_of, float_of, signed
from ptx_module import Kernel, size_of

Wait = tuple[str, int]  # what a thread waits for: "block", "warp" or "order", and for which lanes


class Block:
    """One block of threads and its shared memory."""

    def __init__(
        self, kernel: Kernel, memory: Memory, parameters: bytes, shape: dict[str, int], dynamic: int
    ) -> None:
        self.kernel, self.memory, self.shape = kernel, memory, shape
        self.size = shape["%ntid.x"]
        base = (kernel.shared_bytes + 15) // 16 * 16 if dynamic else kernel.shared_bytes
        self.shared = bytearray(b"\xff" * (base + dynamic))
        self.parameters = bytearray(parameters)
        self.offsets, at = {}, 0
        for name, size in kernel.parameters:
            align = min(size, 8) if size in (1, 2, 4, 8) else 8
            at = (at + align - 1) // align * align
            self.offsets[name] = at
            at += size
        self.left: list[dict[int, object]] = [{} for _ in range((self.size + 31) // 32)]

    def run(self) -> None:
        threads = {i: Thread(self, i).steps() for i in range(self.size)}
        waiting: dict[int, Wait] = {}
        while threads:
            for i in [i for i in threads if i not in waiting]:
                try:
                    waiting[i] = next(threads[i])
                except StopIteration:
                    del threads[i]
            freed = self.release(threads, waiting)
            if threads and not freed:
                raise RuntimeError(f"{self.kernel.name}: threads wait for one another: {waiting}")

    def release(self, threads: dict[int, object], waiting: dict[int, Wait]) -> bool:
        freed = False
        for warp in range((self.size + 31) // 32):
            lanes = [i for i in threads if i // 32 == warp]
            if lanes and all(waiting.get(i, ("", 0))[0] == "warp" for i in lanes):
                for i in lanes:
                    del waiting[i]
                freed = True
        if threads and all(waiting.get(i, ("", 0))[0] == "block" for i in threads):
            waiting.clear()
            freed = True
        return freed


class Thread:
    """One thread: registers and the instructions on them."""

    def __init__(self, block: Block, index: int) -> None:
        self.block, self.lane, self.warp = block, index % 32, index // 32
        self.registers: dict[str, int] = {
            "%tid.x": index, "%tid.y": 0, "%tid.z": 0, "%laneid": index % 32, **block.shape,
        }  # fmt: skip
        self.place = 0
        self.exchanges = 0
        self.copies: list[list[tuple[int, int, int]]] = [[]]  # groups; the last one is open

    # --- operands

    def value(self, text: str) -> int:
        if text[0] == "%":
            return self.registers[text]
        if text[:2] in ("0f", "0F"):
            return int(text[2:], 16)
        if text in self.block.kernel.shared:
            return self.block.kernel.shared[text]
        if text in self.block.offsets:  # the address of a parameter, within its own space
            return self.block.offsets[text]
        return int(text.rstrip("U"), 0)

    def typed(self, text: str, kind: str) -> int:
        if kind == "pred":
            return self.value(text) & 1
        bits = size_of(kind) * 8
        return (
            signed(self.value(text), bits)
            if kind[0] == "s"
            else self.value(text) & ((1 << bits) - 1)
        )

    def number(self, text: str) -> float:
        return float_of(self.value(text))

    def registers_of(self, text: str) -> list[str]:
        return [part.strip() for part in text.strip("{}").split(",")]

    def address(self, text: str) -> tuple[str, int]:
        found = re.match(r"\[([%$\w.]+)\s*(?:\+\s*(-?\d+))?\]", text)
        assert found, text
        return found[1], int(found[2] or 0)

    def locate(self, space: str, text: str, size: int) -> tuple[bytearray, int]:
        base, offset = self.address(text)
        at = self.value(base) + offset
        if at % size:
            raise IndexError(f"{size} bytes at {at:#x}: misaligned")
        if space != "shared" and at < SHARED:
            return self.block.memory.find(at, size)
        if at >= SHARED:
            at -= SHARED
        if at < 0 or at + size > len(self.block.shared):
            raise IndexError(f"{size} bytes at {at:#x} are outside of shared memory")
        return self.block.shared, at

    # --- instructions

    def steps(self) -> Generator[Wait, None, None]:
        code = self.block.kernel.code
        while True:
            guard, negated, words, operands = code[self.place]
            self.place += 1
            if guard and bool(self.registers[guard]) == negated:
                continue
            name = words[0]
            if name in ("ret", "exit"):
                return
            if name == "bra":
                self.place = self.block.kernel.labels[operands[0]]
            elif name in ("bar", "barrier"):
                yield ("warp" if words[1] == "warp" else "block", MASK32)
            elif name in ("shfl", "vote", "mma"):
                yield from getattr(self, f"do_{name}")(words, operands)
            else:
                method = getattr(self, f"do_{name}", None)
                if method is None:
                    raise NotImplementedError(".".join(words))
                method(words, operands)

    def put(self, text: str, value: int, kind: str) -> None:
        self.registers[text] = value & (1 if kind == "pred" else (1 << size_of(kind) * 8) - 1)

    def do_ld(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        kind, space = words[-1], words[1]
        count = next((int(word[1]) for word in words if word in ("v2", "v4")), 1)
        size = size_of(kind)
        if space == "param":
            base, offset = self.address(operands[1])
            buffer, at = self.block.parameters, self.value(base) + offset
            if at < 0 or at % (size * count) or at + size * count > len(buffer):
                raise IndexError(f"{size * count} bytes at {at:#x} of the parameters")
        else:
            buffer, at = self.locate(space, operands[1], size * count)
        for i, register in enumerate(self.registers_of(operands[0])):
            raw = int.from_bytes(buffer[at + i * size : at + (i + 1) * size], "little")
            self.registers[register] = signed(raw, size * 8) & MASK64 if kind[0] == "s" else raw

    def do_st(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        kind, size = words[-1], size_of(words[-1])
        count = next((int(word[1]) for word in words if word in ("v2", "v4")), 1)
        buffer, at = self.locate(words[1], operands[0], size * count)
        for i, source in enumerate(self.registers_of(operands[1])):
            raw = self.typed(source, kind) & ((1 << size * 8) - 1)
            buffer[at + i * size : at + (i + 1) * size] = raw.to_bytes(size, "little")

    def do_mov(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        to, source = operands
        if to[0] == "{":
            parts = self.registers_of(to)
            bits = size_of(words[-1]) * 8 // len(parts)
            for i, part in enumerate(parts):
                self.registers[part] = self.value(source) >> (i * bits) & ((1 << bits) - 1)
        elif source[0] == "{":
            parts = self.registers_of(source)
            bits = size_of(words[-1]) * 8 // len(parts)
            self.registers[to] = sum(
                (self.value(part) & ((1 << bits) - 1)) << (i * bits) for i, part in enumerate(parts)
            )
        else:
            self.put(to, self.value(source), words[-1])

    def do_cvta(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        value = self.value(operands[1])
        if "shared" in words:
            value = value - SHARED if "to" in words else value + SHARED
        self.registers[operands[0]] = value & MASK64

    def do_cvt(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        to, kind = words[-2], words[-1]
        if kind == "f32":
            number = self.number(operands[1])
            if "rni" in words:
                number = float(round(number)) if math.isfinite(number) else number
            if to == "f32":
                self.registers[operands[0]] = bits_of(number)
                return
            assert "rzi" in words or "rni" in words, words
            bits = size_of(to) * 8
            low, high = (
                (-(1 << bits - 1), (1 << bits - 1) - 1) if to[0] == "s" else (0, (1 << bits) - 1)
            )
            whole = 0 if math.isnan(number) else int(max(min(number, float(high)), float(low)))
            self.put(operands[0], max(min(whole, high), low), to)
        elif to == "f32":
            self.registers[operands[0]] = bits_of(float(self.typed(operands[1], kind)))
        else:
            self.put(operands[0], self.typed(operands[1], kind), to)

    def arithmetic(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        name, kind = words[0], words[-1]
        if kind == "f32":
            x, y, *z = (self.number(text) for text in operands[1:])
            self.registers[operands[0]] = bits_of(float_result(name, x, y, z))
            return
        x, y = (self.typed(text, kind) for text in operands[1:3])
        result = {"add": x + y, "sub": x - y, "min": min(x, y), "max": max(x, y)}.get(name)
        if name in ("mul", "mad"):
            result = x * y
            if "hi" in words:
                result >>= size_of(kind) * 8
            if name == "mad":
                result += self.value(operands[3])
            if "wide" in words:
                kind = kind[0] + str(size_of(kind) * 16)
        elif name in ("div", "rem"):
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            result = quotient if name == "div" else x - quotient * y
        assert result is not None, words
        self.put(operands[0], result, kind)

    do_add = do_sub = do_mul = do_mad = do_div = do_rem = do_min = do_max = do_fma = arithmetic

    def bitwise(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        x, y = self.value(operands[1]), self.value(operands[2])
        result = {"and": x & y, "or": x | y, "xor": x ^ y}[words[0]]
        self.put(operands[0], result, words[-1])

    do_and = do_or = do_xor = bitwise

    def do_not(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        self.put(operands[0], ~self.value(operands[1]), words[-1])

    def do_shl(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        self.put(
            operands[0], self.value(operands[1]) << min(self.value(operands[2]), 64), words[-1]
        )

    def do_shr(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        by = min(self.value(operands[2]), 64)
        self.put(operands[0], self.typed(operands[1], words[-1]) >> by, words[-1])

    def do_shf(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        low, high, by = (self.value(text) for text in operands[1:])
        both = (high & MASK32) << 32 | low & MASK32
        by = by & 31 if "wrap" in words else min(by, 32)
        self.put(operands[0], both << by >> 32 if "l" in words else both >> by, "b32")

    def do_selp(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        self.put(operands[0], self.value(operands[1 if self.value(operands[3]) else 2]), words[-1])

    def do_setp(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        kind, test = words[-1], words[1]
        if kind == "f32":
            x, y = self.number(operands[1]), self.number(operands[2])
            unordered = math.isnan(x) or math.isnan(y)
        else:
            x, y = self.typed(operands[1], kind), self.typed(operands[2], kind)
            unordered = False
        plain = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(test, test)
        if plain == "nan":
            result = unordered
        elif plain == "num":
            result = not unordered
        else:
            if unordered or (len(plain) == 3):
                otherwise, plain = len(plain) == 3, plain[:2]
                result = otherwise if unordered else compare(plain, x, y)
            else:
                result = compare(plain, x, y)
        if len(operands) == 4:  # combined with another predicate
            other = bool(self.value(operands[3].lstrip("!"))) != operands[3].startswith("!")
            result = {"and": result and other, "or": result or other, "xor": result != other}[
                words[2]
            ]
        self.registers[operands[0]] = int(result)

    def unary(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        name, kind = words[0], words[-1]
        value = self.value(operands[1])
        if kind == "f32":
            number = float_of(value)
            value = {
                "abs": value & 0x7FFFFFFF,
                "neg": value ^ 0x80000000,
                "sqrt": bits_of(math.sqrt(number)) if name == "sqrt" else 0,
            }[name]
        else:
            bits = size_of(kind) * 8
            value &= (1 << bits) - 1
            text = f"{value:0{bits}b}"
            value = {
                "abs": abs(signed(value, bits)),
                "neg": -value,
                "popc": text.count("1"),
                "brev": int(text[::-1], 2),
                "clz": bits - value.bit_length(),
            }[name]
        self.registers[operands[0]] = value & MASK64 if kind[-2:] == "64" else value & MASK32

    do_abs = do_neg = do_popc = do_brev = do_clz = do_sqrt = unary

    def do_bfind(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        value = self.typed(operands[1], words[-1])
        place = value.bit_length() - 1
        if "shiftamt" in words and value:
            place = size_of(words[-1]) * 8 - 1 - place
        self.registers[operands[0]] = place & MASK32

    def do_bfe(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        value, first, count = (self.value(text) for text in operands[1:])
        taken = value >> (first & 255) & ((1 << (count & 255)) - 1)
        self.put(operands[0], signed(taken, count) if words[-1][0] == "s" else taken, words[-1])

    def do_bfi(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        part, into, first, count = (self.value(text) for text in operands[1:])
        mask = ((1 << count) - 1) << first
        self.put(operands[0], into & ~mask | part << first & mask, words[-1])

    def do_prmt(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        low, high, selector = (self.value(text) & MASK32 for text in operands[1:])
        raw = (high << 32 | low).to_bytes(8, "little")
        out = 0
        for i in range(4):
            choice = selector >> 4 * i & 15
            byte = raw[choice & 7]
            out |= ((0xFF if byte >> 7 else 0) if choice & 8 else byte) << 8 * i
        self.registers[operands[0]] = out

    def do_lop3(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        a, b, c, table = (self.value(text) for text in operands[1:5])
        out = 0
        for bit in range(32):
            row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1
            out |= (table >> row & 1) << bit
        self.registers[operands[0]] = out

    def do_atom(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        kind, size = words[-1], size_of(words[-1])
        assert "add" in words, words
        assert kind[0] == "u", words
        *to, place, amount = operands
        space = "shared" if "shared" in words else "global"
        buffer, at = self.locate(space, place, size)
        before = int.from_bytes(buffer[at : at + size], "little")
        after = (before + self.value(amount)) & ((1 << size * 8) - 1)
        buffer[at : at + size] = after.to_bytes(size, "little")
        if to:
            self.registers[to[0]] = before

    do_red = do_atom

    def do_cp(self, words: tuple[str, ...], operands: tuple[str, ...]) -> None:
        assert words[1] == "async", words
        if "commit_group" in words:
            self.copies.append([])
        elif "wait_group" in words:
            keep = int(operands[0]) + 1  # the open group is not counted
            while len(self.copies) > keep:
                for to, source, size in self.copies.pop(0):
                    data = b""
                    if size:
                        block, at = self.block.memory.find(source, size)
                        data = bytes(block[at : at + size])
                    self.block.shared[to : to + 16] = data.ljust(16, b"\0")
        else:
            _, to = self.locate("shared", operands[0], 16)
            base, offset = self.address(operands[1])
            source = self.value(base) + offset
            size = self.value(operands[3])
            if size:
                self.block.memory.find(source, size)
            self.block.shared[to : to + 16] = b"\xff" * 16
            self.copies[-1].append((to, source, size))

    # --- what the lanes of a warp do together

    def exchange(self, mine: object) -> Generator[Wait, None, dict[int, object]]:
        self.exchanges += 1
        slot = self.block.left[self.warp]
        key = self.exchanges * 64
        slot[key + self.lane] = mine
        yield ("warp", MASK32)
        return {lane: slot[key + lane] for lane in range(32) if key + lane in slot}

    def do_shfl(
        self, words: tuple[str, ...], operands: tuple[str, ...]
    ) -> Generator[Wait, None, None]:
        to, _, in_range = operands[0].partition("|")
        value, by = self.value(operands[1]), self.value(operands[2])
        everyone = yield from self.exchange(value)
        source = {"bfly": self.lane ^ by, "idx": by & 31}[words[2]]
        self.registers[to.strip()] = int(everyone[source])  # type: ignore[call-overload]
        if in_range:
            self.registers[in_range.strip()] = 1

    def do_vote(
        self, words: tuple[str, ...], operands: tuple[str, ...]
    ) -> Generator[Wait, None, None]:
        assert "ballot" in words, words
        text = operands[1]
        mine = bool(self.value(text.lstrip("!"))) != text.startswith("!")
        everyone = yield from self.exchange(mine)
        self.registers[operands[0]] = sum(1 << lane for lane, vote in everyone.items() if vote)

    def do_mma(
        self, words: tuple[str, ...], operands: tuple[str, ...]
    ) -> Generator[Wait, None, None]:
        halves = "bf16" in words
        a = [self.value(part) for part in self.registers_of(operands[1])]
        b = [self.value(part) for part in self.registers_of(operands[2])]
        everyone = yield from self.exchange((a, b))
        sums = self.registers_of(operands[3])
        for i, to in enumerate(self.registers_of(operands[0])):
            row, column = self.lane // 4 + i // 2 * 8, self.lane % 4 * 2 + i % 2
            products = zip(
                elements(everyone, 0, row, halves), elements(everyone, 1, column, halves),
                strict=True,
            )  # fmt: skip
            start = self.number(sums[i]) if halves else signed(self.value(sums[i]), 32)
            total = start + sum(x * y for x, y in products)
            self.registers[to] = bits_of(total) if halves else int(total) & MASK32


def elements(everyone: dict[int, object], operand: int, row: int, halves: bool) -> Iterator[float]:
    """One row of a factor out of the fragments of all lanes, by the PTX ISA."""
    for byte in range(0, 32, 2 if halves else 1):
        lane = row % 8 * 4 + byte % 16 // 4
        word = byte // 16 * 2 + row // 8 if operand == 0 else byte // 16
        bits = everyone[lane][operand][word] >> byte % 4 * 8  # type: ignore[index]
        yield float_of(bits << 16) if halves else signed(bits, 8)


def float_result(name: str, x: float, y: float, z: list[float]) -> float:
    if name in ("min", "max"):
        if math.isnan(x) or math.isnan(y):
            return y if math.isnan(x) else x
        return min(x, y) if name == "min" else max(x, y)
    if name == "div":
        return x / y if y else math.copysign(math.inf, x) if x else math.nan
    return {"add": x + y, "sub": x - y, "mul": x * y, "fma": x * y + (z[0] if z else 0)}[name]


def compare(test: str, x: float, y: float) -> bool:
    return {
        "eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y,
    }[test]  # fmt: skip


def launch(
    kernel: Kernel,
    memory: Memory,
    parameters: bytes,
    grid: tuple[int, int],
    block: int,
    dynamic_shared_bytes: int = 0,
) -> None:
    """Runs every block, one after another. `parameters`: as CUDA lays them."""
    for y in range(grid[1]):
        for x in range(grid[0]):
            shape = {
                "%ctaid.x": x, "%ctaid.y": y, "%ctaid.z": 0, "%ntid.x": block, "%ntid.y": 1,
                "%nctaid.x": grid[0], "%nctaid.y": grid[1],
            }  # fmt: skip
            Block(kernel, memory, parameters, shape, dynamic_shared_bytes).run()
