"""Does a supernet rank architectures as training each of them alone does?

N architectures, spread over the space's range of MACs, are estimated with the supernet and trained alone, all with the
same budget and seeds. Records: ``candidate`` (the estimates), ``result`` (stand-alone), and ``rank`` with the figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from archsearch.costs.fast import CostModel
from archsearch.data.sources import DataSettings
from archsearch.environment import choose_device
from archsearch.experiments.candidates import EstimateSettings, estimate_all, supernet_folder, supernet_study
from archsearch.experiments.ranking import Pair, figures
from archsearch.experiments.standalone import HEIGHT_EDGES_PX, NAME, Seed, job_for, run_job
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError, read_text, read_yaml
from archsearch.jobs import on_own_gpu, run_jobs, usual_workers
from archsearch.nets.zoo import Arch
from archsearch.runs import Run
from archsearch.settings import Settings
from archsearch.space import Space, fingerprint, from_plain
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
    data: DataSettings | None = None  # what that learned from; written into the run's folder, None: as it says
    architectures: int = Field(16, ge=3)  # trained alone
    train: TrainSettings  # the budget of each
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    estimate: EstimateSettings = Field(default_factory=lambda: EstimateSettings.model_validate({}))
    macs_bins: int = Field(3, ge=1)  # in which the ranking is also looked at
    draw_seed: Seed = 0  # of the choice of architectures
    device: str = "auto"  # auto, cpu or cuda
    workers: int | None = Field(None, gt=0)  # trainings side by side; None: one a core, or one a GPU

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
    workers = study.workers or usual_workers(device)
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

    results = run_jobs(
        run_job, jobs, workers=workers, place=on_own_gpu, on_message=on_message, should_stop=should_stop
    )  # fmt: skip
    if any(result is None for result in results):
        return False
    found_pairs = pairs(run)
    supernets = [record.get("supernet") for record in run.records("rank")]
    if str(folder) not in supernets:
        run.record("rank", supernet=str(folder), **_jsonable(asdict(figures(found_pairs, study.macs_bins))))
    return True


def _jsonable(value: Any) -> Any:
    """The same tree with null for what is not a number, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if value != value else value


# ------------------------------------------------------------------------------------------------------- both figures


def pairs(run: Run) -> list[Pair]:
    """The architectures of a run that have both figures on record, by rising MACs; estimates of its own supernet only.

    Raises ``InputError`` where the run's folder does not say which supernet that is.
    """
    study = read_yaml(run.path / "study.yaml")
    if not isinstance(study, dict) or "supernet" not in study:
        raise InputError(f"{run.path / 'study.yaml'}: it names no supernet")
    alone: dict[str, dict[int, float]] = {}
    for record in run.records("result"):
        alone.setdefault(record["config"], {})[record["seed"]] = float(record["ap"])
    own = [record for record in run.records("candidate") if record["supernet"] == study["supernet"]]
    found = {record["fingerprint"]: record for record in own}
    both = [
        Pair(
            key, record["arch"], record["choices"], record["ap"], record["ap_low"], record["ap_high"],
            tuple(alone[key][seed] for seed in sorted(alone[key])), record["macs"], record["params"],
            from_plain(Arch, record["arch"]).input_hw,
        )
        for key, record in found.items()
        if key in alone
    ]  # fmt: skip
    return sorted(both, key=lambda pair: (pair.macs, pair.fingerprint))


def resolved(study: RankStudy) -> dict[str, Any]:
    """The study with every preset and default and the supernet's data written out, for the run's folder.

    Raises ``InputError`` where there is no such supernet, or it learned from other data than the study names.
    """
    folder = supernet_folder(study.supernet).resolve()
    data = SupernetStudy.model_validate(supernet_study(folder)).data
    if study.data not in (None, data):
        raise InputError(f"data: not those of the supernet in {folder} ({data.model_dump(mode='json')})")
    return {**study.model_dump(mode="json"), "supernet": str(folder), "data": data.model_dump(mode="json")}


# --------------------------------------------------------------------------------------------------- tabular benchmarks


def benchmark_rows(rows: Sequence[Pair], latencies_ms: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """The tabular benchmark: one line an architecture, what a search needs to be run on it in seconds."""
    return [
        {
            **benchmark_row(row.fingerprint, row.choices, row.supernet_ap, row.alone_aps, row.macs, row.params),
            **({"latency_ms": latencies_ms[row.fingerprint]} if latencies_ms else {}),
        }
        for row in rows
    ]


def benchmark_row(
    key: str, choices: dict[str, Any], supernet_ap: float, alone_aps: Sequence[float], macs: int, params: int
) -> dict[str, Any]:
    """One line of a benchmark; without stand-alone results ``alone_ap`` is None."""
    return {
        "fingerprint": key, "choices": choices, "supernet_ap": supernet_ap,
        "alone_ap": float(np.mean(alone_aps)) if alone_aps else None, "alone_aps": list(alone_aps), "macs": macs,
        "params": params,
    }  # fmt: skip


def read_benchmark(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a tabular benchmark, as :func:`benchmark_rows` makes them; a first line that says its ``source``,
    as the shipped one has, is left out.

    Raises ``InputError`` with the number of the line that is malformed or repeats an architecture.
    """
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} is not JSON: {error}") from None
        if number == 1 and isinstance(row, dict) and set(row) == {"source"}:
            continue
        fault = _fault(row)
        if fault:
            raise InputError(f"{path}: line {number}: {fault}")
        key = row["fingerprint"]
        if key in seen:
            raise InputError(f"{path}: line {number} is architecture {key}, as line {seen[key]} is")
        seen[key] = number
        rows.append(row)
    return rows


def _fault(row: Any) -> str:
    """What is wrong with a line of a benchmark; empty where nothing is."""
    if not isinstance(row, dict):
        return f"{row!r} is not an architecture"
    for name in ("fingerprint", "choices", "supernet_ap", "alone_ap", "macs", "params"):
        if name not in row:
            return f"no {name}"
    if not isinstance(row["fingerprint"], str) or not re.fullmatch("[0-9a-f]{12}", row["fingerprint"]):
        return f"fingerprint {row['fingerprint']!r} is not 12 hexadecimal digits"
    if not isinstance(row["choices"], dict):
        return f"choices {row['choices']!r} are not a mapping"
    for name in ("supernet_ap", "alone_ap"):
        if not (_is_number(row[name]) and 0 <= row[name] <= 1) and (name, row[name]) != ("alone_ap", None):
            return f"{name} {row[name]!r} is not a number from 0 to 1"
    for name in ("macs", "params"):
        if not isinstance(row[name], int) or isinstance(row[name], bool) or row[name] < 1:
            return f"{name} {row[name]!r} is not a whole number from 1"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
