"""The commands that make and check evidence: `hanse verify` and `hanse checkpoint`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

_RAW = argparse.RawDescriptionHelpFormatter
KEY_SIZE_MAX = 4096


class UsageError(Exception):
    """The command line asks for something that cannot be done."""


class EvidenceError(Exception):
    """What is on disk, or what the run left, is not what it should be."""


def existing(directory: Path) -> Path:
    """The directory itself; raises UsageError where there is none."""
    if not directory.exists():
        raise UsageError(f"{directory}: no such directory")
    if not directory.is_dir():
        raise UsageError(f"{directory}: is not a directory")
    return directory


def print_columns(found: dict[str, Any]) -> None:
    """A name and a value a line, the values below each other."""
    for name, value in found.items():
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        print(f"{name.replace('_', ' '):<14} {text}")


def threads_available() -> int:
    """How many threads this process may run at once."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def add_commands(commands: Any, number: Callable[[int, int], Callable[[str], int]]) -> None:
    """The parsers of both."""
    verify = commands.add_parser(
        "verify",
        help="recompute every checksum, hash and balance of a directory",
        description="Reads a directory that no kernel has open: every checksum, the hash chain, "
        "the Merkle root, extents, snapshots, the state and the books. Exit status 1 where "
        "anything does not hold. Of a journal whose first segments were dropped it says what was "
        "still there to be checked.",
        epilog="examples:\n  hanse verify state && echo sound\n"
        "  hanse verify state --checkpoint kept.txt --key log.pub",
        formatter_class=_RAW,
    )
    verify.add_argument("directory", type=Path, metavar="DIR")
    verify.add_argument("--json", action="store_true", help="one JSON object on stdout")
    verify.add_argument(
        "--jobs", type=number(1, 1024), default=None, metavar="N",
        help="threads (default: all that this process may use)",
    )  # fmt: skip
    verify.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help="a signed checkpoint that the journal must go on from",
    )  # fmt: skip
    verify.add_argument(
        "--key", type=Path, metavar="FILE", help="the public key that signed it: name+hash+key"
    )
    verify.set_defaults(run=_verify)

    checkpoint = commands.add_parser(
        "checkpoint",
        help="sign the root of a directory, for others to keep",
        description="Prints a signed note (C2SP tlog-checkpoint) with the number of records and "
        "their Merkle root. Whoever keeps it can tell later that nothing before it was changed. "
        "Needs the extra sign.",
        epilog="examples:\n  hanse checkpoint state --key log.key --name example.org/log > kept.txt"
        "\n  hanse checkpoint --key log.key --name example.org/log --new   makes the key",
        formatter_class=_RAW,
    )
    checkpoint.add_argument("directory", type=Path, metavar="DIR", nargs="?")
    checkpoint.add_argument(
        "--key", type=Path, metavar="FILE", required=True, help="the private key, 64 hex digits"
    )
    checkpoint.add_argument("--name", required=True, help="what the log is called")
    checkpoint.add_argument(
        "--new", action="store_true", help="write a new key to FILE and FILE.pub, and end"
    )
    checkpoint.set_defaults(run=_checkpoint)


@contextlib.contextmanager
def _progress(shown: bool) -> Iterator[Callable[[int, int], object] | None]:
    """A bar on stderr where rich is there and somebody looks."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
    except ImportError:
        yield None
        return
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verify", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(1 << 17).decode("utf-8", "replace")


def _against_checkpoint(arguments: argparse.Namespace) -> Checkpoint | None:
    if arguments.checkpoint is None and arguments.key is None:
        return None
    if arguments.checkpoint is None or arguments.key is None:
        raise UsageError("--checkpoint and --key go together")
    try:
        from .checkpoint import verify_checkpoint

        return verify_checkpoint(_read(arguments.checkpoint), _read(arguments.key).strip())
    except ImportError:
        raise UsageError("signatures need the extra sign: pip install 'hanse[sign]'") from None


def _verify(arguments: argparse.Namespace) -> int:
    from . import inspection
    from .kernel import open as open_kernel

    directory = existing(arguments.directory)
    signed = _against_checkpoint(arguments)
    with _progress(not arguments.json) as progress:
        found = inspection.verified(directory, arguments.jobs or threads_available(), progress)
    if signed is not None:
        found["checkpoint"] = signed.count
        with open_kernel(directory, read_only=True) as kernel:
            if signed.count > kernel.journal.count:
                raise EvidenceError(
                    f"{directory}: holds {kernel.journal.count} records and had {signed.count} "
                    "when the checkpoint was signed"
                )
            if kernel.journal.root_at(signed.count) != signed.root:
                raise EvidenceError(
                    f"{directory}: its first {signed.count} records are not those of the checkpoint"
                )
    if arguments.json:
        print(json.dumps(found))
    else:
        print_columns(found)
    if not found["balanced"]:
        raise EvidenceError(f"{directory}: debits differ from credits")
    return 0


def _make_key(path: Path, name: str) -> None:
    from .checkpoint import NoteKey

    private = os.urandom(32)
    key = NoteKey(name, private)
    # Only the owner may read it, from its first byte on.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(private.hex() + "\n")
    path.with_name(path.name + ".pub").write_text(key.public_key + "\n")
    print(key.public_key)


def _checkpoint(arguments: argparse.Namespace) -> int:
    from .kernel import open as open_kernel

    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise UsageError("signatures need the extra sign: pip install 'hanse[sign]'") from None
    from .checkpoint import NoteKey

    if arguments.new:
        _make_key(arguments.key, arguments.name)
        return 0
    if arguments.directory is None:
        raise UsageError("want the directory of a journal, or --new")
    with arguments.key.open("rb") as file:
        text = file.read(KEY_SIZE_MAX).decode("ascii", "replace").strip()
    try:
        private = bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{arguments.key}: want 64 hex digits") from None
    key = NoteKey(arguments.name, private)
    with open_kernel(existing(arguments.directory), read_only=True) as kernel:
        sys.stdout.write(kernel.journal.checkpoint(key))
    return 0
