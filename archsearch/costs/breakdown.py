"""Where in a network its cost arises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from archsearch.costs.macs import SUMS, added, op_sums, stored
from archsearch.probe import Op

By = Literal["stage", "block"]


@dataclass(frozen=True)
class Part:
    """A part of a network by its module's path, and what it adds to the whole. The parts sum to the whole."""

    path: str
    params: int
    macs: int
    macs_ptflops_0_6: int
    activations: int


def breakdown(ops: Iterable[Op], by: By = "stage") -> list[Part]:
    """The parts of a recorded forward in the order in which they first run.

    ``stage``: stem, stages.0, head and so on; ``block``: the members of the lists within them.
    """
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(part_of(op.path, by), []).append(op)
    parts = []
    for path, group in groups.items():
        sums = dict(zip(SUMS, added(map(op_sums, group)), strict=True))
        params = stored(group)[0]
        if params or any(sums.values()):
            parts.append(Part(path, params, sums["true"], sums["ptflops_0_6"], sums["activations"]))
    return parts


def part_of(path: str, by: By) -> str:
    """The part that a module's path belongs to; "network" for the network itself."""
    names = path.split(".")
    if by == "stage":
        end = 2 if len(names) > 1 and names[1].isdigit() else 1
    else:
        stop = names.index("exchange") + 1 if "exchange" in names else len(names)
        numbered = [i for i in range(stop) if names[i].isdigit()]
        end = stop if "exchange" in names else (numbered[-1] + 1 if numbered else 1)
    return ".".join(names[:end]) or "network"
