"""Fronts: which points no other one beats, how much of objective space they cover, what repeated runs attain.

One definition holds everywhere. A point *dominates* another if it is at least as good in every objective and better in
one. Equal points do not dominate each other: duplicates are on the front together, and share a rank. ``senses`` says
of each objective whether ``"min"`` or ``"max"`` is better.

Up to three objectives everything is a sweep over sorted points with a :class:`_Staircase`, in O(n log n); for more,
fronts compare in blocks and hypervolume follows While et al., "A fast way of calculating exact hypervolumes", IEEE TEVC
2012.

Shapes: N points, M objectives, K corners of a surface.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Sense = Literal["min", "max"]
Floats = NDArray[np.float64]
_BLOCK = 256  # points that are compared with the front at once, where there is no sweep


def minimised(values_NM: ArrayLike, senses: Sequence[Sense]) -> Floats:
    """(N, M) values in which less is better in every column.

    Raises ``ValueError`` where columns and senses do not agree, or a value is not finite.
    """
    values = np.array(values_NM, dtype=np.float64)
    if values.size == 0:
        values = values.reshape(0, len(senses))
    if values.ndim != 2 or values.shape[1] != len(senses) or not len(senses):
        raise ValueError(f"values of shape {values.shape} for {len(senses)} objectives, (N, M) needed")
    unknown = [sense for sense in senses if sense not in ("min", "max")]
    if unknown:
        raise ValueError(f"sense {unknown[0]!r} is not one of min, max")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"value {values[row, column]} of point {row}, objective {column}, is not a finite number")
    values[:, [sense == "max" for sense in senses]] *= -1
    return values + 0.0  # no negative zeros


def front(values_NM: ArrayLike, senses: Sequence[Sense]) -> NDArray[np.bool_]:
    """(N,) whether each point is dominated by no other one. Raises ``ValueError`` as :func:`minimised`."""
    values = minimised(values_NM, senses)
    distinct_UM, which_N = _distinct(values)
    if values.shape[1] > 3:
        return _front_by_blocks(distinct_UM)[which_N]
    stairs = _Staircase()
    kept = np.zeros(len(distinct_UM), dtype=bool)
    for i, (_, y, z) in enumerate(_three(distinct_UM).tolist()):
        if not stairs.covers(y, z):
            stairs.add(y, z)
            kept[i] = True
    return kept[which_N]


def ranks(values_NM: ArrayLike, senses: Sequence[Sense]) -> NDArray[np.int64]:
    """(N,) 0 for points on the front, 1 for those on the front of the rest, and so on (non-dominated sorting).

    Each point goes to the first front that does not dominate it, found by bisection, as a point that one front
    dominates is dominated by every earlier one. Raises ``ValueError`` as :func:`minimised`.
    """
    values = minimised(values_NM, senses)
    distinct_UM, which_N = _distinct(values)
    found = np.zeros(len(distinct_UM), dtype=np.int64)
    if values.shape[1] <= 3:
        stairs: list[_Staircase] = []
        for i, (_, y, z) in enumerate(_three(distinct_UM).tolist()):
            found[i] = bisect_left(stairs, True, key=lambda s: not s.covers(y, z))
            if found[i] == len(stairs):
                stairs.append(_Staircase())
            stairs[found[i]].add(y, z)
        return found[which_N]
    fronts: list[Floats] = []
    for i, point in enumerate(distinct_UM):
        found[i] = bisect_left(fronts, True, key=lambda f: not bool((f <= point).all(axis=1).any()))
        if found[i] == len(fronts):
            fronts.append(np.empty((0, values.shape[1])))
        fronts[found[i]] = np.vstack((fronts[found[i]], point))
    return found[which_N]


def hypervolume(values_NM: ArrayLike, reference_M: ArrayLike, senses: Sequence[Sense]) -> float:
    """The volume that the points dominate, up to the reference; exact.

    Points that are not better than the reference in every objective add nothing. The unit is the product of those of
    the objectives. Raises ``ValueError`` as :func:`minimised`.
    """
    values = minimised(values_NM, senses)
    reference = minimised(np.asarray(reference_M, dtype=np.float64)[None], senses)[0]
    return _volume(values[(values < reference).all(axis=1)], reference)


def hypervolume_over(values_NM: ArrayLike, reference_M: ArrayLike, senses: Sequence[Sense]) -> Floats:
    """(N,) the hypervolume of the first, the first two, ... and all points. Raises ``ValueError`` as :func:`minimised`.

    A point adds the volume of its own box without what the front so far covers of it. With three objectives or more
    time grows with the size of the front, too.
    """
    values = minimised(values_NM, senses)
    reference = minimised(np.asarray(reference_M, dtype=np.float64)[None], senses)[0]
    gained_N = np.zeros(len(values))
    stairs, ends = _Staircase(), _three_end(reference)[1:]
    kept_FM = np.empty((0, values.shape[1]))
    for i in np.flatnonzero((values < reference).all(axis=1)):
        point = values[i]
        if len(point) <= 2:
            y, z = _three(point[None])[0, 1:]
            gained_N[i] = 0 if stairs.covers(y, z) else stairs.add(y, z, *ends)
        elif not (kept_FM <= point).all(axis=1).any():
            gained_N[i] = _exclusive(point, kept_FM, reference)
            kept_FM = np.vstack((kept_FM[~(point <= kept_FM).all(axis=1)], point))
    return np.cumsum(gained_N)


def gains(candidates_CM: ArrayLike, known_NM: ArrayLike, reference_M: ArrayLike, senses: Sequence[Sense]) -> Floats:
    """(C,) the hypervolume that each candidate alone would add to that of the known points.

    Raises ``ValueError`` as :func:`minimised`.
    """
    candidates, known = minimised(candidates_CM, senses), minimised(known_NM, senses)
    reference = minimised(np.asarray(reference_M, dtype=np.float64)[None], senses)[0]
    known = known[(known < reference).all(axis=1)]
    if len(reference) != 2:
        gained = np.zeros(len(candidates))
        for i in np.flatnonzero((candidates < reference).all(axis=1)):
            gained[i] = _exclusive(candidates[i], known, reference)
        return gained
    # A candidate's share of the columns between the front's steps, from what the front reaches there down to it.
    known = _distinct(known)[0]
    steps = known[_front_by_blocks(known)]
    edges = np.concatenate(([-np.inf], steps[:, 0], reference[:1]))
    levels = np.concatenate((reference[1:], steps[:, 1]))
    widths_CF = edges[1:] - np.maximum(edges[:-1], candidates[:, :1])
    return (np.maximum(widths_CF, 0) * np.maximum(levels - candidates[:, 1:], 0)).sum(1)  # type: ignore[no-any-return]


def attainment(runs: Sequence[ArrayLike], attained_by: int, senses: tuple[Sense, Sense]) -> Floats:
    """(K, 2) corners of the surface that ``attained_by`` of the runs reach, sorted by the first objective.

    A goal is attained by a run that has a point at least as good in both objectives. The corners are the best goals
    that so many runs attain: with 1 the best over all runs, with ``len(runs)`` what every run reaches, with half of
    them the median front (Grunert da Fonseca et al., EMO 2001). Raises ``ValueError`` as :func:`minimised` and where
    there are not so many runs.
    """
    if not 1 <= attained_by <= len(runs):
        raise ValueError(f"attained_by {attained_by} is not between 1 and the {len(runs)} runs")
    tables = [minimised(run, senses) for run in runs]
    xs_X = np.unique(np.concatenate([table[:, 0] for table in tables]))
    best_RX = np.full((len(tables), len(xs_X)), np.inf)
    for row, table in zip(best_RX, tables, strict=True):
        ordered = table[np.argsort(table[:, 0], kind="stable")]
        reached = np.minimum.accumulate(np.concatenate(([np.inf], ordered[:, 1])))
        row[:] = reached[np.searchsorted(ordered[:, 0], xs_X, side="right")]
    level_X = np.sort(best_RX, axis=0)[attained_by - 1]
    corner_X = level_X < np.concatenate(([np.inf], level_X[:-1]))
    signs = [1 if sense == "min" else -1 for sense in senses]
    corners = np.column_stack((xs_X[corner_X], level_X[corner_X])) * signs
    return corners[np.argsort(corners[:, 0], kind="stable")] + 0.0


# --------------------------------------------------------------------------------------------- sweeps, less is better


class _Staircase:
    """The lower left border of points (y, z) in a plane: y rises, z falls."""

    def __init__(self) -> None:
        self.ys: list[float] = []
        self.zs: list[float] = []

    def covers(self, y: float, z: float) -> bool:
        """Whether a point is at most (y, z) in both."""
        i = bisect_right(self.ys, y) - 1
        return i >= 0 and self.zs[i] <= z

    def add(self, y: float, z: float, end_y: float = 0.0, end_z: float = 0.0) -> float:
        """Put in a point that is not covered; the area up to (end_y, end_z) that it adds."""
        first = last = bisect_left(self.ys, y)
        left, top, area = y, self.zs[first - 1] if first else end_z, 0.0
        while last < len(self.ys) and self.zs[last] >= z:
            area += (self.ys[last] - left) * (top - z)
            left, top = self.ys[last], self.zs[last]
            last += 1
        area += ((self.ys[last] if last < len(self.ys) else end_y) - left) * (top - z)
        self.ys[first:last], self.zs[first:last] = [y], [z]
        return area


def _distinct(values_NM: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct points in lexicographic order, where none is dominated by a later one, and which each point is."""
    found, which = np.unique(values_NM, axis=0, return_inverse=True)
    return found, which.reshape(-1)


def _three(values_NM: Floats) -> Floats:
    """Points of one to three objectives as ones of three, the order and what dominates what unchanged."""
    return np.hstack((np.zeros((len(values_NM), 3 - values_NM.shape[1])), values_NM))


def _three_end(reference_M: Floats) -> Floats:
    """The reference of points that :func:`_three` has filled up: one unit away in the objectives that are not there."""
    return np.concatenate((np.ones(3 - len(reference_M)), reference_M)) if len(reference_M) < 3 else reference_M


def _front_by_blocks(values_UM: Floats) -> NDArray[np.bool_]:
    """(U,) whether each of the distinct points in lexicographic order is dominated by none before it."""
    kept = np.zeros(len(values_UM), dtype=bool)
    for start in range(0, len(values_UM), _BLOCK):
        block = values_UM[start : start + _BLOCK]
        before = values_UM[:start][kept[:start]]
        alive = np.ones(len(block), dtype=bool)
        for other in (before[i : i + _BLOCK] for i in range(0, len(before), _BLOCK)):
            alive &= ~(other[:, None] <= block[None]).all(axis=2).any(axis=0)
        within = (block[:, None] <= block[None]).all(axis=2)
        kept[start : start + len(block)] = alive & (within.sum(axis=0) == 1)  # only the point itself
    return kept


def _volume(values_NM: Floats, reference_M: Floats) -> float:
    """Hypervolume of points that are all below the reference."""
    if values_NM.shape[1] <= 3:
        return _volume_by_sweep(_three(values_NM), _three_end(reference_M))
    points = _distinct(values_NM)[0]
    points = points[_front_by_blocks(points)][::-1]  # the worst of the first objective first: the rest stays small
    return float(sum(_exclusive(point, points[i + 1 :], reference_M) for i, point in enumerate(points)))


def _exclusive(point_M: Floats, others_NM: Floats, reference_M: Floats) -> float:
    """The volume that a point dominates and no other one does."""
    box = float(np.prod(reference_M - point_M))
    if not len(others_NM):
        return box
    return box - _volume(np.maximum(others_NM, point_M), reference_M)


def _volume_by_sweep(values_N3: Floats, reference_3: Floats) -> float:
    """Slabs along the first objective, each as thick as the next point is away, with the area of its staircase."""
    end_x, end_y, end_z = reference_3.tolist()
    stairs = _Staircase()
    volume = area = last_x = 0.0
    for x, y, z in values_N3[np.lexsort(values_N3.T[::-1])].tolist():
        volume += area * (x - last_x)
        last_x = x
        if not stairs.covers(y, z):
            area += stairs.add(y, z, end_y, end_z)
    return float(volume + area * (end_x - last_x))
