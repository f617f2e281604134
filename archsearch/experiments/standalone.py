"""Training one architecture alone, from first weights to evaluated model: a job of any experiment.

Every job appends to its run's records: ``step`` (loss along the way), ``evaluation`` (AP along the way) and one
``result``. A job that is repeated after a kill goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, TypeAdapter
from torch import nn

from archsearch.data.dataset import Dataset
from archsearch.data.sources import CocoData, DataSettings, SceneData, load_data
from archsearch.environment import choose_device
from archsearch.files import cache_folder, write_json
from archsearch.jobs import Talk
from archsearch.nets.zoo import Arch
from archsearch.pose.bottomup import predict
from archsearch.pose.evaluate import Scores, ap_by_height, bootstrap, evaluate
from archsearch.runs import Run
from archsearch.space import from_plain, to_plain
from archsearch.train.checkpoint import save_model
from archsearch.train.init import first_weights
from archsearch.train.loop import Progress, Stopped, TrainingDiverged, train
from archsearch.train.pretrained import take_weights
from archsearch.train.settings import TrainSettings
from archsearch.train.task import BottomUpTask

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"  # of studies and configurations: they become names of files
HEIGHT_EDGES_PX = (0.0, 32.0, 64.0, 96.0, 1e5)


def _rising(edges: tuple[float, ...]) -> tuple[float, ...]:
    if len(edges) < 2 or any(a >= b for a, b in itertools.pairwise(edges)):
        raise ValueError(f"{edges} do not rise")
    return edges


Seed = Annotated[int, Field(ge=0)]
HeightEdges = Annotated[tuple[float, ...], AfterValidator(_rising)]  # pixels


@dataclass(frozen=True)
class Job:
    """Everything that one training needs, as plain values, so that it can go to another process."""

    run: Path  # the run's folder
    name: str  # of the architecture within the study
    seed: int
    arch: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]
    device: str
    bootstrap: int  # resamples of the validation images for the interval of AP
    height_edges_px: tuple[float, ...]
    weights: str | None = None  # a model's folder or a file to begin from

    @property
    def label(self) -> str:
        """The name in files and records."""
        return f"{self.name}-s{self.seed}"


def run_job(job: Job, talk: Talk) -> dict[str, Any] | None:
    """Train, evaluate, keep the model; the ``result`` record, or None where the parent asked to stop.

    Raises ``ValueError`` with one line where data or training fail.
    """
    run = Run(job.run)
    data: SceneData | CocoData = TypeAdapter(DataSettings).validate_python(job.data)
    settings = TrainSettings.model_validate(job.train)
    arch: Arch = from_plain(Arch, job.arch)
    talk.send({"stage": "data"})
    train_set, val_set = load_data(data, cache=cache_folder())
    device = choose_device(job.device)
    joints = len(train_set.skeleton)
    net = first_weights(arch, joints, seed=job.seed, init=settings.init, tag_gain=settings.tag_gain)
    if job.weights is not None:
        taken, tensors = take_weights(net, job.weights)
        if not any(r["config"] == job.name and r["seed"] == job.seed for r in run.records("weights")):
            run.record(
                "weights", config=job.name, seed=job.seed, source=job.weights, taken=taken, tensors=tensors
            )  # fmt: skip
    size_px = min(arch.input_hw)
    evaluated: dict[int, tuple[Scores, list[dict[str, Any]]]] = {}  # the last evaluation, by its step

    def on_step(progress: Progress) -> None:
        if progress.reported:
            talk.send({"stage": "train", **_fields(progress)})
            run.record("step", config=job.name, seed=job.seed, **_fields(progress))

    def on_evaluation(averaged: nn.Module, progress: Progress) -> None:
        evaluated.clear()
        evaluated[progress.step] = _scores(averaged, val_set, settings, size_px, device, talk)
        ap = evaluated[progress.step][0].ap
        run.record("evaluation", config=job.name, seed=job.seed, ap=ap, **_fields(progress))
        talk.send({"stage": "evaluation", "ap": ap, **_fields(progress)})

    try:
        averaged, progress = train(
            net,
            BottomUpTask(train_set, size_px, settings.augmentation, settings.loss),
            settings,
            seed=job.seed,
            folder=run.folder(f"checkpoints/{job.label}"),
            device=device,
            on_step=on_step,
            on_evaluation=on_evaluation,
            should_stop=talk.should_stop,
        )
    except Stopped:
        return None
    except TrainingDiverged as error:
        raise TrainingDiverged(f"{job.label}: {error}") from None
    talk.send({"stage": "result"})
    last = evaluated.get(progress.step)
    try:
        scores, results = last or _scores(averaged, val_set, settings, size_px, device, talk)
    except Stopped:
        return None
    write_json(run.folder("predictions") / f"{job.label}.json", results)
    save_model(run.folder("models") / job.label, averaged, arch, val_set.skeleton, settings.decode)
    interval = bootstrap(scores, samples=job.bootstrap, seed=0)
    heights = ap_by_height(val_set.annotations, results, val_set.skeleton, job.height_edges_px)
    result = {
        "config": job.name,
        "seed": job.seed,
        **figures(scores),
        "ap_low": interval.low,
        "ap_high": interval.high,
        "by_height": [dataclasses.asdict(h) for h in heights],
        "images_seen": progress.images_seen,
        "train_s": progress.train_s,
        "train_device": str(device),
    }
    run.record("result", **result)
    shutil.rmtree(run.path / "checkpoints" / job.label)  # what a resume would need; the model is kept
    return result


def _fields(progress: Progress) -> dict[str, Any]:
    """What goes on record of a training's progress: numbers that JSON has."""
    fields = dataclasses.asdict(progress)
    del fields["reported"]
    return {name: None if value != value else value for name, value in fields.items()}


def figures(scores: Scores) -> dict[str, float | None]:
    """The figures of COCO keypoint evaluation."""
    names = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar")
    return {name: getattr(scores, name) for name in names}


def _scores(
    net: nn.Module, dataset: Dataset, settings: TrainSettings, size_px: int, device: torch.device, talk: Talk
) -> tuple[Scores, list[dict[str, Any]]]:
    """Scores and results on a data set. Raises ``Stopped`` where the parent asks to stop meanwhile."""

    def on_image(_: int) -> None:
        if talk.should_stop():
            raise Stopped

    workers = 1 if device.type == "cpu" else 8
    results = predict(
        net, dataset, settings.decode, size_px=size_px, device=device, workers=workers, on_image=on_image
    )  # fmt: skip
    return evaluate(dataset.annotations, results, dataset.skeleton), results


def job_for(
    run: Run, name: str, seed: int, arch: Arch, data: SceneData | CocoData, settings: TrainSettings, device: str,
    bootstrap_samples: int, height_edges_px: tuple[float, ...], weights: Path | None = None,
) -> Job:  # fmt: skip
    """A job from typed settings."""
    plain = settings.model_dump(mode="json")
    return Job(
        run.path, name, seed, to_plain(arch), data.model_dump(mode="json"), plain, device, bootstrap_samples,
        height_edges_px, None if weights is None else str(weights.resolve()),
    )  # fmt: skip
