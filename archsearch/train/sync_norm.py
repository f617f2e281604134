"""Batch normalisation whose statistics are those of the whole batch, however many processes share it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from archsearch.elastic import BatchNorm
from archsearch.train.processes import joined


class SyncBatchNorm(BatchNorm):
    """A :class:`BatchNorm` that averages means and variances over all processes of the group.

    torch's own layer does so on GPUs only; this one runs with gloo too, and at every width. In a process alone it is
    the plain layer.
    """

    def normalised(self, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, rate: float) -> Tensor:
        """As :meth:`BatchNorm.normalised`, by the statistics of all processes' samples."""
        if joined().count == 1:
            return super().normalised(x, weight, bias, mean, var, rate)
        y: Tensor = _Normalise.apply(x, weight, bias, mean, var, rate, self.eps)  # type: ignore[no-untyped-call]
        return y


class _Normalise(torch.autograd.Function):
    """y = weight (x - m) / s + bias with m and s^2 of all processes; the gradient reaches all of them alike."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, rate: float, eps: float
    ) -> Tensor:
        axes = (0, 2, 3)
        count = x.numel() // x.shape[1]
        wide = _at_least_float32(x)
        own_spread, own_centre = (value.double() for value in torch.var_mean(wide, axes, correction=0))
        # In double precision, where squares of large means do not swallow small variances.
        square = own_spread + own_centre.square()
        sums = torch.cat((own_centre, square, own_centre.new_ones(1))) * count
        dist.all_reduce(sums)
        total = sums[-1]
        centre, square = (sums[:-1] / total).chunk(2)
        spread = (square - centre.square()).clamp(min=0)
        mean.lerp_(centre.to(mean.dtype), rate)
        var.lerp_((spread * (total / (total - 1).clamp(min=1))).to(var.dtype), rate)
        scale = (spread + eps).rsqrt().to(wide.dtype)
        normal = (wide - _column(centre.to(wide.dtype))) * _column(scale)
        ctx.save_for_backward(normal, weight, scale, total)
        return (normal * _column(weight) + _column(bias)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, scale, total = ctx.saved_tensors
        axes, grad_dtype = (0, 2, 3), grad.dtype
        grad = grad.to(normal.dtype)
        bias_grad, weight_grad = grad.sum(axes), (grad * normal).sum(axes)
        sums = torch.cat((bias_grad, weight_grad))
        dist.all_reduce(sums)
        of_bias, of_weight = (sums / total.to(sums.dtype)).chunk(2)
        x_grad = (grad - _column(of_bias) - normal * _column(of_weight)) * _column(weight * scale)
        return x_grad.to(grad_dtype), weight_grad, bias_grad, None, None, None, None


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _column(values: Tensor) -> Tensor:
    return values[None, :, None, None]


def synchronised(net: nn.Module) -> nn.Module:
    """``net`` with every :class:`BatchNorm` as a :class:`SyncBatchNorm` of the same tensors, in place."""
    for layer in net.modules():
        for name, child in layer.named_children():
            if type(child) is BatchNorm:
                sync = SyncBatchNorm(child.features)
                sync.eps, sync.momentum = child.eps, child.momentum
                sync._parameters, sync._buffers = child._parameters, child._buffers
                setattr(layer, name, sync.train(child.training))
    return net
