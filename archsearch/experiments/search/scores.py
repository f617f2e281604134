"""Where a search takes AP from, behind one function: a supernet, training alone, or a table of recorded results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from optuna.trial import FrozenTrial
from pydantic import Field, field_validator

from archsearch.data.dataset import some_images
from archsearch.data.sources import DataSettings, load_data
from archsearch.environment import choose_device
from archsearch.experiments.candidates import EstimateSettings, Estimator, estimator
from archsearch.experiments.rank import read_benchmark
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, Seed, job_for, run_job
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError, cache_folder, read_jsonl, resources
from archsearch.nets.zoo import Arch, load_space
from archsearch.pose.bottomup import predict
from archsearch.pose.evaluate import ap_draws, evaluate
from archsearch.runs import Run
from archsearch.search.driver import Interrupted, score_of
from archsearch.search.rivals import Rival, Rung, beaten_by, expected
from archsearch.settings import Settings
from archsearch.space import Space, fingerprint
from archsearch.train.settings import TrainSettings
from archsearch.train.stored import load_supernet, weights_sha256
from archsearch.train.supernet import of_joints


class SupernetScore(Settings):
    """AP of sub-nets of a trained supernet: extracted, recalibrated, evaluated on a rising number of images."""

    kind: Literal["supernet"]
    run: Path | None = None  # of archsearch supernet; None: trained as the search's first step
    study: str | None = None  # the study that trains it, where ``run`` is None
    overrides: tuple[str, ...] = ()  # of that study, as key=value
    estimate: EstimateSettings = Field(default_factory=lambda: EstimateSettings.model_validate({}))
    rungs: tuple[float, ...] = (0.25, 0.5)  # parts of the validation images after which a candidate may be given up
    confidence: float = Field(0.98, gt=0.5, le=1)  # with which another one must be better then

    @field_validator("rungs")
    @classmethod
    def _rise(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if list(rungs) != sorted(set(rungs)) or any(not 0 < rung < 1 for rung in rungs):
            raise ValueError(f"{rungs} are not rising parts between 0 and 1")
        return rungs


class AloneScore(Settings):
    """AP of every candidate trained alone: slow, and the truth."""

    kind: Literal["alone"]
    space: str | Path
    data: DataSettings
    train: TrainSettings
    seed: Seed = 0


class TableScore(Settings):
    """AP from a tabular benchmark: a search of seconds, to try samplers on."""

    kind: Literal["table"]
    space: str | Path
    file: Path | None = None  # the benchmark, one architecture a line; None: the one that is shipped for the space
    column: Literal["supernet_ap", "alone_ap"] = "supernet_ap"

    @property
    def path(self) -> Path:
        """The benchmark's file."""
        return resources("search_spaces") / f"{self.space}.jsonl" if self.file is None else self.file


ScoreSettings = Annotated[SupernetScore | AloneScore | TableScore, Field(discriminator="kind")]


class Score(Protocol):
    """A source of AP; see :class:`archsearch.search.driver.Scorer`."""

    @property
    def facts(self) -> dict[str, Any]:
        """What makes two workers' AP comparable."""

    def __call__(self, arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        """The record of one evaluation."""


# ------------------------------------------------------------------------------------------------------ by a supernet


@dataclass(eq=False)
class BySupernet:
    """Evaluates sub-nets rung by rung."""

    found: Estimator
    settings: SupernetScore
    cost_names: tuple[str, ...]
    should_stop: Callable[[], bool]
    folder: Path

    def __post_init__(self) -> None:
        images = len(self.found.val_set)
        sizes = [max(1, round(part * images)) for part in self.settings.rungs]
        self._sizes = (*(size for size in dict.fromkeys(sizes) if size < images), images)

    @property
    def facts(self) -> dict[str, Any]:
        """The supernet's weights and the images."""
        digest = weights_sha256(self.folder)[:16]
        estimate = self.settings.estimate
        return {
            "ap": "supernet", "weights": digest, "rungs": list(self._sizes), "confidence": self.settings.confidence,
            "calibration_images": estimate.calibration_images, "bootstrap": estimate.bootstrap,
        }  # fmt: skip

    def __call__(self, arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        """AP with its interval; where a rival was better after a rung, AP as it is expected on all images."""
        found, val_set = self.found, self.found.val_set
        net = found.network(arch)
        rivals = rivals_of(finished)
        rungs: list[Rung] = []
        results: list[dict[str, Any]] = []
        for size in self._sizes:
            begin = rungs[-1].images if rungs else 0
            part = val_set if size - begin == len(val_set) else some_images(val_set, list(range(begin, size)))
            results += predict(
                net, part, found.supernet.decode, size_px=min(arch.input_hw), device=found.device,
                workers=1 if found.device.type == "cpu" else 8, on_image=self._look,
            )  # fmt: skip
            so_far = val_set if size == len(val_set) else some_images(val_set, list(range(size)))
            scores = evaluate(so_far.annotations, results, val_set.skeleton)
            draws = ap_draws(scores, found.estimate.bootstrap)
            rungs.append(Rung(size, scores.ap, draws))
            rival = beaten_by(rungs[-1], costs, rivals, self.cost_names, self.settings.confidence)
            if rival is not None and size < len(val_set):
                ap = expected(rungs[-1], rival)
                low, high = interval(draws + ap - scores.ap)
                return {**_record(rungs, ap, low, high), "beaten_by": rival.number}
        return _record(rungs, rungs[-1].ap, *interval(rungs[-1].draws_S))

    def _look(self, _: int) -> None:
        if self.should_stop():
            raise Interrupted


def interval(draws_S: np.typing.NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles, without samples that held no people."""
    low, high = np.nanquantile(draws_S, [0.025, 0.975])
    return float(low), float(high)


def _record(rungs: Sequence[Rung], ap: float, low: float, high: float) -> dict[str, Any]:
    kept = [{"images": r.images, "ap": r.ap, "draws": [round(float(d), 4) for d in r.draws_S]} for r in rungs]
    return {
        "ap": ap, "ap_low": min(low, ap), "ap_high": max(high, ap), "images": rungs[-1].images, "rungs": kept,
        "source": "supernet",
    }  # fmt: skip


def rivals_of(finished: Sequence[FrozenTrial]) -> list[Rival]:
    """The trials that were evaluated on all images."""
    found = []
    for trial in finished:
        score = score_of(trial)
        if "rungs" in score and "beaten_by" not in score:
            rungs = {r["images"]: Rung(r["images"], r["ap"], np.array(r["draws"], float)) for r in score["rungs"]}
            found.append(Rival(trial.number, score["costs"], rungs, score["ap"]))
    return found


# ------------------------------------------------------------------------------------------- trained alone, and a table


@dataclass
class _Quiet:
    """A job's talk where nobody listens."""

    stop: Callable[[], bool]

    def send(self, message: Any) -> None:
        """Nothing is done with it."""

    def should_stop(self) -> bool:
        """Whether the search is stopped."""
        return self.stop()


@dataclass(eq=False)
class ByTraining:
    """Trains every candidate alone, in the run's folder; a training that was stopped goes on where it was."""

    settings: AloneScore
    run: Run
    device: str
    should_stop: Callable[[], bool]

    @property
    def facts(self) -> dict[str, Any]:
        """The data and the training."""
        text = self.settings.model_dump_json()
        return {"ap": "alone", "training": hashlib.sha256(text.encode()).hexdigest()[:16]}

    def folder(self, arch: Arch) -> Path:
        """Where the trained model is, once it is."""
        return self.run.path / "models" / f"{fingerprint(arch)}-s{self.settings.seed}"

    def __call__(self, arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        """AP after the whole budget."""
        name = fingerprint(arch)
        known = [r for r in self.run.records("result") if r["config"] == name and self.folder(arch).is_dir()]
        settings = self.settings.train.model_copy(update={"evaluations": 1})
        job = job_for(
            self.run, name, self.settings.seed, arch, self.settings.data, settings, self.device, 200, HEIGHT_EDGES_PX
        )
        result = known[-1] if known else run_job(job, _Quiet(self.should_stop))  # type: ignore[arg-type]
        if result is None:
            raise Interrupted
        return {
            "ap": result["ap"], "ap_low": result["ap_low"], "ap_high": result["ap_high"], "source": "alone",
            "seed": self.settings.seed,
        }  # fmt: skip


@dataclass(eq=False)
class ByTable:
    """Looks AP up."""

    settings: TableScore
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The table and the column."""
        digest = hashlib.sha256(self.settings.path.read_bytes()).hexdigest()[:16]
        return {"ap": "benchmark", "table": digest, "column": self.settings.column}

    def __call__(self, arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        """Raises ``ValueError`` where the architecture is not in the table."""
        row = self.rows.get(fingerprint(arch))
        if row is None or row.get(self.settings.column) is None:
            raise ValueError(f"{self.settings.path}: no {self.settings.column} of architecture {fingerprint(arch)}")
        return {"ap": float(row[self.settings.column]), "source": "benchmark"}


# ---------------------------------------------------------------------------------------------------------- which one


def table_data(settings: TableScore) -> dict[str, Any]:
    """The data that a table's AP is of, as its first line says."""
    first = (read_jsonl(settings.path) or [{}])[0]
    found: dict[str, Any] = first.get("source", {}).get("data", {"kind": "table", "name": settings.path.stem})
    return found


def space_of(settings: SupernetScore | AloneScore | TableScore, supernet: Path | None) -> Space[Arch]:
    """The space that is searched; of a supernet the one that it was trained for.

    Raises ``InputError`` where it cannot be read.
    """
    if isinstance(settings, SupernetScore):
        assert supernet is not None
        return load_supernet(supernet).space
    space = load_space(settings.space)
    if isinstance(settings, TableScore):
        return space
    train_set, _ = load_data(settings.data, cache=cache_folder())
    return of_joints(space, len(train_set.skeleton))


def score_for(
    settings: SupernetScore | AloneScore | TableScore,
    *,
    supernet: Path | None,
    trained: SupernetStudy | None,
    run: Run,
    device: str,
    cost_names: tuple[str, ...],
    should_stop: Callable[[], bool],
) -> BySupernet | ByTraining | ByTable:
    """The source of AP that the settings name. Raises ``InputError`` where its files are missing or do not fit."""
    if isinstance(settings, SupernetScore):
        assert supernet is not None
        assert trained is not None
        torch_device: torch.device = choose_device(device)
        found = estimator(supernet, trained.data, trained.train, settings.estimate, torch_device)
        return BySupernet(found, settings, cost_names, should_stop, supernet)
    if isinstance(settings, AloneScore):
        return ByTraining(settings, run, device, should_stop)
    rows = {str(row["fingerprint"]): row for row in read_benchmark(settings.path)}
    if not rows:
        raise InputError(f"{settings.path}: no architecture")
    return ByTable(settings, rows)
