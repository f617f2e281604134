"""Single-objective evolution under a constraint, once for each budget: how LitePose and Once-for-All search.

Each of a few budgets has a population of its own, and the trials take turns among them. A child is a mutation of one
of the best parents or a crossover of two, drawn again until it keeps its budget (Real et al., AAAI 2019; Cai et al.,
Once-for-All, ICLR 2020, section 3.3 and its code's defaults: half mutations, a quarter of the population as parents).
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
from archsearch.search.problem import Problem, finished

TRIES = 500  # children drawn until one keeps its budget
DRAWN = 400  # random architectures whose costs say what budgets there can be


class EvolutionSampler(BaseSampler):
    """Evolution for the highest AP under each of several budgets of the first cost among the objectives.

    ``budgets``: in the unit of that cost; :func:`quantiles` where nobody says.
    """

    def __init__(
        self, problem: Problem, budgets: Sequence[float], population: int, parents: int, mutation: float, seed: int = 0
    ) -> None:
        self._problem, self._population, self._parents, self._mutation = problem, population, parents, mutation
        self._rng = np.random.default_rng(seed)
        self._budgets = budgets

    @classmethod
    def shared(
        cls,
        problem: Problem,
        *,
        budgets: Sequence[float] | None = None,
        population: int = 12,
        parents: int = 4,
        mutation: float = 0.1,
    ) -> dict[str, Any]:
        """The arguments of all samplers of one search. Raises ``ValueError`` where they make no sense."""
        if not 1 <= parents <= population:
            raise ValueError(f"parents {parents} of a population of {population}")
        budgets = quantiles(problem) if budgets is None else budgets
        if not budgets or min(budgets) <= 0:
            raise ValueError(f"budgets {list(budgets)}: numbers above 0 are needed")
        return {
            "problem": problem, "budgets": budgets, "population": population, "parents": parents, "mutation": mutation
        }  # fmt: skip

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return self._problem.parameters.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The child of a turn's budget."""
        turn = trial.number % len(self._budgets)
        name, budget = self._problem.cost_names[0], self._budgets[turn]
        index = self._problem.objectives.index(name)
        ap = self._problem.objectives.index("ap")
        mine = [
            t
            for t in finished(study.get_trials(deepcopy=False))
            if t.number % len(self._budgets) == turn and t.values[index] <= budget
        ]
        best = sorted(mine, key=lambda t: -t.values[ap])[: self._parents]
        pool = [self._problem.parameters.arch(t.params) for t in best] if len(mine) >= self._population else []
        smallest = self._problem.space.smallest()
        child = smallest
        for _ in range(TRIES):
            child = self._child(pool)
            if self._problem.costing(child)[name] <= budget:
                break
        return self._problem.parameters.of(child, self._rng)

    def _child(self, pool: list[Arch]) -> Arch:
        space, rng = self._problem.space, self._rng
        if not pool:
            return space.sample(rng)
        if rng.random() < 0.5 or len(pool) < 2:
            return space.mutate(pool[rng.integers(len(pool))], rng, self._mutation)
        a, b = rng.choice(len(pool), 2, replace=False).tolist()
        return space.crossover(pool[a], pool[b], rng)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: every parameter is sampled at once."""
        raise ValueError(f"{param_name} is not a parameter of the space")


def quantiles(problem: Problem) -> tuple[float, ...]:
    """Budgets: the 20, 40, 60, 80 and 100 % quantiles of the first cost of random architectures within the limits.

    Raises ``ValueError`` where no cost is an objective.
    """
    if not problem.cost_names:
        raise ValueError("evolution under a budget needs a cost among the objectives")
    rng, name = np.random.default_rng(0), problem.cost_names[0]
    drawn = [arch for arch in (problem.space.sample(rng) for _ in range(DRAWN)) if problem.costing.fits(arch)]
    if not drawn:
        drawn = [problem.space.smallest()]
    return tuple(np.quantile([problem.costing(arch)[name] for arch in drawn], (0.2, 0.4, 0.6, 0.8, 1.0)).tolist())
