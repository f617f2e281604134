"""EfficientHRNet: a scaled EfficientNet whose features feed the branches of a small HigherHRNet (J. Real-Time Image
Processing 2021, arXiv 2007.08090). LitePose compares with it.

The backbone gives features at 1/4, 1/8, 1/16 and 1/32; a branch starts from the backbone's feature of its resolution,
not from the next finer branch as in HRNet. Stages, exchange and head are those of HRNet, so they take every block
kind and may be shrunk like it.

Shapes: N batch, C channels, H and W height and width of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.elastic import Conv, Parts, as_parts
from archsearch.nets.blocks import ConvBN, Excitation
from archsearch.nets.features import gather
from archsearch.nets.heads import BottomUp, BottomUpHead, TopDown, TopDownHead, check_held
from archsearch.nets.hrnet import Stage, StageNet, check_halves
from archsearch.nets.litepose import Block
from archsearch.nets.litepose import Stage as Row
from archsearch.space import check_literals


@dataclass(frozen=True)
class EfficientHRNet:
    """An EfficientHRNet; ``stem`` channels at 1/2, ``rows`` of inverted residuals, ``widths[b]`` those of branch b."""

    kind: Literal["efficient_hrnet"]
    input_hw: tuple[int, int]
    stem: int
    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    stages: tuple[Stage, ...]
    head: BottomUp | TopDown
    joints: int = 17

    def __post_init__(self) -> None:
        check_literals(self)
        strides = [row.stride for row in self.rows]
        if set(strides) - {1, 2} or strides.count(2) != len(self.widths):
            raise ValueError(f"strides {strides} of the rows: {len(self.widths)} of them must be 2, the others 1")
        counts = [len(stage.branches) for stage in self.stages]
        if not counts or counts != sorted(counts) or counts[-1] > len(self.widths):
            raise ValueError(f"stages of {counts} branches with widths {self.widths}")
        if min((*self.widths, self.stem, self.joints)) < 1:
            raise ValueError(f"widths {self.widths}, stem {self.stem}, joints {self.joints} must be positive")
        check_halves(self.widths, self.stages)
        if any(n < self.stride or n % self.stride for n in self.input_hw):
            height, width = self.input_hw
            raise ValueError(f"input {height}x{width} is not a multiple of {self.stride}, the coarsest branch")

    @property
    def stride(self) -> int:
        """What one pixel of the coarsest feature covers in the input; height and width must be multiples of it."""
        return int(2 ** (1 + len(self.widths)))

    @property
    def blocks(self) -> int:
        """The number of blocks in backbone and stages."""
        stages = sum(stage.modules * sum(stage.depths) for stage in self.stages)
        return sum(len(row.blocks) for row in self.rows) + stages

    @property
    def taps(self) -> tuple[int, ...]:
        """The row that gives each branch its feature: the last one of its resolution."""
        last = len(self.rows) - 1
        ends = [r for r in range(len(self.rows)) if r == last or self.rows[r + 1].stride == 2]
        return tuple(ends[-len(self.widths) :])


class EfficientHRNetNet(nn.Module):
    """The network of an :class:`EfficientHRNet`. Built at its largest architecture it runs at any smaller one."""

    def __init__(self, arch: EfficientHRNet, joints: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.joints = arch.joints if joints is None else joints
        self.stem = ConvBN(3, arch.stem, 3, 2, act="silu", conv=SameConv)
        inputs = (arch.stem, *(row.width for row in arch.rows))
        self.rows = nn.ModuleList(RowNet(width, row) for width, row in zip(inputs, arch.rows, strict=False))
        features = [arch.rows[r].width for r in arch.taps]
        transitions, stages = [], []
        widths: Parts = ()
        head = arch.head
        for s, stage in enumerate(arch.stages):
            wanted = arch.widths[: len(stage.branches)]
            sources = (*widths, *features[len(widths) : len(wanted)])
            transitions.append(
                nn.ModuleList(ConvBN(a, b, 3, bias=True, act="relu") for a, b in zip(sources, wanted, strict=True))
            )
            last = s == len(arch.stages) - 1 and head.features == "finest"
            stages.append(StageNet(stage, wanted, outputs=1 if last else len(wanted)))
            widths = wanted
        self.transitions = nn.ModuleList(transitions)
        self.stages = nn.ModuleList(stages)
        self.features, width = gather(head.features, widths)
        self.head: BottomUpHead | TopDownHead
        if isinstance(head, BottomUp):
            self.head = BottomUpHead(head, width, self.joints)
        else:
            self.head = TopDownHead(head, width, self.joints)

    def forward(self, x: Tensor, arch: EfficientHRNet | None = None) -> list[Tensor]:
        """(N, 3, H, W) to heatmaps: [(N, J+T, H/4, W/4), (N, J, H/2, W/2)] bottom-up, [(N, J, H/4, W/4)] top-down.

        ``arch``: None for the architecture that the network was built at, else any that it holds. Raises
        ``ValueError`` where it is not held.
        """
        arch = self.arch if arch is None else arch
        check_held(arch.head, self.arch.head)
        strides = [[row.stride for row in a.rows] for a in (arch, self.arch)]
        if strides[0] != strides[1]:
            raise ValueError(f"rows of strides {strides[0]}: this network has {strides[1]}")
        x = self.stem(x, arch.stem)
        features = []
        for r, (module, row) in enumerate(zip(self.rows, arch.rows, strict=True)):
            x = module(x, row)
            if r in arch.taps:
                features.append(x)
        xs: list[Tensor] = []
        for transition, module, stage in zip(self.transitions, self.stages, arch.stages, strict=True):
            widths = arch.widths[: len(stage.branches)]
            sources = xs + features[len(xs) : len(widths)]
            assert isinstance(transition, nn.ModuleList)
            xs = [conv(y, width) for conv, y, width in zip(transition, sources, widths, strict=True)]
            xs = module(xs, stage, widths)
        top = xs[0] if self.features is None else self.features(xs)
        return self.head(top, arch.head)  # type: ignore[no-any-return]


class RowNet(nn.Module):
    """Inverted residuals of one width in a row."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Excited(inputs if i == 0 else row.width, row, block, first=i == 0) for i, block in enumerate(row.blocks)
        )

    def forward(self, x: Tensor, row: Row) -> Tensor:
        """(N, C, H, W) to (N, row.width, H / row.stride, W / row.stride), with the first blocks."""
        if len(row.blocks) > len(self.blocks):
            raise ValueError(f"{len(row.blocks)} blocks do not fit into a row of {len(self.blocks)}")
        for module, block in zip(self.blocks, row.blocks, strict=False):
            x = module(x, row.width, block)
        return x


class Excited(nn.Module):
    """Inverted residual with squeeze-and-excitation (EfficientNet, ICML 2019, "MBConv").

    1x1 to ``expand`` times the channels (left out where that is 1), depthwise kxk, excitation through a quarter of the
    channels that came in, 1x1. The ``first`` one of a row has the stride and no residual.
    """

    def __init__(self, inputs: int, row: Row, block: Block, *, first: bool) -> None:
        super().__init__()
        hidden = inputs * block.expand
        stride = row.stride if first else 1
        conv = SameConv if stride == 2 else Conv
        self.expand = ConvBN(inputs, hidden, act="silu") if block.expand > 1 else None
        self.depthwise = ConvBN(hidden, hidden, block.kernel, stride, depthwise=True, act="silu", conv=conv)
        self.excite = Excitation(hidden, max(inputs // 4, 1), "silu")
        self.project = ConvBN(hidden, row.width)
        self.first = first

    def forward(self, x: Tensor, width: int, block: Block) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride)."""
        inputs, y = int(x.shape[1]), x
        if block.expand > 1:
            if self.expand is None:
                raise ValueError(f"expand {block.expand} does not fit into a block without expansion")
            y = self.expand(x, inputs * block.expand)
        y = self.excite(self.depthwise(y, None, block.kernel), max(inputs // 4, 1))
        y = self.project(y, width)
        if not self.first:
            y += x
        return y  # type: ignore[no-any-return]


class SameConv(Conv):
    """A convolution of stride 2 padded as TensorFlow does: one less before than after, for even inputs."""

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
        super().__init__(inputs, outputs, kernel, stride, depthwise=depthwise, bias=bias)
        self.padding = (0, 0)

    def forward(
        self,
        x: Tensor,
        outputs: int | Parts | None = None,
        kernel: int | None = None,
        parts: Parts | None = None,
    ) -> Tensor:
        """As :meth:`Conv.forward`. A kernel of 1 reads the even positions, all others centre on the odd ones."""
        kernel = self.kernel_size[0] if kernel is None else kernel
        padding = max(kernel - 2, 0)
        before, after = padding // 2, padding - padding // 2
        x = F.pad(x, (before, after, before, after))
        if self._is_whole(x, outputs, kernel):
            return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)
        used = (int(x.shape[1]),) if parts is None else parts
        wanted = used if self.depthwise else self.outputs if outputs is None else as_parts(outputs)
        weight, bias = self.slice(used, wanted, kernel)
        return F.conv2d(x, weight, bias, self.stride, 0, 1, int(x.shape[1]) if self.depthwise else 1)
