"""From the records of a run to rows: one a configuration and seed for ``results.csv``, one a configuration to read.

Everything comes from ``metrics.jsonl``, nothing is computed anew. Where a kill between a record and a checkpoint made
a training write the same record twice, the last one counts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from archsearch.files import InputError, read_yaml, replacing
from archsearch.nets.zoo import Arch
from archsearch.runs import Run
from archsearch.search.uncertain import mean_interval
from archsearch.space import from_plain

Key = tuple[str, int]  # configuration and seed

COLUMNS = (
    "config", "seed", "ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "params", "macs", "macs_ptflops_0_6", "latency_ms",
    "latency_iqr_ms", "device", "images_seen", "train_s", "ap_low", "ap_high", "ap_equal_time",
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """What one training recorded along the way."""

    train_s: tuple[float, ...]  # of the evaluations
    images_seen: tuple[int, ...]
    ap: tuple[float, ...]
    loss_images: tuple[int, ...]  # images seen when a loss was recorded
    loss: tuple[float, ...]

    def ap_at(self, train_s: float) -> float | None:
        """AP after ``train_s`` seconds, interpolated linearly from (0, 0) on; beyond its end the last one."""
        if not self.train_s:
            return None
        return float(np.interp(train_s, (0.0, *self.train_s), (0.0, *self.ap)))


@dataclass(frozen=True)
class Difference:
    """How much AP differs from that of another configuration on the same images."""

    against: str
    value: float  # mean over the seeds
    low: float  # 95 %: with one seed a paired bootstrap over images, with several Student's t over their differences
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Outcome:
    """What is known of one configuration. None: not on record."""

    name: str
    arch: Arch | None
    seeds: tuple[int, ...]
    aps: tuple[float, ...]  # of the seeds
    low: float  # the interval of AP
    high: float
    interval: Literal["bootstrap", "seeds"]  # 95 %: bootstrap over validation images, or Student's t over seeds
    ap50: float  # these and all below: means over the seeds
    ap75: float
    ar: float
    aps_equal_time: tuple[float, ...]  # of the seeds; empty where one of them is not known
    train_s: float
    heights: tuple[tuple[float, float, float | None, int], ...]  # low_px, high_px, AP, people
    params: int | None
    macs: int | None
    macs_ptflops_0_6: int | None
    latency: dict[str, Any] | None  # the record
    difference: Difference | None = None  # of AP from the study's first configuration

    @property
    def ap(self) -> float:
        """Mean AP of the seeds."""
        return _mean(self.aps)

    @property
    def ap_equal_time(self) -> float | None:
        """Mean AP of the seeds at :func:`equal_time_s`."""
        return _mean(self.aps_equal_time) if self.aps_equal_time else None

    def overlaps(self, other: Outcome) -> bool:
        """Whether the two intervals of AP share a value."""
        return self.low <= other.high and other.low <= self.high


def load_study(run: Run) -> dict[str, Any]:
    """The run's resolved settings. Raises ``InputError`` where the folder is not a run's."""
    path = run.path / "study.yaml"
    if not path.exists():
        raise InputError(f"{run.path}: not a run's folder, it has no study.yaml")
    study = read_yaml(path)
    if not isinstance(study, dict):
        raise InputError(f"{path}: a study is a mapping of settings")
    return study


def config_names(run: Run) -> list[str]:
    """The configurations in the order of the study; those of the records where the study lists none."""
    listed = [str(c["name"]) for c in load_study(run).get("configurations", [])]
    recorded = [record["config"] for kind in ("cost", "result") for record in run.records(kind)]
    return list(dict.fromkeys([*listed, *recorded]))


def curves(run: Run) -> dict[Key, Curve]:
    """The learning curve of each training that has recorded any, finished or not, in the order of the study."""
    evaluations = _by_step(run.records("evaluation"))
    steps = _by_step(run.records("step"))
    found = {}
    for key in _ordered({*evaluations, *steps}, run):
        points = evaluations.get(key, [])
        losses = [record for record in steps.get(key, []) if record.get("loss") is not None]
        found[key] = Curve(
            train_s=tuple(float(r["train_s"]) for r in points),
            images_seen=tuple(int(r["images_seen"]) for r in points),
            ap=tuple(float(r["ap"]) for r in points),
            loss_images=tuple(int(r["images_seen"]) for r in losses),
            loss=tuple(float(r["loss"]) for r in losses),
        )
    return found


def equal_time_s(run: Run) -> float | None:
    """The training time at which all are compared: the median over seeds of the quickest configuration's; or None."""
    times: dict[str, list[float]] = {}
    for (name, _), record in _results(run).items():
        times.setdefault(name, []).append(float(record["train_s"]))
    return min((float(np.median(values)) for values in times.values()), default=None)


def rows(run: Run) -> list[dict[str, Any]]:
    """One row a finished training, in the order of the study, with :data:`COLUMNS` and AP by height; None: unknown.

    ``ap_equal_time`` is read off each training's own learning curve at :func:`equal_time_s`, that is from schedules
    that were not finished then.
    """
    results, learning = _results(run), curves(run)
    costs, latencies = _last(run, "cost"), _last(run, "latency")
    bins = _bins(results.values())
    time_s = equal_time_s(run)
    table = []
    for (name, seed), result in results.items():
        price, latency = costs.get(name, {}), latencies.get(name, {})
        curve = _ended(learning.get((name, seed)), result)
        conventions = price.get("macs_by_convention", {})
        row = {
            **{column: result.get(column) for column in COLUMNS},
            "config": name,
            "seed": seed,
            "params": price.get("params"),
            "macs": price.get("macs"),
            "macs_ptflops_0_6": _whole(conventions.get("ptflops_0_6")),
            "latency_ms": latency.get("median_ms"),
            "latency_iqr_ms": latency.get("iqr_ms"),
            "device": latency.get("device"),
            "ap_equal_time": None if time_s is None else curve.ap_at(time_s),
        }
        by_height = {(float(h["low_px"]), float(h["high_px"])): h["ap"] for h in result.get("by_height", [])}
        row.update({_height_column(bins, i): by_height.get(edges) for i, edges in enumerate(bins)})
        table.append(row)
    return table


def frame(run: Run) -> pd.DataFrame:
    """:func:`rows` as a data frame; whole numbers stay whole where a cell is empty."""
    return pd.DataFrame(rows(run)).convert_dtypes()


def write_csv(run: Run) -> Path:
    """Write ``results.csv`` in the run's folder, in one step; an unknown value is an empty cell."""
    table = rows(run)
    path = run.path / "results.csv"
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]) if table else list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return path


def outcomes(run: Run) -> list[Outcome]:
    """One a configuration with a finished training, in the order of the study."""
    table, results = rows(run), _results(run)
    costs, latencies = _last(run, "cost"), _last(run, "latency")
    found = []
    for name in config_names(run):
        mine = [row for row in table if row["config"] == name]
        if not mine:
            continue
        aps = tuple(float(row["ap"]) for row in mine)
        equal = [row["ap_equal_time"] for row in mine]
        several = len(mine) > 1
        price = costs.get(name, {})
        found.append(
            Outcome(
                name=name,
                arch=from_plain(Arch, price["arch"]) if "arch" in price else None,
                seeds=tuple(row["seed"] for row in mine),
                aps=aps,
                low=mean_interval(aps)[0] if several else float(mine[0]["ap_low"]),
                high=mean_interval(aps)[1] if several else float(mine[0]["ap_high"]),
                interval="seeds" if several else "bootstrap",
                ap50=_mean(row["ap50"] for row in mine),
                ap75=_mean(row["ap75"] for row in mine),
                ar=_mean(row["ar"] for row in mine),
                aps_equal_time=() if None in equal else tuple(equal),
                train_s=_mean(row["train_s"] for row in mine),
                heights=_heights([results[name, row["seed"]] for row in mine]),
                params=price.get("params"),
                macs=price.get("macs"),
                macs_ptflops_0_6=mine[0]["macs_ptflops_0_6"],
                latency=latencies.get(name),
                difference=_difference(run, name),
            )
        )
    return found


def _difference(run: Run, name: str) -> Difference | None:
    found = {record["seed"]: record for record in run.records("comparison") if record["config"] == name}
    if not found:
        return None
    values = [float(record["difference"]) for record in found.values()]
    one = next(iter(found.values()))
    low, high = (one["low"], one["high"]) if len(found) == 1 else mean_interval(values)
    return Difference(str(one["against"]), _mean(values), float(low), float(high))


def ceiling(run: Run) -> float | None:
    """AP of perfect maps in this run's pipeline, where it is on record."""
    found = run.records("ceiling")
    return float(found[-1]["ap"]) if found else None


def missing(run: Run) -> list[Key]:
    """Trainings of the study that have no result on record."""
    seeds = load_study(run).get("seeds", [])
    done = _results(run)
    return [(name, seed) for name in config_names(run) for seed in seeds if (name, seed) not in done]


def height_text(low_px: float, high_px: float, last: bool) -> str:
    """A bin of heights for people to read; the last one has no upper end."""
    return f"≥ {low_px:g}" if last else f"{low_px:g}–{high_px:g}"


def _height_column(bins: list[tuple[float, float]], index: int) -> str:
    low, high = bins[index]
    return f"ap_h{low:g}_up" if index == len(bins) - 1 else f"ap_h{low:g}_{high:g}"


def _bins(results: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
    return sorted({(float(h["low_px"]), float(h["high_px"])) for r in results for h in r.get("by_height", [])})


def _heights(results: list[dict[str, Any]]) -> tuple[tuple[float, float, float | None, int], ...]:
    """AP by height, averaged over seeds."""
    bins = []
    for low, high in _bins(results):
        same = [h for r in results for h in r["by_height"] if (h["low_px"], h["high_px"]) == (low, high)]
        aps = [h["ap"] for h in same if h["ap"] is not None]
        bins.append((low, high, _mean(aps) if aps else None, int(same[0]["people"])))
    return tuple(bins)


def _results(run: Run) -> dict[Key, dict[str, Any]]:
    found = {(str(record["config"]), int(record["seed"])): record for record in run.records("result")}
    return {key: found[key] for key in _ordered(found, run)}


def _last(run: Run, kind: str) -> dict[str, dict[str, Any]]:
    """The last record of each configuration."""
    return {str(record["config"]): record for record in run.records(kind)}


def _by_step(records: list[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    """The last record of each step of each training, in the order of the steps."""
    found: dict[Key, dict[int, dict[str, Any]]] = {}
    for record in records:
        found.setdefault((str(record["config"]), int(record["seed"])), {})[int(record["step"])] = record
    return {key: [by_step[step] for step in sorted(by_step)] for key, by_step in found.items()}


def _ordered(keys: Iterable[Key], run: Run) -> list[Key]:
    place = {name: i for i, name in enumerate(config_names(run))}
    return sorted(keys, key=lambda key: (place.get(key[0], len(place)), key[0], key[1]))


def _ended(curve: Curve | None, result: dict[str, Any]) -> Curve:
    """A finished training's curve, up to its final AP even where that evaluation is not on record."""
    times, aps = (curve.train_s, curve.ap) if curve else ((), ())
    end = float(result["train_s"])
    kept = [(t, ap) for t, ap in zip(times, aps, strict=True) if t < end]
    times, aps = (*(t for t, _ in kept), end), (*(ap for _, ap in kept), float(result["ap"]))
    return Curve(times, (0,) * len(times), aps, (), ())


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
