"""How well one list of figures agrees with another: rank correlations, percentage errors, a correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Correction:
    """Milliseconds of a whole network from the sum of its blocks: ``scale * sum + offset_ms``, never below 0."""

    scale: float = 1.0
    offset_ms: float = 0.0

    def __call__(self, sum_ms: float) -> float:
        return max(self.scale * sum_ms + self.offset_ms, 0.0)


def fit(sums_ms: Sequence[float], measured_ms: Sequence[float]) -> Correction:
    """The correction with the least squared relative error; a scale only, where there are fewer than 4 networks."""
    x, y = np.asarray(sums_ms, float), np.asarray(measured_ms, float)
    if len(x) == 0:
        return Correction()
    columns = [x / y, 1 / y] if len(x) >= 4 and np.ptp(x) > 0 else [x / y]
    found = np.linalg.lstsq(np.stack(columns, 1), np.ones(len(x)), rcond=None)[0]
    return Correction(float(found[0]), float(found[1]) if len(found) > 1 else 0.0)


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b, from -1 to 1; nan for fewer than two values."""
    return float(stats.kendalltau(a, b).statistic) if len(a) > 1 else float("nan")


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, from -1 to 1; nan for fewer than two values or where all of one list are equal."""
    if len(a) < 2 or min(a) == max(a) or min(b) == max(b):
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def mape(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Mean absolute percentage error, as a fraction."""
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    return float(np.mean(np.abs(p - m) / m))


def kendall_interval(a: Sequence[float], b: Sequence[float], draws: int = 1000) -> tuple[float, float]:
    """The 95 % bootstrap interval of Kendall's tau over the pairs."""
    rng, x, y = np.random.default_rng(0), np.asarray(a, float), np.asarray(b, float)
    picks = (rng.integers(len(x), size=len(x)) for _ in range(draws))
    taus = [kendall(x[pick].tolist(), y[pick].tolist()) for pick in picks]
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    return float(low), float(high)
