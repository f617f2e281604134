"""The gradual-shrinking experiment (LitePose, CVPR 2022, section 3.2 and figure 3).

A sequence of architectures in which high-resolution branches lose block after block, ``A' <= A`` in every entry of
``A = <A1, ..., An>``, while the base width may rise. Each is trained from scratch, evaluated and costed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from archsearch.costs.latency import Latency, measure
from archsearch.costs.macs import cost
from archsearch.data.dataset import Dataset, first_images
from archsearch.data.sources import DataSettings, SceneData, load_data
from archsearch.environment import choose_device, cores
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, NAME, HeightEdges, Job, Seed, job_for, run_job
from archsearch.files import cache_folder, read_json
from archsearch.jobs import on_own_gpu, run_jobs, usual_workers
from archsearch.nets.heads import Block
from archsearch.nets.hrnet import HRNet
from archsearch.nets.zoo import as_arch, build
from archsearch.pose.ceiling import ceiling
from archsearch.pose.evaluate import bootstrap_difference, evaluate
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import to_plain
from archsearch.train.settings import TrainSettings

Depths = tuple[tuple[int, ...], ...]


class Configuration(Settings):
    """One step of the shrinking: ``A`` are the blocks of each branch in each stage, the stem first."""

    name: str = Field(pattern=NAME)
    A: Depths
    width: int = Field(gt=0)  # of the finest branch; all other widths keep their ratio to it


class LatencySettings(Settings):
    """How latency is measured: on the study's device, one image at a time."""

    repeats: int = Field(50, gt=0)  # rounds in which every network runs once
    warmup: int = Field(5, ge=0)  # rounds before those
    threads: int = Field(1, gt=0)  # processor threads


class ShrinkStudy(Settings):
    """A study file of ``archsearch shrink``."""

    kind: Literal["shrink"]
    name: str = Field(pattern=NAME)
    question: str = ""
    data: DataSettings
    base: Any  # an architecture's name, its file, or the architecture itself
    configurations: tuple[Configuration, ...] = Field(min_length=1)
    train: TrainSettings
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    device: str = "auto"  # auto, cpu or cuda
    workers: int | None = Field(None, gt=0)  # trainings side by side; None: one a core, or one a GPU
    bootstrap: int = Field(1000, ge=10)  # resamples of the validation images
    height_edges_px: HeightEdges = HEIGHT_EDGES_PX  # bins of person height in AP by height
    latency: LatencySettings = Field(default_factory=lambda: LatencySettings(repeats=50, warmup=5, threads=1))

    @field_validator("base", mode="after")
    @classmethod
    def _is_arch(cls, base: Any) -> Any:
        _base_arch(base)
        return base

    @model_validator(mode="after")
    def _shrinks(self) -> ShrinkStudy:
        names = [c.name for c in self.configurations]
        if len(set(names)) != len(names):
            raise ValueError(f"configurations share a name: {names}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat")
        check_sequence(self.configurations)
        base = _base_arch(self.base)
        for configuration in self.configurations:
            shrunk(base, configuration)
        if isinstance(self.data, SceneData) and base.input_hw != (self.data.size_px,) * 2:
            raise ValueError(
                f"base takes {base.input_hw[0]}x{base.input_hw[1]} images, data.size_px draws {self.data.size_px}"
            )
        return self

    def architectures(self, joints: int) -> dict[str, HRNet]:
        """The architecture of each configuration, for ``joints`` joints."""
        base = dataclasses.replace(_base_arch(self.base), joints=joints)
        return {c.name: shrunk(base, c) for c in self.configurations}


def _base_arch(base: Any) -> HRNet:
    arch = as_arch(base)
    if not isinstance(arch, HRNet):
        raise ValueError(f"base {base} is not of the HRNet family: only that has branches to shrink")
    return arch


def check_sequence(configurations: tuple[Configuration, ...]) -> None:
    """Raise ``ValueError`` naming the first entry of an ``A`` that grows, or a width that falls."""
    for before, after in itertools.pairwise(configurations):
        shapes = [[len(stage) for stage in c.A] for c in (before, after)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{after.name}: A has stages of {shapes[1]} branches, {before.name} of {shapes[0]}")
        for s, (old, new) in enumerate(zip(before.A, after.A, strict=True)):
            for b, (old_depth, new_depth) in enumerate(zip(old, new, strict=True)):
                if new_depth > old_depth:
                    raise ValueError(
                        f"{after.name}: A{s + 1}[{b}] = {new_depth} grows from {old_depth} in {before.name}; "
                        "a shrinking sequence needs A' <= A"
                    )
        if after.width < before.width:
            raise ValueError(f"{after.name}: width {after.width} falls from {before.width} in {before.name}")


def shrunk(base: HRNet, configuration: Configuration) -> HRNet:
    """``base`` with the configuration's depths and width; the stem's planes keep their ratio to the width.

    Raises ``ValueError`` where the depths do not have the base's stages and branches.
    """
    depths, width = configuration.A, configuration.width
    expected = [1, *(len(stage.branches) for stage in base.stages)]
    if [len(stage) for stage in depths] != expected or any(d < 0 for stage in depths for d in stage):
        raise ValueError(f"{configuration.name}: A = {depths}, depths of {expected} branches in the stages needed")
    if depths[0][0] < 1:
        raise ValueError(f"{configuration.name}: A1 = {depths[0]}, the stem needs a block")

    def scaled(channels: int) -> int:
        if channels * width % base.widths[0]:
            raise ValueError(f"{configuration.name}: width {width} makes {channels * width / base.widths[0]} channels")
        return channels * width // base.widths[0]

    stages = tuple(
        dataclasses.replace(stage, branches=tuple((Block(),) * depth for depth in row))
        for stage, row in zip(base.stages, depths[1:], strict=True)
    )
    stem = dataclasses.replace(base.stem, planes=scaled(base.stem.planes), blocks=(Block(),) * depths[0][0])
    return dataclasses.replace(base, widths=tuple(map(scaled, base.widths)), stem=stem, stages=stages)


# ---------------------------------------------------------------------------------------------------------------- runs

CEILING_IMAGES = 500  # validation images that the pipeline's ceiling is taken from
OnEvent = Callable[[str, dict[str, Any]], None]


def run_study(study: ShrinkStudy, run: Run, *, on_event: OnEvent, should_stop: Callable[[], bool]) -> bool:
    """Carry out the study in its run's folder; False where it was stopped before its end.

    ``on_event(label, fields)`` is told what happens, for progress. Raises ``ValueError`` with one line on bad input.
    """
    device = choose_device(study.device)
    workers = study.workers or usual_workers(device)
    on_event("data", {})
    train_set, val_set = load_data(study.data, cache=cache_folder(), workers=cores())
    archs = study.architectures(len(train_set.skeleton))
    size_px = min(next(iter(archs.values())).input_hw)
    _record_costs(run, archs)

    jobs = pending(study, run, archs, str(device))
    if jobs:
        results = run_jobs(
            run_job,
            jobs,
            workers=workers,
            place=on_own_gpu,
            on_message=lambda index, message: on_event(jobs[index].label, message),
            should_stop=should_stop,
        )
        if any(result is None for result in results):
            return False
    on_event("comparison", {"stage": "comparison"})
    _compare(study, run, val_set)
    if not run.records("ceiling"):
        on_event("ceiling", {"stage": "ceiling"})
        some = first_images(val_set, CEILING_IMAGES)
        found = ceiling(some, study.train.loss, study.train.decode, size_px=size_px)
        run.record("ceiling", ap=found.ap, images=len(some))
    on_event("latency", {"stage": "latency"})
    if {record["config"] for record in run.records("latency")} != set(archs):
        for name, latency in _latencies(study, archs, str(device), on_event).items():
            run.record("latency", config=name, **dataclasses.asdict(latency))
    return True


def pending(study: ShrinkStudy, run: Run, archs: dict[str, HRNet], device: str) -> list[Job]:
    """The trainings that have no result on record yet; larger architectures first, so that none is left to the end."""
    done = {(record["config"], record["seed"]) for record in run.records("result")}
    todo = [(name, seed) for seed in study.seeds for name in archs if (name, seed) not in done]
    todo.sort(key=lambda item: -cost(archs[item[0]]).macs)
    return [
        job_for(
            run, name, seed, archs[name], study.data, study.train, device, study.bootstrap, study.height_edges_px
        )
        for name, seed in todo
    ]  # fmt: skip


def _compare(study: ShrinkStudy, run: Run, val_set: Dataset) -> None:
    """Record the difference in AP of every configuration from the first, seed by seed, with a paired interval.

    Both of a pair are resampled with the same images, which sees far smaller differences than two separate intervals.
    """
    first, *others = (c.name for c in study.configurations)
    done = {(record["config"], record["seed"]) for record in run.records("comparison")}
    for seed in study.seeds:
        if all((name, seed) in done for name in others):
            continue
        scores = {}
        for name in (first, *others):
            results = read_json(run.path / "predictions" / f"{name}-s{seed}.json")
            scores[name] = evaluate(val_set.annotations, results, val_set.skeleton)
        for name in others:
            interval = bootstrap_difference(scores[name], scores[first], samples=study.bootstrap)
            run.record(
                "comparison", config=name, against=first, seed=seed, difference=scores[name].ap - scores[first].ap,
                low=interval.low, high=interval.high,
            )  # fmt: skip


def _record_costs(run: Run, archs: dict[str, HRNet]) -> None:
    done = {record["config"] for record in run.records("cost")}
    for name, arch in archs.items():
        if name not in done:
            run.record("cost", config=name, arch=to_plain(arch), **dataclasses.asdict(cost(arch)))


def _latencies(study: ShrinkStudy, archs: dict[str, HRNet], device: str, on_event: OnEvent) -> dict[str, Latency]:
    settings = study.latency
    total = settings.warmup + settings.repeats
    return measure(
        {name: build(arch) for name, arch in archs.items()},
        [arch.input_hw for arch in archs.values()],
        device=device,
        threads=settings.threads,
        warmup=settings.warmup,
        repeats=settings.repeats,
        on_round=lambda turn: on_event("latency", {"stage": "latency", "step": turn, "steps": total}),
    )


def resolved(study: ShrinkStudy) -> dict[str, Any]:
    """The study with every preset and default written out, for the run's folder."""
    return {**study.model_dump(mode="json"), "base": to_plain(_base_arch(study.base))}
