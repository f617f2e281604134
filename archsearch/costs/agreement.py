"""How well one list of figures agrees with another: rank correlations, percentage errors, a correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 8  # networks that a line is fitted to; below that a scale is all that they can tell


@dataclass(frozen=True)
class Correction:
    """Milliseconds of a whole network from the sum of its blocks: ``scale * sum + offset_ms``, never below 0."""

    scale: float = 1.0
    offset_ms: float = 0.0

    def __call__(self, sum_ms: float) -> float:
        return max(self.scale * sum_ms + self.offset_ms, 0.0)


def fit(sums_ms: Sequence[float], measured_ms: Sequence[float]) -> Correction:
    """A scale, the median of the ratios, or a line (Theil-Sen: the median of all slopes, the median of the rests).

    Neither follows a few disturbed networks. The line is taken where it predicts each of these networks from the others
    with a smaller error than the scale does, so that an offset has to earn its place.
    """
    x, y = np.asarray(sums_ms, float), np.asarray(measured_ms, float)
    if len(x) == 0:
        return Correction()
    if len(x) < FEWEST or np.ptp(x) == 0:
        return _scale(x, y)
    return min((_scale, _line), key=lambda method: _left_out_error(method, x, y))(x, y)


Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _scale(x: Floats, y: Floats) -> Correction:
    return Correction(float(np.median(y / x)))


def _line(x: Floats, y: Floats) -> Correction:
    i, j = np.triu_indices(len(x), 1)
    apart = x[i] != x[j]
    slope = float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))
    return Correction(slope, float(np.median(y - slope * x)))


def _left_out_error(method: Callable[[Floats, Floats], Correction], x: Floats, y: Floats) -> float:
    """The mean relative error of predicting each from all others."""
    errors = []
    for left_out in range(len(x)):
        rest = np.arange(len(x)) != left_out
        if np.ptp(x[rest]) == 0:
            return float("inf")
        errors.append(abs(method(x[rest], y[rest])(x[left_out]) / y[left_out] - 1))
    return float(np.mean(errors))


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b, from -1 to 1; nan for fewer than two values."""
    return float(stats.kendalltau(a, b).statistic) if len(a) > 1 else float("nan")


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, from -1 to 1; nan for fewer than two values or where all of one list are equal."""
    if len(a) < 2 or min(a) == max(a) or min(b) == max(b):
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def known(value: float) -> float | None:
    """None for nan and infinity, which JSON does not have."""
    return value if np.isfinite(value) else None


def mape(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Mean absolute percentage error, as a fraction."""
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    return float(np.mean(np.abs(p - m) / m))


def interval(
    agreement: Callable[[Sequence[float], Sequence[float]], float],
    a: Sequence[float],
    b: Sequence[float],
    draws: int = 1000,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of an agreement over the pairs; nan where no draw has one."""
    rng, x, y = np.random.default_rng(0), np.asarray(a, float), np.asarray(b, float)
    picks = (rng.integers(len(x), size=len(x)) for _ in range(draws))
    found = np.array([agreement(x[pick].tolist(), y[pick].tolist()) for pick in picks])
    if np.isnan(found).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)
