"""The shape-only run: the shapes that the network computes, the counts of an independent tracer, loud failures."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import archsearch
from archsearch.probe import Op, Probe


def run(net: Callable[..., Any], *shape: int) -> tuple[Any, list[Op]]:
    ops: list[Op] = []
    return net(Probe(shape, ops)), ops


# One small network a family, at a small input: what is true of a family does not depend on the size.
FAMILIES = {
    "litepose-xs": (64, 64),
    "higherhrnet-w18-shrink3": (64, 64),
    "small-hrnet-w16": (64, 32),
    "litehrnet-18": (64, 64),
    "efficienthrnet-h4": (64, 64),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_agrees_with_an_independent_tracer(name: str) -> None:
    """fvcore traces the network itself and has rules of its own."""
    net = archsearch.build(name).eval()
    hw = FAMILIES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer
        from fvcore.nn import FlopCountAnalysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)
        counts = FlopCountAnalysis(net, torch.zeros(1, 3, *hw)).by_operator()
    cost = archsearch.cost(name, hw)
    assert counts["conv"] == cost.macs
    assert sum(counts.values()) == cost.macs_by_convention["fvcore"]


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_are_those_of_the_real_run(name: str) -> None:
    net, hw = archsearch.build(name).eval(), FAMILIES[name]
    found, _ = run(net, 1, 3, *hw)
    with torch.no_grad():
        assert [p.shape for p in found] == [tuple(t.shape) for t in net(torch.zeros(1, 3, *hw))]


@pytest.mark.parametrize(
    ("function", "kind", "inputs", "shapes"),
    [
        (lambda x: F.conv2d(x, torch.zeros(4, 2, 3, 3), None, 2, 1), "conv", (1, 2, 7, 6), (1, 4, 4, 3)),
        (lambda x: F.conv2d(x, torch.zeros(2, 1, 5, 5), None, 1, 2, 1, 2), "conv", (1, 2, 7, 6), (1, 2, 7, 6)),
        (lambda x: F.conv2d(x, torch.zeros(2, 2, 3, 3), None, (2, 1), 2, 2), "conv", (3, 2, 7, 6), (3, 2, 4, 6)),
        (lambda x: F.conv_transpose2d(x, torch.zeros(2, 5, 4, 4), None, 2, 1), "deconv", (1, 2, 7, 6), (1, 5, 14, 12)),
        (lambda x: torch.cat((x, x), 1), "concat", (1, 2, 7, 6), (1, 4, 7, 6)),
        (lambda x: torch.cat((x, x), -1), "concat", (1, 2, 7, 6), (1, 2, 7, 12)),
        (lambda x: x + x, "add", (1, 2, 7, 6), (1, 2, 7, 6)),
        (lambda x: x * torch.zeros(1, 2, 1, 1), "mul", (1, 2, 7, 6), (1, 2, 7, 6)),
        (F.relu, "relu", (1, 2, 7, 6), (1, 2, 7, 6)),
        (nn.ReLU6(inplace=True), "relu", (1, 2, 7, 6), (1, 2, 7, 6)),
        (nn.Upsample(scale_factor=2.0), "upsample", (1, 2, 7, 6), (1, 2, 14, 12)),
        (lambda x: F.interpolate(x, (9, 9), mode="bilinear"), "upsample", (1, 2, 7, 6), (1, 2, 9, 9)),
        (nn.BatchNorm2d(2), "batch_norm", (1, 2, 7, 6), (1, 2, 7, 6)),
    ],
)
def test_operators(function: Callable[..., Any], kind: str, inputs: tuple[int, ...], shapes: tuple[int, ...]) -> None:
    found, ops = run(function, *inputs)
    assert found.shape == shapes == tuple(function(torch.zeros(inputs)).shape)
    assert [op.kind for op in ops] == [kind]
    assert ops[0].elements == found.numel()


def test_multiply_accumulates_by_hand() -> None:
    """A 3x3 convolution of 2 to 4 channels on 6x8, stride 2: 4*2*9 weights at 3*4 positions."""
    _, (conv,) = run(lambda x: F.conv2d(x, torch.zeros(4, 2, 3, 3), torch.zeros(4), 2, 1), 1, 2, 6, 8)
    assert (conv.macs, conv.at_output, conv.bias, conv.elements, conv.inputs) == (864, 864, 48, 48, 96)
    _, (deconv,) = run(lambda x: F.conv_transpose2d(x, torch.zeros(2, 4, 4, 4), None, 2, 1), 1, 2, 3, 5)
    assert (deconv.macs, deconv.at_output, deconv.bias) == (128 * 15, 128 * 60, 0)
    _, (depthwise,) = run(lambda x: F.conv2d(x, torch.zeros(6, 1, 7, 7), None, 1, 3, 1, 6), 2, 6, 4, 4)
    assert depthwise.macs == 2 * 6 * 49 * 16


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.erf, "erf"),
        (lambda x: F.gelu(x), "gelu"),
        (lambda x: torch.einsum("nchw->nc", x), "einsum"),
        (nn.Softplus(), "softplus"),
        (lambda x: x.mean(), "Tensor.mean"),
        (lambda x: x.view(1, -1), "Tensor.view"),
        (lambda x: torch.zeros(1) - x, "sub"),
    ],
)
def test_an_operator_without_a_rule_is_an_error_that_names_it(function: Callable[..., Any], name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"no rule for .*{re.escape(name)}"):
        run(function, 1, 2, 4, 4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.conv2d(x, torch.zeros(4, 3, 3, 3)), "a convolution of 3 channels is given 2"),
        (lambda x: F.conv2d(x, torch.zeros(4, 2, 7, 7)), "leaves nothing of a 4x4 map"),
        (lambda x: F.conv_transpose2d(x, torch.zeros(3, 4, 4, 4)), "a transposed convolution of 3 channels is given 2"),
        (lambda x: x + F.conv2d(x, torch.zeros(2, 2, 3, 3)), "shapes (1, 2, 4, 4) and (1, 2, 2, 2) do not add"),
        (lambda x: torch.cat((x, F.conv2d(x, torch.zeros(2, 2, 3, 3))), 1), "do not concatenate along 1"),
    ],
)
def test_shapes_that_do_not_fit(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(function, 1, 2, 4, 4)


def test_a_network_is_not_changed_by_a_probe() -> None:
    """Not even a batch normalisation in training mode."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    run(net, 1, 3, 8, 8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
