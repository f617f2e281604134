"""A sampler that asks a predictor first: thousands of architectures are looked at for every one that is evaluated.

After a first few trials, spread over the range of costs, an ensemble is fitted to what was evaluated. One of its
members is drawn (Thompson sampling), evolution searches that member's front, and what would enlarge the true front's
hypervolume the most, if that member were right, is proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from archsearch.nets.zoo import Arch
from archsearch.search.pareto import Floats, Sense, front, hypervolume, ranks
from archsearch.search.predictor import Features, Predictor
from archsearch.search.problem import Problem, finished

SPREAD = 128  # random architectures among which one of the first trials finds its place in the range of costs


class Learned:
    """What a process has learned of a problem so far: every sampler of that problem fits the predictor or reuses it."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.features = problem, Features(problem)
        self._of = 0
        self._predictor: Predictor | None = None

    def predictor(self, done: Sequence[FrozenTrial]) -> Predictor:
        """Fitted to these trials; to as many before, where that has been done."""
        if self._predictor is None or self._of != len(done):
            losses = self.problem.losses(done)
            archs = [self.problem.parameters.arch(trial.params) for trial in done]
            rows_NF = self.features(archs, losses[:, 1:].tolist())
            self._predictor = Predictor(rows_NF, (-losses[:, 0]).tolist(), len(done))
            self._of = len(done)
        return self._predictor


class AssistedSampler(BaseSampler):
    """Predictor-assisted search.

    ``startup``: trials before the predictor is asked for the first time; it is fitted again after ``refit`` more.
    """

    def __init__(
        self, learned: Learned, startup: int = 16, refit: int = 4, population: int = 32, generations: int = 8,
        mutation: float = 0.08, seed: int = 0,
    ) -> None:  # fmt: skip
        for name, value in (
            ("startup", startup),
            ("population", population),
            ("generations", generations),
            ("refit", refit),
        ):
            if value < 1:
                raise ValueError(f"{name} {value} is less than 1")
        if not learned.problem.cost_names:
            raise ValueError("the assisted sampler needs a cost among the objectives")
        self._learned, self._problem = learned, learned.problem
        self._startup, self._population, self._generations = startup, population, generations
        self._mutation, self._refit = mutation, refit
        self._rng = np.random.default_rng([seed, 1])  # goes on where it is asked again for the same trial

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return self._problem.parameters.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next architecture."""
        rng, trials = self._rng, study.get_trials(deepcopy=False)
        done = finished(trials)
        if len(done) < self._startup:
            return self._problem.parameters.of(self._spread(trial.number, rng), rng)
        asked = [t for t in trials if len(t.params) == len(self._problem.parameters.distributions)]
        taken = {self._problem.parameters.arch(t.params) for t in asked}
        return self._problem.parameters.of(self._best(done, taken, rng), rng)

    def _spread(self, number: int, rng: np.random.Generator) -> Arch:
        """A random architecture whose first cost has its place in a sequence that fills the range evenly."""
        drawn = [self._problem.space.sample(rng) for _ in range(SPREAD)]
        drawn = [arch for arch in drawn if self._problem.costing.fits(arch)] or drawn
        drawn.sort(key=lambda arch: self._problem.costs(arch)[0])
        place, step, rest = 0.0, 0.5, number + 1
        while rest:  # van der Corput's sequence
            place += step * (rest % 2)
            step, rest = step / 2, rest // 2
        return drawn[int(place * len(drawn))]

    def _best(self, done: Sequence[FrozenTrial], taken: set[Arch], rng: np.random.Generator) -> Arch:
        """What evolution towards one member's front finds, and would enlarge the true front the most."""
        losses = self._problem.losses(done)
        archs = [self._problem.parameters.arch(trial.params) for trial in done]
        predictor = self._learned.predictor(done[: len(done) - (len(done) - self._startup) % self._refit])
        member = int(rng.integers(len(predictor)))
        senses: list[Sense] = ["min"] * losses.shape[1]
        found: dict[Arch, tuple[float, ...]] = {}  # minus the expected AP, and costs
        elite = [archs[i] for i in np.flatnonzero(ranks(losses, senses) < 2)]
        for _ in range(self._generations):
            drawn = dict.fromkeys(self._child(elite, rng) for _ in range(self._population))
            children = [c for c in drawn if c not in taken and c not in found and self._problem.costing.fits(c)]
            costs = [self._problem.costs(child) for child in children]
            if children:
                aps = predictor(self._learned.features(children, costs))[member]
                for child, counted, ap in zip(children, costs, aps, strict=True):
                    found[child] = (-float(ap), *counted)
            if not found:
                return self._problem.space.sample(rng)
            expected = np.array(list(found.values()))
            best = np.argsort(ranks(expected, senses), kind="stable")[: self._population].tolist()
            listed = list(found)
            elite = [listed[i] for i in best]
        gains = _gains(expected[best], losses, senses)
        return elite[int(np.argmax(gains))]

    def _child(self, elite: Sequence[Arch], rng: np.random.Generator) -> Arch:
        space, draw = self._problem.space, rng.random()
        if draw < 0.1:
            return space.sample(rng)
        if draw < 0.55 or len(elite) < 2:
            return space.mutate(elite[int(rng.integers(len(elite)))], rng, self._mutation)
        a, b = rng.choice(len(elite), 2, replace=False).tolist()
        return space.crossover(elite[a], elite[b], rng)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: every parameter is sampled at once."""
        raise ValueError(f"{param_name} is not a parameter of the space")


def _gains(candidates_CM: Floats, known_NM: Floats, senses: Sequence[Sense]) -> list[float]:
    """The hypervolume of what is known with each candidate."""
    end = np.concatenate((np.zeros(1), known_NM[:, 1:].max(0) * (1 + 1e-9)))
    best = known_NM[front(known_NM, senses)]
    return [hypervolume(np.vstack((best, row)), end, senses) for row in candidates_CM]
