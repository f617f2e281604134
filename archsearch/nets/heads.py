"""Heads: from the features of a network to heatmaps and tags.

Shapes: N batch, C channels, J joints, T tags (one a joint), H and W height and width of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Transposed
from archsearch.nets.blocks import Basic
from archsearch.nets.features import Pyramid
from archsearch.space import check_literals

# finest: the finest branch (HRNetV1). concat: all branches upsampled, concatenated and mixed (HRNetV2, TPAMI 2020).
# iterative: from the coarsest to the finest, each added to the next (Lite-HRNet's published head).
Features = Literal["finest", "concat", "iterative"]


@dataclass(frozen=True)
class Block:
    """One block of a branch; its kernel is square."""

    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not an odd number from 1")


@dataclass(frozen=True)
class Deconv:
    """A doubling of the resolution: a transposed convolution to ``width`` channels, then residual blocks."""

    width: int = 32
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width {self.width} of a transposed convolution is not positive")


@dataclass(frozen=True)
class BottomUp:
    """Heatmaps and tags at 1/4, then heatmaps after every doubling (HigherHRNet, CVPR 2020, section 3.2)."""

    kind: Literal["bottom_up"] = "bottom_up"
    deconvs: tuple[Deconv, ...] = (Deconv(),)
    features: Features = "finest"  # what of the branches the maps are made from

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class TopDown:
    """Heatmaps at 1/4 of one person's box (HRNet, CVPR 2019, section 3).

    ``pyramid`` are the channels of the levels of a feature pyramid on concatenated features (HRNetV2p); heatmaps are
    then predicted at each level: 1/4, 1/8, ...
    """

    kind: Literal["top_down"] = "top_down"
    features: Features = "finest"  # what of the branches the maps are made from
    pyramid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_literals(self)
        if any(width < 1 for width in self.pyramid):
            raise ValueError(f"widths {self.pyramid} of a pyramid must be positive")
        if self.pyramid and self.features != "concat":
            raise ValueError(f"a pyramid needs features concat, not {self.features}")


def check_held(wanted: BottomUp | TopDown, held: BottomUp | TopDown) -> None:
    """Raise ``ValueError`` where a head of another form is asked for than the network was built with."""
    forms = [(h.kind, h.features, isinstance(h, TopDown) and bool(h.pyramid)) for h in (wanted, held)]
    if forms[0] != forms[1]:
        names = [f"{kind} of {features}" + (" with a pyramid" if pyramid else "") for kind, features, pyramid in forms]
        raise ValueError(f"head {names[0]}: this network has {names[1]}")


def check_depth(wanted: int, held: int, what: str) -> None:
    """Raise ``ValueError`` where more is asked for than there is."""
    if wanted > held:
        raise ValueError(f"{wanted} {what} do not fit into a head of {held}")


class BottomUpHead(nn.Module):
    """Each doubling takes the features together with the maps predicted from them."""

    def __init__(self, head: BottomUp, width: int, joints: int) -> None:
        super().__init__()
        outputs = 2 * joints
        finals = [Conv(width, outputs, bias=True)]
        rows = []
        for deconv in head.deconvs:
            rows.append(DeconvRow((width, outputs), deconv))
            width, outputs = deconv.width, joints
            finals.append(Conv(width, outputs, bias=True))
        self.deconvs = nn.ModuleList(rows)
        self.finals = nn.ModuleList(finals)

    def forward(self, x: Tensor, head: BottomUp) -> list[Tensor]:
        """(N, C, H/4, W/4) to [(N, J+T, H/4, W/4), (N, J, H/2, W/2), ...]."""
        check_depth(len(head.deconvs), len(self.deconvs), "doublings")
        maps = [self.finals[0](x)]
        for row, final, deconv in zip(self.deconvs, self.finals[1:], head.deconvs, strict=False):
            x = row(x, maps[-1], deconv)
            maps.append(final(x))
        return maps

    def tag_layers(self) -> list[Conv]:
        """The convolutions whose outputs from J on are summed into the tags."""
        return [self.finals[0]]  # type: ignore[list-item]


class DeconvRow(nn.Module):
    """Transposed convolution of two concatenated tensors, normalisation, ReLU, residual blocks."""

    def __init__(self, inputs: tuple[int, int], deconv: Deconv) -> None:
        super().__init__()
        self.deconv = Transposed(inputs, deconv.width)
        self.bn = BatchNorm(deconv.width)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.ModuleList(Basic(deconv.width, block.kernel) for block in deconv.blocks)

    def forward(self, features: Tensor, maps: Tensor, deconv: Deconv) -> Tensor:
        """(N, C, H, W) and (N, J+T, H, W) to (N, deconv.width, 2 H, 2 W)."""
        check_depth(len(deconv.blocks), len(self.blocks), "blocks after a doubling")
        parts = (int(features.shape[1]), int(maps.shape[1]))
        x = torch.cat((features, maps), 1)
        x = self.relu(self.bn(self.deconv(x, deconv.width, parts)))
        for module, block in zip(self.blocks, deconv.blocks, strict=False):
            x = module(x, block.kernel)
        return x  # type: ignore[no-any-return]


class TopDownHead(nn.Module):
    """One 1x1 convolution, or one for each level of a pyramid."""

    def __init__(self, head: TopDown, width: int, joints: int) -> None:
        super().__init__()
        self.final: Conv | None = None
        self.pyramid: Pyramid | None = None
        if head.pyramid:
            self.pyramid = Pyramid(width, head.pyramid, joints)
        else:
            self.final = Conv(width, joints, bias=True)

    def tag_layers(self) -> list[Conv]:
        """None: one person's joints need no tags."""
        return []

    def forward(self, x: Tensor, head: TopDown) -> list[Tensor]:
        """(N, C, H/4, W/4) to [(N, J, H/4, W/4)]; with a pyramid also (N, J, H/8, W/8) and so on."""
        if head.pyramid:
            assert self.pyramid is not None
            return self.pyramid(x, head.pyramid)  # type: ignore[no-any-return]
        assert self.final is not None
        return [self.final(x)]
