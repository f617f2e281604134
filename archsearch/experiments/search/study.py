"""The study file of ``archsearch search``, one line a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from archsearch.experiments.search.scores import ScoreSettings
from archsearch.experiments.standalone import NAME, Seed
from archsearch.search.afford import LATENCY, check_cost_name
from archsearch.settings import Settings
from archsearch.train.settings import TrainSettings

DEFAULT_SAMPLER = "assisted"  # docs/results has the comparison that chose it


class SamplerSettings(Settings):
    """Who proposes architectures."""

    kind: str = DEFAULT_SAMPLER  # nsga2, nsga3, tpe, gp, random, assisted, evolution, or an import path
    options: dict[str, Any] = Field(default_factory=dict)  # its arguments, but for the seed


class WarmStart(Settings):
    """Architectures that are evaluated first."""

    zoo: tuple[str, ...] = ()  # known names or files
    runs: tuple[Path, ...] = ()  # the fronts of earlier runs


class LatencySettings(Settings):
    """Latency of candidates: predicted from a table of the space's blocks, and measured for those that matter."""

    device: Literal["cpu", "cuda", "onnxruntime"] = "cpu"
    threads: int = Field(1, gt=0)
    table: Path | None = None  # of archsearch latency table; None: measured before the first trial
    passes: int = Field(3, gt=0)  # over all blocks, of a table that is measured here
    networks: int = Field(10, gt=0)  # whole networks that correct that table, and as many that judge it
    repeats: int = Field(30, gt=0)  # timed runs of each network of the front
    rounds: int = Field(3, gt=0)  # at most: members that a measurement brings to the front are measured, too


class SearchStudy(Settings):
    """A search: what is wanted, of which space, for how long, and which models come out."""

    kind: Literal["search"]
    name: str = Field(pattern=NAME)
    question: str = ""
    score: ScoreSettings
    space: str | Path | None = None  # a known name or a file: the part that is searched; None: all that has an AP
    objectives: tuple[str, ...] = ("ap", "macs")
    constraints: dict[str, float] = Field(default_factory=dict)  # upper limits of costs, by name
    trials: int = Field(gt=0)  # architectures that are evaluated
    sampler: SamplerSettings = Field(default_factory=SamplerSettings)
    warm_start: WarmStart = Field(default_factory=WarmStart)
    latency: LatencySettings | None = None  # None: nothing is measured
    budgets: dict[str, float] = Field(default_factory=dict)  # of the models that come out, by their names
    budgets_of: str = "macs"  # the cost that budgets are of, with its convention: macs:ptflops_0_6 is LitePose's
    finetune: TrainSettings | None = None  # of those models; None: they stay as the supernet has them
    export: bool = True  # those models as ONNX, too
    seed: Seed = 0
    device: str = "auto"  # auto, cpu or cuda: of evaluation and fine-tuning
    workers: int | None = Field(None, gt=0)  # processes on this machine; None: one a core, or one a GPU
    beat_s: float = Field(10.0, gt=0)  # a worker signs its trial that often
    grace_s: float = Field(60.0, gt=0)  # a trial without a signature for so long goes to another worker
    patience_s: float = Field(600.0, gt=0)  # that workers wait for a storage that is away

    @field_validator("objectives")
    @classmethod
    def _are_objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "ap" not in names or len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(f"{', '.join(names)}: ap and at least one cost are needed, each once")
        for name in names:
            if name != "ap":
                check_cost_name(name)
        return names

    @field_validator("constraints")
    @classmethod
    def _are_limits(cls, limits: dict[str, float]) -> dict[str, float]:
        for name, limit in limits.items():
            check_cost_name(name)
            if limit <= 0:
                raise ValueError(f"{name} {limit:g} is not above 0")
        return limits

    @field_validator("budgets_of")
    @classmethod
    def _is_cost(cls, name: str) -> str:
        return check_cost_name(name)

    @model_validator(mode="after")
    def _fits(self) -> SearchStudy:
        if self.latency is None and LATENCY in (*self.objectives, *self.constraints, self.budgets_of):
            raise ValueError("latency is an objective, a constraint or a budget: `latency: {device: cpu}` is missing")
        for name, budget in self.budgets.items():
            if budget <= 0 or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"budgets.{name}: {budget:g}: a name of letters and digits, and a number above 0")
        if self.score.kind == "supernet" and (self.score.run is None) == (self.score.study is None):
            raise ValueError("score: give either run, of a supernet that is trained, or study, which trains one")
        if self.score.kind == "table" and (self.budgets or self.latency is not None):
            raise ValueError("score: a table has neither weights nor devices: leave out budgets and latency")
        return self

    @property
    def needs_latency(self) -> bool:
        """Whether trials have a latency."""
        return LATENCY in (*self.objectives, *self.constraints)

    @property
    def cost_names(self) -> tuple[str, ...]:
        """The objectives but AP."""
        return tuple(name for name in self.objectives if name != "ap")
