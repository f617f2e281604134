"""Samplers by name: Optuna's, those of this package, and any other by its import path."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from archsearch.search.assisted import AssistedSampler
from archsearch.search.evolution import EvolutionSampler
from archsearch.search.problem import Problem
from archsearch.search.proposals import Make

KNOWN: dict[str, tuple[type[BaseSampler], dict[str, Any]]] = {
    "nsga2": (NSGAIISampler, {"population_size": 20}),
    "nsga3": (NSGAIIISampler, {"population_size": 20}),
    "tpe": (TPESampler, {"multivariate": True, "n_startup_trials": 20, "constant_liar": True}),
    "gp": (GPSampler, {"n_startup_trials": 20}),
    "random": (RandomSampler, {}),
    "assisted": (AssistedSampler, {}),
    "evolution": (EvolutionSampler, {}),
}


def maker(name: str, options: Mapping[str, Any], problem: Problem) -> Make:
    """Makes samplers from seeds. ``name``: one of :data:`KNOWN`, or ``package.module.Class`` of a ``BaseSampler``.

    A class that has ``shared(problem, **options)`` is given what that returns, once for all samplers of the search: so
    this package's know the :class:`~archsearch.search.problem.Problem`. Raises ``ValueError`` where there is no such
    sampler or it has no such option.
    """
    kind, defaults = KNOWN[name] if name in KNOWN else (_imported(name), {})
    settings = {**defaults, **options}
    if "seed" in settings:
        raise ValueError("sampler.options.seed: seeds come from the study's seed and the trial's number")
    shared: Callable[..., dict[str, Any]] | None = getattr(kind, "shared", None)
    accepted = inspect.signature(shared or kind).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    for option in settings:
        if option not in accepted and not takes_any:
            names = ", ".join(p for p in accepted if p not in ("self", "seed", "problem"))
            raise ValueError(f"sampler.options.{option}: {kind.__name__} has no such option, it has {names}")
    seeds = takes_any or "seed" in inspect.signature(kind).parameters
    given = settings

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**given, **({"seed": seed} if seeds else {}))

    try:
        if shared is not None:
            given = shared(problem, **settings)
        make(0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sampler {name}: {error}") from None
    return make


def _imported(path: str) -> type[BaseSampler]:
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"sampler {path!r} is not one of {', '.join(KNOWN)} and not an import path")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"sampler {path}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, BaseSampler)):
        raise ValueError(f"sampler {path} is not a class of Optuna samplers")
    return found
