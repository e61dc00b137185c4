"""Latents on disk: written and read by one thread, checked when they come back."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .errors import LatentError
from .latent import Latent
from .reasons import duration_ns, refuse

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .kernel import Kernel

__all__ = ["DiskTier", "Stored"]

JOBS_MAX = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a latent on disk is asked for by. reader: the agent it was stored and comes back as."""

    name: int
    reader: int


@dataclass(slots=True)
class _File:
    written: Future[str | None]
    size: int = 0
    digest: str = ""
    pinned: bool = False
    end_ns: int = 0
    loading: Future[Latent | None] | None = None


class DiskTier:
    """A bounded store of sealed latents in files named by their digest.

    Files belong to this object: a key of its own seals them, and `close` removes them. Losing one
    is a miss; an altered one is refused (LatentCorrupt) and forgotten.
    """

    def __init__(self, kernel: Kernel, directory: str | os.PathLike[str], size_bytes_max: int):
        # It imports logging, which a program without a tier need not pay for.
        from concurrent.futures import ThreadPoolExecutor

        self._kernel = kernel
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._size_max = size_bytes_max
        self._size = 0
        self._key = os.urandom(32)
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()
        self._jobs = threading.BoundedSemaphore(JOBS_MAX)
        self._thread = ThreadPoolExecutor(1, "hanse-latent-tier")
        self.lost = 0

    def __enter__(self) -> DiskTier:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def store(self, latent: Latent, *, ttl: float | None = None, pin: bool = False) -> Stored:
        """Writes it in the background; the caller may release it at once.

        ttl: seconds until it may be dropped; pin: it stays while there is room for it. Raises
        BusyError (Backpressure) with 64 jobs waiting.
        """
        fork = latent.fork()
        end_ns = 0 if ttl is None else self._kernel.now_ns + duration_ns(ttl, "ttl")
        with self._lock:
            self._next += 1
            name = self._next
            try:
                written = self._submit(lambda: self._write(name, fork))
            except BaseException:
                fork.release()
                raise
            self._files[name] = _File(written, pinned=pin, end_ns=end_ns)
        return Stored(name, latent.reader)

    def expect(self, stored: Stored) -> None:
        """Begins to read it, because it will be fetched soon."""
        with self._lock:
            file = self._files.get(stored.name)
            if file is None or file.loading is not None:
                return
            file.loading = self._submit(lambda: self._read(stored))

    def fetch(self, stored: Stored) -> Latent | None:
        """A new latent with the bytes that were stored; None: it is lost, dropped or has ended.

        Waits for the disk. Raises LatentError (LatentCorrupt), BusyError (QuotaExceeded).
        """
        self.expect(stored)
        with self._lock:
            file = self._files.get(stored.name)
            if file is None:
                return None
            loading, file.loading = file.loading, None
        return loading.result() if loading is not None else None

    def pin(self, stored: Stored, pinned: bool = True) -> None:
        """A pinned one is not dropped when others need the room."""
        with self._lock:
            if stored.name in self._files:
                self._files[stored.name].pinned = pinned

    def flush(self) -> None:
        """Waits until what was stored is written."""
        with self._lock:
            waiting = [file.written for file in self._files.values()]
        for written in waiting:
            written.result()

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return self._size

    def close(self) -> None:
        """Ends the thread and removes the files."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for name in list(self._files):
                self._drop(name)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        if not self._jobs.acquire(blocking=False):
            refuse("Backpressure", "jobs", f"want at most {JOBS_MAX} at a time")
        try:
            future = self._thread.submit(job)
        except BaseException:
            self._jobs.release()
            raise
        future.add_done_callback(lambda _: self._jobs.release())
        return future

    def _path(self, digest: str) -> Path:
        return self._directory / f"{digest}.latent"

    def _write(self, name: int, fork: Latent) -> str | None:
        try:
            sealed = self._kernel._core.latent_seal(fork.reader, fork.id, self._key)
        finally:
            fork.release()
        digest = hashlib.sha256(sealed).hexdigest()
        with self._lock:
            if len(sealed) > self._size_max or not self._room(len(sealed), name):
                self._files.pop(name, None)
                self.lost += 1
                return None
        temporary = self._path(digest).with_suffix(".part")
        temporary.write_bytes(sealed)
        temporary.rename(self._path(digest))
        with self._lock:
            file = self._files.get(name)
            if file is not None:
                file.size, file.digest = len(sealed), digest
                self._size += len(sealed)
        return digest

    def _room(self, size: int, name: int) -> bool:
        """Drops ended ones, then the oldest that is not pinned, until there is room."""
        now = self._kernel.now_ns
        for other, file in list(self._files.items()):
            if file.digest and file.end_ns and now >= file.end_ns:
                self._drop(other)
        for other, file in list(self._files.items()):
            if self._size + size <= self._size_max:
                break
            if other != name and file.digest and not file.pinned:
                self._drop(other)
        return self._size + size <= self._size_max

    def _drop(self, name: int) -> None:
        file = self._files.pop(name, None)
        if file is None or not file.digest:
            return
        self._size -= file.size
        if not any(other.digest == file.digest for other in self._files.values()):
            self._path(file.digest).unlink(missing_ok=True)

    def _read(self, stored: Stored) -> Latent | None:
        with self._lock:
            file = self._files.get(stored.name)
            if file is None:
                return None
            if not file.digest or (file.end_ns and self._kernel.now_ns >= file.end_ns):
                self._drop(stored.name)
                return None
            self._files.move_to_end(stored.name)
            digest = file.digest
        try:
            sealed = self._path(digest).read_bytes()
        except OSError:
            self._lose(stored.name)
            return None
        try:
            id = self._kernel._core.latent_unseal(stored.reader, sealed, self._key)
        except LatentError:
            self._lose(stored.name)
            raise
        return Latent(self._kernel, id, stored.reader)

    def _lose(self, name: int) -> None:
        with self._lock:
            self._drop(name)
            self.lost += 1
