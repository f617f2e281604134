"""Latency of a search's front, measured: the table predicts for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from archsearch.costs.records import measure_and_append, setting_text, settings_for
from archsearch.experiments.search.records import candidates, front_of
from archsearch.experiments.search.study import LatencySettings, SearchStudy
from archsearch.files import read_jsonl
from archsearch.nets.zoo import Arch, as_arch
from archsearch.runs import Run

OnEvent = Callable[[str, dict[str, Any]], None]
LATENCIES = "latency.jsonl"
TOGETHER = 4  # networks that are measured interleaved


def measure_front(study: SearchStudy, run: Run, on_event: OnEvent, should_stop: Callable[[], bool]) -> bool:
    """Measure the latency of the front's members, nothing else running here; False where it was stopped.

    With measured latencies others may come to the front; these are measured next, for so many rounds.
    """
    assert study.latency is not None
    for _ in range(study.latency.rounds):
        todo = unmeasured(front_of(study, candidates(run)))
        if not todo:
            break
        if not measure_candidates(study, run, todo, on_event, should_stop):
            return False
    return True


def unmeasured(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The candidates whose latency is only predicted, each once."""
    return list({r["trial"]: r for r in records if r.get("latency_is") != "measured"}.values())


def measure_candidates(
    study: SearchStudy, run: Run, todo: list[dict[str, Any]], on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """Measure and record the latency of these candidates; False where it was stopped."""
    assert study.latency is not None
    for start in range(0, len(todo), TOGETHER):
        on_event("measuring latency", {"stage": "", "step": start, "steps": len(todo)})
        if should_stop():
            return False
        chunk = {r["fingerprint"]: r for r in todo[start : start + TOGETHER]}
        found = measured(run, study.latency, {name: as_arch(r["arch"]) for name, r in chunk.items()})
        for name, record in chunk.items():
            run.record("candidate", **_with_latency(record, found[name]))
    return True


def measured(run: Run, settings: LatencySettings, archs: dict[str, Arch]) -> dict[str, dict[str, Any]]:
    """The records of latencies by name, measured interleaved and kept in the run's ``latency.jsonl``."""
    setting = settings_for(settings.device, threads=settings.threads, graph=False)
    records = measure_and_append(run.path / LATENCIES, archs, setting, repeats=settings.repeats)
    return {record["name"]: record for record in records}


def known_latency(run: Run, record: dict[str, Any]) -> dict[str, Any] | None:
    """The measurement that a candidate's latency is from; None where it is only predicted."""
    if record.get("latency_is") != "measured":
        return None
    found = [
        one for one in read_jsonl(run.path / LATENCIES)
        if one["name"] == record["fingerprint"] and one["median_ms"] == record["latency_ms"]
    ]  # fmt: skip
    return found[-1] if found else None


def _with_latency(record: dict[str, Any], latency: dict[str, Any]) -> dict[str, Any]:
    costs = dict(record["costs"])
    if "latency" in costs:
        costs["latency"] = latency["median_ms"]
    return {
        **{name: value for name, value in record.items() if name != "kind"}, "costs": costs,
        "latency_ms": latency["median_ms"], "latency_iqr_ms": latency["iqr_ms"], "latency_is": "measured",
        "latency_predicted_ms": record.get("latency_ms"), "device": setting_text(latency),
    }  # fmt: skip
