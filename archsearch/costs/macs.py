"""What a network costs, in every convention that the papers of this field print.

All figures come from one run of the network's own forward on a :class:`~archsearch.probe.Probe`. Conventions:

- ``true``: weight elements times output positions of convolutions; transposed ones at their input resolution.
- ``fvcore``: true, 2 a batch-norm element, 1 a nearest and 4 a bilinear upsampled element, 1 a pooled input element.
- ``thop`` (0.1.1): transposed convolutions at output resolution, 4 a batch-norm element, 1 an upsampled element.
- ``ptflops_0_6`` (up to 0.6.9): transposed ones at output resolution, bias additions, 2 a batch-norm element, 1 a
  ReLU element, upsampled elements. LitePose's figures.
- ``hrnet_summary``: weight elements times output positions of every convolution-like layer. HigherHRNet's figures.
- ``hrnet_gi``: the same over 2^30 instead of 10^9. HRNet's figures.
- ``torchstat_mi``: bias, 2 a batch-norm element, 1 a ReLU element, 1 an upsampled position (of all channels
  together), (H + 1)(W + 1) a pooled channel; each stored module once, by its last call, however often it is called;
  over 2^20. Lite-HRNet's figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from archsearch.nets.zoo import Arch, build, load_arch
from archsearch.probe import Op, Probe, Trace


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of one forward of one image."""

    params: int
    macs: int  # the true count
    macs_by_convention: dict[str, float]  # whole numbers, but for hrnet_gi and torchstat_mi
    activations: int  # elements of the outputs of convolutions


def cost(name_or_arch: str | Path | Arch, input_hw: tuple[int, int] | None = None, joints: int | None = None) -> Cost:
    """The cost of an architecture at ``input_hw`` (None: its own), for ``joints`` joints (None: its own).

    Raises ``ValueError`` where the network cannot take that input.
    """
    arch = load_arch(name_or_arch) if isinstance(name_or_arch, str | Path) else name_or_arch
    height, width = arch.input_hw if input_hw is None else input_hw
    if any(n < arch.stride or n % arch.stride for n in (height, width)):
        raise ValueError(f"input {height}x{width} is not a multiple of {arch.stride}, the coarsest resolution")
    with torch.device("meta"):
        net = build(arch, joints=joints)
    with Trace(net) as ops:
        net(Probe((1, 3, height, width), ops))
    return tally(ops, sum(p.numel() for p in net.parameters()))


def tally(ops: list[Op], params: int) -> Cost:
    """The cost of recorded operators, in every convention."""
    bn = _sum(ops, "batch_norm")
    relu = _sum(ops, "relu")
    macs = sum(op.macs for op in ops)
    at_output = sum(op.at_output for op in ops)
    bias = sum(op.bias for op in ops)
    upsampled = [op for op in ops if op.kind == "upsample"]
    up_modules = sum(op.elements for op in upsampled if op.module)
    pools = [op for op in ops if op.kind == "pool"]
    pool_modules = sum(op.inputs for op in pools if op.module)
    fvcore_up = sum(op.elements * (1 if op.variant == "nearest" else 4) for op in upsampled)
    return Cost(
        params=params,
        macs=macs,
        macs_by_convention={
            "true": macs,
            "fvcore": macs + 2 * bn + fvcore_up + sum(op.inputs for op in pools),
            "thop": at_output + 4 * bn + up_modules + sum(op.inputs + op.elements for op in pools if op.module),
            "ptflops_0_6": at_output + bias + 2 * bn + relu + up_modules + pool_modules,
            "hrnet_summary": at_output,
            "hrnet_gi": at_output / 2**30,
            "torchstat_mi": _torchstat(ops) / 2**20,
        },
        activations=sum(op.elements for op in ops if op.kind in ("conv", "deconv")),
    )


def _sum(ops: Iterable[Op], kind: str) -> int:
    return sum(op.elements for op in ops if op.kind == kind)


def _torchstat(ops: list[Op]) -> int:
    stored: dict[int, int] = {}
    loose = 0
    for op in ops:
        count = op.at_output + op.bias
        if op.kind in ("batch_norm", "relu"):
            count += op.elements * (2 if op.kind == "batch_norm" else 1)
        elif op.module:
            count += op.torchstat
        module = op.weight or op.caller
        if module:
            stored[module] = count
        else:
            loose += count
    return loose + sum(stored.values())
