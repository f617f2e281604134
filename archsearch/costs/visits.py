"""What a latency table's file holds: its head, and visits that are brought down to one latency for each entry."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from archsearch.costs.lines import VERSION
from archsearch.costs.runtimes import ONNX, Setting
from archsearch.files import InputError
from archsearch.nets.zoo import Arch
from archsearch.space import Space, fingerprint


@dataclass(frozen=True)
class _Plain:
    tree: Any


def head_of(space: Space[Arch], setting: Setting) -> dict[str, Any]:
    """What must agree between a table and whoever uses it."""
    return {
        "kind": "latency_table",
        "version": VERSION,
        "space": space.name,
        "space_fingerprint": fingerprint(_Plain(space.plain)),
        "device": setting.device_name,
        "runtime": setting.runtime,
        "batch": setting.batch,
        "threads": setting.threads,
        "dtype": setting.dtype,
        "channels_last": setting.channels_last,
    }


def check_head(path: Path, head: dict[str, Any], space: Space[Arch], setting: Setting | None) -> None:
    """Raises ``InputError`` naming what a table is of and what it is wanted for, where the two differ.

    ``setting``: None where any will do. Warns where it is the same setting but another version of what runs it.
    """
    wanted = head_of(space, Setting() if setting is None else setting)
    for name in ["space", "space_fingerprint"] if setting is None else wanted:
        if head.get(name) != wanted[name]:
            raise InputError(f"{path}: a table of {name} {head.get(name)}, not of {name} {wanted[name]}")
    if setting is None:
        return
    for name, version in runs_it(setting).items():
        if head.get(name, version) != version:
            warnings.warn(
                f"{path}: a table begun with {name} {head[name]}, this is {version}, which may be faster or slower",
                stacklevel=3,
            )


def runs_it(setting: Setting) -> dict[str, str]:
    """The versions that a runtime's speed may change with, as a table's head has them."""
    name = "onnxruntime" if setting.runtime == ONNX else "torch"
    return {name: str(importlib.import_module(name).__version__)}  # whichever distribution it is from


class Visits:
    """The visits of a table's entries, by their ids.

    A visit's figure is the median of its repeats over the median of the anchor's beside it. That ratio, unlike the
    milliseconds, stays what it is while the machine changes its speed. An entry's is the mean of the middle half of its
    visits: of means, medians, minima and quartiles, with and without the anchor, these predicted best.
    """

    def __init__(self, records: Iterable[dict[str, Any]] = ()) -> None:
        self._ratios: dict[str, dict[int, float]] = {}
        self._anchors_ms: list[float] = []
        for record in records:
            if record["kind"] == "visit":
                self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        """Take up a visit as it stands in the file."""
        anchor_ms = float(np.median(record["anchor_ms"]))
        self._anchors_ms.append(anchor_ms)
        self._ratios.setdefault(record["id"], {})[record["pass"]] = float(np.median(record["ms"])) / anchor_ms

    def has(self, name: str, turn: int) -> bool:
        """Whether that pass has visited an entry."""
        return turn in self._ratios.get(name, {})

    def __contains__(self, name: str) -> bool:
        return name in self._ratios

    @functools.cached_property
    def anchor_ms(self) -> float:
        """The anchor's latency: the median over all visits. To be asked for once all are taken up."""
        return float(np.median(self._anchors_ms))

    def latency_ms(self, name: str) -> float:
        """An entry's latency on the machine as it was when the anchor took its median time."""
        return _middle(list(self._ratios[name].values())) * self.anchor_ms

    def halves_ms(self, name: str) -> tuple[float, float]:
        """The same from the even passes alone, and from the odd ones; nan where there is none of either."""
        ratios = self._ratios[name]
        even, odd = ([ratio for turn, ratio in ratios.items() if turn % 2 == rest] for rest in (0, 1))
        if not (even and odd):
            return float("nan"), float("nan")
        return _middle(even) * self.anchor_ms, _middle(odd) * self.anchor_ms

    def uncertainty(self, name: str, before: int | None = None) -> float:
        """The standard error of an entry's latency, as a fraction of it; infinite for a single visit.

        ``before``: of the passes before that one only. From the interquartile range, as if of a normal distribution.
        """
        ratios = [ratio for turn, ratio in self._ratios.get(name, {}).items() if before is None or turn < before]
        if len(ratios) < 2:
            return float("inf")
        low, high = np.percentile(ratios, [25, 75])
        # A normal distribution's deviation is 0.74 of that range; a mean of the middle half errs by 1.1 of a mean's.
        return float(1.1 * 0.74 * (high - low) / _middle(ratios) / np.sqrt(len(ratios)))


def _middle(values: list[float]) -> float:
    return float(stats.trim_mean(values, 0.25))
