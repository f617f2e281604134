"""Architectures that a space gives in a second: samples, mutations, crossovers, and what is built or read.

    python benchmarks/bm_space.py [--count 2000] [--rounds 5] [--json FILE] [SPACE ...]

Every space that is shipped, or those that are named. `plain` is sampling as the definition says it, by filling the
plain tree and making every dataclass anew; it must give the same architectures as `sample` for the same seed. Seconds
are those of the processor, of one thread; the median of rounds is shown.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import archsearch
from archsearch.environment import cpu_name
from archsearch.files import resources
from archsearch.space import from_plain, resolve

PLAIN = 50  # architectures a round that are made from plain values


def per_second(function: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        function()
    return count / (time.process_time() - start)


def measured(name: str, count: int, rounds: int) -> dict[str, Any]:
    space = archsearch.load_space(name)

    def plain(rng: np.random.Generator) -> Any:
        return from_plain(space.kind, resolve(space.plain, lambda _, options: options[rng.integers(len(options))]))

    first, second = np.random.default_rng(0), np.random.default_rng(0)
    assert all(space.sample(first) == plain(second) for _ in range(PLAIN))
    a, b = space.sample(first), space.sample(first)
    choices = space.choices(a)
    rng = np.random.default_rng(1)
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "sample": (lambda: space.sample(rng), count),
        "mutate": (lambda: space.mutate(a, rng, 0.1), count),
        "crossover": (lambda: space.crossover(a, b, rng), count),
        "build": (lambda: space.build(choices), count),
        "choices": (lambda: space.choices(a), count),
        "plain": (lambda: plain(rng), PLAIN),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (function, times) in ways.items():
            found[way].append(per_second(function, times))
    medians = {way: statistics.median(values) for way, values in found.items()}
    return {"space": name, "holes": len(space.holes), "size": space.size, **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", help="default: all that are shipped")
    parser.add_argument("--count", type=int, default=2000, help="architectures a round (2000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    names = options.spaces or sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))
    print(f"{cpu_name()}, Python {platform.python_version()}; a second, median of {options.rounds} rounds")
    print(f"{'space':24}{'holes':>6}{'size':>10}", *(f"{way:>10}" for way in
          ("sample", "mutate", "crossover", "build", "choices", "plain")))  # fmt: skip
    rows = []
    for name in names:
        row = measured(name, options.count, options.rounds)
        rows.append(row)
        print(f"{name:24}{row['holes']:6}{row['size']:10.2e}", *(f"{v:10,.0f}" for v in list(row.values())[3:]))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
