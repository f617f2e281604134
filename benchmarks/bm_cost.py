"""Architectures whose cost is known in a second: the cost model of a space, and building and tracing with fvcore.

    python benchmarks/bm_cost.py [--space litepose] [--count 5000] [--traced 5] [--json FILE]

Three ways to the same integers, in turn, on one thread: the cost model (blocks remembered), `archsearch.cost` of each
architecture anew, and building the network and tracing it with fvcore. Every architecture is a random one of the space;
the figures must be equal. The cost model is timed once empty (its first architectures fill it) and then warm, on
architectures that it has not seen. `space.sample` is not part of a cost and is timed apart. Seconds are those of the
processor, of one thread: other work on the machine does not count, but for the caches that it takes.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis

import archsearch
from archsearch.costs.fast import CostModel
from archsearch.environment import cpu_name

COLD = ["litepose-s", "small-hrnet-w16", "efficienthrnet-h4", "higherhrnet-w18-shrink3", "hrnet-w32", "litehrnet-30"]
TEXTS = {
    "warm": "cost model, blocks known",
    "empty": "cost model, from nothing",
    "anew": "archsearch.cost, each anew",
    "fvcore": "built and traced with fvcore",
    "sample": "space.sample, for comparison",
}


def seconds(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def traced(arch: Any) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer
        net = archsearch.build(arch).eval()
        return int(FlopCountAnalysis(net, torch.zeros(1, 3, *arch.input_hw)).by_operator()["conv"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="litepose")
    parser.add_argument("--count", type=int, default=5000, help="architectures a round of the cost model (5000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traced", type=int, default=3, help="architectures a round that fvcore traces (3)")
    parser.add_argument("--cold", nargs="*", default=COLD, help="names whose cost is counted one by one")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    space, rng = archsearch.load_space(options.space), np.random.default_rng(0)
    print(
        f"{cpu_name()}, one thread, torch {torch.__version__}, Python {platform.python_version()}, space {space.name}"
    )
    model, rates = CostModel(space), {"empty": [], "warm": [], "anew": [], "fvcore": [], "sample": []}  # type: ignore[var-annotated]
    for turn in range(options.rounds + 1):
        archs: list[Any] = []
        took = seconds(lambda: archs.extend(space.sample(rng) for _ in range(options.count)))  # noqa: B023
        rates["sample"].append(options.count / took)
        took = seconds(lambda: [model(arch) for arch in archs])  # noqa: B023
        rates["warm" if turn else "empty"].append(options.count / took)
        few = archs[: options.traced]
        counted: list[int] = []
        took = seconds(lambda: counted.extend(traced(arch) for arch in few))  # noqa: B023
        rates["fvcore"].append(len(few) / took)
        anew: list[Any] = []
        took = seconds(lambda: anew.extend(archsearch.cost(arch) for arch in few * 5))  # noqa: B023
        rates["anew"].append(5 * len(few) / took)
        assert [model(arch) for arch in few] == anew[: len(few)]
        assert [cost.macs for cost in anew[: len(few)]] == counted
    found = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'architectures a second (median of rounds)':44s}")
    for name, text in TEXTS.items():
        print(f"  {text:42s} {found[name]:12,.1f}   ({min(rates[name]):,.1f} to {max(rates[name]):,.1f})")
    times = {name: found[name] / found["fvcore"] for name in ("warm", "anew")}
    print(f"  times faster than fvcore: {times['warm']:,.0f} (warm), {times['anew']:,.1f} (anew)")
    print("one architecture, cold: milliseconds (median of 9)")
    cold = {}
    for name in options.cold:
        arch = archsearch.load_arch(name)
        cold[name] = statistics.median(seconds(lambda: archsearch.cost(arch)) for _ in range(9)) * 1e3  # noqa: B023
        print(f"  {name:42s} {cold[name]:12.1f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"cpu": cpu_name(), "per_second": rates, "cold_ms": cold}, file, indent=1)


if __name__ == "__main__":
    main()
