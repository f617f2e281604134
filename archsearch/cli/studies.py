"""Commands that carry out studies: each has one run folder, stops on Ctrl-C and goes on with ``--resume``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from archsearch.cli.running import ROOT, Events, run_of, stopped
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

app = typer.Typer()


@app.command(epilog="Example: archsearch shrink gradual_shrinking train.images=20000 seeds=[0,1]")
def shrink(
    study: Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")],
    overrides: Overrides = None,
    supernet: Annotated[Path | None, typer.Option(help="A run of `archsearch supernet` that holds them all.")] = None,
    training: Annotated[bool, typer.Option("--train/--no-train", help="Train each one from scratch.")] = True,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """The gradual-shrinking experiment: train, evaluate, cost and compare a sequence of architectures.

    With --supernet each one is also taken from a shared network, beside its own training; with --no-train only that.
    """
    if not training and supernet is None:
        raise InputError("--no-train leaves nothing to do without --supernet RUN")
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, overrides or [])
    from archsearch.experiments.shrink import ShrinkStudy, resolved, run_study
    from archsearch.experiments.shrink_shared import check_supernet, run_shared
    from archsearch.report.shrink import write_report
    from archsearch.report.tables import rows

    settings = parse(ShrinkStudy, fields, path)
    if supernet is not None:
        check_supernet(settings, supernet)
    with run_of(settings.name, resolved(settings), runs, resume) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            told = Events(shown)
            finished = supernet is None or run_shared(settings, run, supernet, on_event=told, should_stop=pressed)
            if finished and training:
                finished = run_study(settings, run, on_event=told, should_stop=pressed)
        if not finished:
            stopped()
        shown_rows = write_report(run)
    if as_json:
        print_json(rows(run) or shown_rows)
    else:
        print_table(f"{settings.name}: {settings.question}", shown_rows)
        made = (run.path / name for name in ("results.csv", "report.html", "plots"))
        print("\n".join(str(path) for path in made if path.exists()))


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
    from archsearch.settings import find_study, read_study

    path = find_study(study)
    fields = read_study(path, [*_data_overrides(annotations, images), *(overrides or [])])
    from archsearch.experiments.single import parse_study, resolved, run_training
    from archsearch.report.single import write_report

    settings = parse_study(fields, path)
    with (
        run_of(settings.name, resolved(settings), runs, resume) as run,
        interruptible(screen) as pressed,
        board(screen) as shown,
    ):
        result = run_training(settings, run, on_event=Events(shown), should_stop=pressed)
        if result is not None:
            write_report(run)
    if result is None:
        stopped()
    elif as_json:
        print_json(result)
    else:
        print_figures(f"{settings.name} on {settings.data.kind}", result)
        print(run.path / "models" / f"{settings.name}-s{settings.seed}")
        print(run.path / "report.html")


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


@app.command(epilog="Example: archsearch ceiling litepose_crowdpose data.root=/data/crowdpose --people 20")
def ceiling(
    study: Annotated[str, typer.Argument(help="A study of bottom-up networks with validation data.")],
    overrides: Overrides = None,
    people: Annotated[int, typer.Option(min=0, help="How many of the people that are lost are listed.")] = 10,
    as_json: AsJson = False,
) -> None:
    """AP of perfect maps put through decoding and evaluation: what no network can exceed, and whom it loses."""
    from archsearch.data.sources import load_data
    from archsearch.environment import cores
    from archsearch.experiments.shrink import ShrinkStudy
    from archsearch.experiments.single import TrainStudy, parse_study
    from archsearch.files import cache_folder
    from archsearch.nets.zoo import as_arch
    from archsearch.pose.ceiling import perfect_results
    from archsearch.pose.evaluate import evaluate
    from archsearch.pose.lost import lost_people, reasons, record, rows
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, overrides or [])
    settings = parse_study(fields, path) if fields.get("kind") == "train" else parse(ShrinkStudy, fields, path)
    if not isinstance(settings, (ShrinkStudy, TrainStudy)):
        raise InputError(f"{path}: protocol: top_down: perfect maps are put through the grouping of bottom-up networks")
    _, val_set = load_data(settings.data, cache=cache_folder(), workers=cores())
    if isinstance(settings, TrainStudy):
        arch = as_arch(settings.arch)
    else:
        arch = next(iter(settings.architectures(len(val_set.skeleton)).values()))
    results = perfect_results(val_set, settings.train.loss, settings.train.decode, size_px=min(arch.input_hw))
    scores = evaluate(val_set.annotations, results, val_set.skeleton)
    lost = lost_people(val_set.annotations, results, val_set.skeleton)
    if as_json:
        print_json({**scores.summary(), "lost": [record(person) for person in lost]})
        return
    print_figures(f"perfect maps on {val_set.name}, {len(val_set)} images", scores.summary())
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons(lost).items())
    print(f"{len(lost)} of {scores.people} people are below OKS 0.95" + (f": {counted}" if lost else ""))
    if lost[:people]:
        print_table(f"the {len(lost[:people])} farthest below", rows(lost[:people]))


@app.command(epilog="Example: archsearch report runs/gradual_shrinking/20260101-120000")
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Write a run's table, plots and page anew from its records."""
    from archsearch.report import rank, search, shrink, single, supernet
    from archsearch.report.tables import load_study, rows
    from archsearch.runs import Run

    if not (run / "study.yaml").exists():
        raise InputError(f"{run}: not a run's folder, it has no study.yaml")
    kind = load_study(Run(run)).get("kind")
    makers = {
        "train": single.write_report,
        "supernet": supernet.write_report,
        "rank": rank.write_report,
        "search": search.write_report,
    }
    shown_rows = makers.get(str(kind), shrink.write_report)(Run(run))
    if as_json:
        print_json(shown_rows if kind in ("supernet", "rank", "search") else rows(Run(run)))
    else:
        print_table(str(run), shown_rows)
        print(run / "report.html")
