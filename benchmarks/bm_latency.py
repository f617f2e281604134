"""Repeatability: the same architecture measured again and again, each time interleaved with another one.

    python benchmarks/bm_latency.py [--arch litepose-xs] [--other litepose-s] [--times 10] [--device cpu] [--json FILE]

Each measurement is what `archsearch latency measure` makes: warm-up, repeats, the median. The table shows the medians
and their spread: (largest - smallest) / median of the medians, and their standard deviation over their mean. The last
line is the ratio of the two medians: what of it is left when the machine's speed is divided out.
"""

from __future__ import annotations

import argparse
import statistics

import torch

import archsearch
from archsearch.costs.latency import measure
from archsearch.costs.records import settings_for
from archsearch.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="litepose-xs")
    parser.add_argument("--other", default="litepose-s")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or onnxruntime")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.times < 2 or options.arch == options.other:
        parser.error("two measurements at least, of two different architectures")
    found: dict[str, dict[str, list[float]]] = {}
    for setting in settings_for(options.device, threads=options.threads):
        medians: dict[str, list[float]] = {options.arch: [], options.other: []}
        for _ in range(options.times):
            nets = {name: archsearch.build(name) for name in medians}
            latencies = measure(
                nets, [archsearch.load_arch(name).input_hw for name in nets], device=setting.device,
                threads=setting.threads, runtime=setting.runtime, channels_last=setting.channels_last,
                repeats=options.repeats,
            )  # fmt: skip
            for name, latency in latencies.items():
                medians[name].append(latency.median_ms)
        found[setting.runtime] = medians
        print(f"{setting.device_name}, {setting.runtime}, {setting.threads} thread(s), torch {torch.__version__}: "
              f"{options.times} measurements of {options.repeats} repeats")  # fmt: skip
        ratios = [b / a for a, b in zip(medians[options.arch], medians[options.other], strict=True)]
        for name, values, unit in [*((name, values, " ms") for name, values in medians.items()), ("ratio", ratios, "")]:
            middle = statistics.median(values)
            spread, deviation = (max(values) - min(values)) / middle, statistics.stdev(values) / statistics.mean(values)
            print(f"  {name:28s} median {middle:9.3f}{unit}, from {min(values):.3f} to {max(values):.3f}: "
                  f"spread {100 * spread:.2f} %, standard deviation {100 * deviation:.2f} %")  # fmt: skip
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
