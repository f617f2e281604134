"""Layers that run at any smaller size than they were built at: one slicing rule, shared by every network.

The rule: a layer's channels are a sequence of *parts* (one part, except where tensors were concatenated), and a
smaller layer uses the leading channels of each part and the centre of the kernel. A layer called at its own size
slices nothing and is the torch layer it derives from, so stand-alone networks use the same classes. Filling a smaller
layer from a larger one (``take``) uses the same rule, which is what makes an extracted network equal to the
supernet run at its architecture, bit for bit (Once-for-All, ICLR 2020, section 3; LitePose, CVPR 2022, section 4.1).

Shapes: N batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Parts = tuple[int, ...]


def as_parts(channels: int | Sequence[int]) -> Parts:
    """Channels as a tuple of parts: one number is one part."""
    return (channels,) if isinstance(channels, int) else tuple(channels)


def leading(tensor: Tensor, dim: int, whole: Parts, used: Parts) -> Tensor:
    """The slicing rule: of each part of ``tensor`` along ``dim`` the leading ``used`` entries.

    ``whole`` are the sizes of the parts. A view where there is one part, else a new tensor.
    Raises ``ValueError`` where more is asked for than there is.
    """
    if used == whole:
        return tensor
    if len(used) == len(whole) == 1 and used[0] <= whole[0]:
        return tensor.narrow(dim, 0, used[0])
    if len(used) != len(whole) or any(u > w for u, w in zip(used, whole, strict=True)):
        raise ValueError(f"channels {used} do not fit into a layer with {whole}")
    pieces = torch.split(tensor, list(whole), dim)
    return torch.cat([piece.narrow(dim, 0, u) for piece, u in zip(pieces, used, strict=True)], dim)


def put(whole: Tensor, piece: Tensor, *axes: tuple[Parts, Parts] | None) -> None:
    """Write ``piece`` where :func:`leading` would read it from: the inverse of slicing, in place.

    ``axes``: for each of the first dimensions the parts of ``whole`` and of ``piece``; None where they are equal.
    """
    for dim, axis in enumerate(axes):
        if axis is not None and axis[0] != axis[1]:
            held, given = axis
            if len(given) != len(held) or any(g > h for g, h in zip(given, held, strict=True)):
                raise ValueError(f"channels {given} do not fit into a layer with {held}")
            rest = (*axes[:dim], None, *axes[dim + 1 :])
            wholes, pieces = torch.split(whole, list(held), dim), torch.split(piece, list(given), dim)
            for larger, smaller in zip(wholes, pieces, strict=True):
                put(larger.narrow(dim, 0, smaller.shape[dim]), smaller, *rest)
            return
    whole.copy_(piece)


def centre(weight: Tensor, kernel: int) -> Tensor:
    """The central ``kernel`` x ``kernel`` window of a convolution's weight. A view.

    Raises ``ValueError`` where there is no such window.
    """
    margin = weight.shape[-1] - kernel
    if margin == 0:
        return weight
    if margin < 0 or margin % 2:
        raise ValueError(f"kernel {kernel} is not the centre of a kernel of {weight.shape[-1]}")
    start = margin // 2
    return weight[..., start : start + kernel, start : start + kernel]


class Conv(nn.Conv2d):
    """A convolution with elastic input and output channels and kernel; "same" padding, as all in these networks.

    ``inputs`` and ``outputs`` are channels or parts of channels. ``depthwise``: one filter a channel, so that
    ``outputs`` equals ``inputs``.
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int | Sequence[int],
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        bias: bool = False,
    ) -> None:
        self.inputs, self.outputs, self.depthwise = as_parts(inputs), as_parts(outputs), depthwise
        total = sum(self.inputs)
        if depthwise and self.inputs != self.outputs:
            raise ValueError(f"depthwise convolution of {self.inputs} to {self.outputs} channels")
        groups = total if depthwise else 1
        super().__init__(total, sum(self.outputs), kernel, stride, kernel // 2, groups=groups, bias=bias)
        self.transforms: nn.ParameterDict | None = None

    def reset_parameters(self) -> None:
        """torch's default; nothing on the meta device, where there is nothing to fill and only the cost is asked."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def add_transforms(self, smallest: int) -> None:
        """Let smaller kernels, down to ``smallest``, differ from the centre by a learned linear map.

        One map of k^2 x k^2 for each kernel k, shared by all channels, from the centre of the next larger kernel to
        this one (Once-for-All, section 3.3, "elastic kernel size"). What is stored is the map's difference from the
        identity, at first zero, so that weight decay pulls toward plain centres.
        """
        sizes = range(self.kernel_size[0] - 2, smallest - 1, -2)
        weight = self.weight
        self.transforms = nn.ParameterDict({str(k): nn.Parameter(weight.new_zeros(k * k, k * k)) for k in sizes})

    def slice(self, inputs: Parts, outputs: Parts, kernel: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias for these channels and this kernel."""
        weight = leading(self.weight, 0, self.outputs, outputs)
        if not self.depthwise:
            weight = leading(weight, 1, self.inputs, inputs)
        bias = None if self.bias is None else leading(self.bias, 0, self.outputs, outputs)
        return self._window(weight, kernel), bias

    def _window(self, weight: Tensor, kernel: int) -> Tensor:
        if self.transforms is None:
            return centre(weight, kernel)
        for k in range(weight.shape[-1] - 2, kernel - 1, -2):
            weight = centre(weight, k)
            if str(k) in self.transforms:
                flat = weight.flatten(2)
                weight = (flat + flat @ self.transforms[str(k)]).view(weight.shape)
        return centre(weight, kernel)

    def forward(
        self,
        x: Tensor,
        outputs: int | Parts | None = None,
        kernel: int | None = None,
        parts: Parts | None = None,
    ) -> Tensor:
        """(N, C, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride)).

        ``parts``: how the channels of ``x`` were concatenated; needed only where there is more than one part.
        """
        if self._is_whole(x, outputs, kernel, parts):
            return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, 1, self.groups)
        used = (int(x.shape[1]),) if parts is None else parts
        wanted = used if self.depthwise else self.outputs if outputs is None else as_parts(outputs)
        kernel = self.kernel_size[0] if kernel is None else kernel
        weight, bias = self.slice(used, wanted, kernel)
        groups = int(x.shape[1]) if self.depthwise else 1
        return F.conv2d(x, weight, bias, self.stride, kernel // 2, 1, groups)

    def _is_whole(self, x: Tensor, outputs: int | Parts | None, kernel: int | None, parts: Parts | None = None) -> bool:
        """Whether a call uses all of this layer."""
        return (
            x.shape[1] == self.in_channels
            and (kernel is None or kernel == self.kernel_size[0])
            and (outputs is None or outputs == self.out_channels or self.depthwise or outputs == self.outputs)
            and (parts is None or parts == self.inputs)
        )

    @torch.no_grad()
    def take(self, larger: Conv) -> None:
        """Fill this layer with its slice of a larger one."""
        weight, bias = larger.slice(self.inputs, self.outputs, self.kernel_size[0])
        self.weight.copy_(weight)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    @torch.no_grad()
    def give(self, larger: Conv) -> None:
        """Write this layer into its slice of a larger one; around a smaller kernel the larger one becomes zero."""
        centre(larger.weight, self.kernel_size[0])  # raises where there is no such window
        margin = (larger.kernel_size[0] - self.kernel_size[0]) // 2
        weight = F.pad(self.weight, (margin,) * 4)
        put(
            larger.weight,
            weight,
            (larger.outputs, self.outputs),
            None if self.depthwise else (larger.inputs, self.inputs),
        )
        if larger.bias is not None and self.bias is not None:
            put(larger.bias, self.bias, (larger.outputs, self.outputs))


class Transposed(nn.ConvTranspose2d):
    """A transposed convolution, kernel 4 and stride 2, without bias: doubles height and width. Elastic channels."""

    def __init__(self, inputs: int | Sequence[int], outputs: int) -> None:
        self.inputs, self.outputs = as_parts(inputs), as_parts(outputs)
        super().__init__(sum(self.inputs), outputs, 4, 2, 1, bias=False)

    def reset_parameters(self) -> None:
        """As :meth:`Conv.reset_parameters`."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def slice(self, inputs: Parts, outputs: Parts) -> Tensor:
        """Weight (inputs, outputs, 4, 4) for these channels."""
        return leading(leading(self.weight, 0, self.inputs, inputs), 1, self.outputs, outputs)

    def forward(  # type: ignore[override]
        self, x: Tensor, outputs: int | None = None, parts: Parts | None = None
    ) -> Tensor:
        """(N, C, H, W) to (N, outputs, 2 H, 2 W); ``parts`` as in :meth:`Conv.forward`."""
        if x.shape[1] == self.in_channels and outputs in (None, self.out_channels) and parts in (None, self.inputs):
            return F.conv_transpose2d(x, self.weight, None, 2, 1)
        used = (int(x.shape[1]),) if parts is None else parts
        wanted = self.outputs if outputs is None else (outputs,)
        return F.conv_transpose2d(x, self.slice(used, wanted), None, 2, 1)

    @torch.no_grad()
    def take(self, larger: Transposed) -> None:
        """Fill this layer with its slice of a larger one."""
        self.weight.copy_(larger.slice(self.inputs, self.outputs))

    @torch.no_grad()
    def give(self, larger: Transposed) -> None:
        """Write this layer into its slice of a larger one."""
        put(larger.weight, self.weight, (larger.inputs, self.inputs), (larger.outputs, self.outputs))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of any leading channels. A slice in training mode updates its slice of the statistics.

    The running statistics of a network that ran at several sizes mean nothing for any one of them: recalibrate the
    extracted network before it is used (Once-for-All, section 3.3; Universally Slimmable Networks, ICCV 2019).
    """

    def __init__(self, features: int | Sequence[int]) -> None:
        self.features = as_parts(features)
        super().__init__(sum(self.features))

    def reset_parameters(self) -> None:
        """As :meth:`Conv.reset_parameters`."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def slice(self, features: Parts) -> list[Tensor]:
        """Weight, bias, running mean and running variance for these channels."""
        assert self.running_mean is not None
        assert self.running_var is not None
        tensors = [self.weight, self.bias, self.running_mean, self.running_var]
        if features == self.features:
            return tensors
        return [leading(tensor, 0, self.features, features) for tensor in tensors]

    def forward(self, x: Tensor, parts: Parts | None = None) -> Tensor:
        """(N, C, H, W) to the same shape; ``parts`` as in :meth:`Conv.forward`."""
        whole = x.shape[1] == self.num_features and (parts is None or parts == self.features)
        used = self.features if whole else (int(x.shape[1]),) if parts is None else parts
        weight, bias, mean, var = self.slice(used)
        if not self.training:
            return F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # Without a momentum: the mean over all batches since the statistics were reset, as torch's layer has it.
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        y = self.normalised(x, weight, bias, mean, var, rate)
        if len(used) > 1 and not whole:  # the slices of several parts are copies: write them back
            assert self.running_mean is not None
            assert self.running_var is not None
            with torch.no_grad():
                put(self.running_mean, mean, (self.features, used))
                put(self.running_var, var, (self.features, used))
        return y

    def normalised(self, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, rate: float) -> Tensor:
        """``x`` normalised by the batch's own statistics, which move ``mean`` and ``var`` by ``rate``, in place."""
        return F.batch_norm(x, mean, var, weight, bias, True, rate, self.eps)

    @torch.no_grad()
    def take(self, larger: BatchNorm) -> None:
        """Fill this layer with its slice of a larger one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert larger.num_batches_tracked is not None
        tensors = (self.weight, self.bias, self.running_mean, self.running_var)
        for own, sliced in zip(tensors, larger.slice(self.features), strict=True):
            own.copy_(sliced)
        self.num_batches_tracked.copy_(larger.num_batches_tracked)

    @torch.no_grad()
    def give(self, larger: BatchNorm) -> None:
        """Write this layer into its slice of a larger one."""
        held = (larger.weight, larger.bias, larger.running_mean, larger.running_var)
        own = (self.weight, self.bias, self.running_mean, self.running_var)
        for whole, piece in zip(held, own, strict=True):
            assert whole is not None
            assert piece is not None
            put(whole, piece, (larger.features, self.features))


def take(smaller: nn.Module, larger: nn.Module) -> None:
    """Fill every layer of ``smaller`` with its slice of the layer of the same name in ``larger``.

    Raises ``ValueError`` where ``larger`` has no such layer.
    """
    for own, held in _pairs(smaller, larger):
        own.take(held)


def give(smaller: nn.Module, larger: nn.Module) -> None:
    """Write every layer of ``smaller`` into its slice of the layer of the same name in ``larger``.

    Afterwards ``larger`` run at the smaller architecture computes what ``smaller`` does, but for learned transforms
    of kernels. Raises ``ValueError`` where ``larger`` has no such layer or it is not as large.
    """
    for own, held in _pairs(smaller, larger):
        own.give(held)


def _pairs(smaller: nn.Module, larger: nn.Module) -> Iterator[tuple[Any, Any]]:
    layers: dict[str, Any] = dict(larger.named_modules())
    for name, layer in smaller.named_modules():
        kind = next((k for k in (Conv, Transposed, BatchNorm) if isinstance(layer, k)), None)
        if kind is None:
            continue
        if not isinstance(layers.get(name), kind):
            raise ValueError(f"the larger network has no {type(layer).__name__} named {name}")
        yield layer, layers[name]
