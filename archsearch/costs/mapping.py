"""Where MACs mislead: how their ranks agree with those of measured latencies, for networks and for blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from archsearch.costs.agreement import kendall, known, spearman
from archsearch.costs.blocks import runnable
from archsearch.costs.fast import CostModel, Unit
from archsearch.costs.latency import measure_bound
from archsearch.costs.runtimes import Setting
from archsearch.nets.zoo import Arch
from archsearch.space import fingerprint


def block_points(
    name: str, arch: Arch, setting: Setting, known: Collection[str] = (), *, repeats: int = 10, per_kind: int = 12,
    together: int = 16,
) -> Iterator[list[dict[str, Any]]]:  # fmt: skip
    """Latency and MACs of the distinct blocks of a network, up to ``per_kind`` of each class, without those ``known``.

    Records, ``together`` of them at a time as they are measured, with ``name`` and ``fingerprint`` (of the network),
    ``id`` and ``module`` (of the block, and its class), ``macs``, ``pixels`` (of the largest input) and the fields of a
    :class:`~archsearch.costs.latency.Latency`.
    """
    model = CostModel(arch)
    by_kind: dict[str, list[Unit]] = {}
    for number in dict.fromkeys(model.units_of(arch)):
        unit = model.units[number]
        if unit.macs:
            by_kind.setdefault(unit.module, []).append(unit)
    chosen: dict[str, Unit] = {}
    for units in by_kind.values():
        step = max(1, len(units) // per_kind)
        chosen.update((fingerprint(unit.key), unit) for unit in units[::step][:per_kind])
    todo = [key for key in chosen if key not in known]
    for start in range(0, len(todo), together):
        chunk = {key: chosen[key] for key in todo[start : start + together]}
        labels = {f"{unit.module} {key} of {name}": runnable(unit, setting.batch) for key, unit in chunk.items()}
        found = measure_bound(labels, setting, warmup=3, repeats=repeats)
        yield [
            {"kind": "block_latency", "name": name, "fingerprint": fingerprint(arch), "id": key, "module": unit.module,
             "macs": unit.macs, "pixels": max(shape[2] * shape[3] for shape in unit.inputs), **asdict(latency)}
            for (key, unit), latency in zip(chunk.items(), found.values(), strict=True)
        ]  # fmt: skip


def summary(networks: Sequence[Mapping[str, Any]], blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank correlations of MACs with latency, by runtime and group, and how many MACs a block does in a nanosecond.

    ``networks`` are latency records with a ``group`` (zoo, or a space's name), ``blocks`` of :func:`block_points`.
    """
    rows: list[dict[str, Any]] = []
    for runtime in _values(networks, "runtime"):
        of_runtime = [r for r in networks if r["runtime"] == runtime]
        for group in _values(of_runtime, "group"):
            members = [r for r in of_runtime if r["group"] == group]
            macs, ms = [float(r["macs"]) for r in members], [float(r["median_ms"]) for r in members]
            rows.append({"runtime": runtime, "group": group, "networks": len(members),
                         "kendall": known(kendall(macs, ms)), "spearman": known(spearman(macs, ms)),
                         **_speed(members)})  # fmt: skip
    kinds: list[dict[str, Any]] = []
    for runtime in _values(blocks, "runtime"):
        of_runtime = [b for b in blocks if b["runtime"] == runtime]
        for module in _values(of_runtime, "module"):
            members = [b for b in of_runtime if b["module"] == module]
            macs, ms = [float(b["macs"]) for b in members], [float(b["median_ms"]) for b in members]
            kinds.append({"runtime": runtime, "module": module, "blocks": len(members),
                          "kendall": known(kendall(macs, ms)), **_speed(members)})  # fmt: skip
    return {"networks": rows, "blocks": kinds}


def _values(records: Iterable[Mapping[str, Any]], field: str) -> list[Any]:
    return list(dict.fromkeys(record[field] for record in records))


def _speed(members: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Giga-MACs a second: the median, the lowest and the highest."""
    speeds = [r["macs"] / r["median_ms"] / 1e6 for r in members]
    return {
        "gmacs_per_s": float(np.median(speeds)),
        "lowest_gmacs_per_s": min(speeds),
        "highest_gmacs_per_s": max(speeds),
    }
