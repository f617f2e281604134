"""AP against one cost: which points are on the front, how surely, and what to measure again to be sure.

Shapes: N points, S samples of what the values could be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsearch.files import InputError
from archsearch.report.pareto.axis import Axis, axis_label, axis_setting, axis_unit, axis_value
from archsearch.report.pareto.points import Point
from archsearch.search.pareto import Floats, Sense, front
from archsearch.search.uncertain import IQR_SDS, Z95, band, drawn, memberships, settled_by

SENSES: tuple[Sense, Sense] = ("min", "max")  # cost and AP
SAMPLES = 4000
CROWD = 40  # points of one series that still have room for names and intervals
LOG_RATIO = 8.0  # costs that differ more than so are drawn on a logarithmic axis


@dataclass(frozen=True)
class Front:
    """The front of some of the points."""

    name: str
    members: tuple[int, ...]  # indices of all points that compete for it
    xs: Floats  # places along the axis, with low, middle and high of the best AP up to there; NaN: no point
    low: Floats
    middle: Floats
    high: Floats


@dataclass(frozen=True)
class Chart:
    """Points on two axes, in the axes' units; the first dimension of arrays is that of ``points``."""

    points: tuple[Point, ...]
    axis: Axis
    x_label: str
    y_label: str
    x_unit: str
    y_scale: float  # what AP of 0 to 1 is multiplied by
    x: Floats
    x_spread: Floats  # half of the interquartile range of latency; 0 where there is none
    on_front: NDArray[np.bool_]
    probability: Floats  # of being on the front
    settles: Floats  # (N, 2) the part of the doubt about its front that ends where its cost, or its AP, is known
    fronts: tuple[Front, ...]
    left_out: tuple[tuple[str, str], ...]  # names and why
    logarithmic: bool

    @property
    def y(self) -> Floats:
        """AP in the unit of the axis."""
        return np.array([p.ap for p in self.points]) * self.y_scale

    @property
    def series(self) -> list[str]:
        """What the points belong to, in order of appearance."""
        return list(dict.fromkeys(p.series for p in self.points))

    @property
    def crowded(self) -> set[str]:
        """Series with so many points that they are drawn small, without names and intervals."""
        counts = Counter(p.series for p in self.points)
        return {name for name, count in counts.items() if count > CROWD}

    @property
    def uncertain(self) -> bool:
        """Whether any value has an interval."""
        return bool((self.x_spread > 0).any()) or any(p.low < p.high for p in self.points)


def make_chart(
    points: Sequence[Point], axis: Axis, label: str, *, together: bool = False, percent: bool = False, seed: int = 0,
    left_out: Sequence[tuple[str, str]] = (),
) -> Chart:  # fmt: skip
    """Everything that is drawn. ``label`` is what AP is called; ``percent``: AP from 0 to 100, as papers print it;
    ``left_out``: names of what has no AP to be a point, and why; points without a cost join them.

    Each series of a run has a front of its own, and the published models have one a protocol; ``together``: all points
    of a protocol compete for one. Raises ``InputError`` where no point has a value on the axis.
    """
    setting = axis_setting(points, axis) if axis.kind == "latency" else ""
    values = [axis_value(point, axis, setting) for point in points]
    kept = [i for i, value in enumerate(values) if not isinstance(value, str)]
    left_out = [*left_out, *((points[i].name, value) for i, value in enumerate(values) if isinstance(value, str))]
    if not kept:
        raise InputError(f"no point has a value for --x {axis.kind}: {left_out[0][0]}: {left_out[0][1]}")
    chosen = [points[i] for i in kept]
    pairs = [value for value in values if not isinstance(value, str)]
    raw = np.array([x for x, _ in pairs])
    name, scale = axis_unit(axis, float(raw.max()))
    x, spread = raw / scale, np.array([s for _, s in pairs]) / scale / 2
    y_scale = 100.0 if percent else 1.0
    on_front, probability, settles = np.zeros(len(x), dtype=bool), np.zeros(len(x)), np.zeros((len(x), 2))
    groups: dict[str, list[int]] = {}
    for i, point in enumerate(chosen):
        groups.setdefault(_group(point, together), []).append(i)
    fronts = []
    rng = np.random.default_rng(seed)
    for group, members in groups.items():
        mine = [chosen[i] for i in members]
        values_N2 = np.column_stack((x[members], [p.ap for p in mine]))
        on_front[members] = front(values_N2, SENSES)
        ap_SN, own_SN = draw_ap(mine, SAMPLES, rng)
        halves = spread[members] * 2 / IQR_SDS * Z95
        x_SN = drawn(x[members], x[members] - halves, x[members] + halves, SAMPLES, rng)
        draws = np.stack((x_SN, ap_SN), axis=2)
        found = memberships(draws, SENSES)
        probability[members] = found.mean(axis=0)
        settles[members] = np.column_stack((settled_by(x_SN, found), settled_by(own_SN, found)))
        places = _places(x[members])
        low, middle, high = band(draws, places, SENSES) * y_scale
        fronts.append(Front(group, tuple(members), places, low, middle, high))
    return Chart(
        points=tuple(chosen),
        axis=axis,
        x_label=axis_label(axis, name, setting),
        y_label=f"{label}, %" if percent else label,
        x_unit=name,
        y_scale=y_scale,
        x=x,
        x_spread=spread,
        on_front=on_front,
        probability=probability,
        settles=settles,
        fronts=tuple(fronts),
        left_out=tuple(left_out),
        logarithmic=wide_range(x),
    )


def draw_ap(points: Sequence[Point], samples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(S, N) what the AP of points could be, and each point's own part of it, which measuring it again would change.

    Points of a series whose samples are on record take the same sample of images together (one that held nobody for one
    of them is left out). Else, where the differences from another point on the same images are on record, a point moves
    with that one and by its difference. Else it moves by itself, within its interval.
    """
    aps = np.array([p.ap for p in points])
    ap_SN = drawn(aps, [p.low for p in points], [p.high for p in points], samples, rng)
    own_SN = ap_SN - aps
    place = {(p.series, p.name): i for i, p in enumerate(points)}
    for i, point in enumerate(points):
        found = point.difference
        other = None if found is None else place.get((point.series, found.against))
        if found is None or other is None or points[other].difference is not None:
            continue
        shift = drawn([0.0], [min(found.low - found.value, 0.0)], [max(found.high - found.value, 0.0)], samples, rng)
        own_SN[:, i] = shift[:, 0]
        ap_SN[:, i] = aps[i] + (ap_SN[:, other] - aps[other]) + shift[:, 0]
    for series in dict.fromkeys(p.series for p in points):
        counts = Counter(len(p.ap_draws) for p in points if p.series == series and p.ap_draws)
        length = counts.most_common(1)[0][0] if counts else 0
        members = [i for i, p in enumerate(points) if p.series == series and len(p.ap_draws) == length > 0]
        if len(members) < 2:
            continue
        recorded = np.array([points[i].ap_draws for i in members]).T
        recorded = recorded[~np.isnan(recorded).any(axis=1)]
        if len(recorded):
            ap_SN[:, members] = recorded[rng.integers(len(recorded), size=samples)]
            own_SN[:, members] = ap_SN[:, members] - ap_SN[:, members].mean(axis=1, keepdims=True)
    return ap_SN, own_SN


def wide_range(values: Floats) -> bool:
    """Whether values differ so much that they belong on a logarithmic axis."""
    return bool(values.max() > LOG_RATIO * values.min() > 0)


def _group(point: Point, together: bool) -> str:
    if together:
        return point.protocol
    return f"published models, {point.protocol}" if point.published else point.series


def _places(x: Floats) -> Floats:
    """Where a band is drawn: at every point, and between so that steps of uncertain costs show."""
    if x.min() == x.max():
        return np.unique(x)
    low, high = np.log(x.min()), np.log(x.max())
    return np.unique(np.concatenate((x, np.exp(np.linspace(low, high, 200)))))
