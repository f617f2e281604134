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

from archsearch.costs.sketch import bare, uncollected
from archsearch.costs.trace import follow
from archsearch.nets.zoo import Arch, as_arch
from archsearch.probe import Op, Probe, Record, direct_rules

CONVENTIONS = ("true", "fvcore", "thop", "ptflops_0_6", "hrnet_summary", "hrnet_gi", "torchstat_mi")


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-accumulates and activations of one forward of one image, in evaluation mode.

    ``peak_activation_bytes``: the most that float32 activations take at any moment of it: the image, and every tensor
    from the operator that makes it until Python lets go of it, which is when torch frees it. Operators in place and
    views take nothing; weights, and what an operator needs while it runs, do not count.
    """

    params: int
    macs: int  # the true count
    macs_by_convention: dict[str, float]  # whole numbers, but for hrnet_gi and torchstat_mi
    activations: int  # elements of the outputs of convolutions
    peak_activation_bytes: int = 0


@uncollected()
def cost(name_or_arch: str | Path | Arch, input_hw: tuple[int, int] | None = None, joints: int | None = None) -> Cost:
    """The cost of an architecture at ``input_hw`` (None: its own), for ``joints`` joints (None: its own).

    Raises ``ValueError`` where the network cannot take that input.
    """
    arch = as_arch(name_or_arch)
    ops, params = trace(arch, input_hw, joints)
    return tally(ops, params, ops.memory.peak)


@uncollected()
def trace(arch: Arch, input_hw: tuple[int, int] | None = None, joints: int | None = None) -> tuple[Record, int]:
    """The record of one forward of one image, and the number of parameters. Raises ``ValueError`` as :func:`cost`."""
    height, width = checked_hw(arch, input_hw)
    net, ops = bare(arch, joints), Record()
    params = follow(net, ops)
    with direct_rules():
        net(Probe((1, 3, height, width), ops))
    return ops, params


def checked_hw(arch: Arch, input_hw: tuple[int, int] | None) -> tuple[int, int]:
    """``input_hw``, or the architecture's own; raises ``ValueError`` where the network cannot take it."""
    hw = arch.input_hw if input_hw is None else input_hw
    if not isinstance(hw, tuple | list) or len(hw) != 2 or not all(type(n) is int for n in hw):
        raise ValueError(f"input {hw!r} is not (height, width) in whole pixels")
    height, width = hw
    if any(n < arch.stride or n % arch.stride for n in (height, width)):
        raise ValueError(f"input {height}x{width} is not a multiple of {arch.stride}, the coarsest resolution")
    return height, width


# --------------------------------------------------------------------------------------------------------- conventions

# What an operator adds to each count that is a plain sum over operators.
SUMS = ("true", "fvcore", "thop", "ptflops_0_6", "hrnet_summary", "activations")
Sums = tuple[int, int, int, int, int, int]
NOTHING: Sums = (0, 0, 0, 0, 0, 0)


def op_sums(op: Op) -> Sums:
    """What one operator adds to each of :data:`SUMS`."""
    kind, n = op.kind, op.elements
    if kind in ("conv", "deconv"):
        return (op.macs, op.macs, op.at_output, op.at_output + op.bias, op.at_output, n)
    if kind == "batch_norm":
        return (0, 2 * n, 4 * n, 2 * n, 0, 0)
    if kind == "relu":
        return (0, 0, 0, n, 0, 0)
    if kind == "upsample":
        seen = n if op.module else 0
        return (0, n if op.variant == "nearest" else 4 * n, seen, seen, 0, 0)
    if kind == "pool":
        return (0, op.inputs, op.inputs + n, op.inputs, 0, 0) if op.module else (0, op.inputs, 0, 0, 0, 0)
    return NOTHING


def added(rows: Iterable[Sums]) -> Sums:
    """Sums of sums."""
    a = b = c = d = e = f = 0
    for row in rows:
        a += row[0]
        b += row[1]
        c += row[2]
        d += row[3]
        e += row[4]
        f += row[5]
    return a, b, c, d, e, f


def stored(ops: Iterable[Op]) -> tuple[int, int]:
    """Parameters, and what torchstat counts: of each stored module only the last call.

    A module is known by its path or, where there is none, by its weight; what has neither counts every time.
    """
    params: dict[object, int] = {}
    counts: dict[object, int] = {}
    loose = 0
    for op in ops:
        kind = op.kind
        count = op.at_output + op.bias
        if kind == "batch_norm":
            count = 2 * op.elements
        elif kind == "relu":
            count = op.elements
        elif op.module:
            count = op.torchstat
        if not count and not op.params:
            continue
        module = op.path or op.weight
        if module:
            params[module, kind] = op.params
            counts[module, kind] = count
        else:
            loose += count
    return sum(params.values()), loose + sum(counts.values())


def tally(ops: Iterable[Op], params: int, peak_bytes: int = 0) -> Cost:
    """The cost of recorded operators, in every convention."""
    ops = list(ops)
    return as_cost(added(map(op_sums, ops)), params, stored(ops)[1], peak_bytes)


def as_cost(sums: Sums, params: int, torchstat: int, peak_bytes: int) -> Cost:
    """The cost that these sums make."""
    true, fvcore, thop, ptflops, at_output, activations = sums
    counts = (true, fvcore, thop, ptflops, at_output, at_output / 2**30, torchstat / 2**20)
    return Cost(
        params,
        true,
        dict(zip(CONVENTIONS, counts, strict=True)),
        activations,
        peak_bytes,
    )
