"""The blocks of Lite-HRNet (CVPR 2021): shuffle units, conditional channel weighting, and its stem.

Every block cuts the channels in halves, works on the second one and interleaves the two again, so widths are even.
Interleaved halves need no parts: the first n channels are the first n / 2 of each half. What a later block splits off
is another matter: the second half begins at C / 2, so a filter of a narrower slice meets other channels than in the
whole. Kinds, kernels and depths share weights as everywhere; at elastic *widths* light blocks share them loosely, and
a space that opens those should be trained with that in mind.

Shapes: N batch, C channels of a branch, H and W its height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.elastic import Parts
from archsearch.nets.blocks import ConvBN, Excitation


@dataclass(frozen=True)
class Lite:
    """What the light blocks of a stage contain (Lite-HRNet, tables 6 and 7)."""

    spatial: bool = True  # weighting blocks: weights from the pooled branch itself, one a channel
    cross: bool = True  # weighting blocks: weights from all branches, one a channel and position
    pointwise: bool = True  # shuffle blocks: the 1x1 convolutions around the depthwise one


FULL = Lite()


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) to two of (N, C/2, H, W). C must be even."""
    first, second = torch.chunk(x, 2, 1)
    return first, second


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Two of (N, C/2, H, W) to (N, C, H, W), channels taken in turn: "channel shuffle" (ShuffleNet, CVPR 2018)."""
    return torch.channel_shuffle(torch.cat((first, second), 1), 2)


class LiteStemNet(nn.Module):
    """From the image to 1/4 of its resolution (Lite-HRNet, section 3.1)."""

    def __init__(self, width: int, planes: int) -> None:
        super().__init__()
        half = width // 2
        self.conv = ConvBN(3, width, 3, 2, act="relu")
        self.first = nn.ModuleList((ConvBN(half, half, 3, 2, depthwise=True), ConvBN(half, half, act="relu")))
        self.second = nn.ModuleList(
            (
                ConvBN(half, planes, act="relu"),
                ConvBN(planes, planes, 3, 2, depthwise=True),
                ConvBN(planes, half, act="relu"),
            )
        )

    def forward(self, x: Tensor, width: int, planes: int, _: object = ()) -> Tensor:
        """(N, 3, H, W) to (N, width, H/4, W/4)."""
        first, second = halves(self.conv(x, width))
        for module, outputs in zip(self.first, (None, width // 2), strict=True):
            first = module(first, outputs)
        for module, outputs in zip(self.second, (planes, None, width // 2), strict=True):
            second = module(second, outputs)
        return interleave(first, second)


class Shuffle(nn.Module):
    """ShuffleNetV2 unit of stride 1 (ECCV 2018, figure 3c): 1x1, depthwise, 1x1 on one half of the channels."""

    def __init__(self, width: int, kernel: int, lite: Lite) -> None:
        super().__init__()
        half = width // 2
        self.depthwise = ConvBN(half, half, kernel, depthwise=True)
        self.before = ConvBN(half, half, act="relu") if lite.pointwise else None
        self.after = ConvBN(half, half, act="relu") if lite.pointwise else None

    def forward(self, x: Tensor, kernel: int, lite: Lite) -> Tensor:
        """(N, C, H, W) to the same shape. Without 1x1 convolutions only the depthwise one is left (table 6)."""
        first, second = halves(x)
        half = int(second.shape[1])
        if lite.pointwise:
            second = _present(self.before, "1x1 convolutions")(second, half)
        second = self.depthwise(second, None, kernel)
        if lite.pointwise:
            second = _present(self.after, "1x1 convolutions")(second, half)
        return interleave(first, second)


class Weighting(nn.Module):
    """Conditional channel weighting (Lite-HRNet, section 3.2): 1x1 convolutions replaced by weights.

    One block spans all branches that have a block at this depth: ``kernels[b]`` is that of branch b, 0 where it has
    none. The weights of a position are computed from all of them, at the resolution of the coarsest.
    """

    def __init__(self, widths: Parts, kernels: Sequence[int], lite: Lite) -> None:
        super().__init__()
        parts = tuple(width // 2 if kernel else 0 for width, kernel in zip(widths, kernels, strict=True))
        used = [b for b, kernel in enumerate(kernels) if kernel]
        self.cross = CrossWeights(parts) if lite.cross else None
        self.depthwise = nn.ModuleDict({str(b): ConvBN(parts[b], parts[b], kernels[b], depthwise=True) for b in used})
        # Spatial weighting: squeeze-and-excitation of each branch for itself.
        self.spatial = nn.ModuleDict(
            {str(b): Excitation(parts[b], squeezed(parts[b], 4), "relu") for b in used if lite.spatial}
        )

    def forward(self, xs: list[Tensor], kernels: Sequence[int], lite: Lite) -> list[Tensor]:
        """Tensors of all branches to the same shapes; those of kernel 0 pass unchanged.

        Raises ``ValueError`` where a branch is asked for that the block was not built with.
        """
        used = [b for b, kernel in enumerate(kernels) if kernel]
        absent = [b for b in used if str(b) not in self.depthwise]
        if absent:
            raise ValueError(f"this network has no weighting block at this depth in branch {absent[0]}")
        cut = {b: halves(xs[b]) for b in used}
        firsts, seconds = ({b: cut[b][i] for b in used} for i in (0, 1))
        if lite.cross:
            seconds = _present(self.cross, "cross-resolution weighting")(seconds)
        ys = list(xs)
        for b in used:
            y = self.depthwise[str(b)](seconds[b], None, kernels[b])
            if lite.spatial:
                weights = _present(self.spatial[str(b)] if self.spatial else None, "spatial weighting")
                y = weights(y, squeezed(int(y.shape[1]), 4))
            ys[b] = interleave(firsts[b], y)
        return ys


class CrossWeights(nn.Module):
    """Cross-resolution weighting (Lite-HRNet, section 3.2): H_s(pool(X_1), ..., pool(X_{s-1}), X_s).

    Concatenates the branches, so its channels are parts; a branch that takes no part has 0 of them.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        middle = squeezed(sum(parts), 8)
        self.squeeze = ConvBN(parts, middle, act="relu")
        self.expand = ConvBN(middle, parts, act="sigmoid")
        self.branches = len(parts)

    def forward(self, xs: dict[int, Tensor]) -> dict[int, Tensor]:
        """Tensors by branch to the same, each value weighted by a number from 0 to 1."""
        parts = tuple(int(xs[b].shape[1]) if b in xs else 0 for b in range(self.branches))
        coarsest = xs[max(xs)]
        size = (int(coarsest.shape[2]), int(coarsest.shape[3]))
        pooled = [x if x is coarsest else F.adaptive_avg_pool2d(x, size) for x in xs.values()]
        y = torch.cat(pooled, 1)
        y = self.expand(self.squeeze(y, squeezed(sum(parts), 8), None, parts), parts)
        weights = torch.split(y, [n for n in parts if n], 1)
        return {
            b: x * F.interpolate(weight, (int(x.shape[2]), int(x.shape[3])), mode="nearest")
            for (b, x), weight in zip(xs.items(), weights, strict=True)
        }


def squeezed(channels: int, ratio: int) -> int:
    """Channels between the two convolutions of a weighting: a fraction, rounded down, at least 1."""
    return max(channels // ratio, 1)


def _present(module: nn.Module | None, what: str) -> nn.Module:
    if module is None:
        raise ValueError(f"this network was built without {what}")
    return module
