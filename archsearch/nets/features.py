"""From the branches of a multi-branch body to the features that a head predicts from.

Shapes: N batch, C channels, H and W height and width of the network's input. Branch b has 1 / 2^(2 + b) of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.elastic import Conv, Parts
from archsearch.nets.blocks import ConvBN, Separable


def gather(features: str, widths: Parts) -> tuple[nn.Module | None, int]:
    """The module that makes a head's features from branches of ``widths``, and their channels; None: the finest."""
    if features == "concat":
        return Concat(widths), sum(widths)
    if features == "iterative":
        return Iterative(widths), widths[0]
    return None, widths[0]


class Concat(nn.Module):
    """All branches brought to 1/4, concatenated and mixed by a 1x1 convolution (HRNetV2, TPAMI 2020, figure 4b).

    What comes in are parts, one a branch; what goes out is mixed and has no parts.
    """

    def __init__(self, widths: Parts) -> None:
        super().__init__()
        self.mix = ConvBN(widths, sum(widths), act="relu")

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Tensors of the branches to (N, sum of widths, H/4, W/4)."""
        size = (int(xs[0].shape[2]), int(xs[0].shape[3]))
        up = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in xs[1:]]
        widths = tuple(int(x.shape[1]) for x in xs)
        return self.mix(torch.cat((xs[0], *up), 1), sum(widths), None, widths)  # type: ignore[no-any-return]


class Iterative(nn.Module):
    """From the coarsest branch on: add what came before, separable convolution to the next finer branch's width."""

    def __init__(self, widths: Parts) -> None:
        super().__init__()
        finer = (widths[0], *widths[:-1])
        self.row = nn.ModuleList(Separable(a, b, act="relu") for a, b in zip(widths, finer, strict=True))

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Tensors of the branches to (N, C of the finest, H/4, W/4)."""
        last: Tensor | None = None
        for b in reversed(range(len(xs))):
            x = xs[b]
            if last is not None:
                size = (int(x.shape[2]), int(x.shape[3]))
                x = x + F.interpolate(last, size, mode="bilinear", align_corners=True)
            last = self.row[b](x, xs[max(b - 1, 0)].shape[1])
        assert last is not None
        return last


class Pyramid(nn.Module):
    """Features averaged down to 1/4, 1/8, ..., a 3x3 convolution on each (HRNetV2p, TPAMI 2020, figure 4c), heatmaps.

    The convolutions have biases and neither normalisation nor activation, as those of a feature pyramid network.
    """

    def __init__(self, inputs: int, widths: Parts, joints: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Conv(inputs, width, 3, bias=True) for width in widths)
        self.finals = nn.ModuleList(Conv(width, joints, bias=True) for width in widths)

    def forward(self, x: Tensor, widths: Parts) -> list[Tensor]:
        """(N, C, H/4, W/4) to [(N, J, H/4, W/4), (N, J, H/8, W/8), ...], as many as there are widths."""
        maps = []
        if len(widths) > len(self.levels):
            raise ValueError(f"{len(widths)} levels do not fit into a pyramid of {len(self.levels)}")
        for level, (module, final, width) in enumerate(zip(self.levels, self.finals, widths, strict=False)):
            y = x if level == 0 else F.avg_pool2d(x, 2**level)
            maps.append(final(module(y, width)))
        return maps
