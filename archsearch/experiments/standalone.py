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
from archsearch.experiments.methods import Evaluated, Method, Protocols, evaluated, method_for
from archsearch.files import cache_folder
from archsearch.jobs import Talk
from archsearch.nets.zoo import Arch
from archsearch.pose.evaluate import Scores, ap_by_height, bootstrap, write_results
from archsearch.runs import Run
from archsearch.space import from_plain, to_plain
from archsearch.train.checkpoint import save_model
from archsearch.train.loop import Progress, Stopped, TrainingDiverged, train
from archsearch.train.pretrained import take_weights
from archsearch.train.settings import LoopSettings

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
    protocol: Protocols = "bottom_up"
    detections: str | None = None  # top-down: boxes to evaluate in; None: the annotated ones

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
    arch: Arch = from_plain(Arch, job.arch)
    method = method_for(job.protocol, arch, job.train, None if job.detections is None else Path(job.detections))
    talk.send({"stage": "data"})
    train_set, val_set = load_data(data, cache=cache_folder())
    device = choose_device(job.device)
    net = method.first_weights(len(train_set.skeleton), job.seed)
    if job.weights is not None:
        taken, tensors = take_weights(net, job.weights)
        if not any(r["config"] == job.name and r["seed"] == job.seed for r in run.records("weights")):
            run.record(
                "weights", config=job.name, seed=job.seed, source=job.weights, taken=taken, tensors=tensors
            )  # fmt: skip
    last: dict[int, Evaluated] = {}  # the last evaluation, by its step

    def on_step(progress: Progress) -> None:
        if progress.reported:
            talk.send({"stage": "train", **progress.record()})
            run.record("step", config=job.name, seed=job.seed, **progress.record())

    def on_evaluation(averaged: nn.Module, progress: Progress) -> None:
        last.clear()
        last[progress.step] = _scores(averaged, val_set, method, device, talk)
        ap = last[progress.step].scores.ap
        run.record("evaluation", config=job.name, seed=job.seed, ap=ap, **progress.record())
        talk.send({"stage": "evaluation", "ap": ap, **progress.record()})

    try:
        averaged, progress = train(
            net,
            method.task(train_set),
            method.settings,
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
    try:
        final = last.get(progress.step) or _scores(averaged, val_set, method, device, talk)
    except Stopped:
        return None
    write_results(run.folder("predictions") / f"{job.label}.json", final.results)
    save_model(run.folder("models") / job.label, averaged, arch, val_set.skeleton, method.decode)
    interval = bootstrap(final.scores, samples=job.bootstrap, seed=0)
    heights = ap_by_height(val_set.annotations, final.results, val_set.skeleton, job.height_edges_px)
    result = {
        "config": job.name,
        "seed": job.seed,
        **figures(final.scores),
        "ap_low": interval.low,
        "ap_high": interval.high,
        "by_height": [dataclasses.asdict(h) for h in heights],
        "images_seen": progress.images_seen,
        "train_s": progress.train_s,
        "train_device": str(device),
        **({} if final.pckh is None else {"pckh": final.pckh.summary()}),
    }
    run.record("result", **result)
    shutil.rmtree(run.path / "checkpoints" / job.label)  # what a resume would need; the model is kept
    return result


def figures(scores: Scores) -> dict[str, float | None]:
    """The figures of COCO keypoint evaluation."""
    names = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar")
    return {name: getattr(scores, name) for name in names}


def _scores(net: nn.Module, dataset: Dataset, method: Method, device: torch.device, talk: Talk) -> Evaluated:
    """Scores and results on a data set. Raises ``Stopped`` where the parent asks to stop meanwhile."""

    def on_part(_: int) -> None:
        if talk.should_stop():
            raise Stopped

    return evaluated(dataset, lambda on_results: method.results(net, dataset, device, on_part, on_results))


def job_for(
    run: Run, name: str, seed: int, arch: Arch, data: SceneData | CocoData, settings: LoopSettings, device: str,
    bootstrap_samples: int, height_edges_px: tuple[float, ...], weights: Path | None = None,
    protocol: Protocols = "bottom_up", detections: Path | None = None,
) -> Job:  # fmt: skip
    """A job from typed settings."""
    plain = settings.model_dump(mode="json")
    return Job(
        run.path, name, seed, to_plain(arch), data.model_dump(mode="json"), plain, device, bootstrap_samples,
        height_edges_px, None if weights is None else str(weights.resolve()), protocol,
        None if detections is None else str(detections.resolve()),
    )  # fmt: skip
