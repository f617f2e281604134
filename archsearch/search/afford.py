"""What an architecture costs, and whether a search may look at it: told before an image is evaluated.

A cost is named as on the axis of ``archsearch pareto``: ``macs`` (true), ``macs:CONVENTION``, ``params`` and
``latency`` (ms, predicted from a table until it is measured).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from archsearch.costs.fast import CostModel
from archsearch.costs.macs import CONVENTIONS, Cost
from archsearch.costs.table import Table, predict
from archsearch.files import InputError
from archsearch.nets.zoo import Arch
from archsearch.space import Space

LATENCY = "latency"
TRIES = 4000  # architectures drawn to find out whether limits can be met


def check_cost_name(name: str) -> str:
    """``name``. Raises ``ValueError`` where it is not that of a cost."""
    kind, colon, convention = name.partition(":")
    if name in ("macs", "params", LATENCY) or (kind == "macs" and colon and convention in CONVENTIONS):
        return name
    raise ValueError(f"cost {name!r} is not macs, macs:{'|'.join(CONVENTIONS)}, params or {LATENCY}")


def cost_of(counted: Cost, name: str) -> float:
    """A cost that is counted, by its name."""
    if name == "params":
        return float(counted.params)
    convention = name.partition(":")[2]
    return float(counted.macs_by_convention[convention] if convention else counted.macs)


@dataclass(frozen=True, eq=False)
class Costing:
    """Costs of a space's architectures by name, and upper limits of some of them.

    ``latency_ms`` predicts; None where nobody asks for latency.
    """

    space: Space[Arch]
    names: tuple[str, ...]  # what is counted
    limits: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Callable[[Arch], float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_model", CostModel(self.space))
        if self.latency_ms is None and LATENCY in (*self.names, *self.limits):
            raise ValueError("latency is asked for, and there is neither a table nor a device to take it from")

    def count(self, arch: Arch) -> Cost:
        """All that is counted of an architecture."""
        return self._model(arch)  # type: ignore[attr-defined, no-any-return]

    def __call__(self, arch: Arch) -> dict[str, float]:
        """The costs that are objectives or limited, by name."""
        found: dict[str, float] = {}
        counted = self.count(arch)
        for name in dict.fromkeys((*self.names, *self.limits)):
            if name == LATENCY:
                assert self.latency_ms is not None
                found[name] = self.latency_ms(arch)
            else:
                found[name] = cost_of(counted, name)
        return found

    def over(self, costs: Mapping[str, float]) -> dict[str, float]:
        """By how much each limited cost is over its limit; zero or less where it is within."""
        return {name: costs[name] - limit for name, limit in self.limits.items()}

    def fits(self, arch: Arch) -> bool:
        """Whether every limit is kept."""
        return not self.limits or all(excess <= 0 for excess in self.over(self(arch)).values())

    def check(self) -> None:
        """Raises ``InputError`` naming the cheapest architecture's costs where no architecture keeps the limits."""
        smallest = self.space.smallest()
        if self.fits(smallest):
            return
        rng = np.random.default_rng(0)
        drawn = [smallest, *(self.space.sample(rng) for _ in range(TRIES))]
        if any(self.fits(arch) for arch in drawn):
            return
        for name, limit in self.limits.items():
            least = min(self(arch)[name] for arch in drawn)
            if least > limit:
                raise InputError(
                    f"constraints.{name}: {limit:g} cannot be met in {self.space.name}, "
                    f"its cheapest architecture has {least:,.6g}"
                )
        raise InputError(
            f"constraints: no architecture of {self.space.name} meets all of "
            + ", ".join(f"{name} {limit:g}" for name, limit in self.limits.items())
            + "; the cheapest one has "
            + ", ".join(f"{name} {value:,.6g}" for name, value in self(smallest).items())
        )


def from_table(table: Table) -> Callable[[Arch], float]:
    """Latency predicted from a table."""
    return lambda arch: predict(table, arch)
