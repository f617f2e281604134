"""What a run evaluated, in order, and which choices matter: from records of kind ``candidate`` (docs/pareto.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from archsearch.nets.zoo import as_arch
from archsearch.report.pareto.axis import macs_in
from archsearch.report.pareto.chart import SENSES, Chart
from archsearch.report.pareto.records import check_candidate
from archsearch.report.plots import macs_unit
from archsearch.report.tables import load_study
from archsearch.runs import Run
from archsearch.search.pareto import Floats, front

FEWEST = 20  # evaluations from which on a run is looked at as a search
TOP = 5  # evaluations that the best part must hold for importance to mean something


@dataclass(frozen=True)
class Evaluations:
    """What a run evaluated, in the order in which it did; (N,) each."""

    name: str
    study: str
    source: str  # of AP: supernet, alone or benchmark
    choices: tuple[Mapping[str, Any], ...]
    ap: Floats
    cost: Floats  # in ``unit``
    time_s: Floats | None  # since the start
    cost_name: str
    unit: str

    @property
    def on_front(self) -> np.typing.NDArray[np.bool_]:
        """Whether no other evaluation is better in both."""
        return front(np.column_stack((self.cost, self.ap)), SENSES)


def read_evaluations(run: Run, name: str, chart: Chart) -> Evaluations | None:
    """A run's candidates with a cost on the chart's axis; None where there are too few to speak of a search.

    Where AP comes from several sources, the one with the most evaluations counts.
    """
    every = [r for r in run.records("candidate") if r.get("choices")]
    # A trial's last record counts, in its first place: a measured latency replaces a predicted one.
    records = list({r.get("trial", -1 - i): r for i, r in enumerate(every)}.values())
    for number, record in enumerate(records, 1):
        check_candidate(record, f"{run.metrics}, candidate {number}")
    pairs = [(r, _cost(r, chart)) for r in records]
    known = [(r, cost) for r, cost in pairs if cost is not None]
    if not known:
        return None
    source = Counter(str(r["source"]) for r, _ in known).most_common(1)[0][0]
    chosen = [(r, cost) for r, cost in known if r["source"] == source]
    if len(chosen) < FEWEST:
        return None
    costs = np.array([cost for _, cost in chosen], dtype=float)
    unit, scale = {"latency": ("ms", 1.0), "params": ("M", 1e6)}.get(chart.axis.kind) or macs_unit(float(costs.max()))
    study = str(load_study(run).get("name", run.path.name))
    return Evaluations(
        name, study, source, tuple(r["choices"] for r, _ in chosen), np.array([float(r["ap"]) for r, _ in chosen]),
        costs / scale, _times([r for r, _ in chosen]), {"macs": "MACs", "params": "parameters"}.get(
            chart.axis.kind, "latency"
        ), unit,
    )  # fmt: skip


def _cost(record: Mapping[str, Any], chart: Chart) -> float | None:
    """The record's cost on the axis; None where there is none. A convention is counted from the architecture."""
    if chart.axis.kind == "latency":
        return record.get("latency_ms")
    if chart.axis.kind == "params":
        return float(record["params"])
    if chart.axis.what == "true":
        return float(record["macs"])
    arch = as_arch(record["arch"])
    same = next((p for p in chart.points if p.arch == arch), None)
    return None if same is None else macs_in(same, chart.axis.what)


def _times(records: Sequence[Mapping[str, Any]]) -> Floats | None:
    """Seconds since the start at the end of each evaluation, where they are on record."""
    if all(r.get("time_s") is not None for r in records):
        return np.array([float(r["time_s"]) for r in records])
    if all(r.get("seconds") is not None for r in records):
        return np.cumsum([float(r["seconds"]) for r in records])
    return None


def importance(table: Evaluations) -> dict[str, tuple[float, float]]:
    """How much each hole matters for the highest AP and for the lowest cost; each sums to 1 over the holes.

    PED-ANOVA (IJCAI 2023; holes that not every architecture reaches as in its conditional form) over the recorded
    evaluations: how far the choices of the best tenth, or of the best five if these are more, differ from those of
    all. Raises ``ValueError`` where there are too few evaluations.
    """
    if len(table.ap) < FEWEST:
        raise ValueError(f"{len(table.ap)} evaluations, at least {FEWEST} are needed for importance")
    by_ap = _shares(table, table.ap, "maximize")
    by_cost = _shares(table, table.cost, "minimize")
    return {path: (by_ap[path], by_cost[path]) for path in by_ap}


def _shares(table: Evaluations, values: Floats, direction: Literal["minimize", "maximize"]) -> dict[str, float]:
    options: dict[str, set[Any]] = {}
    for choices in table.choices:
        for path, value in choices.items():
            options.setdefault(path, set()).add(_key(value))
    kinds = {
        path: optuna.distributions.CategoricalDistribution(sorted(seen, key=lambda v: (str(type(v)), v)))
        for path, seen in options.items()
    }
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else making a study prints a line
    try:
        study = optuna.create_study(direction=direction)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={path: _key(value) for path, value in choices.items()},
                    distributions={path: kinds[path] for path in choices},
                    value=float(value_of),
                )
                for choices, value_of in zip(table.choices, values, strict=True)
            ]
        )
        part = max(0.1, TOP / len(values))
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=part))
    finally:
        optuna.logging.set_verbosity(before)


def _key(value: Any) -> Any:
    """An option as Optuna holds it: lists as text."""
    return str(value) if isinstance(value, list | tuple) else value
