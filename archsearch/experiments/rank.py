"""Does a supernet rank architectures as training each of them alone does?

N architectures, spread over the space's range of MACs, are estimated with the supernet and trained alone, all with the
same budget and seeds. Records: ``candidate`` (the estimates), ``result`` (stand-alone), and ``rank`` with the figures.
Sources of the figures: Sciuto et al., ICLR 2020 (Kendall's tau of weight sharing); Yu et al., CVPR 2021 (regret).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from archsearch.costs.agreement import interval, kendall, spearman
from archsearch.costs.fast import CostModel
from archsearch.environment import choose_device, cores
from archsearch.experiments.candidates import EstimateSettings, estimate_all, supernet_folder, supernet_study
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, NAME, Seed, job_for, run_job
from archsearch.experiments.supernet import SupernetStudy
from archsearch.files import InputError
from archsearch.jobs import run_jobs
from archsearch.nets.zoo import Arch
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import Space, fingerprint
from archsearch.train.settings import TrainSettings
from archsearch.train.stored import load_supernet

OnEvent = Callable[[str, dict[str, Any]], None]
DRAWN = 2000  # random architectures that the N are picked from


class RankStudy(Settings):
    """A study file of ``archsearch rank``; the space and the data are those of the supernet's own study."""

    kind: Literal["rank"]
    name: str = Field(pattern=NAME)
    question: str = ""
    supernet: Path  # a run of archsearch supernet
    architectures: int = Field(16, ge=3)  # trained alone
    train: TrainSettings  # the budget of each
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    estimate: EstimateSettings = Field(default_factory=lambda: EstimateSettings.model_validate({}))
    macs_bins: int = Field(3, ge=1)  # in which the ranking is also looked at
    draw_seed: Seed = 0  # of the choice of architectures
    device: str = "auto"  # auto, cpu or cuda
    workers: int | None = Field(None, gt=0)  # trainings side by side; None: one a core, or one on a GPU

    @model_validator(mode="after")
    def _is_consistent(self) -> RankStudy:
        if self.macs_bins > self.architectures:
            raise ValueError(f"macs_bins {self.macs_bins} for {self.architectures} architectures")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat")
        return self


def spread(space: Space[Arch], count: int, seed: int) -> list[Arch]:
    """``count`` random architectures whose MACs lie evenly between the 2 % and 98 % quantiles of random ones.

    Raises ``InputError`` where the space has fewer.
    """
    rng, costs = np.random.default_rng(seed), CostModel(space)
    drawn = {fingerprint(arch): arch for arch in (space.sample(rng) for _ in range(DRAWN))}
    if len(drawn) < count:
        raise InputError(f"{space.name}: {count} architectures asked for, {DRAWN} random ones are {len(drawn)} at most")
    archs = sorted(drawn.values(), key=lambda arch: (costs(arch).macs, fingerprint(arch)))
    macs = np.array([costs(arch).macs for arch in archs], float)
    low, high = np.quantile(macs, [0.02, 0.98])
    picked: dict[int, None] = {}
    for target in np.linspace(low, high, count):
        order = np.argsort(abs(macs - target), kind="stable")
        picked[next(int(i) for i in order if int(i) not in picked)] = None
    return [archs[i] for i in sorted(picked)]


def run_rank(study: RankStudy, run: Run, *, on_event: OnEvent, should_stop: Callable[[], bool]) -> bool:
    """Carry out the study in its run's folder; False where it was stopped before its end.

    Raises ``ValueError`` with one line on bad input.
    """
    device = choose_device(study.device)
    folder = supernet_folder(study.supernet)
    trained = SupernetStudy.model_validate(supernet_study(folder))
    archs = spread(load_supernet(folder).space, study.architectures, study.draw_seed)
    workers = study.workers or (cores() if device.type == "cpu" else 1)
    found = estimate_all(
        run, folder, archs, trained.data, trained.train, study.estimate, device=str(device), workers=workers,
        on_event=on_event, should_stop=should_stop,
    )  # fmt: skip
    if found is None:
        return False
    done = {(record["config"], record["seed"]) for record in run.records("result")}
    settings = study.train.model_copy(update={"evaluations": 1})
    jobs = [
        job_for(run, fingerprint(arch), seed, arch, trained.data, settings, str(device), 200, HEIGHT_EDGES_PX)
        for seed in study.seeds
        for arch in reversed(archs)  # the largest first, so that none is left to the end
        if (fingerprint(arch), seed) not in done
    ]
    ended = len(archs) * len(study.seeds) - len(jobs)
    total = ended + len(jobs)

    def on_message(index: int, message: dict[str, Any]) -> None:
        nonlocal ended
        ended += message.get("stage") == "result"
        on_event("stand-alone", {"stage": jobs[index].label, "step": ended, "steps": total})

    results = run_jobs(run_job, jobs, workers=workers, on_message=on_message, should_stop=should_stop)
    if any(result is None for result in results):
        return False
    if not run.records("rank"):
        run.record("rank", **_jsonable(asdict(figures(pairs(run), study.macs_bins))))
    return True


def _jsonable(value: Any) -> Any:
    """The same tree with null for what is not a number, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if value != value else value


# ------------------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class Pair:
    """One architecture: what the supernet says of it, and what it reached alone."""

    fingerprint: str
    arch: dict[str, Any]
    choices: dict[str, Any]
    supernet_ap: float
    supernet_low: float  # 95 % bootstrap over the validation images
    supernet_high: float
    alone_aps: tuple[float, ...]  # of the seeds
    macs: int
    params: int

    @property
    def alone_ap(self) -> float:
        """Mean of the seeds."""
        return float(np.mean(self.alone_aps))


def pairs(run: Run) -> list[Pair]:
    """The architectures of a run that have both figures on record, by rising MACs."""
    alone: dict[str, dict[int, float]] = {}
    for record in run.records("result"):
        alone.setdefault(record["config"], {})[record["seed"]] = float(record["ap"])
    found = {record["fingerprint"]: record for record in run.records("candidate")}
    both = [
        Pair(
            key, record["arch"], record["choices"], record["ap"], record["ap_low"], record["ap_high"],
            tuple(alone[key][seed] for seed in sorted(alone[key])), record["macs"], record["params"],
        )
        for key, record in found.items()
        if key in alone
    ]  # fmt: skip
    return sorted(both, key=lambda pair: (pair.macs, pair.fingerprint))


@dataclass(frozen=True)
class Agreement:
    """A rank correlation with its 95 % bootstrap interval over architectures; nan where all of one side are equal."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """How well the supernet ranks; AP from 0 to 1."""

    architectures: int
    seeds: int
    kendall: Agreement
    spearman: Agreement
    macs_kendall: Agreement  # of ranking by MACs alone
    bins: tuple[tuple[int, int, int, float | None], ...]  # lowest and highest MACs, architectures, tau within
    macs_bins: tuple[float | None, ...]  # tau of MACs alone within the same bins
    regret: float  # stand-alone AP of the best architecture above that of the supernet's pick
    macs_regret: float  # the same for picking the one with the most MACs
    between_seeds: float | None  # mean tau between stand-alone trainings of two single seeds


def figures(rows: Sequence[Pair], macs_bins: int) -> Ranking:
    """The figures of a ranking. Raises ``ValueError`` with fewer than three architectures."""
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} architectures with both figures: at least three are needed to compare ranks")
    shared, alone = [row.supernet_ap for row in rows], [row.alone_ap for row in rows]
    macs = [float(row.macs) for row in rows]
    chunks = [chunk.tolist() for chunk in np.array_split(np.arange(len(rows)), macs_bins)]
    within, by_macs = [], []
    for chunk in chunks:
        part = [alone[i] for i in chunk]
        within.append((rows[chunk[0]].macs, rows[chunk[-1]].macs, len(chunk), _tau([shared[i] for i in chunk], part)))
        by_macs.append(_tau([macs[i] for i in chunk], part))
    seeds = min(len(row.alone_aps) for row in rows)
    taus = [
        _tau([row.alone_aps[a] for row in rows], [row.alone_aps[b] for row in rows])
        for a in range(seeds)
        for b in range(a)
    ]
    between = [tau for tau in taus if tau is not None]
    return Ranking(
        len(rows),
        seeds,
        _agreement(kendall, shared, alone),
        _agreement(spearman, shared, alone),
        _agreement(kendall, macs, alone),
        tuple(within),
        tuple(by_macs),
        max(alone) - alone[int(np.argmax(shared))],
        max(alone) - alone[int(np.argmax(macs))],
        float(np.mean(between)) if between else None,
    )


def _agreement(
    kind: Callable[[Sequence[float], Sequence[float]], float], a: Sequence[float], b: Sequence[float]
) -> Agreement:
    return Agreement(kind(a, b), *interval(kind, a, b))


def _tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    value = kendall(a, b)
    return None if value != value else value


def benchmark_rows(rows: Sequence[Pair], latencies_ms: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """The tabular benchmark: one line an architecture, what a search needs to be run on it in seconds."""
    return [
        {
            "fingerprint": row.fingerprint, "choices": row.choices, "supernet_ap": row.supernet_ap,
            "alone_ap": row.alone_ap, "alone_aps": list(row.alone_aps), "macs": row.macs, "params": row.params,
            **({"latency_ms": latencies_ms[row.fingerprint]} if latencies_ms else {}),
        }
        for row in rows
    ]  # fmt: skip


def resolved(study: RankStudy) -> dict[str, Any]:
    """The study with every preset and default written out, for the run's folder."""
    return {**study.model_dump(mode="json"), "supernet": str(supernet_folder(study.supernet).resolve())}
