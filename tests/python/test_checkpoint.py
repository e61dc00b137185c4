"""Signed checkpoints: notes that others' verifiers read, and nothing that was altered passes."""

from __future__ import annotations

import base64
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree
from test_acceptance_settlement import pymerkle_accepts

import hanse
from hanse import cli
from hanse.checkpoint import write_checkpoint

pytest.importorskip("cryptography")

NAME = "hanse.example/log"
SEED = bytes(range(32))
# What https://c2sp.org/signed-note gives as its example of a verifier key and note.
C2SP_KEY = "example.com/foo+530cc1b6+ATcR4aOuFUNTRaiyPjoeOMCHvgA0qQh/1zEdCUGcOoYg"


def key(name: str = NAME, seed: bytes = SEED) -> hanse.NoteKey:
    return hanse.NoteKey(name, seed)


def refused(text: object, public: str | None = None, **options: object) -> str:
    with pytest.raises(hanse.StorageError) as caught:
        hanse.verify_checkpoint(text, public or key().public_key, **options)  # type: ignore[arg-type]
    assert caught.value.name == "LogCorrupt"
    return caught.value.detail


def test_a_checkpoint_is_a_note_of_three_lines_and_a_signature() -> None:
    with hanse.open() as kernel:
        kernel.agents.add()
        text = kernel.journal.checkpoint(key())
        origin, count, root, blank, signature, end = text.split("\n")
        assert (origin, blank, end) == (NAME, "", "")
        assert int(count) == kernel.journal.count
        assert base64.b64decode(root).hex() == kernel.journal.root
        assert signature.startswith(f"\u2014 {NAME} ")
        # signed-note: the hash of name, newline, type and key, then the signature (RFC 8032).
        raw = base64.b64decode(key().public_key.split("+", 2)[2])
        mark = sha256(NAME.encode() + b"\n" + raw).digest()[:4]
        encoded = base64.b64decode(signature.split(" ")[2])
        assert encoded[:4] == mark
        assert len(encoded) == 4 + 64
        checkpoint = hanse.verify_checkpoint(text, key().public_key)
        assert checkpoint == hanse.Checkpoint(NAME, kernel.journal.count, kernel.journal.root)


def test_a_note_is_checked_by_a_library_that_knows_nothing_of_ours() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    text = write_checkpoint(key(), 5, "ab" * 32)
    body, _, signatures = text.rpartition("\n\n")
    signature = base64.b64decode(signatures.split(" ")[2])[4:]
    raw = base64.b64decode(key().public_key.split("+", 2)[2])[1:]
    Ed25519PublicKey.from_public_bytes(raw).verify(signature, (body + "\n").encode())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_altered_note_passes(data: st.DataObject) -> None:
    text = write_checkpoint(key(), 1234, sha256(b"x").hexdigest())
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    altered = data.draw(st.sampled_from([text[:at] + letter + text[at + 1 :], text[:at]]))
    try:
        found = hanse.verify_checkpoint(altered, key().public_key)
    except hanse.StorageError:
        return
    assert altered == text or found == hanse.verify_checkpoint(text, key().public_key)


def test_a_wrong_key_an_unknown_signer_and_another_log_are_refused() -> None:
    text = write_checkpoint(key(), 3, "00" * 32)
    assert "has not signed" in refused(text, key(seed=bytes(32)).public_key)
    assert "has not signed" in refused(text, key("someone.else").public_key)
    assert "want another.log" in refused(text, origin="another.log")


def test_a_note_with_two_signatures_holds_for_each_signer_and_passes_over_strangers() -> None:
    witness = key("witness.example", bytes([7]) * 32)
    text = write_checkpoint(key(), 9, "11" * 32, cosigners=[witness])
    assert hanse.verify_checkpoint(text, key().public_key).count == 9
    assert hanse.verify_checkpoint(text, witness.public_key, origin=NAME).count == 9
    stranger = base64.b64encode(b"\0\0\0\0" + bytes(64)).decode()
    extended = text + f"\u2014 stranger.example {stranger}\n"
    assert hanse.verify_checkpoint(extended, key().public_key).count == 9
    # One of ours that does not hold refuses the note, whatever the others say.
    lines = text.split("\n")
    ours = lines[4].split(" ")
    broken = bytearray(base64.b64decode(ours[2]))
    broken[9] ^= 1
    lines.insert(4, f"{ours[0]} {ours[1]} {base64.b64encode(broken).decode()}")
    assert "does not hold" in refused("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "one line", "a\n1\nAA==\n", "a\n1\nAA==\n\n", "a\n1\nAA==\n\nno dash\n",
     "a\n1\nAA==\n\n\u2014 a !!\n", "a\n1\nAA==\n\n\u2014 a AAAA\n", "\x01a\n", "x" * 70_000,
     None, b"bytes", 7],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: object) -> None:
    with pytest.raises((hanse.StorageError, hanse.InvalidError)) as caught:
        hanse.verify_checkpoint(text, key().public_key)  # type: ignore[arg-type]
    assert caught.value.name in ("LogCorrupt", "WrongType")


@pytest.mark.parametrize(
    "body",
    ["{n}\n1\n", "{n}\n01\n{r}\n", "{n}\n-1\n{r}\n", "{n}\n18446744073709551616\n{r}\n",
     "{n}\n1\nAAAA\n", "{n}\n\u0661\n{r}\n", "\n1\n{r}\n", "{n}\nx\n{r}\n"],
)  # fmt: skip
def test_a_signed_text_that_is_no_checkpoint_is_refused(body: str) -> None:
    signer = key()
    text = body.format(n=NAME, r=base64.b64encode(bytes(32)).decode())
    raw = base64.b64decode(signer.public_key.split("+", 2)[2])
    mark = sha256(NAME.encode() + b"\n" + raw).digest()[:4]
    signature = base64.b64encode(mark + signer.sign(text.encode())).decode()
    refused(f"{text}\n\u2014 {NAME} {signature}\n")


@pytest.mark.parametrize(
    "public", ["", "a", "a+b", "a+00000000+AAAA", C2SP_KEY[:-4] + "AAAA", C2SP_KEY[4:], 5, None]
)
def test_a_malformed_public_key_is_refused(public: object) -> None:
    with pytest.raises(hanse.InvalidError):
        hanse.verify_checkpoint(write_checkpoint(key(), 1, "00" * 32), public)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "private"),
    [("", SEED), ("a b", SEED), ("a+b", SEED), ("a\n", SEED), ("x" * 256, SEED), (5, SEED),
     ("a", b""), ("a", bytes(31)), ("a", "text"), ("a", None)],
)  # fmt: skip
def test_a_malformed_signing_key_is_refused(name: object, private: object) -> None:
    with pytest.raises(hanse.InvalidError):
        hanse.NoteKey(name, private)  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.data())
def test_receipts_and_growth_are_checked_offline_against_checkpoints(
    count: int, data: st.DataObject
) -> None:
    with hanse.open() as kernel:
        theirs = InmemoryTree(algorithm="sha256")
        for _ in range(count):
            kernel.agents.add()
        total = kernel.journal.count
        before = data.draw(st.integers(1, total))
        at = data.draw(st.integers(0, before - 1))
        old = hanse.verify_checkpoint(
            kernel.journal.checkpoint(key(), count=before), key().public_key
        )
        new = hanse.verify_checkpoint(kernel.journal.checkpoint(key()), key().public_key)
        path = kernel.journal.prove_consistency(before)
        receipt = kernel.journal.prove(at, count=before)
        assert theirs.get_size() == 0
    assert hanse.verify_receipt(receipt, old)
    assert pymerkle_accepts(receipt)
    assert hanse.verify_receipt(receipt, new) is (old == new)
    assert not hanse.verify_receipt(replace(receipt, leaf="00" * 32), old)
    assert hanse.verify_consistency(old, new, path)
    assert not hanse.verify_consistency(old, new, (*path, "00" * 32))
    assert not hanse.verify_consistency(old, replace(new, root="22" * 32), path)
    assert not hanse.verify_consistency(replace(old, root="22" * 32), new, path)
    assert not hanse.verify_consistency(old, replace(new, origin="other"), path)
    for i in range(len(path)):
        assert not hanse.verify_consistency(old, new, path[:i] + path[i + 1 :])


def test_the_command_signs_and_a_rewritten_history_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, kept, private = tmp_path / "state", tmp_path / "kept", tmp_path / "log.key"
    with hanse.open(state) as kernel:
        kernel.agents.add("one")
    assert cli.main(["checkpoint", "--key", str(private), "--name", NAME, "--new"]) == 0
    assert private.stat().st_mode & 0o077 == 0
    capsys.readouterr()
    assert cli.main(["checkpoint", str(state), "--key", str(private), "--name", NAME]) == 0
    kept.write_text(capsys.readouterr().out)
    with hanse.open(state) as kernel:
        kernel.agents.add("two")
    public = f"{private}.pub"
    check = ["verify", "--json", "--jobs", "2", "--checkpoint", str(kept), "--key", public]
    assert cli.main([*check, str(state)]) == 0
    other = tmp_path / "other"
    with hanse.open(other) as kernel:
        kernel.agents.add("one")
        kernel.agents.add("two")
    assert cli.main([*check, str(other)]) == 1
    assert "not those of the checkpoint" in capsys.readouterr().err
    kept.write_text(kept.read_text().replace("\n2\n", "\n3\n"))
    assert cli.main([*check, str(state)]) == 1
    assert cli.main(["verify", str(state), "--checkpoint", str(kept)]) == 2
    assert cli.main(["checkpoint", "--key", str(private), "--name", NAME]) == 2
