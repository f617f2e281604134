"""How well one ranking of architectures agrees with another: figures from pairs of an estimate and a true value.

Sources: Kendall's tau-b (Kendall, Biometrika 1945) of weight sharing as in Sciuto et al., ICLR 2020; regret as in Yu et
al., CVPR 2021; paired bootstrap (Efron and Tibshirani 1993, chapter 16).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.costs.agreement import interval, kendall, spearman

DRAWS = 1000  # bootstrap samples of the architectures


@dataclass(frozen=True)
class Pair:
    """One architecture: what the supernet says of it, and what it reached alone."""

    fingerprint: str
    arch: dict[str, Any]
    choices: dict[str, Any]
    supernet_ap: float
    supernet_low: float  # 95 % bootstrap over the validation images
    supernet_high: float
    alone_aps: tuple[float, ...]  # of the seeds
    macs: int
    params: int
    input_hw: tuple[int, int]

    @property
    def alone_ap(self) -> float:
        """Mean of the seeds."""
        return float(np.mean(self.alone_aps))


@dataclass(frozen=True)
class Agreement:
    """A figure with its 95 % bootstrap interval over architectures; nan where all of one side are equal."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """How well the supernet ranks; AP from 0 to 1."""

    architectures: int
    seeds: int
    kendall: Agreement
    spearman: Agreement
    macs_kendall: Agreement  # of ranking by MACs alone
    difference: Agreement  # of these two taus, the supernet's minus that of MACs: each sample is drawn for both alike
    sized: Agreement  # Kendall's tau over pairs of architectures with equal input size
    macs_sized: Agreement
    sized_difference: Agreement
    sized_pairs: int  # how many such pairs there are
    bins: tuple[tuple[int, int, int, float | None], ...]  # lowest and highest MACs, architectures, tau within
    macs_bins: tuple[float | None, ...]  # tau of MACs alone within the same bins
    regret: float  # stand-alone AP of the best architecture above that of the supernet's pick
    macs_regret: float  # the same for picking the one with the most MACs
    between_seeds: float | None  # mean tau between stand-alone trainings of two single seeds


def figures(rows: Sequence[Pair], macs_bins: int) -> Ranking:
    """The figures of a ranking. Raises ``ValueError`` with fewer than three architectures."""
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} architectures with both figures: at least three are needed to compare ranks")
    shared, alone = [row.supernet_ap for row in rows], [row.alone_ap for row in rows]
    macs = [float(row.macs) for row in rows]
    chunks = [chunk.tolist() for chunk in np.array_split(np.arange(len(rows)), macs_bins)]
    within, by_macs = [], []
    for chunk in chunks:
        part = [alone[i] for i in chunk]
        within.append((rows[chunk[0]].macs, rows[chunk[-1]].macs, len(chunk), _tau([shared[i] for i in chunk], part)))
        by_macs.append(_tau([macs[i] for i in chunk], part))
    seeds = min(len(row.alone_aps) for row in rows)
    taus = [
        _tau([row.alone_aps[a] for row in rows], [row.alone_aps[b] for row in rows])
        for a in range(seeds)
        for b in range(a)
    ]
    between = [tau for tau in taus if tau is not None]
    count = len(rows)
    by_net, by_macs_all = Concordance(shared, alone), Concordance(macs, alone)
    sizes = [row.input_hw for row in rows]
    net_sized, macs_sized = Concordance(shared, alone, sizes), Concordance(macs, alone, sizes)
    return Ranking(
        architectures=count,
        seeds=seeds,
        kendall=bootstrapped(by_net, count),
        spearman=Agreement(spearman(shared, alone), *interval(spearman, shared, alone, DRAWS)),
        macs_kendall=bootstrapped(by_macs_all, count),
        difference=bootstrapped(lambda picks: by_net(picks) - by_macs_all(picks), count),
        sized=bootstrapped(net_sized, count),
        macs_sized=bootstrapped(macs_sized, count),
        sized_difference=bootstrapped(lambda picks: net_sized(picks) - macs_sized(picks), count),
        sized_pairs=sum(a == b for i, a in enumerate(sizes) for b in sizes[:i]),
        bins=tuple(within),
        macs_bins=tuple(by_macs),
        regret=max(alone) - alone[int(np.argmax(shared))],
        macs_regret=max(alone) - alone[int(np.argmax(macs))],
        between_seeds=float(np.mean(between)) if between else None,
    )


class Concordance:
    """Kendall's tau-b of two lists over pairs of one group, as a function of which entries are looked at.

    ``groups``: None for all pairs, where it is the ordinary tau-b. Ties count as there; the pair of an entry with
    itself, which bootstrap samples have, is a tie of both lists.
    """

    def __init__(self, a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None = None) -> None:
        groups = [None] * len(a) if groups is None else groups
        self._a, self._b = _signs(a), _signs(b)
        self._same = np.array([[x == y for y in groups] for x in groups], np.float64)

    def __call__(self, picks: NDArray[np.int64]) -> float:
        """Tau-b over the entries ``picks``, repeated ones too; nan where one list has nothing but ties."""
        where = np.ix_(picks, picks)
        a, b, same = self._a[where], self._b[where], self._same[where]
        untied = float((a * a * same).sum() * (b * b * same).sum())
        return float((a * b * same).sum()) / untied**0.5 if untied else float("nan")


def _signs(values: Sequence[float]) -> NDArray[np.float64]:
    column = np.asarray(values, np.float64)
    return np.sign(column[:, None] - column[None, :])


def bootstrapped(figure: Callable[[NDArray[np.int64]], float], count: int) -> Agreement:
    """A figure of ``count`` architectures and its 95 % interval; figures of equal ``count`` see the same samples."""
    rng = np.random.default_rng(0)
    found = np.array([figure(rng.integers(count, size=count)) for _ in range(DRAWS)])
    value, known = figure(np.arange(count)), found[~np.isnan(found)]
    if not len(known):
        return Agreement(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Agreement(value, float(low), float(high))


def _tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    value = kendall(a, b)
    return None if value != value else value
