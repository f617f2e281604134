"""Latency of any architecture of a space from the latencies of its blocks: read from a table that ``passes`` made."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from archsearch.costs.agreement import Correction, fit
from archsearch.costs.fast import CostModel
from archsearch.costs.lines import read_table
from archsearch.costs.runtimes import Setting
from archsearch.costs.visits import Visits, check_head
from archsearch.files import InputError
from archsearch.nets.zoo import Arch, as_arch
from archsearch.space import Space


@dataclass(frozen=True)
class Measured:
    """A whole network of a table. ``halves_ms``: from the even passes alone and from the odd ones."""

    arch: Arch
    role: str  # calibration or held-out
    macs: int
    latency_ms: float
    uncertainty: float  # the standard error as a fraction
    halves_ms: tuple[float, float]


class Table:
    """A table read from a file, of one space. Raises ``InputError`` where the file is no table of that space, or a line
    of it is wrong.

    ``setting``: what the table must have been measured in; None where any will do.
    """

    def __init__(self, path: Path, space: Space[Arch], setting: Setting | None = None) -> None:
        self.path, self.space = path, space
        records = read_table(path)
        if not records:
            raise InputError(f"{path}: not a latency table; `archsearch latency table` makes one")
        check_head(path, records[0], space, setting)
        self.head = records[0]
        self.model = CostModel(space)
        self.visits = Visits(records)
        self.block_ms: dict[str, float] = {}
        self.block_uncertainty: dict[str, float] = {}
        self.networks: list[Measured] = []
        self._ms: list[float | None] = []
        for record in records:
            if record["kind"] not in ("block", "network") or record["id"] not in self.visits:
                continue
            ms, uncertainty = self.visits.latency_ms(record["id"]), self.visits.uncertainty(record["id"])
            if record["kind"] == "block":
                self.block_ms[record["key"]], self.block_uncertainty[record["key"]] = ms, uncertainty
            else:
                arch, halves = as_arch(record["arch"]), self.visits.halves_ms(record["id"])
                if arch not in space:
                    raise InputError(f"{path}: network {record['id']}: arch is not of the space {space.name}")
                self.networks.append(Measured(arch, record["role"], record["macs"], ms, uncertainty, halves))

    @functools.cached_property
    def correction(self) -> Correction:
        """From sums of blocks to whole networks, by the calibration networks alone."""
        used = [network for network in self.networks if network.role == "calibration"]
        return fit([self.sum_ms(network.arch) for network in used], [network.latency_ms for network in used])

    def sum_ms(self, arch: Arch, input_hw: tuple[int, int] | None = None) -> float:
        """The latencies of an architecture's blocks, summed. Raises ``InputError`` where one was not measured."""
        total = 0.0
        for number in self.model.units_of(arch, input_hw):
            found = self._block(number)
            if found is None:
                what = self.model.units[number].key
                raise InputError(f"{self.path}: block not measured: {what}; run `archsearch latency table` again")
            total += found
        return total

    def _block(self, number: int) -> float | None:
        while len(self._ms) <= number:
            self._ms.append(self.block_ms.get(self.model.units[len(self._ms)].key))
        return self._ms[number]


def predict(table: Table, arch: Arch, input_hw: tuple[int, int] | None = None) -> float:
    """Milliseconds of one forward of an architecture of the table's space, on the table's device and runtime.

    Raises ``InputError`` where one of its blocks was not measured, ``ValueError`` where it is not of the space.
    """
    return table.correction(table.sum_ms(arch, input_hw))
