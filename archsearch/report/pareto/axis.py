"""The horizontal axis: MACs in one convention, parameters, or latency on one device."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from archsearch.costs.macs import CONVENTIONS, cost
from archsearch.files import InputError
from archsearch.nets.zoo import Arch
from archsearch.report.pareto.points import Point
from archsearch.report.plots import macs_unit
from archsearch.report.published import unit


@dataclass(frozen=True)
class Axis:
    """What the horizontal axis shows."""

    kind: str  # macs, params or latency
    what: str = ""  # the convention, or words of the device's name


def parse_axis(text: str) -> Axis:
    """``macs``, ``macs:CONVENTION``, ``params`` or ``latency:DEVICE``. Raises ``InputError`` on another."""
    kind, colon, what = text.partition(":")
    if kind == "macs" and (what or not colon):
        if (what or "true") not in CONVENTIONS:
            raise InputError(f"--x {text}: {what!r} is not one of {', '.join(CONVENTIONS)}")
        return Axis("macs", what or "true")
    if text == "params" or (kind == "latency" and what.strip()):
        return Axis(kind, what.strip())
    raise InputError(f"--x {text}: one of macs, macs:CONVENTION, params, latency:DEVICE is needed")


def axis_setting(points: Sequence[Point], axis: Axis) -> str:
    """The one setting whose name holds all words of the axis's device. Raises ``InputError`` where it is not one."""
    known = list(dict.fromkeys(reading.setting for point in points for reading in point.readings))
    words = axis.what.lower().replace(",", " ").split()
    fitting = [setting for setting in known if all(word in setting.lower() for word in words)]
    if axis.what in known:
        return axis.what
    if len(fitting) == 1:
        return fitting[0]
    if not known:
        raise InputError(
            f"--x latency:{axis.what}: no latency on record; `archsearch latency measure` makes a file for --latency"
        )
    found = f"fits {len(fitting)} settings: {'; '.join(fitting)}" if fitting else f"is none of: {'; '.join(known)}"
    raise InputError(f"--x latency:{axis.what}: {found}")


def axis_value(point: Point, axis: Axis, setting: str) -> tuple[float, float] | str:
    """A point's cost and, of a latency, its interquartile range; or why it has none."""
    if axis.kind == "latency":
        fitting = [reading for reading in point.readings if reading.setting == setting]
        return (fitting[-1].median_ms, fitting[-1].iqr_ms or 0.0) if fitting else "not measured there"
    value = point.params if axis.kind == "params" else macs_in(point, axis.what)
    if value is not None:
        return float(value), 0.0
    if point.published is None:
        return "its architecture is not on record"
    if axis.kind == "params":
        return f"{point.published.source} does not print its parameters, and archsearch does not have the network"
    return (
        f"{point.published.source} prints {point.published.printed_macs} in {point.published.convention} only, and "
        "archsearch does not have the network, so it cannot be converted"
    )


def axis_unit(axis: Axis, largest: float) -> tuple[str, float]:
    """The unit of the axis, and what it stands for."""
    if axis.kind == "latency":
        return "ms", 1.0
    if axis.kind == "params":
        return "M", 1e6
    name, _ = unit(axis.what)
    return macs_unit(largest) if name == "G" else (name, 1.0)


def axis_label(axis: Axis, name: str, setting: str) -> str:
    """What the axis is called, with its unit."""
    if axis.kind == "latency":
        return f"latency (ms), {setting}"
    if axis.kind == "params":
        return f"parameters ({name})"
    return f"MACs per image ({name}, {'true count' if axis.what == 'true' else axis.what})"


def macs_in(point: Point, convention: str) -> float | None:
    """MACs in a convention's own unit: as recorded, else counted from the architecture; None where neither is there."""
    if convention in point.macs:
        return point.macs[convention]
    return None if point.arch is None else _counted(point.arch)[convention]


@functools.lru_cache(4096)
def _counted(arch: Arch) -> dict[str, float]:
    return cost(arch).macs_by_convention
