"""Fronts, ranks, hypervolume and attainment of 10,000 points.

    python benchmarks/bm_pareto.py [--points 10000] [--rounds 5] [--json FILE]

Three shapes of points: uniform in a box (few on the front), on a sphere (all on the front), and on a grid (ties and
duplicates). Seconds are those of the processor, of one thread: the median of the rounds, and the slowest. Figures are
checked against pairwise comparison on a part of the points.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.environment import cpu_name
from archsearch.search.pareto import Sense, attainment, front, hypervolume, hypervolume_over, ranks
from archsearch.search.uncertain import drawn, memberships, settled_by

Floats = NDArray[np.float64]


def clouds(count: int, objectives: int) -> dict[str, Floats]:
    """Points of three shapes in the unit box, less is better."""
    rng = np.random.default_rng(0)
    away = np.abs(rng.standard_normal((count, objectives)))
    return {
        "uniform": rng.uniform(size=(count, objectives)),
        "sphere": 1 - away / np.linalg.norm(away, axis=1, keepdims=True),
        "grid": rng.integers(0, 50, (count, objectives)) / 50,
    }


def check(points: Floats, senses: list[Sense]) -> None:
    """The front of a part of the points is what comparing all pairs says."""
    part = points[:800]
    worse = (part[:, None] <= part).all(axis=2) & (part[:, None] < part).any(axis=2)
    assert np.array_equal(front(part, senses), ~worse.any(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    work: dict[str, Callable[[], Any]] = {}
    for objectives in (2, 3):
        senses: list[Sense] = ["min"] * objectives
        for shape, points in clouds(options.points, objectives).items():
            check(points, senses)
            end = np.full(objectives, 1.1)
            work[f"front, {objectives} objectives, {shape}"] = lambda p=points, s=senses: front(p, s)
            work[f"ranks, {objectives} objectives, {shape}"] = lambda p=points, s=senses: ranks(p, s)
            work[f"hypervolume, {objectives} objectives, {shape}"] = lambda p=points, s=senses, e=end: hypervolume(
                p, e, s
            )
            if objectives == 2 or shape != "sphere":  # with three, time grows with the front
                work[f"hypervolume over evaluations, {objectives} objectives, {shape}"] = (
                    lambda p=points, s=senses, e=end: hypervolume_over(p, e, s)
                )
    for shape, points in clouds(options.points, 2).items():
        runs = np.array_split(points, 10)
        work[f"attainment by 5 of 10 runs, {shape}"] = partial(attainment, runs, 5, ("min", "min"))
    values = clouds(100, 2)["uniform"]
    work["probability of 100 points, 4000 samples, and what to measure"] = partial(_probability, values)
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.rounds):
        for name, function in work.items():
            start = time.process_time()
            function()
            found[name].append(time.process_time() - start)
    print(f"{cpu_name()}, one thread, numpy {np.__version__}, Python {platform.python_version()}")
    print(f"{options.points:,} points, milliseconds (median of {options.rounds}, slowest)")
    for name, seconds in found.items():
        print(f"  {name:62s} {1e3 * statistics.median(seconds):8.1f} {1e3 * max(seconds):8.1f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"cpu": cpu_name(), "points": options.points, "seconds": found}, file, indent=1)


def _probability(values: Floats) -> None:
    rng = np.random.default_rng(0)
    y_SN = drawn(values[:, 1], values[:, 1] - 0.05, values[:, 1] + 0.05, 4000, rng)
    draws = np.stack((np.broadcast_to(values[:, 0], y_SN.shape), y_SN), axis=2)
    settled_by(y_SN, memberships(draws, ("min", "min")))


if __name__ == "__main__":
    main()
