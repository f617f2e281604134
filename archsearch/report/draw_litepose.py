"""Drawing LitePose: one branch of inverted residuals that walks down the resolutions, and the fusion head back up."""

from __future__ import annotations

from archsearch.nets.litepose import LitePose
from archsearch.report.boxes import Drawn, Pen, box_height, resolution_text


def form(arch: LitePose) -> tuple[int, ...]:
    """The strides of the stages: what two architectures must share to be compared box by box."""
    return tuple(stage.stride for stage in arch.stages)


def draw_litepose(pen: Pen, arch: LitePose, reference: LitePose) -> Drawn:
    """Draw ``arch`` with the blocks that only ``reference`` has as ghosts. Raises ``ValueError`` on unlike stages."""
    if form(arch) != form(reference):
        raise ValueError(f"reference has stages of strides {form(reference)}, the architecture of {form(arch)}")
    bottom = len(arch.head.filters) - 1  # the row of the coarsest stage
    for row in range(-1, bottom + 1):
        pen.left(row, resolution_text(row))
    pen.box("conv", 0, -1, note=str(arch.stem))
    raws = [(0.0, -1)]  # the last box at each place that features for the head are taken from, the finest first
    edges, names = [-0.6], ["stem"]
    x, row = 1.3, -1
    for s, (stage, old) in enumerate(zip(arch.stages, reference.stages, strict=True)):
        below = row + stage.stride - 1
        pen.wire(x - 1.3, row, x, below)
        row = below
        count = max(len(stage.blocks), len(old.blocks))
        pen.wire(x, row, x + count - 1, row)
        for i in range(count):
            if i < len(stage.blocks):
                pen.block("inverted", x + i, row, stage.blocks[i].kernel)
            else:
                pen.ghost(x + i, row)
        edges.append(x - 0.65)
        names.append(f"stage {s + 1}, {stage.width} ch")
        raws.append((x + count - 1, row))
        x += count + 0.3
    edges.append(x - 0.65)
    names.append("head")
    end = _head(pen, x, row, arch, raws[-2::-1] if arch.head.fusion else [])
    pen.fields([*edges, end], names, -1, bottom)
    return pen.finish(end, -1, bottom)


def _head(pen: Pen, x: float, row: int, arch: LitePose, raws: list[tuple[float, int]]) -> float:
    """Doublings along a diagonal, the two outputs right of them; gives back the end of the drawing.

    ``raws`` are the places of the raw features, in the order in which the doublings take them.
    """
    filters = arch.head.filters
    pen.wire(x - 1.3, row, x, row - 1)
    out = x + 1.1 * len(filters)
    for d, width in enumerate(filters):
        row -= 1
        column = x + 1.1 * d
        pen.box("deconv", column, row, note=str(width))
        if d < len(filters) - 1:
            pen.wire(column, row, column + 1.1, row - 1)
        if d < len(raws):
            _raw(pen, raws[d], column - 0.8, (column - 0.2, row))
        if d >= len(filters) - 2:
            pen.wire(column, row, out + 0.6, row)
            pen.box("separable", out, row, arch.head.kernel)
            pen.right(row, "heatmaps, tags" if d == len(filters) - 2 else "heatmaps")
            if d + 1 < len(raws):
                _raw(pen, raws[d + 1], out, (out, row))
    return out + 0.6


def _raw(pen: Pen, source: tuple[float, int], turn: float, target: tuple[float, int]) -> None:
    """From the last box of a stage below its row, up to the target from column ``turn``."""
    x, row = source
    y = -row - box_height(row) / 2 - 0.07
    pen.raw((x, x, turn, target[0]), (-row, y, y, -target[1]))
