"""A space's holes as Optuna's parameters: all of them in every trial, reached or not.

Samplers that learn from earlier trials need the same parameters in each. What a hole that is not reached is given does
no harm: :meth:`Space.build` does not look at it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from archsearch.nets.zoo import Arch
from archsearch.space import Space

Params = dict[str, Any]
BUILT = 10_000  # architectures that are kept, because every proposal looks at all trials before it


class Parameters:
    """The parameters of a space. Holes with one option only are none."""

    def __init__(self, space: Space[Arch]) -> None:
        self.space = space
        self.options = {hole.path: hole.options for hole in space.holes}
        self._built = lru_cache(maxsize=BUILT)(self._build)
        self.distributions: dict[str, BaseDistribution] = {
            path: _distribution(options) for path, options in self.options.items() if len(options) > 1
        }

    def arch(self, params: Mapping[str, Any]) -> Arch:
        """The architecture of a trial. Raises ``ValueError`` where a parameter is missing or not an option."""
        try:
            return self._built(tuple(map(params.__getitem__, self.distributions)))
        except KeyError as missing:
            raise ValueError(f"no value for {missing.args[0]}") from None

    def _build(self, values: tuple[Any, ...]) -> Arch:
        chosen = {path: options[0] for path, options in self.options.items() if len(options) == 1}
        for (path, distribution), value in zip(self.distributions.items(), values, strict=True):
            chosen[path] = self._option(path, distribution, value)
        return self.space.build(chosen)

    def of(self, arch: Arch, rng: np.random.Generator) -> Params:
        """Parameters that build ``arch``; holes that it does not reach are drawn.

        Raises ``ValueError`` where it is not in the space.
        """
        chosen = self.space.choices(arch)
        found: Params = {}
        for path, distribution in self.distributions.items():
            options = self.options[path]
            option = chosen[path] if path in chosen else options[int(rng.integers(len(options)))]
            found[path] = option if isinstance(distribution, IntDistribution) else _label(option)
        return found

    def _option(self, path: str, distribution: BaseDistribution, value: Any) -> Any:
        if isinstance(distribution, IntDistribution):
            return value
        return next((option for option in self.options[path] if _label(option) == value), value)


def _distribution(options: tuple[Any, ...]) -> BaseDistribution:
    """Evenly spaced whole numbers keep their order, which some samplers can use; all else is a category."""
    if all(type(option) is int for option in options):
        steps = set(np.diff(options).tolist())
        if len(steps) == 1 and min(steps) > 0:
            return IntDistribution(options[0], options[-1], step=steps.pop())
    return CategoricalDistribution([_label(option) for option in options])


def _label(option: Any) -> bool | int | float | str:
    """An option as a category: a scalar itself, a part of an architecture as text."""
    return option if isinstance(option, bool | int | float | str) else json.dumps(option, sort_keys=True, default=list)
