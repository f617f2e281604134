"""LitePose: one branch of inverted residuals with large kernels, and a head that fuses the raw features (CVPR 2022).

The single branch is what the gradual shrinking of HigherHRNet ends at (section 3.2); large depthwise kernels
(section 3.4) and the fusion deconvolution head (section 3.3) make up for the branches that are gone. Everything that
the paper searches is elastic: widths, deconvolution filters and resolution (section 4.1), and also depths, kernels,
expansions and the fusion itself.

Shapes: N batch, C channels, J joints, T tags (one a joint), H and W height and width of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Transposed
from archsearch.nets.blocks import ConvBN
from archsearch.space import check_literals

STEM_WIDTH = 32  # of the stem's first two convolutions, in every LitePose


@dataclass(frozen=True)
class Block:
    """One inverted residual: ``expand`` times the channels that come in, a depthwise ``kernel`` x ``kernel``."""

    kernel: int = 7
    expand: int = 6

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not an odd number from 1")
        if self.expand < 1:
            raise ValueError(f"expand {self.expand} is not a positive number")


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first has the ``stride`` and no residual."""

    width: int
    stride: int
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width {self.width} is not a positive number")
        if not self.blocks:
            raise ValueError("a stage without blocks")


@dataclass(frozen=True)
class Head:
    """Doublings of the resolution, one for each of ``filters``, and a separable convolution for the last two outputs.

    ``fusion``: whether the raw features of the backbone join at every doubling and every output (section 3.3);
    ``kernel``: of the depthwise convolution before an output.
    """

    filters: tuple[int, ...]
    fusion: bool = True
    kernel: int = 5

    def __post_init__(self) -> None:
        if len(self.filters) < 2 or min(self.filters) < 1:
            raise ValueError(f"filters {self.filters} are not two or more positive numbers")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not an odd number from 1")


@dataclass(frozen=True)
class LitePose:
    """A LitePose architecture for square inputs of ``resolution``; ``stem`` is the width that the stem ends in.

    Every stage but the last halves the resolution, and there is one doubling in the head for each that does.
    """

    kind: Literal["litepose"]
    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: Head
    joints: int = 14

    def __post_init__(self) -> None:
        check_literals(self)
        strides = [stage.stride for stage in self.stages]
        if strides != [2] * len(self.head.filters) + [1]:
            raise ValueError(
                f"strides {strides} of the stages: with {len(self.head.filters)} filters in the head every stage but "
                f"the last of {len(self.head.filters) + 1} has stride 2, the last has 1"
            )
        if min(self.stem, self.joints) < 1:
            raise ValueError(f"stem {self.stem} and joints {self.joints} must be positive")
        if self.resolution < self.stride or self.resolution % self.stride:
            raise ValueError(f"resolution {self.resolution} is not a multiple of {self.stride}, the coarsest stage")

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the input that the architecture is meant for."""
        return self.resolution, self.resolution

    @property
    def stride(self) -> int:
        """What one pixel of the coarsest stage covers in the input; height and width must be multiples of it."""
        return int(2 ** len(self.stages))

    @property
    def blocks(self) -> int:
        """The number of inverted residuals."""
        return sum(len(stage.blocks) for stage in self.stages)


class LitePoseNet(nn.Module):
    """The network of a :class:`LitePose`. Built at its largest architecture it runs at any smaller one of its space."""

    def __init__(self, arch: LitePose, joints: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.joints = arch.joints if joints is None else joints
        self.stem = StemNet(arch.stem)
        widths = [arch.stem]
        stages = []
        for stage in arch.stages:
            stages.append(StageNet(widths[-1], stage))
            widths.append(stage.width)
        self.stages = nn.ModuleList(stages)
        self.head = HeadNet(arch.head, widths, self.joints)

    def forward(self, x: Tensor, arch: LitePose | None = None) -> list[Tensor]:
        """(N, 3, H, W) to heatmaps with tags, and finer heatmaps: [(N, J+T, H/4, W/4), (N, J, H/2, W/2)].

        ``arch``: None for the architecture that the network was built at, else any that it holds. Raises
        ``ValueError`` where it is not held.
        """
        arch = self.arch if arch is None else arch
        xs = [self.stem(x, arch.stem)]
        for module, stage in zip(self.stages, arch.stages, strict=True):
            xs.append(module(xs[-1], stage))
        return self.head(xs, arch.head)  # type: ignore[no-any-return]


class StemNet(nn.Module):
    """A separable convolution of stride 2 whose second half has no activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ConvBN(3, STEM_WIDTH, 3, 2, act="relu6")
        self.depthwise = ConvBN(STEM_WIDTH, STEM_WIDTH, 3, depthwise=True, act="relu6")
        self.project = ConvBN(STEM_WIDTH, width)

    def forward(self, x: Tensor, width: int) -> Tensor:
        """(N, 3, H, W) to (N, width, H/2, W/2)."""
        return self.project(self.depthwise(self.conv(x)), width)  # type: ignore[no-any-return]


class StageNet(nn.Module):
    """Inverted residuals in a row."""

    def __init__(self, inputs: int, stage: Stage) -> None:
        super().__init__()
        rows = []
        for i, block in enumerate(stage.blocks):
            rows.append(Inverted(inputs if i == 0 else stage.width, stage, block, first=i == 0))
        self.blocks = nn.ModuleList(rows)

    def forward(self, x: Tensor, stage: Stage) -> Tensor:
        """(N, C, H, W) to (N, stage.width, H / stage.stride, W / stage.stride), with the first blocks."""
        if len(stage.blocks) > len(self.blocks):
            raise ValueError(f"{len(stage.blocks)} blocks do not fit into a stage of {len(self.blocks)}")
        for module, block in zip(self.blocks, stage.blocks, strict=False):
            x = module(x, stage.width, block)
        return x


class Inverted(nn.Module):
    """1x1 to ``expand`` times the channels, depthwise kxk, 1x1 to ``width`` (MobileNetV2, CVPR 2018, section 3.3).

    The ``first`` one of a stage has no residual; this follows from its place, not from widths that happen to be equal.
    """

    def __init__(self, inputs: int, stage: Stage, block: Block, *, first: bool) -> None:
        super().__init__()
        hidden = inputs * block.expand
        self.expand = ConvBN(inputs, hidden, act="relu6")
        self.depthwise = ConvBN(hidden, hidden, block.kernel, stage.stride if first else 1, depthwise=True, act="relu6")
        self.project = ConvBN(hidden, stage.width)
        self.first = first

    def forward(self, x: Tensor, width: int, block: Block) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride)."""
        y = self.expand(x, int(x.shape[1]) * block.expand)
        y = self.project(self.depthwise(y, kernel=block.kernel), width)
        if not self.first:
            y += x
        return y  # type: ignore[no-any-return]


class HeadNet(nn.Module):
    """The fusion deconvolution head (section 3.3, figure 5).

    Every doubling sums a transposed convolution of what was refined so far and one of the backbone's raw features at
    the same resolution, every output a separable convolution of either.
    """

    def __init__(self, head: Head, widths: list[int], joints: int) -> None:
        super().__init__()
        raws = widths[-2::-1]  # from the coarsest: what joins at each doubling, then what joins at the last output
        refined = widths[-1]
        deconvs, finals = [], []
        for i, width in enumerate(head.filters):
            deconvs.append(Doubling(refined, raws[i] if head.fusion else None, width))
            refined = width
            left = len(head.filters) - i
            if left <= 2:
                raw = raws[i + 1] if head.fusion else None
                finals.append(Output(refined, raw, joints * left, head.kernel))
        self.deconvs = nn.ModuleList(deconvs)
        self.finals = nn.ModuleList(finals)

    def forward(self, xs: list[Tensor], head: Head) -> list[Tensor]:
        """The outputs of the stem and of every stage to [(N, J+T, H/4, W/4), (N, J, H/2, W/2)]."""
        raws: list[Tensor | None] = list(xs[-2::-1]) if head.fusion else [None] * len(xs)
        skipped = len(self.deconvs) - len(self.finals)
        x, maps = xs[-1], []
        for i, (module, width) in enumerate(zip(self.deconvs, head.filters, strict=True)):
            x = module(x, raws[i], width)
            if i >= skipped:
                maps.append(self.finals[i - skipped](x, raws[i + 1], head.kernel))
        return maps

    def tag_layers(self) -> list[Conv]:
        """The convolutions whose outputs from J on are summed into the tags."""
        final = self.finals[0]
        assert isinstance(final, Output)
        return [path.project for path in (final.refined, final.raw) if path is not None]


class Doubling(nn.Module):
    """Transposed convolutions of the refined and, where there is one, the raw path; sum, normalisation, ReLU."""

    def __init__(self, refined: int, raw: int | None, width: int) -> None:
        super().__init__()
        self.refined = Transposed(refined, width)
        self.raw = None if raw is None else Transposed(raw, width)
        self.bn = BatchNorm(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, raw: Tensor | None, width: int) -> Tensor:
        """(N, C, H, W), and (N, R, H, W) or None, to (N, width, 2 H, 2 W)."""
        y = self.refined(x, width)
        if raw is not None:
            y = y + _present(self.raw)(raw, width)
        return self.relu(self.bn(y))  # type: ignore[no-any-return]


class Output(nn.Module):
    """The sum of a separable convolution of the refined path and, where there is one, of the raw path."""

    def __init__(self, refined: int, raw: int | None, outputs: int, kernel: int) -> None:
        super().__init__()
        self.refined = Separable(refined, outputs, kernel)
        self.raw = None if raw is None else Separable(raw, outputs, kernel)

    def forward(self, x: Tensor, raw: Tensor | None, kernel: int) -> Tensor:
        """(N, C, H, W), and (N, R, H, W) or None, to (N, outputs, H, W)."""
        y = self.refined(x, kernel)
        return y if raw is None else y + _present(self.raw)(raw, kernel)  # type: ignore[no-any-return]


class Separable(nn.Module):
    """Depthwise convolution, normalisation, ReLU, and a 1x1 convolution without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, kernel, depthwise=True, act="relu")
        self.project = Conv(inputs, outputs)

    def forward(self, x: Tensor, kernel: int) -> Tensor:
        """(N, C, H, W) to (N, outputs, H, W)."""
        return self.project(self.depthwise(x, kernel=kernel))  # type: ignore[no-any-return]


def _present(module: nn.Module | None) -> nn.Module:
    if module is None:
        raise ValueError("an architecture with fusion does not fit into a network without")
    return module
