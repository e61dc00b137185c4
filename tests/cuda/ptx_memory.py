"""Memory of a device and its numbers, for the interpreter of PTX."""

from __future__ import annotations

import struct

SHARED = 1 << 40  # where shared memory lies among generic addresses
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


def float_of(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits & MASK32))[0])


def bits_of(value: float) -> int:
    try:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Memory:
    """Allocations far apart, so that no access reaches from one into the next."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, bytearray]] = []
        self._next = 1 << 20

    def add(self, data: bytes) -> int:
        """Its address."""
        address = self._next
        self._blocks.append((address, bytearray(data)))
        self._next = (address + len(data) + (1 << 16)) // 4096 * 4096
        return address

    def read_back(self, address: int) -> bytes:
        return bytes(next(block for begin, block in self._blocks if begin == address))

    def find(self, address: int, size: int) -> tuple[bytearray, int]:
        for begin, block in self._blocks:
            if begin <= address and address + size <= begin + len(block):
                return block, address - begin
        raise IndexError(f"{size} bytes at {address:#x} are outside of every allocation")
