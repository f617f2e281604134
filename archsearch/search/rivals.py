"""Which candidates are worth all the validation images: successive halving that knows the front.

A candidate is evaluated on the first few images, then on more, then on all. It is given up on as soon as one of the
architectures that cost no more than it is surely better on the same images: no candidate that could join the front is
lost for its place in a queue, as it is in plain successive halving (Jamieson and Talwalkar, AISTATS 2016), which keeps
the best share of a rung whatever it costs.

Shapes: S bootstrap samples, the same images in the same sample for every architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archsearch.search.pareto import Floats


@dataclass(frozen=True, eq=False)
class Rung:
    """What an architecture reached on the first ``images`` images."""

    images: int
    ap: float
    draws_S: Floats  # AP in each bootstrap sample


@dataclass(frozen=True, eq=False)
class Rival:
    """An architecture that was evaluated on all images."""

    number: int
    costs: Mapping[str, float]
    rungs: Mapping[int, Rung]  # by their number of images
    ap: float  # on all images


def beaten_by(
    rung: Rung, costs: Mapping[str, float], rivals: Sequence[Rival], names: Sequence[str], confidence: float
) -> Rival | None:
    """The rival that is surely better in AP and costs no more in any of ``names``; None where there is none.

    Surely: its AP is higher in at least ``confidence`` of the paired bootstrap samples. Of several the surest one.
    """
    found: tuple[float, Rival] | None = None
    for rival in rivals:
        other = rival.rungs.get(rung.images)
        if other is None or any(rival.costs[name] > costs[name] for name in names):
            continue
        share = float(np.mean(other.draws_S > rung.draws_S))
        if share >= confidence and (found is None or share > found[0]):
            found = (share, rival)
    return None if found is None else found[1]


def expected(rung: Rung, rival: Rival) -> float:
    """AP on all images of a candidate that was given up on at ``rung`` for ``rival``.

    Its AP so far, moved by what the same images were off for the rival (a control variate), and no better than that.
    """
    moved = rung.ap + rival.ap - rival.rungs[rung.images].ap
    return float(np.clip(moved, 0.0, rival.ap))
