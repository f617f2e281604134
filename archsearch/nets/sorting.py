"""Channel sorting: the most important channels become the leading ones, which are what smaller networks take.

Once-for-All (ICLR 2020, section 3.3, "elastic width") sorts before it opens widths, so that a narrower network begins
with the channels that matter. The network at its full width computes what it did before; all layers that share
channels (:mod:`archsearch.nets.axes`) change their order together, and so must everything that is stored beside them:
averaged weights and the optimiser's moments.

A channel's importance is the L1 norm of the weights that read it, summed over the layers that do, as Once-for-All has
it. What writes the channel says little: normalisation undoes its scale. Depthwise convolutions are not counted as
readers for the same reason: each is followed by normalisation and hands its channel on to a layer that is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.nets.axes import Axis, free_axes

Orders = dict[str, tuple[tuple[int, Tensor], ...]]  # for each tensor by its name: dimensions and their new order


def sort_channels(net: nn.Module, archs: Iterable[Any] | None = None) -> Orders:
    """Sort the channels of ``net`` in place and return the orders, for :func:`reorder` of what belongs to it.

    ``archs`` as in :func:`~archsearch.nets.axes.free_axes`: at each of them, and by default at every architecture of
    the full width that the network holds, it computes what it did. To be called between steps: gradients are not
    sorted. Raises as :func:`~archsearch.nets.axes.free_axes` does.
    """
    orders = permutations(net, archs)
    reorder(orders, net.state_dict())
    return orders


def permutations(net: nn.Module, archs: Iterable[Any] | None = None) -> Orders:
    """The orders that sort the channels of ``net``, for every name in its ``state_dict``; ``net`` is not changed.

    Entry i of a sorted dimension is what entry ``order[i]`` was. Channels of equal importance keep their order.
    """
    tensors = net.state_dict()
    found: dict[str, dict[int, Tensor]] = {name: {} for name in tensors}
    for axis in free_axes(net, archs):
        order = torch.sort(importance(axis, tensors), descending=True, stable=True).indices
        for place in axis.places:
            whole = found[place.tensor].setdefault(place.dim, torch.arange(tensors[place.tensor].shape[place.dim]))
            whole[place.start : place.start + axis.size] = place.start + order
    return {name: tuple(dims.items()) for name, dims in found.items()}


def importance(axis: Axis, tensors: Mapping[str, Tensor]) -> Tensor:
    """(size,) importance of each channel of ``axis``; float64, on the CPU, so that every machine sorts alike."""
    total = torch.zeros(axis.size, dtype=torch.float64)
    for place in axis.places:
        if place.reads:
            weight = tensors[place.tensor].detach().cpu().double().narrow(place.dim, place.start, axis.size)
            total += weight.abs().transpose(0, place.dim).flatten(1).sum(1)
    return total


@torch.no_grad()
def reorder(orders: Orders, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors that belong to a sorted network into its orders, in place: averaged weights, an optimiser's moments.

    ``tensors`` may be some of the names only. Raises ``ValueError``, before anything is changed, on a name that the
    network does not have or a shape that does not fit.
    """
    for name, tensor in tensors.items():
        if name not in orders:
            raise ValueError(f"{name} is not a tensor of the sorted network")
        for dim, order in orders[name]:
            if tensor.ndim <= dim or tensor.shape[dim] != len(order):
                raise ValueError(f"{name} of shape {tuple(tensor.shape)} has not {len(order)} entries along {dim}")
    for name, tensor in tensors.items():
        for dim, order in orders[name]:
            tensor.copy_(tensor.index_select(dim, order.to(tensor.device)))


def moments(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    """What ``optimizer`` stores beside the parameters of ``net``, one mapping by name for each kind (``exp_avg``, ...).

    Raises ``ValueError`` where what is stored has neither the parameter's shape nor is one number.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, parameter in net.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor) or value.ndim == 0:
                continue
            if value.shape != parameter.shape:
                raise ValueError(f"{kind} of {name} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
            found.setdefault(kind, {})[name] = value
    return list(found.values())
