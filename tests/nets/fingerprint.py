"""Figures of the authors' networks, and the deterministic fillings that reproduce them.

A filling gives every weight a value that follows from its own indices, so two networks of the same topology compute
the same figures, whatever their modules are called. The files in ``data`` hold, by the name of the model:

- ``fingerprints``: ``joints``, ``input_hw``, ``params``, and ``outputs`` at gain 1 and 2 of :func:`fill`;
- ``complexity``: parameters and multiply-accumulates in the counting conventions of ``archsearch.cost``;
- ``official``: ``entries`` of the published state dict (see :func:`official_shapes`) and its ``outputs`` when filled
  with :func:`official_state`.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
SLOPES = (1.1, 0.7, 0.3, 0.5)  # of the phase along outputs, inputs, height and width of a weight


@functools.cache
def load(name: str) -> dict[str, dict[str, Any]]:
    """The figures in ``data/<name>.json.gz``, by model."""
    path = Path(__file__).parent / "data" / f"{name}.json.gz"
    figures: dict[str, dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return figures


def _ramp(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64)


def _wave(lengths: Sequence[int], slopes: Sequence[float], phase: float = 0.0) -> Tensor:
    """exp(i (phase + sum of slope times index)) over all indices: (product of lengths,)."""
    wave = torch.polar(torch.ones(1, dtype=torch.float64), torch.full((1,), phase, dtype=torch.float64))
    for n, slope in zip(lengths, slopes, strict=True):
        wave = torch.outer(wave, torch.polar(torch.ones(n, dtype=torch.float64), slope * _ramp(n))).flatten()
    return wave


def _cosine(shape: Sequence[int], phase: float = 0.0) -> Tensor:
    """cos(1.1 a + 0.7 b + 0.3 y + 0.5 x + phase) / sqrt(fan in): the real part of a product of two waves."""
    channels, kernel = tuple(shape[:2]), tuple(shape[2:])
    left = torch.view_as_real(_wave(channels, SLOPES[:2], phase)) * torch.tensor([1.0, -1.0], dtype=torch.float64)
    right = torch.view_as_real(_wave(kernel, SLOPES[2 : len(shape)]))
    return (left @ right.T).reshape(tuple(shape)) / math.sqrt(math.prod(shape[1:]))


@torch.no_grad()
def fill(net: nn.Module, gain: float = 1.0) -> nn.Module:
    """``net`` in float64 and evaluation mode, its weights ``gain`` times cosines of their indices."""
    net.double().eval()
    for module in net.modules():
        if isinstance(module, WEIGHTED):
            module.weight.copy_(gain * _cosine(module.weight.shape))
            if module.bias is not None:
                module.bias.copy_(0.01 * torch.cos(_ramp(len(module.bias))))
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            c = _ramp(module.num_features)
            module.weight.copy_(1 + 0.1 * torch.cos(c))
            module.bias.copy_(0.1 * torch.sin(c))
            module.running_mean.copy_(0.1 * torch.cos(2 * c))
            module.running_var.copy_(1 + 0.5 * torch.sin(c) ** 2)
    return net


def official_shapes(model: str) -> dict[str, list[int]]:
    """Names and shapes of the published state dict, in its order. In the file, ``[name, c]`` stands for the five
    entries of a batch normalisation of c channels."""
    shapes: dict[str, list[int]] = {}
    for name, shape in load("official")[model]["entries"]:
        if isinstance(shape, int):
            shapes |= {f"{name}.{part}": [] if part == BATCH_NORM[-1] else [shape] for part in BATCH_NORM}
        else:
            shapes[name] = shape
    return shapes


def official_value(name: str, shape: Sequence[int]) -> Tensor:
    """What the entry ``name`` is filled with: it depends on the name, so that a wrong mapping shows."""
    phase = 2 * math.pi * zlib.crc32(name.encode()) / 2**32
    if len(shape) >= 2:
        return 2 * _cosine(shape, phase)
    if not shape:
        return torch.tensor(0)
    c = _ramp(shape[0]) + phase
    return {
        "running_mean": lambda: 0.1 * torch.cos(2 * c),
        "running_var": lambda: 1 + 0.5 * torch.sin(c) ** 2,
        "bias": lambda: 0.1 * torch.sin(c),
        "weight": lambda: 1 + 0.1 * torch.cos(c),
    }[name.rpartition(".")[2]]()


def official_state(model: str) -> dict[str, Tensor]:
    """The published state dict of ``model``, filled."""
    return {name: official_value(name, shape) for name, shape in official_shapes(model).items()}


def image(input_hw: Sequence[int]) -> Tensor:
    """The fixed input (1, 3, H, W): sin(0.05 x + 0.07 y + channel)."""
    height, width = input_hw
    channel, y, x = _ramp(3)[:, None, None], _ramp(height)[:, None], _ramp(width)
    return torch.sin(0.05 * x + 0.07 * y + channel)[None]


@torch.no_grad()
def assert_outputs(maps: Sequence[Tensor], expected: list[dict[str, Any]], relative: float = 1e-9) -> None:
    """Each map has the expected shape, statistics and values, each to ``relative`` of itself."""
    assert [list(m.shape) for m in maps] == [e["shape"] for e in expected]
    for m, e in zip(maps, expected, strict=True):
        found = [m.mean(), m.std(unbiased=False), m.min(), m.max(), *(m[tuple(at)] for at in e["positions"])]
        wanted = [e["mean"], e["std"], e["min"], e["max"], *e["values"]]
        np.testing.assert_allclose([float(v) for v in found], wanted, rtol=relative, atol=0)


def run(net: nn.Module, figures: dict[str, Any], **kwargs: Any) -> dict[str, list[Tensor]]:
    """What the filled ``net`` (called with ``kwargs``) computes at every gain that ``figures["outputs"]`` names."""
    fill(net)
    maps, last = {}, 1.0
    with torch.no_grad():
        for gain in figures["outputs"]:
            for module in net.modules():
                if isinstance(module, WEIGHTED):
                    module.weight.mul_(float(gain) / last)
            last = float(gain)
            maps[gain] = net(image(figures["input_hw"]), **kwargs)
    return maps


def assert_fingerprint(net: nn.Module, figures: dict[str, Any], **kwargs: Any) -> None:
    """``net`` (called with ``kwargs``) computes ``figures["outputs"]`` at every gain that they name."""
    for gain, maps in run(net, figures, **kwargs).items():
        assert_outputs(maps, figures["outputs"][gain])
