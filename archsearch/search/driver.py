"""One worker of a search: takes the next trial, has it scored, tells the storage; until all trials have ended.

Trials are numbered from 0, and the first ``plan.trials`` that did not fail are the search: workers may come and go, and
the number of evaluated architectures is exact. Everything that later steps read is in the trial itself: its parameters,
its values, its constraints, and the record of :func:`score_of`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from archsearch.nets.zoo import Arch
from archsearch.search.claims import DEATHS, WORKER, Me, Watch, release, signing
from archsearch.search.parameters import Parameters, Params
from archsearch.search.problem import Problem, finished
from archsearch.search.proposals import Exhausted
from archsearch.search.storage import OUTAGES, Stopped, first_line, patiently, set_params

SCORE, REASON = "score", "reason"  # a trial's attributes: the record of an evaluation (and whose), why it failed
MOST_FAILED, FAILED_SHARE = 10, 0.2  # so many failed trials, and more of all that ended, end a search
MOST_DEATHS = 8  # workers that may die on a trial before it counts as failed


class Interrupted(Exception):
    """The evaluation of an architecture was stopped from outside; it goes on another time."""


class Scorer(Protocol):
    """Evaluates architectures; see :mod:`archsearch.experiments.search.scores`."""

    def __call__(self, arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        """What is to be recorded, ``ap`` (0 to 1) among it; measured costs replace those that were predicted.

        ``finished``: the trials that have ended well. Raises ``Interrupted`` where it was told to stop, ``ValueError``
        where this architecture cannot be evaluated.
        """


@dataclass(frozen=True)
class Plan:
    """What a worker needs to know of the search."""

    trials: int
    beat_s: float = 10.0  # between two signatures under a trial
    grace_s: float = 60.0  # without a signature until a trial is given to another worker
    patience_s: float = 600.0  # that a worker waits for a storage that is away


@dataclass
class Worker:
    """A worker; ``score`` evaluates, everything else is its own time, which is recorded."""

    study: optuna.Study
    plan: Plan
    problem: Problem
    score: Scorer
    should_stop: Callable[[], bool] = lambda: False
    on_event: Callable[[dict[str, Any]], None] = lambda _: None
    poll_s: float = 0.5  # between two looks at trials that others have not ended yet
    me: Me = field(default_factory=Me)

    def __post_init__(self) -> None:
        self._watch = Watch(self.study, self.me, self.plan.grace_s)

    def run(self) -> bool:
        """Work until every trial of the search has ended; False where it was stopped before.

        Raises ``ValueError`` where too many trials failed, ``InputError`` where the storage stayed away.
        """
        try:
            return self._run()
        except Stopped:
            return False

    def _run(self) -> bool:
        exhausted = False
        self._free = time.monotonic()
        before = {trial.number for trial in self._trials() if trial.state == TrialState.FAIL}
        while not self.should_stop():
            trials = self._trials()
            if self._patiently(partial(self._watch.give_back, trials)):
                self.on_event({"stage": "took over a trial"})
                trials = self._trials()
            states = {trial.state for trial in trials}
            if len(finished(trials)) >= self.plan.trials:
                return True
            check_failures(trials, before)
            if TrialState.WAITING in states or (len(trials) < self._numbers(trials) and not exhausted):
                try:
                    self._one()
                except Exhausted as error:
                    exhausted = True
                    self.on_event({"stage": str(error)})
            elif exhausted and TrialState.RUNNING not in states:
                return True
            else:
                self._wait()
        return False

    def _look_around(self) -> None:
        """While an architecture is evaluated, too: that can take longer than others are waited for."""
        self._watch.give_back(self.study.get_trials(deepcopy=False))

    def _trials(self) -> list[FrozenTrial]:
        found: list[FrozenTrial] = self._patiently(lambda: self.study.get_trials(deepcopy=False))
        return found

    def _numbers(self, trials: Sequence[FrozenTrial]) -> int:
        """Trials have numbers below this one: those that failed are made up for."""
        return self.plan.trials + sum(trial.state == TrialState.FAIL for trial in trials)

    def _one(self) -> None:
        """One trial from its proposal to its end."""
        try:
            trial = self._patiently(self.study.ask)
        except UpdateFinishedTrialError:  # one that waited was ended at that moment by who had it before
            return
        with signing(self.study, trial._trial_id, self.me, self.plan.beat_s, self._look_around):
            try:
                self._patiently(lambda: trial.set_user_attr(WORKER, str(self.me)))
                trials = self._patiently(
                    lambda: self.study._get_trials(deepcopy=False, use_cache=True)
                )  # as samplers do
                if sum(t.number < trial.number and t.state != TrialState.FAIL for t in trials) >= self.plan.trials:
                    self._fail(trial, "surplus: another worker was faster")
                    return
                if int(trial.user_attrs.get(DEATHS, 0)) >= MOST_DEATHS:
                    self._fail(trial, f"{MOST_DEATHS} workers died on it")
                    return
                try:
                    params = self._propose(trial)
                except Exhausted:
                    self._fail(trial, "surplus: nothing left to propose")
                    raise
                self._evaluate(trial, self.problem.parameters.arch(params), finished(trials))
            except UpdateFinishedTrialError:
                pass  # others took it for abandoned, and ended it
            except BaseException as error:
                died = isinstance(error, Exception)  # not where it was stopped
                with contextlib.suppress(*OUTAGES):
                    release(self.study, trial._trial_id, str(self.me), died=died)
                raise

    def _propose(self, trial: optuna.Trial) -> Params:
        """A trial's parameters, given to it where it has none yet."""
        wanted = self.problem.parameters.distributions
        params: Params = self._patiently(lambda: trial.relative_params)
        stored: Params = self._patiently(lambda: set_params(self.study._storage, trial._trial_id, params, wanted))
        return stored

    def _evaluate(self, trial: optuna.Trial, arch: Arch, known: Sequence[FrozenTrial]) -> None:
        costs = self.problem.costing(arch)
        asked = time.monotonic()
        try:
            record = self.score(arch, costs, known)
        except Interrupted:
            self._patiently(partial(release, self.study, trial._trial_id, str(self.me)))
            return
        except (OSError, torch.AcceleratorError):  # of the machine, not of this architecture: others go on with it
            raise
        except Exception as error:  # of this architecture: the search goes on, unless there are many
            self._free = time.monotonic()
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self._fail(trial, f"{kind}{first_line(error)}")
            return
        scored = time.monotonic()
        costs = {**costs, **record.get("costs", {})}
        for name, excess in self.problem.costing.over(costs).items():
            self._patiently(partial(_constrain, trial, name, excess))
        values = [float(record["ap"]) if name == "ap" else costs[name] for name in self.problem.objectives]
        for name, value in zip(self.problem.objectives, values, strict=True):
            if not math.isfinite(value):
                self._fail(trial, f"{name} {value} is not a finite number")
                return
        full = {**record, "costs": costs, "values": values, "evaluation_s": scored - asked}
        full["outside_s"] = asked - self._free  # since the last evaluation's end: told, looked around, proposed
        self._free = scored
        self._patiently(lambda: trial.set_user_attr(f"{SCORE} {self.me.unique}", full))
        self._tell(trial, values, TrialState.COMPLETE)
        self.on_event({"stage": "trial", "trial": trial.number, "ap": record["ap"]})

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        self._patiently(lambda: trial.set_user_attr(REASON, reason))
        self._tell(trial, None, TrialState.FAIL)

    def _tell(self, trial: optuna.Trial, values: list[float] | None, state: TrialState) -> None:
        """The end of a trial, whether it is still ours or was given back meanwhile; the first one who tells counts.

        Not by ``Study.tell``, which takes two looks at the storage and refuses what was given back.
        """
        storage, sampler = self.study._storage, self.study.sampler

        def told() -> None:
            if getattr(sampler, "sees_ends", True):
                sampler.after_trial(self.study, storage.get_trial(trial._trial_id), state, values)
            storage.set_trial_state_values(trial._trial_id, state, values)

        self._patiently(told)

    def _wait(self) -> None:
        until = time.monotonic() + self.poll_s
        while not self.should_stop() and time.monotonic() < until:
            time.sleep(min(0.1, self.poll_s))

    def _patiently(self, call: Callable[[], Any]) -> Any:
        def tell(why: str) -> None:
            self.on_event({"stage": f"storage is away: {why}"})

        return patiently(call, self.plan.patience_s, tell, self.should_stop)


def _constrain(trial: optuna.Trial, name: str, excess: float) -> None:
    """Once only: what is tried again after an outage may be there already."""
    if name not in trial.constraints:
        trial.set_constraint(name, excess)


def score_of(trial: FrozenTrial) -> dict[str, Any]:
    """The record of a trial's evaluation, of two the one whose values were told first; {} where there is none."""
    records = [dict(v) for name, v in trial.user_attrs.items() if name == SCORE or name.startswith(f"{SCORE} ")]
    told = [record for record in records if record.get("values") == trial.values]
    return next(iter(told or records), {})


def check_failures(trials: Sequence[FrozenTrial], before: Collection[int] = ()) -> None:
    """Raises ``ValueError`` with the last reason where too many trials failed, those ``before`` not counted."""
    failed_now = [t for t in trials if t.state == TrialState.FAIL and t.number not in before]
    reasons = [str(t.user_attrs.get(REASON, "")) for t in failed_now]
    failed = [reason for reason in reasons if not reason.startswith("surplus")]
    ended = sum(trial.state.is_finished() for trial in trials)
    if len(failed) >= MOST_FAILED and len(failed) > FAILED_SHARE * ended:
        raise ValueError(f"{len(failed)} trials failed; the last one: {failed[-1]}")


def enqueue(study: optuna.Study, parameters: Parameters, archs: Sequence[Arch], seed: int) -> None:
    """Put architectures at the head of the queue, in their order, as trials of their own."""
    rng = np.random.default_rng(seed)
    for arch in archs:
        study.enqueue_trial(parameters.of(arch, rng), skip_if_exists=False)
