"""Training one architecture: what ``archsearch train`` runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from archsearch.costs.macs import cost
from archsearch.data.detections import detected_persons
from archsearch.data.sources import DataSettings, load_data
from archsearch.environment import choose_device, cores
from archsearch.experiments.methods import Protocols, check_head
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, NAME, HeightEdges, Seed, job_for, run_job
from archsearch.files import InputError, cache_folder
from archsearch.jobs import run_jobs
from archsearch.nets.zoo import as_arch
from archsearch.runs import Run
from archsearch.settings import Settings, parse
from archsearch.space import to_plain
from archsearch.train.pretrained import Weights
from archsearch.train.processes import under_torchrun
from archsearch.train.settings import LoopSettings, TrainSettings
from archsearch.train.topdown import TopDownSettings


class AnyTrainStudy(Settings):
    """What a study file of ``archsearch train`` has whatever its protocol."""

    kind: Literal["train"]
    name: str = Field(pattern=NAME)
    question: str = ""
    arch: Any  # a known name, a file, or the architecture itself
    data: DataSettings
    protocol: Protocols
    train: LoopSettings
    weights: Weights | None = None  # a model's folder or a file of archsearch to begin from, where names and shapes fit
    seed: Seed = 0
    device: str = "auto"  # auto, cpu or cuda
    threads: int | None = Field(None, gt=0)  # processor threads; None: one a core
    bootstrap: int = Field(1000, ge=10)  # resamples of the validation images
    height_edges_px: HeightEdges = HEIGHT_EDGES_PX  # bins of person height in AP by height

    @field_validator("arch", mode="after")
    @classmethod
    def _is_arch(cls, arch: Any) -> Any:
        as_arch(arch)
        return arch

    @model_validator(mode="after")
    def _fits_protocol(self) -> AnyTrainStudy:
        check_head(self.protocol, as_arch(self.arch))
        return self


class TrainStudy(AnyTrainStudy):
    """A bottom-up training: all people of an image at once."""

    protocol: Literal["bottom_up"] = "bottom_up"
    train: TrainSettings


class TopDownStudy(AnyTrainStudy):
    """A top-down training: one person in each box."""

    protocol: Literal["top_down"]
    train: TopDownSettings
    detections: Path | None = None  # COCO detections of the validation images to evaluate in; None: annotated boxes


def parse_study(fields: dict[str, Any], path: Path) -> TrainStudy | TopDownStudy:
    """A study of the protocol that its field names. Raises ``InputError`` with one line: file, field, value."""
    protocol = fields.get("protocol", "bottom_up")
    if protocol == "bottom_up":
        return parse(TrainStudy, fields, path)
    if protocol == "top_down":
        return parse(TopDownStudy, fields, path)
    raise InputError(f"{path}: protocol: {protocol!r} is not one of bottom_up, top_down")


def run_training(
    study: TrainStudy | TopDownStudy, run: Run, *, on_event: Any, should_stop: Any
) -> dict[str, Any] | None:
    """Carry out the training in its run's folder; the result's record, or None where it was stopped.

    Raises ``ValueError`` with one line on bad input.
    """
    member = under_torchrun()
    if member is not None and member.count > 1:
        raise InputError(
            f"torchrun started {member.count} processes: archsearch train is one process; only supernets take more"
        )
    done = run.records("result")
    if done:
        return done[-1]
    device = choose_device(study.device)
    on_event("data", {"stage": "data"})
    train_set, val_set = load_data(study.data, cache=cache_folder(), workers=cores())
    detections = study.detections if isinstance(study, TopDownStudy) else None
    if detections is not None:
        detected_persons(val_set, detections)  # raises before anything is trained
    arch = dataclasses.replace(as_arch(study.arch), joints=len(train_set.skeleton))
    price: dict[str, Any] | None = None if run.records("cost") else dataclasses.asdict(cost(arch))
    job = job_for(
        run, study.name, study.seed, arch, study.data, study.train, str(device), study.bootstrap, study.height_edges_px,
        study.weights, study.protocol, detections,
    )  # fmt: skip

    def on_message(_: int, message: dict[str, Any]) -> None:
        nonlocal price
        # Only once the training goes: what is refused before that leaves no record, and its folder is removed.
        if price is not None and message["stage"] != "data":
            run.record("cost", config=study.name, arch=to_plain(arch), **price)
            price = None
        on_event(job.label, message)

    results = run_jobs(
        run_job,
        [job],
        workers=1,
        threads=study.threads or cores(),
        on_message=on_message,
        should_stop=should_stop,
    )
    return results[0]  # type: ignore[no-any-return]


def resolved(study: TrainStudy | TopDownStudy) -> dict[str, Any]:
    """The study with every preset and default written out, for the run's folder."""
    return {**study.model_dump(mode="json"), "arch": to_plain(as_arch(study.arch))}
