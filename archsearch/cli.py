"""The command line. Every command is a thin layer over the library; what it imports, it imports when it runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from archsearch.files import InputError
from archsearch.jobs import JobFailed
from archsearch.progress import board, interruptible

if TYPE_CHECKING:
    from archsearch.runs import Run

app = typer.Typer(
    name="archsearch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Architecture search and shrinking studies for 2D human pose estimation.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make the embedded data.")
app.add_typer(data_app, name="data")

ROOT = Path("runs")
screen = Console(stderr=True)  # progress and messages; results go to standard output

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as train.lr=0.01", metavar="[KEY=VALUE]...")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest run of this study.")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="The folder of all runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def main() -> None:
    """Run the command line: bad input is one clear line and exit code 2, ARCHSEARCH_DEBUG=1 shows where it arose."""
    try:
        app()
    except KeyboardInterrupt:
        screen.print("stopped")
        sys.exit(130)
    except (InputError, ValueError, JobFailed) as error:
        if os.environ.get("ARCHSEARCH_DEBUG"):
            raise
        screen.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, JobFailed) else 2)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Rows as a table, columns in the order of the first row."""
    table = Table(title=title)
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


# ------------------------------------------------------------------------------------------------------------ the data


@data_app.command("scenes", epilog="Example: archsearch data scenes out/ --images 500 --size 256 --level hard")
def data_scenes(
    out: Annotated[Path, typer.Argument(help="The folder to write: images/ and annotations.json.")],
    images: Annotated[int, typer.Option(help="How many images.")] = 100,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    skeleton: Annotated[str, typer.Option(help="coco17 or crowdpose14.")] = "coco17",
    level: Annotated[str, typer.Option(help="easy or hard.")] = "easy",
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet of the first images here.")] = None,
) -> None:
    """Draw multi-person scenes as a COCO keypoints JSON and JPEG images."""
    from archsearch.data.scenes import scenes, write_scenes
    from archsearch.environment import cores
    from archsearch.skeleton import load_skeleton

    dataset = scenes(images, size, seed, load_skeleton(skeleton), level, workers=cores())
    with board(screen) as shown:
        shown.show(str(out), "writing", 0, images)
        path = write_scenes(out, dataset, progress=lambda done: shown.show(str(out), "writing", done, images))
    print(path)
    if sheet is not None:
        from archsearch.data.contact import save_sheet

        save_sheet(sheet, dataset)
        print(sheet)


# ------------------------------------------------------------------------------------------------------- architectures


@app.command(epilog="Example: archsearch profile higherhrnet-w32 --input 512x512")
def profile(
    arch: Annotated[str, typer.Argument(help="A known name or a YAML file; `archsearch models` lists the names.")],
    input: Annotated[str | None, typer.Option(help="Height x width, as 512x512; default: its own.")] = None,
    joints: Annotated[int | None, typer.Option(help="Joints that the heads predict; default: its own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, and MACs in every convention that papers use."""
    from archsearch.costs.macs import cost
    from archsearch.nets.zoo import load_arch

    loaded = load_arch(arch)
    result = cost(loaded, input_hw=None if input is None else _size(input), joints=joints)
    if as_json:
        fields = {"params": result.params, "activations": result.activations, "macs": result.macs_by_convention}
        _print_json({"arch": arch, **fields})
        return
    rows = [{"convention": name, "MACs": _macs(name, value)} for name, value in result.macs_by_convention.items()]
    _print_table(f"{arch}: {result.params:,} parameters", rows)


def _macs(convention: str, value: float) -> str:
    units = {"hrnet_gi": "Gi", "torchstat_mi": "Mi"}
    return f"{value:.4g} {units[convention]}" if convention in units else f"{value / 1e9:.3f} G"


def _size(text: str) -> tuple[int, int]:
    height, x, width = text.partition("x")
    if not (x and height.isdigit() and width.isdigit()):
        raise InputError(f"--input {text}: height x width in pixels needed, as 512x512")
    return int(height), int(width)


@app.command(epilog="Example: archsearch models")
def models(as_json: AsJson = False) -> None:
    """The architectures that archsearch knows."""
    from archsearch.costs.macs import cost
    from archsearch.nets.zoo import load_arch
    from archsearch.nets.zoo import models as names

    rows: list[dict[str, Any]] = []
    for name in names():
        arch = load_arch(name)
        found = cost(arch)
        height, width = arch.input_hw
        row = {"name": name, "input": f"{height}x{width}", "joints": arch.joints, "params": found.params}
        rows.append({**row, "macs": found.macs, "macs_ptflops_0_6": int(found.macs_by_convention["ptflops_0_6"])})
    if as_json:
        _print_json(rows)
    else:
        _print_table("", [{**r, "params": f"{r['params']:,}", "macs": _macs("true", r["macs"]),
                           "macs_ptflops_0_6": _macs("ptflops_0_6", r["macs_ptflops_0_6"])} for r in rows])  # fmt: skip


# --------------------------------------------------------------------------------------------------------- experiments


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

    settings = parse(ShrinkStudy, fields, path)
    with _run(settings.name, resolved(settings), runs, resume) as run:
        with interruptible(screen) as pressed, board(screen) as shown:
            finished = run_study(settings, run, on_event=_Events(shown), should_stop=pressed)
        if not finished:
            _stopped("shrink", study)
        rows = write_report(run)
    if as_json:
        _print_json(rows)
    else:
        _print_table(f"{settings.name}: {settings.question}", rows)
        print(f"{run.path / 'results.csv'}\n{run.path / 'report.html'}\n{run.path / 'plots'}")


@contextmanager
def _run(name: str, study: dict[str, Any], root: Path, resume: bool) -> Iterator[Run]:
    """The run's folder; a new one that fails before its first record leaves nothing behind."""
    from archsearch.runs import discard, latest, reopen, start

    run = reopen(latest(name, root).path, study) if resume else start(name, study, root)
    screen.print(f"run folder: {run.path}", highlight=False, soft_wrap=True)
    try:
        yield run
    except ValueError:
        if not resume and not run.metrics.exists():
            discard(run, root)
        raise


def _stopped(command: str, study: str) -> None:
    screen.print(f"stopped; go on with: archsearch {command} {study} --resume", highlight=False)
    raise typer.Exit(130)


class _Events:
    """Shows what the jobs of an experiment report."""

    def __init__(self, shown: Any) -> None:
        self._shown, self._ap = shown, {}  # type: ignore[var-annotated]

    def __call__(self, label: str, fields: dict[str, Any]) -> None:
        if "ap" in fields:
            self._ap[label] = f", AP {fields['ap']:.3f} so far"
        message = fields.get("stage", "") + self._ap.get(label, "")
        if fields.get("loss") is not None and fields["loss"] == fields["loss"]:
            message = f"loss {fields['loss']:.3f}" + self._ap.get(label, "")
        self._shown.show(label, message, fields.get("step"), fields.get("steps"))


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
        _stopped("train", study)
    elif as_json:
        _print_json(result)
    else:
        _print_figures(f"{settings.name} on {settings.data.kind}", result)
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


def _print_figures(title: str, result: dict[str, Any]) -> None:
    names = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar")
    row = {name: "-" if result.get(name) is None else f"{result[name]:.3f}" for name in names if name in result}
    if "ap_low" in result:
        row["95 % of AP"] = f"{result['ap_low']:.3f} to {result['ap_high']:.3f}"
    _print_table(title, [row])


# ------------------------------------------------------------------------------------------------------ trained models


def _model_folder(given: Path) -> Path:
    """The folder of a model: itself, or the only one of a run."""
    if (given / "weights.safetensors").exists():
        return given
    inside = sorted(path.parent for path in given.glob("models/*/weights.safetensors"))
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise InputError(f"{given}: holds {len(inside)} models, name one: {', '.join(str(path) for path in inside)}")
    raise InputError(f"{given}: no trained model, weights.safetensors and arch.yaml are needed")


@app.command("eval", epilog="Example: archsearch eval runs/s/t/models/m --annotations val.json --images val2017/")
def evaluate_model(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    annotations: Annotated[Path, typer.Option(help="COCO keypoints JSON.")],
    images: Annotated[Path, typer.Option(help="The folder of its images.")],
    out: Annotated[Path | None, typer.Option(help="Write the predictions here, in COCO results format.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Average precision of a trained model on a COCO-format data set."""
    from archsearch.data.coco import load_coco
    from archsearch.environment import choose_device
    from archsearch.files import write_json
    from archsearch.pose.bottomup import predict as run_model
    from archsearch.pose.evaluate import bootstrap, evaluate
    from archsearch.train.checkpoint import load_model

    chosen = choose_device(device)
    loaded = load_model(_model_folder(model), chosen)
    dataset = load_coco(annotations, images, skeleton=loaded.skeleton)
    with board(screen) as shown:
        done = 0

        def on_image(count: int) -> None:
            nonlocal done
            done += count
            shown.show("images", "", done, len(dataset))

        size_px = min(loaded.arch.input_hw)
        results = run_model(
            loaded.net, dataset, loaded.decode, size_px=size_px, device=chosen, on_image=on_image
        )  # fmt: skip
    scores = evaluate(dataset.annotations, results, dataset.skeleton)
    interval = bootstrap(scores)
    if out is not None:
        write_json(out, results)
    figures = {**scores.summary(), "ap_low": interval.low, "ap_high": interval.high}
    if as_json:
        _print_json(figures)
    else:
        _print_figures(f"{model} on {annotations}", figures)


@app.command(epilog="Example: archsearch predict runs/overfit_photos/20260101-120000 photo.jpg --out drawn/")
def predict(
    model: Annotated[Path, typer.Argument(help="A model's folder, or a run with one model.")],
    photos: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder for the drawn images and people.json.")] = Path("predictions"),
    device: Device = "auto",
    threshold: Annotated[float, typer.Option(help="People with a lower score are left out of the drawing.")] = 0.1,
) -> None:
    """Find people in images: skeletons drawn on copies, and a JSON of their joints."""
    import cv2

    from archsearch.data.coco import read_image
    from archsearch.environment import choose_device
    from archsearch.files import replacing, write_json
    from archsearch.pose.bottomup import predict_image
    from archsearch.pose.draw import draw_people
    from archsearch.train.checkpoint import load_model

    paths = _image_files(photos)
    chosen = choose_device(device)
    loaded = load_model(_model_folder(model), chosen)
    found: dict[str, Any] = {}
    with board(screen) as shown:
        for done, path in enumerate(paths, 1):
            image = read_image(path)
            persons, scores = predict_image(
                loaded.net, image, loaded.skeleton, loaded.decode,
                size_px=min(loaded.arch.input_hw), stride=loaded.arch.stride, device=chosen,
            )  # fmt: skip
            kept = scores >= threshold
            drawn = draw_people(image, persons[kept], loaded.skeleton)
            name = out / (path.stem + ".png")
            with replacing(name) as temporary:
                cv2.imwrite(str(temporary), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
            people = [
                {"score": float(score), "joints": [[round(float(v), 3) for v in joint[:3]] for joint in person]}
                for person, score in zip(persons, scores, strict=True)
            ]
            found[str(path)] = people
            print(f"{name}: {int(kept.sum())} people")
            shown.show("images", path.name, done, len(paths))
    write_json(out / "people.json", {"joints": list(loaded.skeleton.joints), "images": found})


def _image_files(given: list[Path]) -> list[Path]:
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
            if not inside:
                raise InputError(f"{path}: no images in this folder ({', '.join(sorted(suffixes))})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file")
    return files


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
        _print_json(scores.summary())
    else:
        _print_figures(f"perfect maps on {val_set.name}, {len(val_set)} images", scores.summary())


@app.command(epilog="Example: archsearch report runs/gradual_shrinking/20260101-120000")
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Write a run's table, plots and page anew from its records."""
    from archsearch.report.shrink import write_report
    from archsearch.runs import Run

    if not (run / "study.yaml").exists():
        raise InputError(f"{run}: not a run's folder, it has no study.yaml")
    rows = write_report(Run(run))
    if as_json:
        _print_json(rows)
    else:
        _print_table(str(run), rows)
        print(run / "report.html")
