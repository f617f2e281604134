"""From records and published figures to points: an AP with its interval, what it costs, and the architecture.

Three sources, none of which is trained, evaluated or measured again: finished trainings of a run (``result`` with
``cost`` and ``latency``), architectures that a supernet, a ranking or a search evaluated (``candidate``, see
docs/pareto.md), and models of papers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from archsearch.files import InputError, read_jsonl
from archsearch.nets.zoo import Arch, as_arch, is_bottom_up, load_arch
from archsearch.report.published import Published, published, true_cost
from archsearch.report.tables import Difference, load_study, outcomes
from archsearch.runs import Run
from archsearch.search.uncertain import mean_interval
from archsearch.space import fingerprint

AP_FIELDS = ("ap", "ap50", "ap75")
SOURCES = {"alone": "", "supernet": ", by the supernet", "benchmark": ", benchmark"}  # of a candidate's AP
_MAKERS = {"shrink": "shrink", "train": "train", "supernet": "supernet", "rank": "rank", "search": "search"}


@dataclass(frozen=True)
class Reading:
    """A latency of one image on one device."""

    setting: str  # the device, and the runtime, batch, threads and type where they are on record
    median_ms: float
    iqr_ms: float | None  # None: not on record


@dataclass(frozen=True)
class Point:
    """One architecture with its AP and costs. None: not on record."""

    name: str
    series: str  # what it is drawn with
    protocol: str  # bottom-up or top-down
    ap: float  # 0 to 1; AP50 or AP75 where that was asked for
    low: float  # 95 %; equal to ap where no interval is on record
    high: float
    interval: Literal["bootstrap", "seeds", "none"]
    params: float | None
    macs: Mapping[str, float]  # by convention, in that convention's own unit
    readings: tuple[Reading, ...]
    arch: Arch | None
    published: Published | None = None
    difference: Difference | None = None  # of AP from the point of that name in the same series, on the same images
    ap_draws: tuple[float, ...] = ()  # AP in samples of the images, the same samples for all points of the series
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """That of the architecture; empty where it is not known."""
        return "" if self.arch is None else fingerprint(self.arch)


def points_of(runs: Sequence[Run], field: str, latencies: Sequence[Path] = ()) -> list[Point]:
    """The points of runs, in their order; ``field`` is ``ap``, ``ap50`` or ``ap75``.

    ``latencies``: JSONL files of ``archsearch latency measure``, for architectures that a run did not measure. Raises
    ``InputError`` where a run has no point, and where two have their AP from different data.
    """
    check_same_data(runs)
    measured = read_latencies(latencies)
    found: list[Point] = []
    for run, series in zip(runs, series_names(runs), strict=True):
        mine = [*_trained(run, series, field), *_candidates(run, series, field)]
        if not mine:
            study = load_study(run)
            command = _MAKERS.get(str(study.get("kind")), "shrink")
            name = study.get("name", "STUDY")
            raise InputError(
                f"{run.path}: no finished training and no candidate with an AP on record; "
                f"run first: archsearch {command} {name} --resume"
            )
        found += [replace(p, readings=(*p.readings, *measured.get(p.fingerprint, ()))) for p in mine]
    return found


def published_points(dataset: str, field: str, latencies: Sequence[Path] = ()) -> list[Point]:
    """The models with a published figure on a data set. Raises ``ValueError`` as :func:`published`."""
    measured = read_latencies(latencies)
    found = []
    for model in published(dataset):
        value = getattr(model, field)
        if value is None:
            continue
        price = true_cost(model)
        readings = [] if model.latency_ms is None else [Reading(model.device, model.latency_ms, None)]
        if model.arch is not None:
            readings += measured.get(fingerprint(model.arch), ())
        found.append(
            Point(
                name=f"{model.series} {model.label}",
                series=model.series,
                protocol=model.protocol,
                ap=value,
                low=value,
                high=value,
                interval="none",
                params=price.params if price else float(model.params_m) * 1e6 if model.params_m else None,
                macs=price.macs_by_convention if price else {model.convention: _counted(model)},
                readings=tuple(readings),
                arch=model.arch,
                published=model,
                notes=(f"{model.model}, {model.source}", *((model.note,) if model.note else ())),
            )
        )
    return found


def _counted(model: Published) -> float:
    """Printed MACs as ``macs_by_convention`` holds them: whole numbers, but Gi and Mi."""
    return float(model.macs) * (1 if model.convention in ("hrnet_gi", "torchstat_mi") else 1e9)


# ------------------------------------------------------------------------------------------------------------- the data


def series_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its study's, with the folder's where runs share it."""
    names = [str(load_study(run).get("name", run.path.name)) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} {run.path.name}" for name, run in zip(names, runs, strict=True)
    ]


def study_of(run: Run) -> dict[str, Any]:
    """The run's settings with its ``data``; those of a ranking are its supernet's.

    Raises ``InputError`` where the data are not on record.
    """
    study = load_study(run)
    if "data" in study:
        return study
    if "supernet" not in study:
        raise InputError(f"{run.path}/study.yaml: no field data, so nothing says what its AP is of")
    path = Path(study["supernet"]).parent / "study.yaml"
    if not path.exists():
        raise InputError(f"{run.path}: its data are those of the supernet's run, and {path} is not there")
    return {**study, "data": load_study(Run(path.parent))["data"]}


def data_of(run: Run) -> dict[str, Any]:
    """What must be equal for two runs to have comparable AP: the images that it is evaluated on, and the skeleton."""
    study = study_of(run)
    data, part = study["data"], (study.get("estimate") or {}).get("val_images")
    if data.get("kind") == "scenes":
        names = ("skeleton", "level", "size_px", "val", "seed")
        return {"kind": "scenes", **{name: data.get(name) for name in names}, "val_images": part}
    return {
        "kind": data.get("kind"),
        "name": data.get("name"),
        "skeleton": data.get("skeleton"),
        "val_annotations": Path(str(data.get("val_annotations"))).name,
        "val_images": part,  # how many of them candidates are evaluated on; None: all
    }


def check_same_data(runs: Sequence[Run]) -> None:
    """Raises ``InputError`` naming two runs and the setting in which their data differ."""
    if not runs:
        return
    first = data_of(runs[0])
    for run in runs[1:]:
        other = data_of(run)
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                raise InputError(
                    f"{run.path}: cannot share an AP axis with {runs[0].path}: "
                    f"{'estimate' if name == 'val_images' else 'data'}.{name} is {other.get(name)}, there it is "
                    f"{first.get(name)}"
                )


def check_published(runs: Sequence[Run], dataset: str) -> None:
    """Raises ``InputError`` where AP of a run and AP published on ``dataset`` are not the same quantity."""
    for run in runs:
        data = data_of(run)
        if data["kind"] == "scenes":
            raise InputError(
                f"{run.path}: AP on embedded scenes cannot share an axis with AP published on {dataset}: the images "
                "have nothing in common; draw the run without --published"
            )
        if str(data["name"]).lower() != dataset:
            raise InputError(
                f"{run.path}: its AP is on {data['name']}, that of the published models on {dataset}: they cannot "
                "share an axis"
            )


# --------------------------------------------------------------------------------------------------------- the records


def read_latencies(paths: Sequence[Path]) -> dict[str, tuple[Reading, ...]]:
    """Latencies at an architecture's own input by its fingerprint; of the same setting the last one counts.

    Raises ``InputError`` where a file is missing or holds no latency.
    """
    found: dict[str, dict[str, Reading]] = {}
    for path in paths:
        records = [r for r in read_jsonl(path) if r.get("kind") == "latency" and "fingerprint" in r]
        if not records:
            raise InputError(f"{path}: no latencies; `archsearch latency measure ARCH --out {path}` records them")
        for record in records:
            if "arch" in record and tuple(record["input_hw"]) != as_arch(record["arch"]).input_hw:
                continue
            reading = _reading(record)
            found.setdefault(record["fingerprint"], {})[reading.setting] = reading
    return {key: tuple(by_setting.values()) for key, by_setting in found.items()}


def _reading(record: Mapping[str, Any]) -> Reading:
    threads = int(record["threads"])
    parts = [record["device"], record["runtime"], f"batch {record['batch']}"]
    if "cuda" not in str(record.get("device_kind")):
        parts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    if record.get("dtype", "float32") != "float32":
        parts.append(record["dtype"])
    return Reading(", ".join(map(str, parts)), float(record["median_ms"]), float(record["iqr_ms"]))


def _trained(run: Run, series: str, field: str) -> list[Point]:
    """Finished trainings, the seeds of a configuration as one point."""
    prices = {str(r["config"]): r for r in run.records("cost")}
    draws = {str(r["config"]): tuple(r.get("ap_draws", ())) for r in run.records("result")}
    found = []
    for outcome in outcomes(run):
        arch = outcome.arch or _kept_arch(run, outcome.name, outcome.seeds[0])
        price: Mapping[str, Any] = prices.get(outcome.name, {})
        value = getattr(outcome, field)
        exact = field == "ap"
        found.append(
            Point(
                name=outcome.name,
                series=series,
                protocol="top-down" if arch is not None and not is_bottom_up(arch) else "bottom-up",
                ap=value,
                low=min(outcome.low, value) if exact else value,
                high=max(outcome.high, value) if exact else value,
                interval=outcome.interval if exact else "none",
                params=price.get("params"),
                macs=price.get("macs_by_convention", {}),
                readings=(_reading(outcome.latency),) if outcome.latency else (),
                arch=arch,
                difference=outcome.difference if exact else None,
                ap_draws=draws.get(outcome.name, ()) if exact and len(outcome.seeds) == 1 else (),
            )
        )
    return found


def _kept_arch(run: Run, name: str, seed: int) -> Arch | None:
    path = run.path / "models" / f"{name}-s{seed}" / "arch.yaml"
    return load_arch(path) if path.exists() else None


def _candidates(run: Run, series: str, field: str) -> list[Point]:
    """Evaluated architectures: the last record of each seed counts, several seeds make one point."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for number, record in enumerate(run.records("candidate"), 1):
        check_candidate(record, f"{run.metrics}, candidate {number}")
        if record.get(field) is not None:
            key = (record["fingerprint"], record["source"])
            groups.setdefault(key, {})[int(record.get("seed", 0))] = record
    found = []
    for (_, source), by_seed in groups.items():
        record = list(by_seed.values())[-1]
        values = [float(r[field]) for r in by_seed.values()]
        value = float(np.mean(values))
        low, high, interval = value, value, "none"
        if len(values) > 1:
            (low, high), interval = mean_interval(values), "seeds"
        elif field == "ap" and record.get("ap_low") is not None:
            low, high, interval = min(float(record["ap_low"]), value), max(float(record["ap_high"]), value), "bootstrap"
        arch = as_arch(record["arch"])
        found.append(
            Point(
                name=str(record.get("name") or _trial_name(record)),
                series=f"{series}{SOURCES[source]}",
                protocol="bottom-up" if is_bottom_up(arch) else "top-down",
                ap=value,
                low=low,
                high=high,
                interval=interval,  # type: ignore[arg-type]
                params=record["params"],
                macs={"true": record["macs"]},
                readings=_candidate_readings(record),
                arch=arch,
                ap_draws=tuple(record.get("ap_draws", ())) if field == "ap" and len(values) == 1 else (),
            )
        )
    return found


def check_candidate(record: Mapping[str, Any], where: str) -> None:
    """Raises ``InputError`` where a record of kind ``candidate`` lacks a field that it must have."""
    for name in ("arch", "fingerprint", "ap", "macs", "params", "source"):
        if name not in record:
            raise InputError(f"{where}: no field {name}")
    if record["source"] not in SOURCES:
        raise InputError(f"{where}: source {record['source']!r} is not one of {', '.join(SOURCES)}")


def _trial_name(record: Mapping[str, Any]) -> str:
    return f"trial {record['trial']}" if record.get("trial") is not None else record["fingerprint"][:6]


def _candidate_readings(record: Mapping[str, Any]) -> tuple[Reading, ...]:
    if record.get("latency_ms") is None:
        return ()
    spread = record.get("latency_iqr_ms")
    device = str(record.get("device", "device not on record"))
    return (Reading(device, float(record["latency_ms"]), None if spread is None else float(spread)),)
