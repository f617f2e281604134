"""A small search problem whose AP is a formula, and workers on it in processes of their own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from train import tiny

from archsearch.nets.zoo import Arch
from archsearch.search.afford import Costing
from archsearch.search.driver import Plan, Worker
from archsearch.search.parameters import Parameters
from archsearch.search.problem import Problem
from archsearch.search.proposals import Proposals
from archsearch.search.samplers import maker
from archsearch.search.storage import close_storage, open_storage, open_study, patiently
from archsearch.space import Space

FACTS = {"space": "tiny"}


def problem(space: Space[Arch] | None = None, **limits: float) -> Problem:
    space = space or tiny.space()
    return Problem(Parameters(space), Costing(space, ("macs",), limits), ("ap", "macs"))


def ap(found: Problem, arch: Arch) -> float:
    """The share of the largest MACs with diminishing returns, a little better with small kernels."""
    macs = found.costing(arch)["macs"] / found.costing(found.space.largest())["macs"]
    choices = found.space.choices(arch)
    kernels = [value for path, value in choices.items() if path.endswith("kernel")]
    return float(0.6 * macs**0.5 * (1 - 0.02 * sum(kernels) / len(kernels)))


def study(found: Problem, sampler: str, seed: int, url: str | None = None, patience_s: float = 0.0) -> optuna.Study:
    storage = optuna.storages.InMemoryStorage() if url is None else open_storage(url, patience_s)
    made = open_study(storage, "test", found.directions, found.objectives, FACTS, create=True)
    made.sampler = Proposals(found.parameters, maker(sampler, {}, found), found.costing.fits, seed)
    return made


def searched(found: Problem, sampler: str, seed: int, trials: int, url: str | None = None) -> optuna.Study:
    """A whole search in this process."""
    made = study(found, sampler, seed, url)

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        return {"ap": ap(found, arch)}

    assert Worker(made, Plan(trials), found, score).run()
    return made


def trials_at(url: str) -> list[FrozenTrial]:
    """All trials in a storage, which is closed again."""
    made = study(problem(), "nsga2", 0, url)
    try:
        return made.trials
    finally:
        close_storage(made._storage)


def crew(url: str, count: int, trials: int, pause_s: float) -> list[multiprocessing.process.BaseProcess]:
    """Workers in processes of their own, started."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(url, trials, pause_s)) for _ in range(count)]
    for process in processes:
        process.daemon = True
        process.start()
    return list(processes)


def work(url: str, trials: int, pause_s: float) -> None:
    """One worker: evaluation takes ``pause_s``."""
    found = problem()

    def score(arch: Arch, costs: dict[str, float], finished: Sequence[FrozenTrial]) -> dict[str, Any]:
        time.sleep(pause_s)
        return {"ap": ap(found, arch)}

    made = patiently(lambda: study(found, "nsga2", 0, url, 120.0), 120.0)
    assert Worker(made, Plan(trials, beat_s=0.2, grace_s=2.0, patience_s=120.0), found, score, poll_s=0.1).run()
