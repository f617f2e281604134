"""Commands that carry out studies: each has one run folder, stops on Ctrl-C and goes on with ``--resume``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archsearch.cli.shared import (
    AsJson,
    Overrides,
    Resume,
    RunsFolder,
    print_figures,
    print_json,
    print_table,
    screen,
)
from archsearch.files import InputError
from archsearch.progress import board, interruptible

if TYPE_CHECKING:
    from archsearch.runs import Run

app = typer.Typer()

ROOT = Path("runs")


@app.command(epilog="Example: archsearch shrink gradual_shrinking train.images=20000 seeds=[0,1]")
def shrink(
    study: Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")],
    overrides: Overrides = None,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """The gradual-shrinking experiment: train, evaluate, cost and compare a sequence of architectures."""
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, overrides or [])
    from archsearch.experiments.shrink import ShrinkStudy, resolved, run_study
    from archsearch.report.shrink import write_report
    from archsearch.report.tables import rows

    settings = parse(ShrinkStudy, fields, path)
    with _run(settings.name, resolved(settings), runs, resume) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            finished = run_study(settings, run, on_event=_Events(shown), should_stop=pressed)
        if not finished:
            _stopped()
        shown_rows = write_report(run)
    if as_json:
        print_json(rows(run))
    else:
        print_table(f"{settings.name}: {settings.question}", shown_rows)
        print(f"{run.path / 'results.csv'}\n{run.path / 'report.html'}\n{run.path / 'plots'}")


@app.command(epilog="Example: archsearch train overfit_photos --annotations person_keypoints.json --images photos/")
def train(
    study: Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")],
    overrides: Overrides = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON to train and evaluate on.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of its images.")] = None,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """Train one architecture from scratch and evaluate it."""
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, [*_data_overrides(annotations, images), *(overrides or [])])
    from archsearch.experiments.single import TrainStudy, resolved, run_training

    settings = parse(TrainStudy, fields, path)
    with (
        _run(settings.name, resolved(settings), runs, resume) as run,
        interruptible(screen) as pressed,
        board(screen) as shown,
    ):
        result = run_training(settings, run, on_event=_Events(shown), should_stop=pressed)
    if result is None:
        _stopped()
    elif as_json:
        print_json(result)
    else:
        print_figures(f"{settings.name} on {settings.data.kind}", result)
        print(run.path / "models" / f"{settings.name}-s{settings.seed}")


def _data_overrides(annotations: Path | None, images: Path | None) -> list[str]:
    if (annotations is None) != (images is None):
        raise InputError("--annotations and --images go together: a COCO JSON and the folder of its images")
    if annotations is None or images is None:
        return []
    fields = {"annotations": annotations.resolve(), "images": images.resolve()}
    return [
        "data.kind=coco",
        *(f"data.{part}_{name}={json.dumps(str(path))}" for part in ("train", "val") for name, path in fields.items()),
    ]


@app.command(epilog="Example: archsearch ceiling gradual_shrinking")
def ceiling(
    study: Annotated[str, typer.Argument(help="A study with validation data.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """AP of perfect maps put through decoding and evaluation: what no network of a study can exceed."""
    from archsearch.data.sources import load_data
    from archsearch.environment import cores
    from archsearch.experiments.shrink import ShrinkStudy
    from archsearch.files import cache_folder
    from archsearch.pose.ceiling import ceiling as perfect
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    settings = parse(ShrinkStudy, read_study(path, overrides or []), path)
    _, val_set = load_data(settings.data, cache=cache_folder(), workers=cores())
    arch = next(iter(settings.architectures(len(val_set.skeleton)).values()))
    scores = perfect(val_set, settings.train.loss, settings.train.decode, size_px=min(arch.input_hw))
    if as_json:
        print_json(scores.summary())
    else:
        print_figures(f"perfect maps on {val_set.name}, {len(val_set)} images", scores.summary())


@app.command(epilog="Example: archsearch report runs/gradual_shrinking/20260101-120000")
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Write a run's table, plots and page anew from its records."""
    from archsearch.report.shrink import write_report
    from archsearch.report.tables import rows
    from archsearch.runs import Run

    if not (run / "study.yaml").exists():
        raise InputError(f"{run}: not a run's folder, it has no study.yaml")
    shown_rows = write_report(Run(run))
    if as_json:
        print_json(rows(Run(run)))
    else:
        print_table(str(run), shown_rows)
        print(run / "report.html")


@contextmanager
def _run(name: str, study: dict[str, Any], root: Path, resume: bool) -> Iterator[Run]:
    """The run's folder; a new one that fails before its first record leaves nothing behind."""
    from archsearch.runs import discard, latest, locked, reopen, start

    run = reopen(latest(name, root).path, study) if resume else start(name, study, root)
    screen.print(f"run folder: {run.path}", highlight=False, soft_wrap=True)
    try:
        with locked(run):
            yield run
    except BaseException:
        if not resume and not run.metrics.exists():
            discard(run, root)
        raise


def _stopped() -> None:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    screen.print(f"stopped; go on with: archsearch {shlex.join(words)} --resume", highlight=False, soft_wrap=True)
    raise typer.Exit(130)


class _Events:
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
