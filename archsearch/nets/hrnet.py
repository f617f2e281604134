"""The HRNet family: branches of falling resolution that run side by side and exchange what they find.

HRNet (CVPR 2019) top-down, HigherHRNet (CVPR 2020) bottom-up, Lite-HRNet (CVPR 2021) with its light blocks, and
everything between them, as the gradual shrinking of LitePose makes it (CVPR 2022, section 3.2). ``A = <A1, A2, A3,
A4>`` of that paper are the depths of the branches in each stage: ``A1`` is ``len(stem.blocks)``, ``A2[b]`` is
``len(stages[0].branches[b])``, and so on.

Shapes: N batch, C channels, H and W height and width of the network's input. Branch b has 1 / 2^(2 + b) of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from archsearch.elastic import Parts
from archsearch.nets.blocks import Basic, Bottleneck, ConvBN, Plain
from archsearch.nets.features import gather
from archsearch.nets.heads import Block, BottomUp, BottomUpHead, TopDown, TopDownHead, check_held
from archsearch.nets.links import Exchange, Transition
from archsearch.nets.lite_blocks import FULL, Lite, LiteStemNet, Shuffle, Weighting
from archsearch.space import check_literals

KINDS = ("basic", "shuffle", "weighting")


@dataclass(frozen=True)
class Stem:
    """From the image to 1/4 of its resolution.

    ``residual``: two 3x3 convolutions of stride 2 with ``width`` channels, then bottlenecks of ``planes`` (stage 1).
    ``lite``: one such convolution and a shuffle unit of stride 2, its expanded half of ``planes``; no blocks.
    """

    width: int = 64
    planes: int = 64
    blocks: tuple[Block, ...] = (Block(),) * 4
    kind: Literal["residual", "lite"] = "residual"

    def __post_init__(self) -> None:
        check_literals(self)
        if self.kind == "lite" and (self.blocks or self.width % 2):
            raise ValueError(f"a lite stem of width {self.width} with {len(self.blocks)} blocks: even, and without any")

    @property
    def outputs(self) -> int:
        """Channels at 1/4."""
        return 4 * self.planes if self.blocks else self.width


@dataclass(frozen=True)
class Stage:
    """Modules of parallel branches. ``branches[b]`` are the blocks of branch b; none is one 3x3 conv-BN-ReLU6.

    ``kind`` names the blocks: ``basic`` (residual), ``shuffle`` or ``weighting``, the latter two halving the channels.
    In a supernet it may name alternatives, ``"basic|shuffle"``, each with weights of its own. A weighting block at
    depth d spans the branches that are deeper than d.
    """

    modules: int
    branches: tuple[tuple[Block, ...], ...]
    kind: str = "basic"
    lite: Lite = FULL

    def __post_init__(self) -> None:
        if len(set(self.kind.split("|"))) != len(self.kind.split("|")):
            raise ValueError(f"block kind {self.kind} names an alternative twice")
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


def check_halves(widths: tuple[int, ...], stages: tuple[Stage, ...]) -> None:
    """Raises ``ValueError`` where a stage has blocks that halve a width and the width is odd."""
    for s, stage in enumerate(stages):
        odd = [width for width in widths[: len(stage.branches)] if width % 2]
        if odd and stage.kind != "basic":
            raise ValueError(f"width {odd[0]} is odd: {stage.kind} blocks of stage {s} halve it")


@dataclass(frozen=True)
class HRNet:
    """An HRNet-style architecture; ``widths[b]`` are the channels of branch b in every stage.

    ``links`` says whether the 3x3 convolutions that join branches are dense or separable (depthwise, then 1x1),
    ``fusion`` how branches are summed: once each, or as published Lite-HRNet weights need it (see ``Exchange``).
    """

    kind: Literal["hrnet"]
    input_hw: tuple[int, int]
    widths: tuple[int, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    head: BottomUp | TopDown
    joints: int = 17
    links: Literal["dense", "separable"] = "dense"
    fusion: Literal["sum", "authors"] = "sum"

    def __post_init__(self) -> None:
        check_literals(self)
        counts = [len(stage.branches) for stage in self.stages]
        if not counts or counts != sorted(counts) or counts[-1] > len(self.widths):
            raise ValueError(f"stages of {counts} branches with widths {self.widths}")
        if min((*self.widths, self.stem.width, self.stem.planes, self.joints)) < 1:
            raise ValueError(f"widths {self.widths}, stem {self.stem.width}, joints {self.joints} must be positive")
        check_halves(self.widths, self.stages)
        step = self.stride
        if any(n < step or n % step for n in self.input_hw):
            height, width = self.input_hw
            raise ValueError(f"input {height}x{width} is not a multiple of {step}, the coarsest branch")

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
        """The number of blocks in the body, as the shrinking study counts them."""
        return len(self.stem.blocks) + sum(stage.modules * sum(stage.depths) for stage in self.stages)


class HRNetNet(nn.Module):
    """The network of an :class:`HRNet`. Built at its largest architecture it runs at any smaller one of its space."""

    def __init__(self, arch: HRNet, joints: int | None = None) -> None:
        super().__init__()
        self.arch = arch
        self.joints = arch.joints if joints is None else joints
        stem = arch.stem
        self.stem = LiteStemNet(stem.width, stem.planes) if stem.kind == "lite" else StemNet(stem)
        widths: Parts = (stem.outputs,)
        head = arch.head
        transitions, stages = [], []
        for s, stage in enumerate(arch.stages):
            wanted = arch.widths[: len(stage.branches)]
            transitions.append(Transition(widths, wanted, keep=s > 0, links=arch.links))
            last = s == len(arch.stages) - 1 and head.features == "finest"
            outputs = 1 if last else len(wanted)
            stages.append(StageNet(stage, wanted, outputs, links=arch.links, fusion=arch.fusion))
            widths = wanted
        self.transitions = nn.ModuleList(transitions)
        self.stages = nn.ModuleList(stages)
        self.features, width = gather(head.features, widths)
        self.head: BottomUpHead | TopDownHead
        if isinstance(head, BottomUp):
            self.head = BottomUpHead(head, width, self.joints)
        else:
            self.head = TopDownHead(head, width, self.joints)

    def forward(self, x: Tensor, arch: HRNet | None = None) -> list[Tensor]:
        """(N, 3, H, W) to heatmaps: [(N, J+T, H/4, W/4), (N, J, H/2, W/2)] bottom-up, [(N, J, H/4, W/4)] top-down.

        ``arch``: None for the architecture that the network was built at, else any that it holds.
        Raises ``ValueError`` where the network does not hold what ``arch`` asks for, or where ``arch`` is None and
        the network holds alternatives.
        """
        arch = self.arch if arch is None else arch
        if (arch.stem.kind, arch.links, arch.fusion) != (self.arch.stem.kind, self.arch.links, self.arch.fusion):
            raise ValueError(
                f"stem {arch.stem.kind}, links {arch.links}, fusion {arch.fusion}: this network has "
                f"{self.arch.stem.kind}, {self.arch.links}, {self.arch.fusion}"
            )
        check_held(arch.head, self.arch.head)
        xs = [self.stem(x, arch.stem.width, arch.stem.planes, arch.stem.blocks)]
        for transition, module, stage in zip(self.transitions, self.stages, arch.stages, strict=True):
            widths = arch.widths[: len(stage.branches)]
            xs = module(transition(xs, widths), stage, widths)
        features = xs[0] if self.features is None else self.features(xs)
        return self.head(features, arch.head)  # type: ignore[no-any-return]


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

    def forward(self, x: Tensor, width: int, planes: int, blocks: tuple[Block, ...]) -> Tensor:
        """(N, 3, H, W) to (N, 4 planes, H/4, W/4)."""
        if len(blocks) > len(self.blocks):
            raise ValueError(f"{len(blocks)} blocks do not fit into a stem of {len(self.blocks)}")
        x = self.conv2(self.conv1(x, width), width)
        for module, block in zip(self.blocks, blocks, strict=False):
            x = module(x, planes, block.kernel)
        return x


class StageNet(nn.Module):
    """Modules in a row; the last one of a network may give only the finest branch (``outputs`` 1)."""

    def __init__(self, stage: Stage, widths: Parts, outputs: int, *, links: str = "dense", fusion: str = "sum") -> None:
        super().__init__()
        row = [ModuleNet(stage, widths, len(widths), links, fusion) for _ in range(stage.modules - 1)]
        self.row = nn.ModuleList(row)
        self.last = ModuleNet(stage, widths, outputs, links, fusion)

    def forward(self, xs: list[Tensor], stage: Stage, widths: Parts) -> list[Tensor]:
        """Tensors of the branches to those after the stage."""
        if stage.modules > len(self.row) + 1:
            raise ValueError(f"{stage.modules} modules do not fit into a stage of {len(self.row) + 1}")
        for module, _ in zip(self.row, range(stage.modules - 1), strict=False):
            xs = module(xs, stage, widths)
        return self.last(xs, stage, widths)  # type: ignore[no-any-return]


class ModuleNet(nn.Module):
    """Branches side by side, then an exchange between them (HRNet, section 3, "repeated multi-scale fusion")."""

    def __init__(self, stage: Stage, widths: Parts, outputs: int, links: str, fusion: str) -> None:
        super().__init__()
        self.kinds = stage.kind.split("|")
        self.branches = nn.ModuleList(
            Branch(width, blocks, self.kinds, stage.lite) for width, blocks in zip(widths, stage.branches, strict=True)
        )
        deepest = max(stage.depths) if "weighting" in self.kinds else 0
        self.weighting = nn.ModuleList(Weighting(widths, kernels_at(stage, d), stage.lite) for d in range(deepest))
        self.exchange = Exchange(widths, outputs, links=links, fusion=fusion)

    def forward(self, xs: list[Tensor], stage: Stage, widths: Parts) -> list[Tensor]:
        """Tensors of the branches to the exchanged ones, the first ``outputs`` of them."""
        if stage.kind not in self.kinds:
            raise ValueError(f"block kind {stage.kind}: this network holds {', '.join(self.kinds)}, name one of them")
        ys = [branch(x, blocks, stage) for branch, x, blocks in zip(self.branches, xs, stage.branches, strict=True)]
        if stage.kind == "weighting":
            for d, module in zip(range(max(stage.depths)), self.weighting, strict=False):
                ys = module(ys, kernels_at(stage, d), stage.lite)
        return self.exchange(ys, widths)  # type: ignore[no-any-return]


def kernels_at(stage: Stage, depth: int) -> Parts:
    """The kernel of each branch's block at ``depth``, 0 for a branch that is not so deep."""
    return tuple(blocks[depth].kernel if depth < len(blocks) else 0 for blocks in stage.branches)


class Branch(nn.Module):
    """Blocks in a row at one resolution; each place holds one module for each kind that may stand there.

    Weighting blocks span branches: the module above has them.
    """

    def __init__(self, width: int, blocks: tuple[Block, ...], kinds: list[str], lite: Lite) -> None:
        super().__init__()
        rows = []
        for block in blocks:
            choices: dict[str, nn.Module] = {}
            if "basic" in kinds:
                choices["basic"] = Basic(width, block.kernel)
            if "shuffle" in kinds:
                choices["shuffle"] = Shuffle(width, block.kernel, lite)
            rows.append(nn.ModuleDict(choices))
        self.blocks = nn.ModuleList(rows or [nn.ModuleDict({"basic": Plain(width)})])
        self.depth = len(rows)

    def forward(self, x: Tensor, blocks: tuple[Block, ...], stage: Stage) -> Tensor:
        """(N, C, H, W) to the same shape. Raises ``ValueError`` where the branch does not hold what is asked for."""
        if len(blocks) > self.depth:
            raise ValueError(f"{len(blocks)} blocks do not fit into a branch of {self.depth}")
        if not blocks:
            first = self.blocks[0]
            assert isinstance(first, nn.ModuleDict)
            if "basic" not in first:
                raise ValueError("a branch without blocks shares the first basic block, and this network holds none")
            return first["basic"].plain(x)  # type: ignore[operator, no-any-return]
        if stage.kind == "weighting":
            return x
        for choices, block in zip(self.blocks, blocks, strict=False):
            if stage.kind == "shuffle":
                x = choices["shuffle"](x, block.kernel, stage.lite)  # type: ignore[index]
            else:
                x = choices["basic"](x, block.kernel)  # type: ignore[index]
        return x
