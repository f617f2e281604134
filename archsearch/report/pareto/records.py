"""From the records of runs to points; nothing is trained, evaluated or measured again.

Two kinds of points: finished trainings of a run (``result`` with ``cost`` and ``latency``), and architectures that a
supernet, a ranking or a search evaluated (``candidate``, see docs/pareto.md); of these the configurations of a study
have the study's names (``shared``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archsearch.files import InputError
from archsearch.nets.zoo import Arch, as_arch, is_bottom_up, load_arch
from archsearch.report.pareto.points import AP_FIELDS, Point, Reading, read_latencies, reading_of
from archsearch.report.pareto.same_data import check_same_data, in_annotated_boxes, series_names
from archsearch.report.tables import load_study, outcomes
from archsearch.runs import Run
from archsearch.search.uncertain import mean_interval

SOURCES = {"alone": "", "supernet": ", by the supernet", "benchmark": ", benchmark"}  # of a candidate's AP
_MAKERS = {"shrink": "shrink", "train": "train", "supernet": "supernet", "rank": "rank", "search": "search"}


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
            missing = unrecorded([run], field)
            if missing:
                raise InputError(f"{run.path}: none of its {len(missing)} candidates has {AP_FIELDS[field]} on record")
            study = load_study(run)
            command = _MAKERS.get(str(study.get("kind")), "shrink")
            name = study.get("name", "STUDY")
            raise InputError(
                f"{run.path}: no finished training and no candidate with an AP on record; "
                f"run first: archsearch {command} {name} --resume"
            )
        found += [replace(p, readings=(*p.readings, *measured.get(p.fingerprint, ()))) for p in mine]
    return found


def _trained(run: Run, series: str, field: str) -> list[Point]:
    """Finished trainings, the seeds of a configuration as one point."""
    prices = {str(r["config"]): r for r in run.records("cost")}
    draws = {str(r["config"]): tuple(r.get("ap_draws", ())) for r in run.records("result")}
    notes = ("AP is in annotated boxes, which no detector finds so well",) if in_annotated_boxes(run) else ()
    models: dict[str, list[str]] = {}  # what came out of a search, by the training that made it
    for package in {record["name"]: record for record in run.records("package")}.values():
        models.setdefault(str(package.get("config")), []).append(str(package["name"]).upper())
    found = []
    for outcome in outcomes(run):
        arch = outcome.arch or _kept_arch(run, outcome.name, outcome.seeds[0])
        price: Mapping[str, Any] = prices.get(outcome.name, {})
        value = getattr(outcome, field)
        exact = field == "ap"
        found.append(
            Point(
                name=", ".join(models.get(outcome.name, [outcome.name])),
                series=series,
                protocol="top-down" if arch is not None and not is_bottom_up(arch) else "bottom-up",
                ap=value,
                low=min(outcome.low, value) if exact else value,
                high=max(outcome.high, value) if exact else value,
                interval=outcome.interval if exact else "none",
                params=price.get("params"),
                macs=price.get("macs_by_convention", {}),
                readings=(reading_of(outcome.latency),) if outcome.latency else (),
                arch=arch,
                difference=outcome.difference if exact else None,
                ap_draws=draws.get(outcome.name, ()) if exact and len(outcome.seeds) == 1 else (),
                notes=notes,
            )
        )
    return found


def _kept_arch(run: Run, name: str, seed: int) -> Arch | None:
    path = run.path / "models" / f"{name}-s{seed}" / "arch.yaml"
    return load_arch(path) if path.exists() else None


def _candidates(run: Run, series: str, field: str) -> list[Point]:
    """Evaluated architectures: the last record of each seed counts, several seeds make one point."""
    configurations = {record["fingerprint"]: record for record in run.records("shared")}
    found = []
    for (mark, source), evaluated in _evaluated(run).items():
        by_seed = {int(record.get("seed", 0)): record for record in evaluated if record.get(field) is not None}
        if not by_seed:
            continue  # one of those that are unrecorded
        record = list(by_seed.values())[-1]
        named = configurations.get(mark) if source == "supernet" else None
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
                name=_candidate_name(record, named),
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
                shared=source == "supernet",
                ap_draws=tuple(record.get("ap_draws", ())) if field == "ap" and len(values) == 1 else (),
                notes=(f"of a supernet that saw {named['supernet_images']:,} images",) if named else (),
            )
        )
    return found


def unrecorded(runs: Sequence[Run], field: str) -> list[tuple[str, str]]:
    """The evaluated architectures of runs that have no such figure on record, and why they are no points."""
    reason = f"no {AP_FIELDS[field]} on record"
    found = []
    for run in runs:
        configurations = {record["fingerprint"]: record for record in run.records("shared")}
        for (mark, source), evaluated in _evaluated(run).items():
            if all(record.get(field) is None for record in evaluated):
                named = configurations.get(mark) if source == "supernet" else None
                found.append((_candidate_name(evaluated[-1], named), reason))
    return found


def _evaluated(run: Run) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The candidates of each architecture and source; without those beaten early, whose AP is only expected."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number, record in enumerate(run.records("candidate"), 1):
        check_candidate(record, f"{run.metrics}, candidate {number}")
        if "beaten_by" not in record:
            groups.setdefault((record["fingerprint"], record["source"]), []).append(record)
    return groups


def check_candidate(record: Mapping[str, Any], where: str) -> None:
    """Raises ``InputError`` where a record of kind ``candidate`` lacks a field that it must have."""
    for name in ("arch", "fingerprint", "ap", "macs", "params", "source"):
        if name not in record:
            raise InputError(f"{where}: no field {name}")
    if record["source"] not in SOURCES:
        raise InputError(f"{where}: source {record['source']!r} is not one of {', '.join(SOURCES)}")


def _candidate_name(record: Mapping[str, Any], named: Mapping[str, Any] | None) -> str:
    return str(named["config"] if named else record.get("name") or _trial_name(record))


def _trial_name(record: Mapping[str, Any]) -> str:
    return f"trial {record['trial']}" if record.get("trial") is not None else record["fingerprint"][:6]


def _candidate_readings(record: Mapping[str, Any]) -> tuple[Reading, ...]:
    if record.get("latency_ms") is None:
        return ()
    spread = record.get("latency_iqr_ms")
    device = str(record.get("device", "device not on record"))
    return (Reading(device, float(record["latency_ms"]), None if spread is None else float(spread)),)
