"""The HRNet family: branches of falling resolution that run side by side and exchange what they find.

HRNet (CVPR 2019) top-down, HigherHRNet (CVPR 2020) bottom-up, and everything between them that the gradual shrinking of
LitePose (CVPR 2022, section 3.2) makes of them. ``A = <A1, A2, A3, A4>`` of that paper are the depths of the branches
in each stage: ``A1`` is ``len(stem.blocks)``, ``A2[b]`` is ``len(stages[0].branches[b])``, and so on.

Shapes: N batch, C channels, H and W height and width of the network's input. Branch b has 1 / 2^(2 + b) of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from archsearch.elastic import Parts
from archsearch.nets.blocks import Basic, Bottleneck, ConvBN, Plain
from archsearch.nets.heads import Block, BottomUp, BottomUpHead, TopDown, TopDownHead

KINDS = ("basic",)


@dataclass(frozen=True)
class Stem:
    """Two 3x3 convolutions of stride 2 with ``width`` channels, then bottlenecks of ``planes`` (stage 1)."""

    width: int = 64
    planes: int = 64
    blocks: tuple[Block, ...] = (Block(),) * 4


@dataclass(frozen=True)
class Stage:
    """Modules of parallel branches. ``branches[b]`` are the blocks of branch b; none is one 3x3 conv-BN-ReLU6.

    ``kind`` names the blocks; in a supernet it may name alternatives, ``"basic|shuffle"``.
    """

    modules: int
    branches: tuple[tuple[Block, ...], ...]
    kind: str = "basic"

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kind.split("|") if kind not in KINDS]
        if unknown:
            raise ValueError(f"block kind {unknown[0]} is not one of {', '.join(KINDS)}")
        if self.modules < 1:
            raise ValueError(f"a stage of {self.modules} modules")
        if not self.branches:
            raise ValueError("a stage without branches")

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks of each branch: A_n of the paper."""
        return tuple(len(blocks) for blocks in self.branches)


@dataclass(frozen=True)
class HRNet:
    """An HRNet-style architecture; ``widths[b]`` are the channels of branch b in every stage."""

    kind: Literal["hrnet"]
    input_hw: tuple[int, int]
    widths: tuple[int, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    head: BottomUp | TopDown
    joints: int = 17

    def __post_init__(self) -> None:
        counts = [len(stage.branches) for stage in self.stages]
        if not counts or counts != sorted(counts) or counts[-1] > len(self.widths):
            raise ValueError(f"stages of {counts} branches with widths {self.widths}")
        if min((*self.widths, self.stem.width, self.stem.planes, self.joints)) < 1:
            raise ValueError(f"widths {self.widths}, stem {self.stem.width}, joints {self.joints} must be positive")
        step = self.stride
        if any(n < step or n % step for n in self.input_hw):
            raise ValueError(f"input {self.input_hw[0]}x{self.input_hw[1]} is not a multiple of {step}, the coarsest branch")

    @property
    def stride(self) -> int:
        """What one pixel of the coarsest branch covers in the input; height and width must be multiples of it."""
        return int(2 ** (1 + len(self.stages[-1].branches)))

    @property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        """``A = <A1, ..., An>``: the blocks of each branch in each stage (LitePose, section 3.2)."""
        return ((len(self.stem.blocks),), *(stage.depths for stage in self.stages))

    @property
    def blocks(self) -> int:
        """The number of residual blocks in the body, as the shrinking study counts them."""
        return len(self.stem.blocks) + sum(stage.modules * sum(stage.depths) for stage in self.stages)


class HRNetNet(nn.Module):
    """The network of an :class:`HRNet`. Built at its largest architecture it runs at any smaller one of its space."""

    def __init__(self, arch: HRNet, joints: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.joints = arch.joints if joints is None else joints
        self.stem = StemNet(arch.stem)
        widths: Parts = (4 * arch.stem.planes,)
        transitions, stages = [], []
        for s, stage in enumerate(arch.stages):
            wanted = arch.widths[: len(stage.branches)]
            transitions.append(Transition(widths, wanted, keep=s > 0))
            last = s == len(arch.stages) - 1
            stages.append(StageNet(stage, wanted, outputs=1 if last else len(wanted)))
            widths = wanted
        self.transitions = nn.ModuleList(transitions)
        self.stages = nn.ModuleList(stages)
        head = arch.head
        self.head: BottomUpHead | TopDownHead
        if isinstance(head, BottomUp):
            self.head = BottomUpHead(head, widths[0], self.joints)
        else:
            self.head = TopDownHead(widths[0], self.joints)

    def forward(self, x: Tensor, arch: HRNet | None = None) -> list[Tensor]:
        """(N, 3, H, W) to heatmaps: [(N, J+T, H/4, W/4), (N, J, H/2, W/2)] bottom-up, [(N, J, H/4, W/4)] top-down.

        ``arch``: None for the architecture that the network was built at, else any that it holds.
        """
        arch = self.arch if arch is None else arch
        xs = [self.stem(x, arch.stem)]
        for transition, module, stage in zip(self.transitions, self.stages, arch.stages, strict=True):
            widths = arch.widths[: len(stage.branches)]
            xs = module(transition(xs, widths), stage, widths)
        if isinstance(arch.head, BottomUp):
            return self.head(xs[0], arch.head)  # type: ignore[no-any-return]
        return self.head(xs[0])  # type: ignore[no-any-return]


class StemNet(nn.Module):
    """From the image to 1/4 of its resolution."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv1 = ConvBN(3, stem.width, 3, 2, act="relu")
        self.conv2 = ConvBN(stem.width, stem.width, 3, 2, act="relu")
        rows = []
        for i, block in enumerate(stem.blocks):
            inputs = stem.width if i == 0 else 4 * stem.planes
            rows.append(Bottleneck(inputs, stem.planes, block.kernel, first=i == 0))
        self.blocks = nn.ModuleList(rows)

    def forward(self, x: Tensor, stem: Stem) -> Tensor:
        """(N, 3, H, W) to (N, 4 planes, H/4, W/4)."""
        x = self.conv2(self.conv1(x, stem.width), stem.width)
        for module, block in zip(self.blocks, stem.blocks, strict=False):
            x = module(x, stem.planes, block.kernel)
        return x


class Transition(nn.Module):
    """Between stages: new branches are made from the coarsest one by 3x3 convolutions of stride 2.

    ``keep``: the branches that exist pass unchanged; the stem's single output is brought to the first width instead.
    """

    def __init__(self, inputs: Parts, outputs: Parts, *, keep: bool) -> None:
        super().__init__()
        self.first = None if keep else ConvBN(inputs[0], outputs[0], 3, act="relu")
        rows = []
        for new in range(len(inputs), len(outputs)):
            rows.append(Down(inputs[-1], outputs[new], new - len(inputs) + 1, act="relu"))
        self.new = nn.ModuleList(rows)

    def forward(self, xs: list[Tensor], widths: Parts) -> list[Tensor]:
        """Tensors of the branches before to those after; ``widths`` are the channels after."""
        ys = list(xs) if self.first is None else [self.first(xs[0], widths[0])]
        for chain, width in zip(self.new, widths[len(xs) :], strict=True):
            ys.append(chain(xs[-1], width))
        return ys


class StageNet(nn.Module):
    """Modules in a row; the last one of a network gives only the finest branch (``outputs`` 1)."""

    def __init__(self, stage: Stage, widths: Parts, outputs: int) -> None:
        super().__init__()
        self.row = nn.ModuleList(ModuleNet(stage, widths, len(widths)) for _ in range(stage.modules - 1))
        self.last = ModuleNet(stage, widths, outputs)

    def forward(self, xs: list[Tensor], stage: Stage, widths: Parts) -> list[Tensor]:
        """Tensors of the branches to those after the stage."""
        for module, _ in zip(self.row, range(stage.modules - 1), strict=False):
            xs = module(xs, stage, widths)
        return self.last(xs, stage, widths)  # type: ignore[no-any-return]


class ModuleNet(nn.Module):
    """Branches side by side, then an exchange between them (HRNet, section 3, "repeated multi-scale fusion")."""

    def __init__(self, stage: Stage, widths: Parts, outputs: int) -> None:
        super().__init__()
        kinds = stage.kind.split("|")
        self.branches = nn.ModuleList(
            Branch(width, blocks, kinds) for width, blocks in zip(widths, stage.branches, strict=True)
        )
        self.exchange = Exchange(widths, outputs)

    def forward(self, xs: list[Tensor], stage: Stage, widths: Parts) -> list[Tensor]:
        """Tensors of the branches to the exchanged ones, the first ``outputs`` of them."""
        ys = [
            branch(x, blocks, stage.kind) for branch, x, blocks in zip(self.branches, xs, stage.branches, strict=True)
        ]
        return self.exchange(ys, widths)  # type: ignore[no-any-return]


class Branch(nn.Module):
    """Blocks in a row at one resolution; each place holds one module for each kind that may stand there."""

    def __init__(self, width: int, blocks: tuple[Block, ...], kinds: list[str]) -> None:
        super().__init__()
        rows = [nn.ModuleDict({kind: Basic(width, block.kernel) for kind in kinds}) for block in blocks]
        self.blocks = nn.ModuleList(rows or [nn.ModuleDict({"basic": Plain(width)})])

    def forward(self, x: Tensor, blocks: tuple[Block, ...], kind: str) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not blocks:
            return self.blocks[0]["basic"].plain(x)  # type: ignore[index, operator, no-any-return]
        for choices, block in zip(self.blocks, blocks, strict=False):
            x = choices[kind](x, block.kernel)  # type: ignore[index]
        return x


class Down(nn.Module):
    """3x3 convolutions of stride 2 in a row: all but the last keep the width and end in ReLU, the last in ``act``."""

    def __init__(self, inputs: int, outputs: int, steps: int, *, act: str | None) -> None:
        super().__init__()
        self.row = nn.ModuleList(ConvBN(inputs, inputs, 3, 2, act="relu") for _ in range(steps - 1))
        self.last = ConvBN(inputs, outputs, 3, 2, act=act)

    def forward(self, x: Tensor, width: int) -> Tensor:
        """(N, C, H, W) to (N, width, H / 2^steps, W / 2^steps)."""
        for module in self.row:
            x = module(x, x.shape[1])
        return self.last(x, width)  # type: ignore[no-any-return]


class Exchange(nn.Module):
    """Every output is the sum of all branches: finer ones brought down by strided convolutions, coarser ones up."""

    def __init__(self, widths: Parts, outputs: int) -> None:
        super().__init__()
        self.down = nn.ModuleDict()
        self.up = nn.ModuleDict()
        for i in range(outputs):
            for j, width in enumerate(widths):
                if j > i:
                    self.up[f"{j}_{i}"] = ConvBN(width, widths[i])
                elif j < i:
                    self.down[f"{j}_{i}"] = Down(width, widths[i], i - j, act=None)
        steps = max(len(widths) - 1, 0)
        self.upsample = nn.ModuleList(nn.Upsample(scale_factor=2.0**k, mode="nearest") for k in range(1, steps + 1))
        self.relu = nn.ReLU(inplace=True)
        self.outputs = outputs

    def forward(self, xs: list[Tensor], widths: Parts) -> list[Tensor]:
        """Tensors of all branches to the first ``outputs`` exchanged ones."""
        if len(xs) == 1:
            return xs
        ys = []
        for i in range(self.outputs):
            total: Tensor | None = None
            for j, x in enumerate(xs):
                y = x if j == i else self._bring(x, j, i, widths[i])
                total = y if total is None else total + y
            ys.append(self.relu(total))
        return ys

    def _bring(self, x: Tensor, j: int, i: int, width: int) -> Tensor:
        if j > i:
            return self.upsample[j - i - 1](self.up[f"{j}_{i}"](x, width))  # type: ignore[no-any-return]
        return self.down[f"{j}_{i}"](x, width)  # type: ignore[no-any-return]
