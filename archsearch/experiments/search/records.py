"""What a search leaves behind: a ``candidate`` record for every trial, the front among them, a summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from archsearch.experiments.search.study import SearchStudy
from archsearch.runs import Run
from archsearch.search.driver import score_of
from archsearch.search.pareto import front, hypervolume
from archsearch.search.problem import Problem, finished
from archsearch.search.proposals import REJECTED
from archsearch.search.storage import OUTAGES, Stopped, patiently
from archsearch.space import fingerprint, to_plain

OnEvent = Callable[[str, dict[str, Any]], None]


def front_of(study: SearchStudy, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records on the front by the study's objectives, of those within its limits."""
    whole = [r for r in records if "beaten_by" not in r]  # the AP of others is only expected
    within = [r for r in whole if all(r["costs"][name] <= limit for name, limit in study.constraints.items())]
    if not within:
        return []
    values = [[r["ap"] if name == "ap" else r["costs"][name] for name in study.objectives] for r in within]
    senses = ["max" if name == "ap" else "min" for name in study.objectives]
    return [r for r, on in zip(within, front(values, senses), strict=True) if on]  # type: ignore[arg-type]


def candidates(run: Run) -> list[dict[str, Any]]:
    """The last record of every trial."""
    return list({r["trial"]: r for r in run.records("candidate") if "trial" in r}.values())


def summary(study: SearchStudy, run: Run) -> dict[str, Any]:
    """What the search came to: trials, rejections, the front, and where the time went."""
    records = candidates(run)
    best = front_of(study, records)
    outside = sum(float(r.get("outside_s", 0.0)) for r in records)
    inside = sum(float(r["evaluation_s"]) for r in records)
    return {
        "trials": len(records), "front": [r["fingerprint"] for r in best],
        "rejected_by_cost": sum(r["rejected"]["cost"] for r in records),
        "rejected_as_known": sum(r["rejected"]["known"] for r in records),
        "given_up_early": sum("beaten_by" in r for r in records),
        "evaluation_s": inside, "outside_s": outside, "overhead": outside / max(inside + outside, 1e-9),
    }  # fmt: skip


def _rejected(trial: optuna.trial.FrozenTrial) -> dict[str, int]:
    found = trial.system_attrs.get(REJECTED, {})
    return {name: int(found.get(name, 0)) for name in ("cost", "known")}


class Board:
    """Turns trials that have ended into records, each once, and shows how the search goes."""

    EVERY_S = 1.0

    def __init__(self, study: SearchStudy, run: Run, problem: Problem, found: optuna.Study, on_event: OnEvent) -> None:
        self._study, self._run, self._problem, self._found, self._tell = study, run, problem, found, on_event
        self.ended = {int(r["trial"]) for r in run.records("candidate") if "trial" in r}
        self._began = float(run.records("begun")[0]["time"])
        self._largest = np.array([1.0, *problem.costs(problem.space.largest())])  # a hypervolume's reference
        self._last = 0.0
        self._note = ""

    def told(self, message: dict[str, Any]) -> None:
        """A worker's message. A trial that ended is seen at the next look: its worker is busy with the next one now."""
        self._note = "" if message["stage"] == "trial" else f", {message['stage']}"
        if self._note:
            self._last = 0.0

    def tick(self) -> bool:
        """Look again if it is time to; never asks to stop."""
        if time.monotonic() - self._last > self.EVERY_S:
            self.look()
        return False

    def look(self, patience_s: float = 0.0, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Record what has ended since the last look. A storage that is away is looked at later, or waited for."""
        self._last = time.monotonic()
        try:
            trials = patiently(lambda: self._found.get_trials(deepcopy=False), patience_s, should_stop=should_stop)
        except (*OUTAGES, Stopped):
            return
        done = finished(trials)
        for trial in done:
            if trial.number not in self.ended:
                self._run.record("candidate", **self._record(trial))
                self.ended.add(trial.number)
        if done:
            self._show(done)

    def _record(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        arch = self._problem.parameters.arch(trial.params)
        score = score_of(trial)
        score.pop("values", None)  # older records lack them
        costs = score.pop("costs")
        counted = self._problem.costing.count(arch)
        record = {
            "trial": trial.number, "fingerprint": fingerprint(arch), "arch": to_plain(arch),
            "choices": self._problem.space.choices(arch), "macs": counted.macs, "params": counted.params,
            **score, "costs": costs, "rejected": _rejected(trial),
            "seconds": score["evaluation_s"], "time_s": time.time() - self._began,
        }  # fmt: skip
        if "rungs" in record:
            draws = record["rungs"][-1]["draws"] if "beaten_by" not in record else []
            record["ap_draws"] = [None if draw != draw else draw for draw in draws]
            record["rungs"] = [{"images": r["images"], "ap": r["ap"]} for r in record["rungs"]]
        predict = self._problem.costing.latency_ms
        if predict is not None and self._study.latency is not None:
            record["latency_ms"], record["latency_is"] = costs.get("latency", predict(arch)), "predicted"
            record["device"] = f"{self._study.latency.device}, predicted"
        return record

    def _show(self, done: list[optuna.trial.FrozenTrial]) -> None:
        losses = self._problem.losses(done)
        best = int(front(losses, ["min"] * losses.shape[1]).sum())
        rejected = sum(_rejected(t)["cost"] for t in done)
        ends = np.array([0.0, *np.ones(losses.shape[1] - 1)])  # AP 0 and the largest architecture's costs
        volume = hypervolume(losses / self._largest, ends, ["min"] * losses.shape[1])
        text = f"{best} on the front, hypervolume {volume:.4f}, AP up to {-losses[:, 0].min():.3f}, "
        text += f"{rejected} rejected by cost{self._note}"
        self._tell("trials", {"stage": text, "step": len(done), "steps": self._study.trials})
