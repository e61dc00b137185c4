"""Signed checkpoints: what an outsider keeps, so that no one can rewrite the journal unnoticed.

A checkpoint is a signed note after C2SP tlog-checkpoint (c2sp.org/tlog-checkpoint) and signed-note
(c2sp.org/signed-note): origin, number of records, Merkle root, then Ed25519 signatures. Any
verifier of such notes reads it. Signing and verifying need the extra `sign` (cryptography), which
is imported when it is used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn

from .identity import SigningKey
from .journal import Proof
from .reasons import refuse

__all__ = [
    "Checkpoint",
    "NoteKey",
    "verify_checkpoint",
    "verify_consistency",
    "verify_receipt",
    "write_checkpoint",
]

ED25519 = 1
# A note is a few hundred bytes; nobody's note needs more than this.
NOTE_SIZE_MAX = 1 << 16
SIGNATURES_MAX = 64
NAME_SIZE_MAX = 255
_DASH = "\u2014 "


def _invalid(detail: str) -> NoReturn:
    refuse("LogCorrupt", "checkpoint", detail)


def _check_name(name: str) -> None:
    """Non-empty, without space or plus: signed-note, section Format."""
    if not isinstance(name, str):
        refuse("WrongType", "name", f"want a str, have a {type(name).__name__}")
    blank = any(letter.isspace() or not letter.isprintable() for letter in name)
    if not name or "+" in name or blank or len(name.encode()) > NAME_SIZE_MAX:
        refuse("OutOfRange", "name", "want 1 to 255 bytes without spaces and without a plus")


def _key_hash(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([ED25519]) + public).digest()[:4]


def _from_base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _invalid(f"{what} is not base64")


class NoteKey:
    """An Ed25519 key with the name under which it signs; the name is the checkpoint's origin."""

    __slots__ = ("_key", "name", "public_key")

    def __init__(self, name: str, private: bytes) -> None:
        """private: the 32 bytes of the seed (RFC 8032). Raises InvalidError."""
        _check_name(name)
        if not isinstance(private, bytes):
            refuse("WrongType", "private", f"want bytes, have a {type(private).__name__}")
        if len(private) != 32:
            refuse("OutOfRange", "private", f"want 32 bytes, have {len(private)}")
        self.name = name
        self._key = SigningKey(private)
        raw = self._key.public
        encoded = base64.b64encode(bytes([ED25519]) + raw).decode()
        #: As verifiers take it: name+hash+key, C2SP signed-note.
        self.public_key = f"{name}+{_key_hash(name, raw).hex()}+{encoded}"

    @classmethod
    def generate(cls, name: str) -> NoteKey:
        """A new key from the system's entropy."""
        import os

        return cls(name, os.urandom(32))

    def sign(self, text: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(text)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That a log called `origin` had `count` records with this root, as hex. extensions: further
    lines of the note, which only their signers understand."""

    origin: str
    count: int
    root: str
    extensions: tuple[str, ...] = ()


def write_checkpoint(
    key: NoteKey, count: int, root: str, *, cosigners: Sequence[NoteKey] = ()
) -> str:
    """The signed note of a log named as `key` is. cosigners sign the same text."""
    text = f"{key.name}\n{count}\n{base64.b64encode(bytes.fromhex(root)).decode()}\n"
    lines = [text, "\n"]
    for signer in (key, *cosigners):
        _, public = _parse_verifier(signer.public_key)
        signature = _key_hash(signer.name, public) + signer.sign(text.encode())
        lines.append(f"{_DASH}{signer.name} {base64.b64encode(signature).decode()}\n")
    return "".join(lines)


def _parse_verifier(public_key: str) -> tuple[str, bytes]:
    """Name and raw key of name+hash+key."""
    if not isinstance(public_key, str):
        refuse("WrongType", "public_key", f"want a str, have a {type(public_key).__name__}")
    parts = public_key.split("+", 2)
    if len(parts) != 3:
        refuse("OutOfRange", "public_key", "want name+hash+key")
    name, digest, encoded = parts
    _check_name(name)
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 33 or raw[0] != ED25519:
        refuse("OutOfRange", "public_key", "is not an Ed25519 key")
    if digest != _key_hash(name, raw[1:]).hex():
        refuse("OutOfRange", "public_key", "its hash is not that of its name and key")
    return name, raw[1:]


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text, and who signed it how. Refuses what is no note."""
    if not isinstance(note, str):
        refuse("WrongType", "checkpoint", f"want a str, have a {type(note).__name__}")
    if len(note.encode(errors="replace")) > NOTE_SIZE_MAX:
        _invalid(f"is longer than {NOTE_SIZE_MAX} bytes")
    if any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        _invalid("holds a control character")
    text, blank, signed = note.rpartition("\n\n")
    if not blank or not signed.endswith("\n"):
        _invalid("has no signatures")
    lines = signed[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        _invalid(f"has more than {SIGNATURES_MAX} signatures")
    signatures = []
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not name or not space or "+" in name:
            _invalid("a signature line is malformed")
        signature = _from_base64(encoded, "a signature")
        if len(signature) < 5:
            _invalid("a signature is too short")
        signatures.append((name, signature))
    return text + "\n", signatures


def _parse_text(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        _invalid("want origin, count and root")
    origin, count, root, *extensions = lines
    canonical = count.isascii() and count.isdigit() and (count == "0" or count[0] != "0")
    if not origin or not canonical or len(count) > 20 or int(count) >= 1 << 64:
        _invalid("origin or count is malformed")
    digest = _from_base64(root, "the root")
    if len(digest) != 32:
        _invalid("the root is not 32 bytes")
    if any(not line for line in extensions):
        _invalid("an extension line is empty")
    return Checkpoint(origin, int(count), digest.hex(), tuple(extensions))


def verify_checkpoint(text: str, public_key: str, *, origin: str | None = None) -> Checkpoint:
    """Reads a checkpoint that `public_key` (name+hash+key) has signed.

    Signatures of others are passed over, as the standard says; one of this key that doesn't hold
    refuses the note. origin: what the log must be called; None: as the key. Raises StorageError
    (LogCorrupt), InvalidError where the key itself is malformed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, raw = _parse_verifier(public_key)
    body, signatures = _split(text)
    mark = _key_hash(name, raw)
    ours = [signature[4:] for by, signature in signatures if by == name and signature[:4] == mark]
    if not ours:
        _invalid(f"{name} has not signed it with this key")
    for signature in ours:
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, body.encode())
        except InvalidSignature:
            _invalid(f"the signature of {name} does not hold")
    checkpoint = _parse_text(body)
    want = name if origin is None else origin
    if checkpoint.origin != want:
        _invalid(f"is of {checkpoint.origin}, want {want}")
    return checkpoint


def verify_receipt(proof: Proof, checkpoint: Checkpoint) -> bool:
    """Whether a receipt's leaf is in the log that the checkpoint speaks of, offline: the proof
    must be of exactly its count, hold, and end in its root."""
    return proof.count == checkpoint.count and proof.root == checkpoint.root and proof.verify()


def verify_consistency(old: Checkpoint, new: Checkpoint, path: Sequence[str]) -> bool:
    """Whether nothing before `old` was changed until `new`: RFC 9162, section 2.1.4.2.

    path: of journal.prove_consistency(old.count, new.count), as hex.
    """
    if old.origin != new.origin or not 0 <= old.count <= new.count:
        return False
    try:
        nodes = [bytes.fromhex(node) for node in path]
    except (TypeError, ValueError):
        return False
    if old.count == new.count:
        return not nodes and old.root == new.root
    if old.count == 0:
        return not nodes and old.root == sha256(b"").hexdigest()
    if old.count & (old.count - 1) == 0:
        nodes.insert(0, bytes.fromhex(old.root))
    if not nodes:
        return False
    index, last = old.count - 1, new.count - 1
    while index & 1:
        index >>= 1
        last >>= 1
    before = after = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            before = sha256(b"\x01" + node + before).digest()
            after = sha256(b"\x01" + node + after).digest()
            while index & 1 == 0 and index != 0:
                index >>= 1
                last >>= 1
        else:
            after = sha256(b"\x01" + after + node).digest()
        index >>= 1
        last >>= 1
    return last == 0 and before.hex() == old.root and after.hex() == new.root
