"""A passport: who an agent is and what it earned, to be checked elsewhere without this kernel.

It holds the identity's history, the offers, the standing with the records of verdicts that prove it
(each with its inclusion proof, RFC 6962, under one root), the roles, and room for memory. The key
in force signs the SHA-256 of all of it as canonical JSON (sorted keys, no spaces).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from . import _core
from .identity import STEPS, Entry, Lineage, SigningKey, did_key, signed_by
from .journal import Proof
from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Passport", "Passports"]

FORMAT = "hanse/passport/1"
SIZE_MAX = 256 << 20
_MILLION = 1_000_000
_FIELDS = {
    "format", "identity", "head", "key", "name", "entries", "offers", "standings", "roles",
    "receipts", "root", "count", "memory",
}  # fmt: skip


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _entry_of(row: dict[str, str]) -> Entry:
    previous, signer, key = (bytes.fromhex(row[name]) for name in ("previous", "signer", "key"))
    if {len(previous), len(signer), len(key)} != {32} or row["step"] not in STEPS:
        raise ValueError("malformed entry")
    signature = bytes.fromhex(row["signature"])
    return Entry(row["step"], previous, signer, key, row["text"], signature)


@dataclass(frozen=True, slots=True)
class Passport:
    """Made by kernel.passports.export, or read from bytes. `fields` is what is signed."""

    fields: dict[str, Any]
    signature: bytes

    def __bytes__(self) -> bytes:
        return _canonical({"document": self.fields, "signature": self.signature.hex()})

    @property
    def digest(self) -> bytes:
        """SHA-256 of the document."""
        return sha256(_canonical(self.fields)).digest()

    @property
    def aid(self) -> str:
        """The identifier as hex."""
        return str(self.fields["identity"])

    @staticmethod
    def read(data: bytes) -> Passport:
        """Parses; verify() checks. Raises InvalidError (BrokenLineage: not a passport)."""
        if len(data) > SIZE_MAX:
            refuse("TooLarge", "passport", f"want at most {SIZE_MAX} bytes, have {len(data)}")
        try:
            outer = json.loads(data)
            fields, signature = outer["document"], bytes.fromhex(outer["signature"])
            if set(fields) != _FIELDS or fields["format"] != FORMAT:
                raise ValueError("fields")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            refuse("BrokenLineage", "passport", f"is not one: {error}")
        return Passport(fields, signature)

    def lineage(self) -> Lineage:
        """The identity's history. Raises InvalidError (BrokenLineage)."""
        try:
            entries = tuple(_entry_of(row) for row in self.fields["entries"])
            identity = bytes.fromhex(self.fields["identity"])
            head, key = bytes.fromhex(self.fields["head"]), bytes.fromhex(self.fields["key"])
            if {len(identity), len(head), len(key)} != {32}:
                raise ValueError("malformed key")
        except (ValueError, KeyError, TypeError) as error:
            refuse("BrokenLineage", "passport", f"its history is malformed: {error}")
        retired = sum(entry.step == "rotated" for entry in entries)
        return Lineage(identity, head, retired, key, False, entries)

    def verify(self) -> None:
        """Checks signature, history, every receipt and that they make the standing; offline.

        What it can't tell: whether the worker whom all receipts name is this agent, which only the
        kernel that wrote them knows, and whether rejections were left out. So it is worth as much
        as the kernel whose root stands in it; compare that with a signed checkpoint of it.

        Raises InvalidError (BrokenLineage with the index), DeniedError (KeyRetired with the epoch,
        BadSignature), StorageError (LogCorrupt: a receipt or the standing does not hold).
        """
        lineage = self.lineage()
        lineage.verify()
        assert lineage.key is not None
        self._check_key(lineage, lineage.key)
        if not signed_by(lineage.key, self.signature, self.digest):
            refuse("BadSignature", "signature", "of the passport does not verify")
        try:
            self._check_receipts()
        except (ValueError, KeyError, TypeError) as error:
            refuse("LogCorrupt", "receipts", f"malformed: {error}")

    @staticmethod
    def _check_key(lineage: Lineage, key: bytes) -> None:
        signers = [entry.signer for entry in lineage.entries if entry.step == "rotated"]
        if any(entry.step == "key_revoked" for entry in lineage.entries):
            refuse("KeyRetired", "key", f"epoch {lineage.epoch} ended by revocation")
        if key in signers:
            refuse("KeyRetired", "key", f"epoch {signers.index(key)}")
        rotated = [entry.key for entry in lineage.entries if entry.step == "rotated"]
        in_force = key == rotated[-1] if rotated else sha256(key).digest() == lineage.identity
        if not in_force:
            refuse("BadSignature", "key", "is not the one in force")

    def _check_receipts(self) -> None:
        verdicts: dict[str, list[int]] = {}
        seen: set[int] = set()
        workers: set[str] = set()
        root, count = self.fields["root"], self.fields["count"]
        for receipt in self.fields["receipts"]:
            events = {}
            for part in receipt["records"]:
                record = bytes.fromhex(part["record"])
                leaf = sha256(b"\x00" + record).hexdigest()
                path = tuple(part["path"])
                if not Proof(part["position"], count, leaf, path, root).verify():
                    refuse("LogCorrupt", "receipts", f"position {part['position']} is not proven")
                kind, _, _, event = _core.describe_record(record)
                events[kind] = event
                last = part["position"]
            if last in seen:
                refuse("LogCorrupt", "receipts", f"position {last} is there twice")
            seen.add(last)
            workers.add(self._count_verdict(events, verdicts))
        if len(workers) > 1:
            refuse("LogCorrupt", "receipts", f"are of {len(workers)} workers")
        claimed = {row[0]: [row[3], row[4]] for row in self.fields["standings"]}
        for task_class, (good, bad) in claimed.items():
            proven = verdicts.get(task_class, [0, 0])
            if good > proven[0] or bad < 0:
                refuse("LogCorrupt", "standings", f"{task_class}: {good} of {proven[0]} proven")
        for row in self.fields["standings"]:
            if row[1] > row[3] * _MILLION or row[2] > row[4] * _MILLION:
                refuse("LogCorrupt", "standings", f"{row[0]}: weighs more than its verdicts")

    @staticmethod
    def _count_verdict(events: dict[str, Any], verdicts: dict[str, list[int]]) -> str:
        """Adds it; returns the worker."""
        start = events.get("dispatched") or events.get("tasked") or events["tasked_unpaid"]
        went = events.get("escalated", start)
        judged = events.get("judged")
        if judged is None:
            good = events["task_verified"]["good"] == "1"
        else:
            good = judged["verdict"] == "0"
        verdicts.setdefault(start["task_class"], [0, 0])[0 if good else 1] += 1
        return str(went["worker"])


class Passports:
    """Of a kernel's agents, and of those that come."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def _part(self, position: int, count: int) -> dict[str, Any]:
        core = self._kernel._core
        return {
            "position": position,
            "record": core.record_bytes(position).hex(),
            "path": [digest.hex() for digest in core.prove(position, count)],
        }

    def _receipts(self, agent: int, count: int) -> list[dict[str, Any]]:
        kernel = self._kernel
        receipts = []
        for task, first, started, judged, _ in kernel._core.judged(kernel._acting(), agent):
            positions = [started, judged]
            if not first:
                positions.insert(0, kernel.tasks.get(task).dispatched_at)
            receipts.append({"records": [self._part(at, count) for at in positions]})
        return receipts

    def export(self, agent: int, *, key: SigningKey) -> Passport:
        """key: the one in force, which signs. The journal must be in a directory.

        Raises DeniedError (KeyRetired, BadSignature), NotFoundError (no identity, or the records
        are in memory only).
        """
        kernel = self._kernel
        kernel.flush()
        lineage = kernel.agents.lineage(agent)
        count = kernel.journal.count
        standings = kernel.reputation.all_of(agent)
        fields = {
            "format": FORMAT,
            "identity": lineage.aid,
            "head": lineage.head.hex(),
            "key": key.public.hex(),
            "name": kernel.agents.get(agent).name,
            "entries": [
                {
                    "step": entry.step,
                    "previous": entry.previous.hex(),
                    "signer": entry.signer.hex(),
                    "key": entry.key.hex(),
                    "text": entry.text,
                    "signature": entry.signature.hex(),
                }
                for entry in lineage.entries
            ],
            "offers": kernel._core.offers_of(agent),
            "standings": [
                [name, of.success, of.failure, of.accepted, of.rejected, of.at_ns]
                for name, of in standings.items()
            ],
            "roles": kernel.reputation.roles_of(agent),
            "receipts": self._receipts(agent, count),
            "root": kernel.journal.root_at(count),
            "count": count,
            "memory": [],
        }
        passport = Passport(fields, b"")
        Passport._check_key(passport.lineage(), key.public)
        return Passport(fields, key.sign(passport.digest))

    def admit(self, passport: Passport | bytes, *, parent: int | None = None) -> int:
        """Verifies a passport and takes its agent in: identity, history and standing.

        Returns its id here: a new agent below `parent` (None: who acts), or the one that came
        before with this identity. Raises as Passport.verify, and ConflictError (IdentityFork, with
        both heads: its history here and in the passport have parted).
        """
        known = Passport.read(passport) if isinstance(passport, bytes) else passport
        known.verify()
        lineage = known.lineage()
        entries = [
            (STEPS.index(e.step), e.previous, e.signer, e.key, e.text, e.signature)
            for e in lineage.entries
        ]
        kernel = self._kernel
        return kernel._core.admit(
            kernel._acting(),
            parent,
            str(known.fields["name"]),
            lineage.identity,
            bytes.fromhex(known.fields["root"]),
            known.digest,
            entries,
            [tuple(row) for row in known.fields["standings"]],
        )


def explain(kernel: Kernel, agent: int) -> str:
    """Lineage, roles, spend and standing of an agent in words, with the events that say so."""
    info = kernel.agents.get(agent)
    lines = [f"{info.name or f'#{agent}'} ({info.kind}, id {agent}), below {info.parent}"]
    lines.append(
        f"  delegated: permissions {info.permissions:#x}, at most {info.budget_max} a dispatch"
        + ("" if info.live else ", paused" if info.paused else ", revoked")
    )
    if info.identity is not None:
        lineage = kernel.agents.lineage(agent)
        key = "none in force" if lineage.key is None else did_key(lineage.key)
        lines.append(f"  identity {lineage.aid}, epoch {lineage.epoch}, key {key}")
        for entry in lineage.entries:
            lines.append(f"    {entry.step} {entry.text}(event {entry.position})")
    lines.append(f"  roles: {', '.join(kernel.reputation.roles_of(agent)) or 'none'}")
    spend, earned = kernel.tasks.cost(team=agent), kernel.tasks.cost(agent=agent)
    lines.append(f"  spent {spend.spend} on {spend.tasks} tasks, {spend.accepted} accepted")
    lines.append(f"  worked on {earned.attempts} attempts, {earned.accepted} accepted")
    judged = kernel._core.judged(kernel._acting(), agent)
    for name, of in kernel.reputation.all_of(agent).items():
        lines.append(f"  {name}: {of.mean:.4f} after {of.accepted} good and {of.rejected} bad")
    if judged:
        events = ", ".join(str(row[3]) for row in judged[-8:])
        lines.append(f"    last verdicts: events {events}")
    return "\n".join(lines)
