"""What a sampler proposes, asked again until it is affordable and new.

Optuna's samplers know neither what an architecture costs before it is evaluated nor that two sets of parameters can be
the same architecture. Here they are asked again, and what they insist on is brought down towards the smallest
architecture of the space. What is turned away never becomes a trial, so it takes nothing from the budget.

A sampler is made anew for every trial, seeded by the study's seed and the trial's number: a study that was stopped,
however it was stopped, goes on as it would have, and no two workers share random numbers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.samplers._ga._base import BaseGASampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from archsearch.nets.zoo import Arch
from archsearch.search.parameters import Parameters, Params
from archsearch.space import fingerprint

Make = Callable[[int], BaseSampler]  # a sampler from a seed
REJECTED = "rejected"  # a trial's attribute: how many proposals were turned away, by cost and as known; its parameters
QUEUED = "fixed_params"  # Optuna's attribute of a trial that was put into the queue
ATTEMPTS = 20  # of a sampler for one trial,
INSISTED = 3  # and times that it may propose the same one
REPAIRS = 2000  # tries to bring its last proposal within the limits
ENUMERATED = 50_000  # architectures of a space that is gone through before none is said to be left


class Exhausted(Exception):
    """No affordable architecture is left that was not evaluated."""


def planned(trial: FrozenTrial, parameters: Parameters) -> Params | None:
    """The parameters that a trial has or, while it waits or runs, is about to be given; None where nobody knows."""
    attrs, count = trial.system_attrs, len(parameters.distributions)
    if len(trial.params) == count:
        return trial.params
    if trial.state.is_finished():
        return None
    found = attrs[REJECTED]["params"] if REJECTED in attrs else attrs.get(QUEUED, {})
    return found if len(found) == count else None


class Proposals(BaseSampler):
    """A sampler of Optuna's whose proposals all fit and are new."""

    def __init__(self, parameters: Parameters, make: Make, fits: Callable[[Arch], bool], seed: int) -> None:
        self._parameters, self._make, self._fits, self._seed = parameters, make, fits, seed
        self._known: dict[int, str] = {}  # fingerprints by the trials' numbers
        self.sees_ends = type(self._quietly(seed)).after_trial is not BaseSampler.after_trial

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters of the space."""
        return self._parameters.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters of one trial. Raises ``Exhausted`` where nothing is left to propose."""
        storage, trial_id = study._storage, trial._trial_id
        rng = np.random.default_rng([self._seed, trial.number])
        inner = self._quietly(int(rng.integers(2**31)))
        attrs = storage.get_trial_system_attrs(trial_id)
        queued = attrs.get(QUEUED, {})
        if queued.keys() >= self._parameters.distributions.keys():
            if isinstance(inner, BaseGASampler):
                inner.get_trial_generation(study, trial)  # else what was queued never becomes a parent
            return dict(queued)
        if attrs.get(REJECTED, {}).get("params"):  # a worker died after it was proposed
            params: Params = dict(attrs[REJECTED]["params"])
            if storage.get_trial(trial_id).params or self._is_new(params, study, trial.number):
                return params
        rejected = {"cost": 0, "known": 0}
        for params in self._candidates(inner, study, trial, rejected, rng):
            # Whoever announces looks afterwards: of two workers with the same proposal at least one sees the other's.
            storage.set_trial_system_attr(trial_id, REJECTED, {**rejected, "params": params})
            if self._is_new(params, study, trial.number):
                return params
            rejected["known"] += 1
            storage.set_trial_system_attr(trial_id, REJECTED, {**rejected, "params": {}})  # free for others again
        raise AssertionError("candidates are without end, or end with Exhausted")

    def _candidates(
        self, inner: BaseSampler, study: Study, trial: FrozenTrial, rejected: dict[str, int], rng: np.random.Generator
    ) -> Iterator[Params]:
        """Proposals that fit and are new as far as is known, without end; what is turned away is counted."""
        asked: Counter[Arch] = Counter()
        while asked.total() < ATTEMPTS and max(asked.values(), default=0) < INSISTED:
            params = self._ask(inner, study, trial)
            arch = self._parameters.arch(params)
            known = fingerprint(arch) in self._fingerprints(study, trial.number)
            if known or not self._fits(arch):
                rejected["known" if known else "cost"] += 1
            else:
                yield params
            asked[arch] += 1
        while True:
            yield self._parameters.of(self._repaired(arch, self._fingerprints(study, trial.number), rng), rng)

    def _is_new(self, params: Params, study: Study, number: int) -> bool:
        """Whether no other trial has this architecture at this moment."""
        study._thread_local.cached_all_trials = None  # what samplers look at, too
        return fingerprint(self._parameters.arch(params)) not in self._fingerprints(study, number)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Only asked for parameters that are not of the space. Raises ``ValueError``."""
        raise ValueError(f"{param_name} is not a parameter of the space {self._parameters.space.name}")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """What the sampler does at the end of a trial."""
        self._quietly(self._seed).after_trial(study, trial, state, values)

    def _quietly(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._make(seed)

    def _ask(self, inner: BaseSampler, study: Study, trial: FrozenTrial) -> Params:
        """One proposal: what the sampler gives at once, and the rest one by one."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # Optuna's Gaussian process takes all of them for nothing
        try:
            space = inner.infer_relative_search_space(study, trial)
            params = inner.sample_relative(study, trial, space)
            for name, distribution in self._parameters.distributions.items():
                if name not in params:
                    params[name] = inner.sample_independent(study, trial, name, distribution)
        finally:
            torch.set_num_threads(before)
        return params

    def _fingerprints(self, study: Study, number: int) -> set[str]:
        """Of all other trials that have their parameters, or are about to."""
        found = set()
        for other in study._get_trials(deepcopy=False, use_cache=True):
            if other.number not in self._known:
                params = planned(other, self._parameters)
                if params is None:
                    continue
                name = fingerprint(self._parameters.arch(params))
                if params is not other.params:  # it can still be given another one
                    if other.number != number:
                        found.add(name)
                    continue
                self._known[other.number] = name
            if other.number != number:
                found.add(self._known[other.number])
        return found

    def _repaired(self, arch: Arch, known: set[str], rng: np.random.Generator) -> Arch:
        """An affordable new architecture between ``arch`` and the smallest one, as near to it as chance finds."""
        space = self._parameters.space
        smallest = space.choices(space.smallest())
        options = self._parameters.options
        for turn in range(REPAIRS):
            share = turn / REPAIRS  # of the holes that take the smallest option
            near = space.mutate(arch, rng, 1 / max(1, len(smallest)))
            chosen = space.choices(near)

            def pick(path: str, _: tuple[Any, ...], chosen: Params = chosen, share: float = share) -> Any:
                if path in chosen and rng.random() >= share:
                    return chosen[path]
                return smallest[path] if path in smallest else options[path][0]

            candidate = space.fill(pick)
            if fingerprint(candidate) not in known and self._fits(candidate):
                return candidate
        if space.size <= ENUMERATED:
            left = [one for one in space.every() if fingerprint(one) not in known and self._fits(one)]
            if left:
                return left[int(rng.integers(len(left)))]
            raise Exhausted(f"every affordable architecture of {space.name} is evaluated")
        raise Exhausted(f"no affordable architecture of {space.name} was found that is not evaluated already")
