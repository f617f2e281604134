"""What all commands that carry out studies share: one run folder each, progress, and a stop that can be resumed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from archsearch.cli.shared import screen

if TYPE_CHECKING:
    from archsearch.runs import Run

ROOT = Path("runs")


@contextmanager
def run_of(name: str, study: dict[str, Any], root: Path, resume: bool, may_differ: Sequence[str] = ()) -> Iterator[Run]:
    """The run's folder; a new one that fails before its first record leaves nothing behind, one that was stopped does.

    ``may_differ``: settings that a run may go on with changed.
    """
    from archsearch.runs import discard, latest, locked, reopen, start

    run = reopen(latest(name, root).path, study, may_differ) if resume else start(name, study, root)
    screen.print(f"run folder: {run.path}", highlight=False, soft_wrap=True)
    try:
        with locked(run):
            yield run
    except typer.Exit:  # stopped: --resume goes on
        raise
    except BaseException:
        if not resume and not any(run.path.rglob("*.jsonl")):
            discard(run, root)
        raise


def stopped() -> None:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    screen.print(f"stopped; go on with: archsearch {shlex.join(words)} --resume", highlight=False, soft_wrap=True)
    raise typer.Exit(130)


class Events:
    """Shows what the jobs of an experiment report."""

    def __init__(self, shown: Any) -> None:
        self._shown = shown
        self._ap: dict[str, str] = {}  # the last AP of each job, as text

    def __call__(self, label: str, fields: dict[str, Any]) -> None:
        if "ap" in fields:
            self._ap[label] = f", AP {fields['ap']:.3f} so far"
        message = fields.get("stage", "") + self._ap.get(label, "")
        if fields.get("loss") is not None and fields["loss"] == fields["loss"]:
            message = f"loss {fields['loss']:.3f}" + self._ap.get(label, "")
        self._shown.show(label, message, fields.get("step"), fields.get("steps"))
