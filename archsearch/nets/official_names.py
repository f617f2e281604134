"""What the authors' published state dicts call the layers of each family.

A family is a function that walks an architecture and yields pairs: our name of a layer, theirs. Names are those of
the reference implementations (LitePose and HigherHRNet share one, HRNet has its own, Lite-HRNet is in mmpose), without
the prefixes that wrappers add. A layer that no published network has is not yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from archsearch.files import InputError
from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.heads import BottomUp, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.lite_blocks import FULL
from archsearch.nets.litepose import LitePose

Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Family:
    """``layers(arch)`` yields (ours, theirs); ``outputs(arch)`` is our layer that tells how many joints there are, and
    how many of its channels belong to one joint."""

    layers: Callable[[Any], Pairs]
    outputs: Callable[[Any], tuple[str, int]]


def convbn(ours: str, theirs: str) -> Pairs:
    """A convolution and its normalisation, which the authors keep as items 0 and 1 of a sequence."""
    yield f"{ours}.conv", f"{theirs}.0"
    yield f"{ours}.bn", f"{theirs}.1"


def residual(ours: str, theirs: str, convs: int) -> Pairs:
    """``convs`` numbered convolutions, each with its normalisation."""
    for i in range(1, convs + 1):
        yield f"{ours}.conv{i}", f"{theirs}.conv{i}"
        yield f"{ours}.bn{i}", f"{theirs}.bn{i}"


# --------------------------------------------------------------------------------------------------------- HRNet family


def hrnet(arch: HRNet) -> Pairs:
    """HRNet top-down, HigherHRNet, and the variants with empty branches of LitePose's gradual shrinking."""
    _refuse_mixtures(arch)
    if arch.stem.kind == "lite":
        yield from lite_hrnet(arch)
        return
    yield from _stem(arch.stem)
    before = 1
    for s, stage in enumerate(arch.stages):
        yield from _transition(s, before, len(stage.branches))
        last = s == len(arch.stages) - 1
        for m in range(stage.modules):
            ours = f"stages.{s}.last" if m == stage.modules - 1 else f"stages.{s}.row.{m}"
            finest = last and m == stage.modules - 1 and arch.head.features == "finest"
            yield from _module(ours, f"stage{s + 2}.{m}", stage, 1 if finest else len(stage.branches))
        before = len(stage.branches)
    yield from _head(arch.head)


def _refuse_mixtures(arch: HRNet) -> None:
    kinds = {stage.kind for stage in arch.stages}
    if arch.stem.kind == "residual":
        published = kinds == {"basic"} and arch.links == "dense" and arch.fusion == "sum"
    else:
        whole = all(stage.lite == FULL and len(set(stage.depths)) == 1 and min(stage.depths) for stage in arch.stages)
        published = whole and kinds <= {"shuffle", "weighting"} and arch.links == "separable"
        published = published and arch.head == TopDown(features="iterative") and arch.fusion == "authors"
    if not published:
        raise InputError(
            f"no published checkpoint is of this architecture: {arch.stem.kind} stem, {' and '.join(sorted(kinds))} "
            f"blocks, {arch.links} links, fusion {arch.fusion}, {arch.head.features} features, depths {arch.depths}"
        )


def _stem(stem: Stem) -> Pairs:
    for i in (1, 2):
        yield f"stem.conv{i}.conv", f"conv{i}"
        yield f"stem.conv{i}.bn", f"bn{i}"
    for i in range(len(stem.blocks)):
        yield from residual(f"stem.blocks.{i}", f"layer1.{i}", 3)
        if i == 0:
            yield from convbn("stem.blocks.0.project", "layer1.0.downsample")


def _transition(s: int, before: int, after: int) -> Pairs:
    if s == 0:
        yield from convbn("transitions.0.first", "transition1.0")
    for k, branch in enumerate(range(before, after)):
        yield from _down(f"transitions.{s}.new.{k}", f"transition{s + 1}.{branch}", k + 1)


def _down(ours: str, theirs: str, steps: int) -> Pairs:
    """Convolutions of stride 2 in a row."""
    for i in range(steps):
        yield from convbn(f"{ours}.last" if i == steps - 1 else f"{ours}.row.{i}", f"{theirs}.{i}")


def _module(ours: str, theirs: str, stage: Stage, outputs: int) -> Pairs:
    for b, blocks in enumerate(stage.branches):
        branch, official = f"{ours}.branches.{b}.blocks", f"{theirs}.branches.{b}"
        if not blocks:
            yield f"{branch}.0.basic.conv1", f"{official}.0"
            yield f"{branch}.0.basic.bn1", f"{official}.1"
        for k in range(len(blocks)):
            yield from residual(f"{branch}.{k}.basic", f"{official}.{k}", 2)
    for i in range(outputs):
        for j in range(len(stage.branches)):
            if j > i:
                yield from convbn(f"{ours}.exchange.up.{j}_{i}", f"{theirs}.fuse_layers.{i}.{j}")
            elif j < i:
                yield from _down(f"{ours}.exchange.down.{j}_{i}", f"{theirs}.fuse_layers.{i}.{j}", i - j)


def _head(head: BottomUp | TopDown) -> Pairs:
    if isinstance(head, BottomUp):
        yield from _bottom_up(head)
    elif not head.pyramid:
        yield "head.final", "final_layer"


def _bottom_up(head: BottomUp) -> Pairs:
    for i, deconv in enumerate(head.deconvs):
        yield f"head.deconvs.{i}.deconv", f"deconv_layers.{i}.0.0"
        yield f"head.deconvs.{i}.bn", f"deconv_layers.{i}.0.1"
        for k in range(len(deconv.blocks)):
            yield from residual(f"head.deconvs.{i}.blocks.{k}", f"deconv_layers.{i}.{k + 1}.0", 2)
    for i in range(len(head.deconvs) + 1):
        yield f"head.finals.{i}", f"final_layers.{i}"


def _outputs(arch: HRNet | EfficientHRNet) -> tuple[str, int]:
    if isinstance(arch.head, BottomUp):
        return f"head.finals.{len(arch.head.deconvs)}", 1 if arch.head.deconvs else 2
    if arch.head.pyramid:
        raise InputError("no published checkpoint has a head on a feature pyramid")
    return "head.final", 1


# ------------------------------------------------------------------------------------------------------------- LitePose


def litepose(arch: LitePose) -> Pairs:
    """LitePose, found by search or pruned by hand."""
    yield from convbn("stem.conv", "first.0")
    yield from convbn("stem.depthwise", "first.1")
    yield "stem.project.conv", "first.2"
    yield "stem.project.bn", "first.3"
    for s, stage in enumerate(arch.stages):
        for i in range(len(stage.blocks)):
            ours, theirs = f"stages.{s}.blocks.{i}", f"stage.{s}.{i}"
            yield from convbn(f"{ours}.expand", f"{theirs}.inv")
            yield from convbn(f"{ours}.depthwise", f"{theirs}.depth_conv")
            yield from convbn(f"{ours}.project", f"{theirs}.point_conv")
    paths = ("refined", "raw") if arch.head.fusion else ("refined",)
    for i in range(len(arch.head.filters)):
        for path in paths:
            yield f"head.deconvs.{i}.{path}", f"deconv_{path}.{i}"
        yield f"head.deconvs.{i}.bn", f"deconv_bnrelu.{i}.0"
    for i in range(2):
        for path in paths:
            yield from convbn(f"head.finals.{i}.{path}.depthwise", f"final_{path}.{i}.conv")
            yield f"head.finals.{i}.{path}.project", f"final_{path}.{i}.conv.3"


# ---------------------------------------------------------------------------------------------------------- Lite-HRNet


def lite_hrnet(arch: HRNet) -> Pairs:
    """Lite-HRNet and its naive variants; mmpose 0.x and 1.x differ in a prefix only."""
    official = ("conv1", "branch1.0", "branch1.1", "expand_conv", "depthwise_conv", "linear_conv")
    ours = ("conv", "first.0", "first.1", "second.0", "second.1", "second.2")
    for layer, theirs in zip(ours, official, strict=True):
        yield from _same(f"stem.{layer}", f"stem.{theirs}")
    before = 1
    for s, stage in enumerate(arch.stages):
        if s == 0:
            yield from _separable("transitions.0.first", "transition0.0")
        for k, branch in enumerate(range(before, len(stage.branches))):
            yield from _separables(f"transitions.{s}.new.{k}", f"transition{s}.{branch}", k + 1)
        for m in range(stage.modules):
            module = f"stages.{s}.last" if m == stage.modules - 1 else f"stages.{s}.row.{m}"
            yield from _lite_module(module, f"stage{s}.{m}", stage)
        before = len(stage.branches)
    for b in range(before):
        project = f"head_layer.projects.{before - 1 - b}"  # theirs begins at the coarsest branch
        yield from _same(f"features.row.{b}.depthwise", f"{project}.depthwise_conv")
        yield from _same(f"features.row.{b}.pointwise", f"{project}.pointwise_conv")
    yield "head.final", "final_layer"


def _lite_module(ours: str, theirs: str, stage: Stage) -> Pairs:
    branches = range(len(stage.branches))
    for d in range(max(stage.depths)):
        if stage.kind == "weighting":
            block, official = f"{ours}.weighting.{d}", f"{theirs}.layers.{d}"
            yield from _same(f"{block}.cross.squeeze", f"{official}.cross_resolution_weighting.conv1")
            yield from _same(f"{block}.cross.expand", f"{official}.cross_resolution_weighting.conv2")
            for b in branches:
                yield from _same(f"{block}.depthwise.{b}", f"{official}.depthwise_convs.{b}")
                yield f"{block}.spatial.{b}.squeeze", f"{official}.spatial_weighting.{b}.conv1.conv"
                yield f"{block}.spatial.{b}.expand", f"{official}.spatial_weighting.{b}.conv2.conv"
        elif stage.kind == "shuffle":
            for b in branches:
                block, official = f"{ours}.branches.{b}.blocks.{d}.shuffle", f"{theirs}.layers.{b}.{d}.branch2"
                for n, layer in enumerate(("before", "depthwise", "after")):
                    yield from _same(f"{block}.{layer}", f"{official}.{n}")
    for i in branches:
        for j in branches:
            if j > i:
                yield from convbn(f"{ours}.exchange.up.{j}_{i}", f"{theirs}.fuse_layers.{i}.{j}")
            elif j < i:
                yield from _separables(f"{ours}.exchange.down.{j}_{i}", f"{theirs}.fuse_layers.{i}.{j}", i - j)


def _same(ours: str, theirs: str) -> Pairs:
    """A convolution and its normalisation, which both sides call ``conv`` and ``bn``."""
    yield f"{ours}.conv", f"{theirs}.conv"
    yield f"{ours}.bn", f"{theirs}.bn"


def _separable(ours: str, theirs: str) -> Pairs:
    """Depthwise and 1x1 convolution, which the authors keep as items 0 to 3 of a sequence."""
    for i, layer in enumerate(("depthwise", "pointwise")):
        yield f"{ours}.{layer}.conv", f"{theirs}.{2 * i}"
        yield f"{ours}.{layer}.bn", f"{theirs}.{2 * i + 1}"


def _separables(ours: str, theirs: str, steps: int) -> Pairs:
    """Separable convolutions of stride 2 in a row."""
    for i in range(steps):
        yield from _separable(f"{ours}.last" if i == steps - 1 else f"{ours}.row.{i}", f"{theirs}.{i}")


# ------------------------------------------------------------------------------------------------------ EfficientHRNet


def efficient_hrnet(arch: EfficientHRNet) -> Pairs:
    """EfficientHRNet. Item 0 of the authors' sequences pads, item 1 is the convolution."""
    kinds = {stage.kind for stage in arch.stages}
    if kinds != {"basic"}:
        raise InputError(f"no published checkpoint is of an EfficientHRNet with {' and '.join(sorted(kinds))} blocks")
    yield from _padded("stem", "features.0")
    n = 0
    for r, row in enumerate(arch.rows):
        for i, block in enumerate(row.blocks):
            n += 1
            ours, theirs, at = f"rows.{r}.blocks.{i}", f"features.{n}.conv", 0
            if block.expand > 1:
                yield from _padded(f"{ours}.expand", f"{theirs}.0")
                at = 1
            yield from _padded(f"{ours}.depthwise", f"{theirs}.{at}")
            yield f"{ours}.excite.squeeze", f"{theirs}.{at + 1}.se.1"
            yield f"{ours}.excite.expand", f"{theirs}.{at + 1}.se.3"
            yield f"{ours}.project.conv", f"{theirs}.{at + 2}"
            yield f"{ours}.project.bn", f"{theirs}.{at + 3}"
    for s, stage in enumerate(arch.stages):
        for b in range(len(stage.branches)):
            yield from convbn(f"transitions.{s}.{b}", f"trans{s + 1}_branch{b + 1}")
        for m in range(stage.modules):
            final = m == stage.modules - 1
            finest = final and s == len(arch.stages) - 1 and arch.head.features == "finest"
            ours = f"stages.{s}.last" if final else f"stages.{s}.row.{m}"
            yield from _module(ours, f"stage{s + 2}.{m}", stage, 1 if finest else len(stage.branches))
    yield from _head(arch.head)


def _padded(ours: str, theirs: str) -> Pairs:
    yield f"{ours}.conv", f"{theirs}.1"
    yield f"{ours}.bn", f"{theirs}.2"


FAMILIES: dict[type, Family] = {
    HRNet: Family(hrnet, _outputs),
    EfficientHRNet: Family(efficient_hrnet, _outputs),
    LitePose: Family(litepose, lambda _: ("head.finals.1.refined.project", 1)),
}
