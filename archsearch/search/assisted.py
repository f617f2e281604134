"""A sampler that asks a predictor first: thousands of architectures are looked at for every one that is evaluated.

After a first few trials, spread over the range of costs, an ensemble is fitted to what was evaluated. One of its
members is drawn (Thompson sampling), evolution searches that member's front, and what would enlarge the true front's
hypervolume the most, if that member were right, is proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from archsearch.space import fingerprint

SPREAD = 128  # random architectures among which one of the first trials finds its place in the range of costs


class AssistedSampler(BaseSampler):
    """Predictor-assisted search; ``startup``: trials before the predictor is asked for the first time."""

    def __init__(
        self, problem: Problem, startup: int = 16, population: int = 32, generations: int = 8, mutation: float = 0.08,
        seed: int = 0,
    ) -> None:  # fmt: skip
        for name, value in (("startup", startup), ("population", population), ("generations", generations)):
            if value < 1:
                raise ValueError(f"{name} {value} is less than 1")
        if not problem.cost_names:
            raise ValueError("the assisted sampler needs a cost among the objectives")
        self._problem, self._seed = problem, seed
        self._startup, self._population, self._generations = startup, population, generations
        self._mutation = mutation
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
        taken = {fingerprint(self._problem.parameters.arch(t.params)) for t in asked}
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

    def _best(self, done: Sequence[FrozenTrial], taken: set[str], rng: np.random.Generator) -> Arch:
        """What evolution towards one member's front finds, and would enlarge the true front the most."""
        losses = self._problem.losses(done)
        archs = [self._problem.parameters.arch(trial.params) for trial in done]
        features = Features(self._problem)
        predictor = Predictor(features(archs, losses[:, 1:].tolist()), (-losses[:, 0]).tolist(), self._seed)
        member = int(rng.integers(len(predictor)))
        senses: list[Sense] = ["min"] * losses.shape[1]
        found: dict[str, _Candidate] = {}
        elite = [archs[i] for i in np.flatnonzero(ranks(losses, senses) < 2)]
        for _ in range(self._generations):
            children: dict[str, Arch] = {}
            for _ in range(self._population):
                child = self._child(elite, rng)
                name = fingerprint(child)
                if name not in taken and name not in found and self._problem.costing.fits(child):
                    children[name] = child
            costs = [self._problem.costs(child) for child in children.values()]
            if children:
                aps = predictor(features(list(children.values()), costs))[member]
                for (name, child), counted, ap in zip(children.items(), costs, aps, strict=True):
                    found[name] = _Candidate(child, (-float(ap), *counted))
            if not found:
                return self._problem.space.sample(rng)
            expected = np.array([candidate.losses for candidate in found.values()])
            best = np.argsort(ranks(expected, senses), kind="stable")[: self._population].tolist()
            listed = list(found.values())
            elite = [listed[i].arch for i in best]
        gains = _gains([listed[i].losses for i in best], losses, senses)
        chosen: Arch = listed[best[int(np.argmax(gains))]].arch
        return chosen

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


@dataclass(frozen=True, eq=False)
class _Candidate:
    arch: Arch
    losses: tuple[float, ...]  # minus the expected AP, and costs


def _gains(candidates: Sequence[tuple[float, ...]], known_NM: Floats, senses: Sequence[Sense]) -> list[float]:
    """The hypervolume of what is known with each candidate."""
    end = np.concatenate((np.zeros(1), known_NM[:, 1:].max(0) * (1 + 1e-9)))
    best = known_NM[front(known_NM, senses)]
    return [hypervolume(np.vstack((best, row)), end, senses) for row in np.array(candidates)]
