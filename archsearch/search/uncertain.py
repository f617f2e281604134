"""How sure a front is: what its points could be, who is on it how often, and which points to measure again.

Everything works on *draws*: (S, N, M) values that the N points could have in each of S samples, one column an
objective. Draws come from intervals (:func:`drawn`), or from a bootstrap over images that all points share.

Shapes: S samples, N points, M objectives, X places along the first objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from archsearch.search.pareto import Floats, Sense, front

Z95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
IQR_SDS = 1.348980  # standard deviations between the quartiles of a normal distribution


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The confidence interval of the mean of two values or more, by Student's t.

    Raises ``ValueError`` where there are fewer, which say nothing of their spread.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values have no spread, two are needed")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return mean - float(half), mean + float(half)


def drawn(values_N: ArrayLike, lows_N: ArrayLike, highs_N: ArrayLike, samples: int, rng: np.random.Generator) -> Floats:
    """(S, N) samples of values with 95 % intervals, each point by itself.

    The distribution has its median at the value and is normal on either side, as wide as the interval there, so that
    intervals need not be symmetric. An interval without width gives the value itself. Raises ``ValueError`` where a
    value is not within its interval.
    """
    values, lows, highs = (np.asarray(v, dtype=np.float64) for v in (values_N, lows_N, highs_N))
    outside = np.flatnonzero(~((lows <= values) & (values <= highs)))
    if len(outside):
        i = outside[0]
        raise ValueError(f"value {values[i]} of point {i} is not within its interval {lows[i]} to {highs[i]}")
    z_SN = rng.standard_normal((samples, len(values)))
    return values + np.where(z_SN < 0, values - lows, highs - values) / Z95 * z_SN


def memberships(draws_SNM: Floats, senses: Sequence[Sense]) -> NDArray[np.bool_]:
    """(S, N) whether each point is on the front of each sample."""
    if draws_SNM.shape[2] != 2:
        return np.array([front(values, senses) for values in draws_SNM]).reshape(draws_SNM.shape[:2])
    # Two objectives, all samples at once: sorted, a point is on the front if it is the best so far, or equal to it.
    x_SN, y_SN = (draws_SNM[:, :, i] * (1 if senses[i] == "min" else -1) for i in (0, 1))
    order_SN = np.lexsort((y_SN, x_SN), axis=-1)
    x_SN, y_SN = np.take_along_axis(x_SN, order_SN, 1), np.take_along_axis(y_SN, order_SN, 1)
    best_SN = np.minimum.accumulate(y_SN, axis=1)
    better_SN = np.ones_like(y_SN, dtype=bool)
    better_SN[:, 1:] = y_SN[:, 1:] < best_SN[:, :-1]
    leader_SN = np.maximum.accumulate(np.where(better_SN, np.arange(y_SN.shape[1]), 0), axis=1)
    equal_SN = (np.take_along_axis(x_SN, leader_SN, 1) == x_SN) & (best_SN == y_SN)
    found: NDArray[np.bool_] = np.empty(equal_SN.shape, dtype=bool)
    np.put_along_axis(found, order_SN, equal_SN, 1)
    return found


def band(
    draws_SN2: Floats, xs_X: ArrayLike, senses: tuple[Sense, Sense], levels: Sequence[float] = (0.025, 0.5, 0.975)
) -> Floats:
    """(levels, X) quantiles over the samples of the best second objective that the first one buys up to each place.

    Samples without a point that far are left out; NaN where these are more than half. The best of noisy values lies
    above the best of the true ones, so that the middle of a band may lie above the front of the measured values: no
    point is known to be there.
    """
    x_SN, y_SN = (draws_SN2[:, :, i] * (1 if senses[i] == "min" else -1) for i in (0, 1))
    places_X = np.asarray(xs_X, dtype=np.float64) * (1 if senses[0] == "min" else -1)
    best_SX = np.full((len(x_SN), len(places_X)), np.nan)
    for sample, (x_N, y_N) in enumerate(zip(x_SN, y_SN, strict=True)):
        order = np.argsort(x_N, kind="stable")
        reached = np.concatenate(([np.nan], np.minimum.accumulate(y_N[order])))
        best_SX[sample] = reached[np.searchsorted(x_N[order], places_X, side="right")]
    best_SX *= 1 if senses[1] == "min" else -1
    found = np.full((len(levels), len(places_X)), np.nan)
    for place, best_S in enumerate(best_SX.T):
        known_S = best_S[~np.isnan(best_S)]
        if 2 * len(known_S) >= len(best_S):
            found[:, place] = np.quantile(known_S, levels)
    return found


def settled_by(own_SN: Floats, members_SN: NDArray[np.bool_], bins: int = 20) -> Floats:
    """(N,) how much of the doubt about the front goes when one point's value becomes known: 0 for none, 1 for all.

    Doubt is the variance of who is on the front, summed over the points; what goes is the part of it that depends on
    ``own_SN``, each point's own error in each sample (Sobol's first-order index, by bins of equal counts, corrected for
    what as many bins of noise would show). All zero where the front is not in doubt.
    """
    samples = len(own_SN)
    doubt = float(members_SN.var(axis=0).sum())
    if doubt == 0 or samples <= bins:
        return np.zeros(own_SN.shape[1])
    members = members_SN.astype(np.float64)
    found = np.zeros(own_SN.shape[1])
    for i, own_S in enumerate(own_SN.T):
        if own_S.min() == own_S.max():
            continue
        parts = np.array_split(np.argsort(own_S, kind="stable"), bins)
        within = sum(len(part) * float(members[part].var(axis=0).sum()) for part in parts) / samples
        found[i] = 1 - within / doubt * (samples - 1) / (samples - bins)
    return np.clip(found, 0, 1)
