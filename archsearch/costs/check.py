"""The counts beside those of independent counters: fvcore traces the real network, thop hooks its modules."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import torch

from archsearch.costs.macs import checked_hw, cost
from archsearch.costs.memory import fits
from archsearch.elastic import BatchNorm, Conv, Transposed
from archsearch.environment import cpu_name
from archsearch.nets.efficient_hrnet import SameConv
from archsearch.nets.zoo import Arch, build


@dataclass(frozen=True)
class Comparison:
    """One figure of ours and of another counter."""

    counter: str
    figure: str
    ours: int
    theirs: int

    @property
    def equal(self) -> bool:
        """Whether they are the same number."""
        return self.ours == self.theirs


def compare(
    arch: Arch, input_hw: tuple[int, int] | None = None, joints: int | None = None, name: str = "the network"
) -> list[Comparison]:
    """Our counts and those of fvcore and thop, whichever is installed, on the real network and a real image.

    Raises ``ValueError`` as :func:`archsearch.cost` does, where neither is installed, or where the network, called by
    ``name``, does not fit into memory.
    """
    height, width = checked_hw(arch, input_hw)
    with fits(name, (1, 3, height, width), cpu_name()):
        return _compared(arch, (height, width), joints)


def _compared(arch: Arch, input_hw: tuple[int, int], joints: int | None) -> list[Comparison]:
    ours = cost(arch, input_hw, joints)
    net = build(arch, joints=joints).eval()
    image = torch.zeros(1, 3, *input_hw)
    params = sum(p.numel() for p in net.parameters())
    rows = [Comparison("torch", "parameters", ours.params, params)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer, and of thop's use of distutils
        try:
            from fvcore.nn import FlopCountAnalysis
        except ImportError:
            pass
        else:
            logging.getLogger("fvcore").setLevel(logging.ERROR)
            counts = FlopCountAnalysis(net, image).by_operator()
            rows.append(Comparison("fvcore", "convolutions (true)", ours.macs, int(counts["conv"])))
            total = int(sum(counts.values()))
            rows.append(Comparison("fvcore", "all (fvcore)", int(ours.macs_by_convention["fvcore"]), total))
        try:
            import thop
            from thop.vision import basic_hooks
        except ImportError:
            pass
        else:
            conv, norm = basic_hooks.count_convNd, basic_hooks.count_normalization
            hooks = {Conv: conv, SameConv: conv, Transposed: conv, BatchNorm: norm}  # thop matches types exactly
            macs, thop_params = thop.profile(net, (image,), custom_ops=hooks, verbose=False)
            rows.append(Comparison("thop", "all (thop)", int(ours.macs_by_convention["thop"]), int(macs)))
            rows.append(Comparison("thop", "parameters", ours.params, int(thop_params)))
    if len(rows) == 1:
        raise ValueError("neither fvcore nor thop is installed to check against: pip install fvcore thop")
    return rows
