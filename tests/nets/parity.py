"""That a network run at a smaller architecture and the network extracted for it are the same, bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from archsearch.elastic import take
from archsearch.nets.zoo import extract


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics, so that no two channels are alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise if tensor.ndim == 1 and "bias" not in name else noise - 0.5)
    return net


def assert_extracts(net: nn.Module, arch: Any, x: Tensor) -> None:
    """``extract(net, arch)`` computes ``net(x, arch)`` in evaluation and in training mode, with the same gradients of
    the weights and of the input, and the same running statistics after the pass. ``net`` keeps its weights."""
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.eval()
    small = extract(net, arch)
    with torch.no_grad():
        assert_equal(net(x, arch), small(x))

    net.train().zero_grad()
    small.train()
    x_large, x_small = x.clone().requires_grad_(), x.clone().requires_grad_()
    maps, maps_small = net(x_large, arch), small(x_small)
    assert_equal(maps, maps_small)
    for result in (maps, maps_small):
        torch.stack([m.square().mean() for m in result]).sum().backward()
    assert_equal([x_large.grad], [x_small.grad])

    slices = extract(net, arch)
    for (name, tensor), (_, other) in zip(small.state_dict().items(), slices.state_dict().items(), strict=True):
        assert torch.equal(tensor, other), name
    with torch.no_grad():
        for module in (net, small):
            for p in module.parameters():
                p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
    take(slices, net)
    for (name, gradient), other in zip(slices.named_parameters(), small.parameters(), strict=True):
        assert torch.equal(gradient, other), name
    net.load_state_dict(state)


def assert_equal(tensors: list[Any], others: list[Any]) -> None:
    """The same shapes and the same bits."""
    assert [t.shape for t in tensors] == [t.shape for t in others]
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))
