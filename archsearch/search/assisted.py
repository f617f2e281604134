"""A sampler that asks a predictor first: hundreds of architectures are looked at for every one that is evaluated.

After a first few trials, spread over the range of costs, an ensemble is fitted to what was evaluated, and evolution
searches its members' fronts. From what it has seen, every trial gets the architecture that would enlarge the true
front's hypervolume the most if one member of the ensemble, drawn for that trial, were right (Thompson sampling). After
a few more trials the ensemble is fitted again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from archsearch.nets.zoo import Arch
from archsearch.search.pareto import Floats, Sense, gains, ranks
from archsearch.search.predictor import Features, Predictor
from archsearch.search.problem import Problem, finished
from archsearch.search.proposals import planned

SPREAD = 48  # random architectures among which one of the first trials finds its place in the range of costs
TRIED = 24  # of those that evolution has seen, ranked by a member, whose gain is counted


@dataclass(frozen=True, eq=False)
class Seen:
    """What evolution has seen: N architectures, what K members expect of them."""

    archs: tuple[Arch, ...]
    aps_KN: Floats
    costs_NC: Floats

    @functools.cached_property
    def places(self) -> dict[Arch, int]:
        """The number of each architecture."""
        return {arch: i for i, arch in enumerate(self.archs)}

    def losses(self, member: int) -> Floats:
        """(N, 1 + C): minus the AP that one member expects, and the costs."""
        return np.column_stack((-self.aps_KN[member], self.costs_NC))


class Evolution:
    """Evolution towards the fronts that an ensemble expects.

    What was seen after as many trials is kept for the samplers to come: one is made for every trial. It depends on the
    trials alone, so a search that was stopped goes on as it would have.
    """

    def __init__(self, problem: Problem, population: int, generations: int, mutation: float) -> None:
        self.problem, self._features = problem, Features(problem)
        self.dearest = np.array(problem.costs(problem.space.largest()))
        self._population, self._generations, self._mutation = population, generations, mutation
        self._kept: tuple[int, Seen] | None = None
        self._of: tuple[int, int] | None = None  # the study that is kept
        self._taken: dict[int, Arch] = {}  # by the trials' numbers

    def begin(self, study: Study) -> None:
        """Forget what was seen of another study."""
        of = (id(study._storage), study._study_id)
        if of != self._of:
            self._of, self._kept, self._taken = of, None, {}

    def taken(self, trials: Sequence[FrozenTrial]) -> list[Arch]:
        """The architectures of all trials that have their parameters or are about to; some can be there twice."""
        parameters, found = self.problem.parameters, []
        for trial in trials:
            arch = self._taken.get(trial.number)
            if arch is None and (params := planned(trial, parameters)) is not None:
                arch = parameters.arch(params)
                if params is trial.params:
                    self._taken[trial.number] = arch
            if arch is not None:
                found.append(arch)
        return found

    def __call__(self, done: Sequence[FrozenTrial]) -> Seen:
        """What is seen on the grounds of these trials."""
        if self._kept is None or self._kept[0] != len(done):
            self._kept = (len(done), self._evolve(done, np.random.default_rng([len(done), 2])))
        return self._kept[1]

    def _evolve(self, done: Sequence[FrozenTrial], rng: np.random.Generator) -> Seen:
        losses = self.problem.losses(done)
        archs = [self.problem.parameters.arch(trial.params) for trial in done]
        predictor = Predictor(self._features(archs, losses[:, 1:].tolist()), (-losses[:, 0]).tolist(), len(done))
        senses: list[Sense] = ["min"] * losses.shape[1]
        elite = [archs[i] for i in np.flatnonzero(ranks(losses, senses) < 2)]
        seen: dict[Arch, tuple[list[float], Floats]] = {}  # costs, and AP as each member expects it
        for generation in range(self._generations):
            drawn = dict.fromkeys(self._child(elite, rng) for _ in range(self._population))
            children = [child for child in drawn if child not in seen and self.problem.costing.fits(child)]
            costs = [self.problem.costs(child) for child in children]
            if children:
                aps_KN = predictor(self._features(children, costs))
                seen.update(zip(children, zip(costs, aps_KN.T, strict=True), strict=True))
            member = generation % len(predictor)
            expected = np.array([(-aps_K[member], *counted) for counted, aps_K in seen.values()])
            if seen:
                listed = list(seen)
                elite = [listed[i] for i in np.argsort(ranks(expected, senses), kind="stable")[: self._population]]
        if not seen:
            return Seen((), np.zeros((len(predictor), 0)), np.zeros((0, losses.shape[1] - 1)))
        costs_NC = np.array([counted for counted, _ in seen.values()], float)
        return Seen(tuple(seen), np.array([aps_K for _, aps_K in seen.values()]).T, costs_NC)

    def _child(self, elite: Sequence[Arch], rng: np.random.Generator) -> Arch:
        space, draw = self.problem.space, rng.random()
        if draw < 0.1:
            return space.sample(rng)
        if draw < 0.55 or len(elite) < 2:
            return space.mutate(elite[int(rng.integers(len(elite)))], rng, self._mutation)
        a, b = rng.choice(len(elite), 2, replace=False).tolist()
        return space.crossover(elite[a], elite[b], rng)


class AssistedSampler(BaseSampler):
    """Predictor-assisted search.

    ``startup``: trials before the predictor is asked for the first time; it is fitted again after ``refit`` more, or a
    tenth more where that is more.
    """

    def __init__(self, evolution: Evolution, startup: int = 10, refit: int = 4, seed: int = 0) -> None:
        self._evolution, self._problem, self._startup, self._refit = evolution, evolution.problem, startup, refit
        self._rng = np.random.default_rng([seed, 1])  # goes on where it is asked again for the same trial

    @classmethod
    def shared(
        cls, problem: Problem, *, startup: int = 10, refit: int = 4, population: int = 32, generations: int = 8,
        mutation: float = 0.08,
    ) -> dict[str, Any]:  # fmt: skip
        """The arguments of all samplers of one search. Raises ``ValueError`` where they make no sense."""
        counts = {"startup": startup, "refit": refit, "population": population, "generations": generations}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} {value} is less than 1")
        if not problem.cost_names:
            raise ValueError("the assisted sampler needs a cost among the objectives")
        evolution = Evolution(problem, population, generations, mutation)
        return {"evolution": evolution, "startup": startup, "refit": refit}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return self._problem.parameters.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next architecture."""
        rng, trials = self._rng, study._get_trials(deepcopy=False, use_cache=True)
        self._evolution.begin(study)
        done = finished(trials)
        if len(done) < self._startup:
            return self._problem.parameters.of(self._spread(trial.number, rng), rng)
        return self._problem.parameters.of(self._best(done, self._evolution.taken(trials), rng), rng)

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

    def _best(self, done: Sequence[FrozenTrial], taken: Sequence[Arch], rng: np.random.Generator) -> Arch:
        """Of what evolution has seen, what would enlarge the true front the most if a member were right."""
        known = self._problem.losses(done)
        fitted = self._startup
        while (step := max(self._refit, fitted // 10)) <= len(done) - fitted:
            fitted += step
        seen = self._evolution(done[:fitted])
        expected = seen.losses(int(rng.integers(len(seen.aps_KN))))
        senses: list[Sense] = ["min"] * known.shape[1]
        gone = {seen.places[arch] for arch in taken if arch in seen.places}
        free = np.array([i for i in range(len(seen.archs)) if i not in gone], int)
        if not len(free):
            return self._problem.space.sample(rng)
        best = free[np.argsort(ranks(expected[free], senses), kind="stable")[:TRIED]]
        # Up to the costs of the largest architecture, not to the largest known ones: what costs more than all that was
        # evaluated would never seem worth a trial.
        end = np.concatenate((np.zeros(1), np.maximum(known[:, 1:].max(0), self._evolution.dearest) * (1 + 1e-9)))
        chosen: Arch = seen.archs[best[int(np.argmax(gains(expected[best], known, end, senses)))]]
        return chosen

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: every parameter is sampled at once."""
        raise ValueError(f"{param_name} is not a parameter of the space")
