"""Drawing networks of parallel branches: one row a branch, modules from left to right, exchanges between them."""

from __future__ import annotations

from collections.abc import Sequence

from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.heads import BottomUp
from archsearch.nets.hrnet import HRNet, Stage
from archsearch.report.boxes import Drawn, Pen, resolution_text

Branched = HRNet | EfficientHRNet


def form(arch: Branched) -> tuple[int, ...]:
    """The branches of each stage: what two architectures must share to be compared box by box."""
    return tuple(len(stage.branches) for stage in arch.stages)


def draw_hrnet(pen: Pen, arch: HRNet, reference: HRNet) -> Drawn:
    """Draw ``arch`` with the blocks that only ``reference`` has as ghosts. Raises ``ValueError`` on unlike stages."""
    _check(arch, reference)
    return _branches(pen, _stem(pen, arch, reference), arch, reference, "stem", None)


def draw_efficient_hrnet(pen: Pen, arch: EfficientHRNet, reference: EfficientHRNet) -> Drawn:
    """As :func:`draw_hrnet`; every branch begins at the backbone's feature of its resolution."""
    _check(arch, reference)
    strides = [tuple(row.stride for row in a.rows) for a in (arch, reference)]
    if strides[0] != strides[1]:
        raise ValueError(f"reference has rows of strides {strides[1]}, the architecture of {strides[0]}")
    x, taps = _backbone(pen, arch, reference)
    return _branches(pen, x, arch, reference, "backbone", taps)


def _check(arch: Branched, reference: Branched) -> None:
    if form(arch) != form(reference):
        raise ValueError(f"reference has stages of {form(reference)} branches, the architecture of {form(arch)}")


def _branches(
    pen: Pen, x: float, arch: Branched, reference: Branched, start: str, taps: Sequence[float] | None
) -> Drawn:
    """All but what comes before the first stage. ``taps``: the columns of the backbone's features, one a branch."""
    bottom = form(arch)[-1] - 1
    top = -len(arch.head.deconvs) if isinstance(arch.head, BottomUp) and arch.head.deconvs else -1
    for row in range(top, bottom + 1):
        pen.left(row, resolution_text(row) + (f", {arch.widths[row]} ch" if row >= 0 else ""))
    edges, names, before = [-0.6], [start], 0 if taps else 1
    for s, (stage, old) in enumerate(zip(arch.stages, reference.stages, strict=True)):
        count = len(stage.branches)
        x = _transition(pen, x, before, count, taps, always=s == 0)
        modules = max(stage.modules, old.modules)
        edges.append(x - 0.6)
        names.append(f"stage {s + 2}" + (f", {stage.modules} modules" if stage.modules > 1 else ""))
        for m in range(modules):
            x = _module(pen, x, stage if m < stage.modules else None, old if m < old.modules else None)
            ends = s == len(arch.stages) - 1 and m == modules - 1
            x = _exchange(pen, x, count, 1 if ends and arch.head.features == "finest" else count)
        before = count
    edges.append(x - 0.6)
    names.append("head")
    end = _head(pen, x, arch)
    pen.fields([*edges, end], names, top, bottom)
    return pen.finish(end, top, bottom)


def _backbone(pen: Pen, arch: EfficientHRNet, reference: EfficientHRNet) -> tuple[float, list[float]]:
    """Inverted residuals down the resolutions; gives back the next column and the one of each branch's feature."""
    pen.box("conv", 0, -1, note=str(arch.stem))
    x, row, taps = 1.0, -1, []
    for r, (now, old) in enumerate(zip(arch.rows, reference.rows, strict=True)):
        below = row + now.stride - 1
        pen.wire(x - 1, row, x, below)
        row, count = below, max(len(now.blocks), len(old.blocks))
        pen.wire(x, row, x + count - 1, row)
        for i in range(count):
            if i < len(now.blocks):
                ends = i == len(now.blocks) - 1 and (row < 0 or r in arch.taps)
                pen.block("inverted", x + i, row, now.blocks[i].kernel, str(now.width) if ends else "")
            else:
                pen.ghost(x + i, row)
        x += count
        if r in arch.taps:
            taps.append(x - 1)
    return x, taps


def _stem(pen: Pen, arch: HRNet, reference: HRNet) -> float:
    """The stem's boxes; gives back where the next column is, as those below do."""
    stem, old = arch.stem, len(reference.stem.blocks)
    pen.box("conv", 0, -1, note=str(stem.width))
    pen.wire(0, -1, 1, 0)
    pen.box("shuffle" if stem.kind == "lite" else "conv", 1, 0, note="" if stem.blocks else str(stem.outputs))
    count = max(old, len(stem.blocks))
    for i in range(count):
        if i < len(stem.blocks):
            note = str(stem.outputs) if i == len(stem.blocks) - 1 else ""
            pen.block("bottleneck", 2 + i, 0, stem.blocks[i].kernel, note)
        else:
            pen.ghost(2 + i, 0)
    pen.wire(1, 0, 1 + count, 0)
    return 2 + count


def _transition(pen: Pen, x: float, before: int, after: int, taps: Sequence[float] | None, *, always: bool) -> float:
    """Wires to the branches of a stage; new ones leave the coarsest one before them, or the backbone."""
    if after == before and not always:
        return x
    for b in range(after):
        if taps is not None and b >= before:
            pen.wire(taps[b], b, x + 0.2, b)
        else:
            pen.wire(x - 0.8, min(b, before - 1), x + 0.2, b)
    return x + 0.35


def _module(pen: Pen, x: float, stage: Stage | None, reference: Stage | None) -> float:
    """Branches side by side; None: the module is not there."""
    present = stage or reference
    assert present is not None
    none = (0,) * len(present.branches)
    new, old = stage.depths if stage else none, reference.depths if reference else none
    columns = max(*old, *new, 1)
    for b in range(len(present.branches)):
        pen.wire(x - 0.38, b, x + columns - 0.6, b)
        for i in range(new[b], old[b]):
            pen.ghost(x + i, b)
        if stage is None:
            continue
        for i, block in enumerate(stage.branches[b]):
            pen.block(stage.kind.partition("|")[0], x + i, b, block.kernel)
        if not stage.branches[b]:
            pen.box("plain", x, b, small=old[b] > 0)
    if stage is not None and stage.kind == "weighting":  # one block spans the branches
        for d in range(max(new)):
            rows = [b for b, depth in enumerate(new) if depth > d]
            pen.wire(x + d, rows[0], x + d, rows[-1])
    return x + columns


def _exchange(pen: Pen, x: float, inputs: int, outputs: int) -> float:
    """Wires from every branch to every one that comes out."""
    for i in range(inputs):
        for o in range(outputs):
            pen.wire(x - 0.6, i, x + 0.27, o, light=i != o)
    return x + 0.65 if inputs > 1 else x


def _head(pen: Pen, x: float, arch: Branched) -> float:
    """From the branches to what comes out of the network; gives back the end of the drawing."""
    head, branches = arch.head, form(arch)[-1]
    pen.wire(x - 0.6, 0, x, 0)
    if head.features == "concat":
        x += 0.7
        for b in range(branches):
            pen.wire(x - 1.08, b, x, 0)
        pen.box("mix", x, 0, note=str(sum(arch.widths[:branches])))
        pen.wire(x, 0, x + 1, 0)
        x += 1
    elif head.features == "iterative":
        for step, b in enumerate(reversed(range(branches))):
            pen.wire(x - 0.6, b, x + step, b)
            pen.box("separable", x + step, b)
            pen.wire(x + step, b, x + step + 1, max(b - 1, 0))
        x += branches
    if not isinstance(head, BottomUp):
        x += 0.5 if head.pyramid else 0
        for level in range(max(1, len(head.pyramid))):
            pen.wire(x - 1.12 if head.pyramid else x - 0.6, 0, x - 0.38, level)
            pen.box("conv" if head.pyramid else "mix", x, level, note=str(head.pyramid[level]) if head.pyramid else "")
            pen.wire(x, level, x + 0.6, level)
            pen.right(level, "heatmaps")
        return x + 0.6
    pen.box("mix", x, 0)
    column = x
    for d, deconv in enumerate(head.deconvs):
        row = -(d + 1)
        # The features and the maps predicted from them go on together.
        pen.wire(column - 0.5, row + 1, column + 1.1, row)
        pen.wire(column, row + 1, column + 1.1, row)
        column += 1.1
        pen.box("deconv", column, row, note=str(deconv.width))
        for block in deconv.blocks:
            pen.wire(column, row, column + 1, row)
            column += 1
            pen.box("basic", column, row, block.kernel)
        pen.wire(column, row, column + 1, row)
        column += 1
        pen.box("mix", column, row)
    end = column + 0.6
    for row in range(-len(head.deconvs), 1):
        if row == 0 or row == -len(head.deconvs):
            pen.wire(x if row == 0 else column, row, end, row)
        pen.right(row, "heatmaps, tags" if row == 0 else "heatmaps")
    return end
