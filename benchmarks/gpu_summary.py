"""What the steps of gpu.sh have on record, finished or not.

    python benchmarks/gpu_summary.py FOLDER

Latencies by setting, what each table predicts, the map's rank correlations, and the report of every run.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from archsearch.costs.judge import judge
from archsearch.costs.lines import read_latency_lines, read_table
from archsearch.costs.mapping import summary
from archsearch.costs.records import setting_text
from archsearch.costs.table import Table
from archsearch.files import read_jsonl
from archsearch.nets.zoo import load_space

REPORT_S = 15  # for the report of one run


def latencies(path: Path) -> Iterator[str]:
    by_setting: dict[str, dict[str, float]] = {}
    for record in read_latency_lines(path):
        if record["kind"] == "latency":
            by_setting.setdefault(setting_text(record), {})[record["name"]] = record["median_ms"]
    for setting, found in by_setting.items():
        yield f"{len(found)} networks on {setting}"
        yield from (f"    {name:32s} {ms:9.3f} ms" for name, ms in found.items())


def table(path: Path) -> Iterator[str]:
    counts = collections.Counter(record["kind"] for record in read_table(path))
    yield ", ".join(f"{count} {kind}" for kind, count in counts.items())
    found = judge(Table(path, load_space("litepose")))
    yield from (f"    {name}: {found[name]}" for name in ("kendall", "kendall_95", "mape", "macs_kendall", "macs_mape"))


def mapped(path: Path) -> Iterator[str]:
    records = read_latency_lines(path, mapped=True)
    networks, blocks = ([r for r in records if r["kind"] == kind] for kind in ("latency", "block_latency"))
    for rows in summary(networks, blocks).values():
        for row in rows:
            yield "    " + ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def run(folder: Path) -> Iterator[str]:
    counts = collections.Counter(record["kind"] for record in read_jsonl(folder / "metrics.jsonl"))
    yield ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing on record"
    command = [sys.executable, "-m", "archsearch", "report", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REPORT_S)
    yield done.stdout if done.returncode == 0 else "    " + (done.stderr.strip().splitlines() or ["no report"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    parts = [(folder / "latency.jsonl", latencies), (folder / "map" / "latency.jsonl", mapped)]
    parts += [(path, table) for path in sorted(folder.glob("table-*.jsonl"))]
    parts += [(path.parent, run) for path in sorted(folder.glob("runs/*/*/study.yaml"))]
    for path, describe in parts:
        if not path.exists():
            continue
        print(f"== {path}")
        try:
            for line in describe(path):
                print(line)
        except (ValueError, subprocess.TimeoutExpired) as error:  # one that was stopped early says what it lacks
            print(f"    {error}")


if __name__ == "__main__":
    main()
