"""Who an agent stays: keys, their rotation, and the signed history of what it runs on and as.

The identifier is the SHA-256 of the genesis public key (Ed25519, RFC 8032). Each later entry is
signed by the key that was in force before it and names the head it follows (after KERI's key event
logs). Keys are written as did:key (multibase base58btc of 0xed01 and the key). Signatures need the
extra `sign`; it is imported when something is signed or checked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .reasons import refuse

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Entry", "IdentityVerbs", "Lineage", "SigningKey", "did_key", "key_of_did"]

STEPS = ("rotated", "key_revoked", "model", "embodiment")
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519 = b"\xed\x01"
_DID = "did:key:z"
_NO_KEY = bytes(32)
_DOMAIN = b"hanse/identity/1"


def _key(value: Any, field: str) -> bytes:
    if not isinstance(value, bytes):
        refuse("WrongType", field, f"want 32 bytes, have a {type(value).__name__}")
    if len(value) != 32:
        refuse("OutOfRange", field, f"want 32 bytes, have {len(value)}")
    return value


def did_key(public: bytes) -> str:
    """The did:key of an Ed25519 public key (32 bytes)."""
    number = int.from_bytes(_ED25519 + _key(public, "public"), "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return _DID + digits


def key_of_did(did: str) -> bytes:
    """The public key (32 bytes) of a did:key. Raises InvalidError: another kind, or malformed."""
    if not isinstance(did, str) or not did.startswith(_DID):
        refuse("OutOfRange", "did", f"want did:key:z…, have {did!r}")
    if len(did) > 64:
        refuse("TooLarge", "did", f"want at most 64 characters, have {len(did)}")
    number = 0
    for digit in did[len(_DID) :]:
        if digit not in _ALPHABET:
            refuse("OutOfRange", "did", f"{digit!r} is no digit of base58btc")
        number = number * 58 + _ALPHABET.index(digit)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != 34 or raw[:2] != _ED25519:
        refuse("OutOfRange", "did", "is not the key of an Ed25519 signature")
    return raw[2:]


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ImportError("signatures need the extra sign: pip install hanse[sign]") from None
    return ed25519


class SigningKey:
    """An Ed25519 key that signs. seed: 32 bytes; None: a fresh one."""

    __slots__ = ("_private", "public")

    def __init__(self, seed: bytes | None = None) -> None:
        module = _ed25519()
        kind = module.Ed25519PrivateKey
        self._private = (
            kind.generate() if seed is None else kind.from_private_bytes(_key(seed, "seed"))
        )
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @property
    def did(self) -> str:
        """The public key as did:key."""
        return did_key(self.public)

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        signature: bytes = self._private.sign(data)
        return signature

    def __repr__(self) -> str:
        return f"SigningKey({self.did})"


def signed_by(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the signature is this key's over this data."""
    from importlib import import_module

    invalid = import_module("cryptography.exceptions").InvalidSignature
    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (invalid, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. step: rotated, key_revoked, model, embodiment. Keys are bytes.

    previous: the head that it follows. key: the new one, where it rotates. signature: empty where
    who is above the agent revoked its key. position: of the journal's event, or None.
    """

    step: str
    previous: bytes
    signer: bytes
    key: bytes
    text: str
    signature: bytes
    position: int | None = None

    def statement(self, identity: bytes, index: int) -> bytes:
        """What is signed."""
        text = self.text.encode()
        head = struct.pack("<IB", index, STEPS.index(self.step))
        keys = self.previous + self.signer + self.key
        return _DOMAIN + identity + head + keys + struct.pack("<I", len(text)) + text

    def hash(self, identity: bytes, index: int) -> bytes:
        """The head once this entry is the last."""
        return sha256(self.statement(identity, index) + self.signature).digest()


@dataclass(frozen=True, slots=True)
class Lineage:
    """The history of one identity, as a kernel or a passport tells it.

    epoch: how many keys were retired. key: in force, None where it is revoked or was not shown yet.
    """

    identity: bytes
    head: bytes
    epoch: int
    key: bytes | None
    key_revoked: bool
    entries: tuple[Entry, ...]

    @property
    def aid(self) -> str:
        """The identifier as hex."""
        return self.identity.hex()

    def of_step(self, step: str) -> list[str]:
        """The texts of this step, oldest first: every model, every embodiment."""
        return [entry.text for entry in self.entries if entry.step == step]

    def verify(self) -> None:
        """Checks every link and signature, and that the head is the last. Needs the extra sign.

        Raises InvalidError (BrokenLineage, with the index), DeniedError (KeyRetired with the epoch,
        BadSignature).
        """
        head, key, retired = self.identity, None, list[bytes]()
        revoked = False
        for index, entry in enumerate(self.entries):
            if entry.previous != head:
                refuse("BrokenLineage", "history", f"entry {index} follows {entry.previous.hex()}")
            if entry.signature or entry.step != "key_revoked" or revoked:
                self._check_signer(index, entry, key, retired, revoked)
                key = entry.signer
            if entry.step == "rotated":
                retired.append(entry.signer)
                key = entry.key
            elif entry.step == "key_revoked":
                revoked = True
                if key is not None:
                    retired.append(key)
                key = None
            head = entry.hash(self.identity, index)
        if head != self.head:
            index = len(self.entries)
            refuse("BrokenLineage", "history", f"entry {index} is missing before {self.head.hex()}")

    def _check_signer(
        self, index: int, entry: Entry, key: bytes | None, retired: list[bytes], revoked: bool
    ) -> None:
        if entry.signer in retired:
            refuse("KeyRetired", "signer", f"epoch {retired.index(entry.signer)}, entry {index}")
        if revoked:
            refuse("KeyRetired", "signer", f"epoch {len(retired)} ended by revocation")
        known = sha256(entry.signer).digest() == self.identity if key is None else None
        if known is False or (key is not None and entry.signer != key):
            refuse("BadSignature", "signer", f"entry {index} is not signed by the key in force")
        if not signed_by(entry.signer, entry.signature, entry.statement(self.identity, index)):
            refuse("BadSignature", "signature", f"of entry {index} does not verify")


def lineage_of(row: tuple[Any, ...]) -> Lineage:
    """From the core's row."""
    entries = tuple(Entry(STEPS[each[0]], *each[1:]) for each in row[5])
    return Lineage(row[0], row[1], row[2], row[3], row[4], entries)


class IdentityVerbs:
    """What an agent, or who is above it, does about its keys; mixed into Agents."""

    __slots__ = ()
    _kernel: Kernel

    def lineage(self, agent: int) -> Lineage:
        """Raises NotFoundError: unknown, or added without a key."""
        kernel = self._kernel
        return lineage_of(kernel._core.identity(kernel._acting(), agent))

    def _change(
        self, agent: int, step: str, signer: SigningKey | None, key: bytes, text: str
    ) -> int:
        kernel = self._kernel
        known = self.lineage(agent)
        public = _NO_KEY if signer is None else signer.public
        entry = Entry(step, known.head, public, key, text, b"")
        signature = b""
        if signer is not None:
            signature = signer.sign(entry.statement(known.identity, len(known.entries)))
        return kernel._core.change_identity(
            kernel._acting(), agent, STEPS.index(step), known.head, public, key, text, signature
        )

    def rotate(self, agent: int, *, key: SigningKey, to: bytes | SigningKey) -> int:
        """Puts another key in force; `key`, which is in force now, signs that.

        Returns the journal position. Raises DeniedError (KeyRetired, BadSignature).
        """
        new = to.public if isinstance(to, SigningKey) else _key(to, "to")
        return self._change(agent, "rotated", key, new, "")

    def revoke_key(self, agent: int, *, key: SigningKey | None = None) -> int:
        """No key is in force from here on. Without `key`: by who is above the agent."""
        return self._change(agent, "key_revoked", key, _NO_KEY, "")

    def remodel(self, agent: int, model: str, *, key: SigningKey) -> int:
        """Records what the agent runs on from here on. Returns the journal position."""
        return self._change(agent, "model", key, _NO_KEY, model)

    def embody(self, agent: int, embodiment: str, *, key: SigningKey) -> int:
        """Records where, or as what, it acts from here on. Returns the journal position."""
        return self._change(agent, "embodiment", key, _NO_KEY, embodiment)
