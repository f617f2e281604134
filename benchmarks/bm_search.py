"""How good a front each sampler has after so many evaluations, on a table and on a front of known shape.

    python benchmarks/bm_search.py [--problem table synthetic] [--samplers ...] [--seeds 10] [--trials 200]

`table` is `search_spaces/embedded_table.jsonl`: 768 architectures whose AP on embedded scenes by a supernet is known.
`synthetic` is the space `embedded_litepose` (3e13 architectures) with an AP that is known: along a chain of
architectures that grows one hole at a time from the smallest to the largest, in a random order, AP is the concave curve
g(MACs); off the chain it is lower, by the weighted distance in holes to the nearest member. So no architecture is above
g, and the chain is on it. Every sampler goes through the search's own proposals (new architectures only).

Hypervolume: of AP above 0 and MACs below the largest ones, divided by the latter. Printed: its mean over seeds with a
95 % interval (Student's t), and after how many evaluations a sampler has what random search has at the end: the median
over seeds with the range of the middle half. `gp` stops at --gp-trials: it takes a second a trial.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from scipy import stats

import archsearch
from archsearch.environment import cores, cpu_name
from archsearch.experiments.rank import read_benchmark
from archsearch.files import resources
from archsearch.nets.zoo import Arch
from archsearch.search.afford import Costing
from archsearch.search.parameters import Parameters
from archsearch.search.pareto import hypervolume, hypervolume_over
from archsearch.search.problem import Problem
from archsearch.search.proposals import Exhausted, Proposals
from archsearch.search.samplers import KNOWN, maker
from archsearch.space import fingerprint

SENSES = ("max", "min")
Score = Callable[[Arch], float]


@cache
def made(name: str) -> tuple[Problem, Score, float]:
    """A problem, its AP, and the largest hypervolume that there is."""
    return table() if name == "table" else synthetic()


def problem_of(space_name: str) -> Problem:
    space = archsearch.load_space(space_name)
    return Problem(Parameters(space), Costing(space, ("macs",)), ("ap", "macs"))


def table() -> tuple[Problem, Score, float]:
    problem = problem_of("embedded_table")
    rows = read_benchmark(resources("search_spaces") / "embedded_table.jsonl")
    known = {row["fingerprint"]: float(row["supernet_ap"]) for row in rows}
    top = problem.costing(problem.space.largest())["macs"]
    everything = [(row["supernet_ap"], row["macs"] / top) for row in rows]
    return problem, lambda arch: known[fingerprint(arch)], hypervolume(everything, (0, 1), SENSES)


def synthetic() -> tuple[Problem, Score, float]:
    problem = problem_of("embedded_litepose")
    rng = np.random.default_rng(5)
    options = {path: problem.parameters.options[path] for path in problem.parameters.distributions}
    last = np.array([len(values) - 1 for values in options.values()], float)
    order = [k for k, steps in enumerate(last.astype(int)) for _ in range(steps)]
    rng.shuffle(order)
    chain = [np.zeros(len(last))]
    for k in order:
        chain.append(chain[-1].copy())
        chain[-1][k] += 1
    members, weights = np.array(chain), rng.dirichlet(np.full(len(last), 2.0))
    top = problem.costing(problem.space.largest())["macs"]

    def curve(macs: float) -> float:
        return float(0.6 * (1 - np.exp(-4 * macs / top)) / (1 - np.exp(-4)))

    def ap(arch: Arch) -> float:
        chosen = problem.space.choices(arch)
        reached = np.array([path in chosen for path in options], float)
        place = np.array([o.index(chosen[p]) if p in chosen else 0 for p, o in options.items()], float)
        away = (weights * reached * abs(members - place) / last).sum(1).min()
        return curve(problem.costing(arch)["macs"]) * max(0.0, 1 - 1.2 * away)

    archs = [
        problem.space.build({
            **{path: problem.parameters.options[path][0] for path in problem.parameters.options},
            **{path: values[int(i)] for (path, values), i in zip(options.items(), row, strict=True)},
        })
        for row in members
    ]  # fmt: skip
    points = [(ap(arch), problem.costing(arch)["macs"] / top) for arch in archs]
    assert all(abs(value - curve(macs * top)) < 1e-9 for value, macs in points)
    return problem, ap, hypervolume(points, (0, 1), SENSES)


def one(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """One search: its hypervolume after every evaluation, and the seconds of its sampler."""
    name, sampler, seed, trials = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    problem, ap, _ = made(name)
    top = problem.costing(problem.space.largest())["macs"]
    study = optuna.create_study(directions=problem.directions)
    study.sampler = Proposals(problem.parameters, maker(sampler, {}, problem), problem.costing.fits, seed)
    points, asking = [], 0.0
    for _ in range(trials):
        began = time.perf_counter()
        try:
            trial = study.ask(problem.parameters.distributions)
        except Exhausted:
            break
        asking += time.perf_counter() - began
        arch = problem.parameters.arch(trial.params)
        macs = problem.costing(arch)["macs"]
        points.append((ap(arch), macs / top))
        study.tell(trial, [points[-1][0], macs])
    curve = hypervolume_over(points, (0, 1), SENSES).tolist()
    return {"problem": name, "sampler": sampler, "seed": seed, "curve": curve, "ask_s": asking / len(points)}


def half_width(values: list[float]) -> float:
    """Of the 95 % interval of the mean."""
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def shown(name: str, found: list[dict[str, Any]], trials: int) -> None:
    """The table of one problem."""
    best = made(name)[2]
    print(f"\n{name}: hypervolume, mean over seeds with 95 % interval; the whole front has {best:.4f}")
    curves: dict[str, list[list[float]]] = {}
    for result in found:
        curves.setdefault(result["sampler"], []).append(result["curve"])
    goal = None
    if "random" in curves:
        goal = float(np.mean([curve[-1] for curve in curves["random"]]))
    marks = [n for n in (20, 40, 70, 100, 150, 200) if n <= trials]
    print(f"{'sampler':<10}" + "".join(f"{n:>19}" for n in marks) + f"{'as random at ' + str(trials):>24}{'s/ask':>8}")
    for sampler, rows in curves.items():
        cells = ""
        for n in marks:
            values = [row[n - 1] for row in rows if len(row) >= n]
            cells += f"{np.mean(values):>11.4f} ±{half_width(values):.4f}" if values else f"{'–':>19}"
        reached = ""
        if goal is not None:
            needed = [next((i + 1 for i, v in enumerate(row) if v >= goal), np.inf) for row in rows]
            low, middle, high = np.percentile(needed, [25, 50, 75], method="inverted_cdf")
            reached = f"{middle:.0f} ({low:.0f} to {high:.0f})"
        asked = np.mean([r["ask_s"] for r in found if r["sampler"] == sampler])
        print(f"{sampler:<10}{cells}{reached:>24}{asked:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=["table", "synthetic"], choices=["table", "synthetic"])
    parser.add_argument("--samplers", nargs="+", default=["random", *(s for s in KNOWN if s != "random")])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--gp-trials", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(f"{cpu_name()}, {cores()} processes of one thread, torch {torch.__version__}, optuna {optuna.__version__}")
    jobs = [
        (name, sampler, seed, min(given.trials, given.gp_trials) if sampler == "gp" else given.trials)
        for name in given.problem
        for sampler in given.samplers
        for seed in range(given.seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        found = list(pool.imap(one, jobs))
    for name in given.problem:
        shown(name, [result for result in found if result["problem"] == name], given.trials)
    if given.json:
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
