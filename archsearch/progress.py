"""Progress on the terminal, and Ctrl-C that stops long work after its next checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Board:
    """One line of progress for every job, found by its label."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, label: str, message: str, done: float | None = None, total: float | None = None) -> None:
        """Set a job's message and how much of it is done."""
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total, message="")
        changes: dict[str, Any] = {"message": message}
        if done is not None:
            changes["completed"] = done
        if total is not None:
            changes["total"] = total
        self._progress.update(self._tasks[label], **changes)


@contextmanager
def board(console: Console) -> Iterator[Board]:
    """A live board on the console; on a console that is no terminal nothing moves and nothing is cut."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        yield Board(progress)


class Interrupt:
    """Whether the user pressed Ctrl-C since."""

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self) -> bool:
        return self.pressed


@contextmanager
def interruptible(console: Console) -> Iterator[Interrupt]:
    """The first Ctrl-C sets a flag and says so, the second ends the program as ever."""
    interrupt = Interrupt()

    def handle(_: int, __: Any) -> None:
        interrupt.pressed = True
        signal.signal(signal.SIGINT, before)
        console.print("stopping after the next step; Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
