"""How far the run is: bars for people, plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stage(Protocol):
    """One step of the run."""

    def advance(self, count: int) -> None:
        """So many more are done."""


class Progress(Protocol):
    """`stage` opens one step of the run; `total` 0: not known beforehand."""

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[Stage]:
        """One step, from here to the end of the block."""
        ...

    def note(self, line: str) -> None:
        """A line for people."""
        ...


class _Counted:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count


class PlainProgress:
    """One line on stderr when a step is done."""

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[Stage]:
        """One step, told when it is done."""
        begun = time.perf_counter()
        counted = _Counted()
        yield counted
        count = f" {counted.done:,}" if counted.done else ""
        self.note(f"{name}:{count} in {time.perf_counter() - begun:.1f} s")

    def note(self, line: str) -> None:
        """A line on stderr."""
        print(line, file=sys.stderr, flush=True)


class RichProgress:
    """Bars on stderr, kept on the screen when they are full."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[Stage]:
        """One step, shown as a bar."""
        bars = self._bars
        number = bars.add_task(name, total=total or None)

        class Bar:
            def advance(self, count: int) -> None:
                bars.advance(number, count)

        yield Bar()
        done = int(bars.tasks[number].completed) or 1
        bars.update(number, total=total or done, completed=total or done)

    def note(self, line: str) -> None:
        """A line above the bars."""
        self._bars.print(line, highlight=False)


@contextmanager
def progress_for(*, plain: bool) -> Iterator[Progress]:
    """Bars on a terminal, else lines. `plain` asks for lines anyway."""
    if plain or not sys.stderr.isatty():
        yield PlainProgress()
        return
    try:
        bars = RichProgress()
    except ImportError:
        yield PlainProgress()
        return
    with bars:
        yield bars
