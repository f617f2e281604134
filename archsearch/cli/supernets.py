"""``archsearch supernet`` and ``archsearch rank``: shared networks, and whether they can be trusted."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from archsearch.cli.running import ROOT, Events, run_of, stopped
from archsearch.cli.shared import AsJson, Device, Overrides, Resume, RunsFolder, print_json, print_table, screen
from archsearch.files import InputError
from archsearch.progress import board, interruptible

if TYPE_CHECKING:
    from archsearch.experiments.supernet_study import SupernetStudy
    from archsearch.runs import Run


class _TrainFirst(TyperGroup):
    """``archsearch supernet STUDY`` is ``archsearch supernet train STUDY``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["train", *args]
        return super().parse_args(ctx, args)


app = typer.Typer()
group = typer.Typer(
    cls=_TrainFirst,
    no_args_is_help=True,
    help="Train one network for a whole space: archsearch supernet STUDY; see where its gradients fight.",
)


@group.command(epilog="Example: archsearch supernet embedded_supernet train.images=8000")
def train(
    study: Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")],
    overrides: Overrides = None,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """Train a supernet, then evaluate its smallest, median, largest and some random sub-nets.

    Under torchrun every process is one of those that train together; else the study says how many are started.
    """
    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    fields = read_study(path, overrides or [])
    from archsearch.experiments.supernet import run_supernet
    from archsearch.experiments.supernet_study import SupernetStudy, checked, resolved
    from archsearch.files import read_yaml
    from archsearch.report.supernet import write_report
    from archsearch.runs import latest
    from archsearch.train.processes import under_torchrun

    settings = parse(SupernetStudy, fields, path)
    member = under_torchrun()
    if member is not None and member.rank:
        with interruptible(screen) as pressed:  # Ctrl-C reaches every process: all stop at the same step
            _join(settings, pressed=pressed)
        return
    begun = latest(settings.name, runs) if resume else None
    # Older runs do not have the number of processes written out.
    added = ("processes",) if begun and read_yaml(begun.path / "study.yaml").get("processes") is None else ()
    settings = checked(settings, begun, None if member is None else member.count)
    with run_of(settings.name, resolved(settings), runs, resume, added) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            told = Events(shown)
            finished = member is None or _join(settings, run, told, pressed)
            finished = finished and run_supernet(settings, run, on_event=told, should_stop=pressed)
        if not finished:
            _stopped(member is not None)
        rows = write_report(run)
    _show(f"{settings.name}: {settings.question}", rows, run, as_json)


def _stopped(torchrun: bool) -> None:
    """As :func:`archsearch.cli.running.stopped`; under torchrun with the command that starts all processes again."""
    if not torchrun:
        stopped()
    machines = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    start = f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', '1')}"
    start += f" --nnodes {machines}" if machines > 1 else ""
    words = shlex.join(word for word in sys.argv[1:] if word != "--resume")
    screen.print(f"stopped; go on with: {start} -m archsearch {words} --resume", highlight=False, soft_wrap=True)
    raise typer.Exit(130)


def _join(settings: SupernetStudy, run: Run | None = None, told: Any = None, pressed: Any = None) -> bool:
    """This process's part of a training under torchrun; False where it was stopped. ``run``: in the first one only."""
    from archsearch.experiments.supernet import train_under_torchrun

    tell = (lambda _: None) if told is None else (lambda message: told("supernet", message))
    return train_under_torchrun(settings, run, tell, pressed or (lambda: False))


@group.command(epilog="Example: archsearch supernet conflict runs/embedded_supernet/20260101-120000 --bases 8")
def conflict(
    run: Annotated[Path, typer.Argument(help="A run of archsearch supernet.")],
    bases: Annotated[int, typer.Option(min=1, help="Random architectures to begin from.")] = 8,
    images: Annotated[int, typer.Option(min=1, help="Training images for each gradient.")] = 32,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Cosines between the gradients of sub-nets that differ in one choice, as a heat map in the run's report."""
    import dataclasses

    from archsearch.environment import choose_device
    from archsearch.experiments.candidates import supernet_folder
    from archsearch.experiments.conflict import cells, run_conflict
    from archsearch.jobs import usual_workers
    from archsearch.report.supernet import write_report
    from archsearch.runs import Run, locked

    chosen = choose_device(device)
    folder = supernet_folder(run).parent
    if not (folder / "study.yaml").exists():
        raise InputError(f"{folder}: not a run's folder, it has no study.yaml")
    found = Run(folder)
    with locked(found), interruptible(screen) as pressed, board(screen) as shown:
        if not run_conflict(
            found, bases=bases, images=images, device=str(chosen), workers=usual_workers(chosen),
            on_event=Events(shown), should_stop=pressed,
        ):  # fmt: skip
            screen.print("stopped; the same command goes on")
            raise typer.Exit(130)
    write_report(found)
    rows = [dataclasses.asdict(cell) for cell in sorted(cells(found), key=lambda cell: cell.cosine)]
    shown_rows = [{**row, "cosine": f"{row['cosine']:.2f}", "low": f"{row['low']:.2f}"} for row in rows]
    if as_json:
        print_json(rows)
    else:
        print_table("cosines of gradients, the worst first", shown_rows[:20])
        print(found.path / "report.html")


@group.command(epilog="Example: archsearch supernet table runs/embedded_supernet embedded_table --out table.jsonl")
def table(
    run: Annotated[Path, typer.Argument(help="A run of archsearch supernet.")],
    space: Annotated[str, typer.Argument(help="A small space within the supernet's: a known one or a YAML file.")],
    out: Annotated[Path, typer.Option(help="The benchmark, one architecture a line.")],
    calibration_images: Annotated[int, typer.Option(min=1, help="Training images for each one's statistics.")] = 160,
    device: Device = "auto",
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """Evaluate every architecture of a small space with a supernet: a benchmark that is searched in seconds."""
    from archsearch.environment import choose_device
    from archsearch.experiments.benchmark import run_table, source
    from archsearch.experiments.candidates import EstimateSettings
    from archsearch.files import write_jsonl
    from archsearch.jobs import usual_workers
    from archsearch.nets.zoo import load_space

    chosen, searched = choose_device(device), load_space(space)
    _check_out(out)
    estimate = EstimateSettings.model_validate({"calibration_images": calibration_images})
    origin = source(searched, run, estimate)
    with run_of(searched.name, {"kind": "table", "name": searched.name, **origin}, runs, resume) as made:
        with interruptible(screen) as pressed, board(screen) as shown:
            rows = run_table(
                searched, run, estimate, made, device=str(chosen), workers=usual_workers(chosen),
                on_event=Events(shown), should_stop=pressed,
            )  # fmt: skip
        if rows is None:
            stopped()
            return
    write_jsonl(out, [{"source": origin}, *rows])
    best = max(rows, key=lambda row: row["supernet_ap"])
    found = {"architectures": len(rows), "best": best["fingerprint"], "AP": round(best["supernet_ap"], 4)}
    if as_json:
        print_json({**found, "file": str(out)})
    else:
        print_table(f"{searched.name} by the supernet of {origin['supernet']['study']}", [found])
        print(out)


def _check_out(out: Path) -> None:
    """Raises ``InputError`` where a file could not be written there, before there is anything to write."""
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder, a file is needed")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")


@app.command(epilog="Example: archsearch rank embedded_rank --supernet runs/embedded_supernet")
def rank(
    study: Annotated[str, typer.Argument(help="A study that archsearch ships, or a YAML file.")],
    overrides: Overrides = None,
    supernet: Annotated[Path | None, typer.Option(help="A run of archsearch supernet.")] = None,
    resume: Resume = False,
    runs: RunsFolder = ROOT,
    as_json: AsJson = False,
) -> None:
    """Train architectures alone and compare their ranks with what a supernet says of them."""
    import json

    from archsearch.settings import find_study, parse, read_study

    path = find_study(study)
    given = [] if supernet is None else [f"supernet={json.dumps(str(supernet))}"]
    fields = read_study(path, [*given, *(overrides or [])])
    from archsearch.experiments.rank import RankStudy, resolved, run_rank
    from archsearch.report.rank import write_report

    settings = parse(RankStudy, fields, path)
    with run_of(settings.name, resolved(settings), runs, resume) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            finished = run_rank(settings, run, on_event=Events(shown), should_stop=pressed)
        if not finished:
            stopped()
        rows = write_report(run)
    _show(f"{settings.name}: {settings.question}", rows, run, as_json)


def _show(title: str, rows: list[dict[str, str]], run: Run, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(title, rows)
        print(run.path / "report.html")
