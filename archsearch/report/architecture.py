"""Architectures drawn as in the papers: rows are resolutions, columns follow the computation from image to heatmaps.

Every block is a box; its colour and hatch tell its kind, its height falls with the resolution, and a kernel other than
3x3 is written into it. Against a reference architecture, blocks that were taken away stay as dashed outlines.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.hrnet import HRNet
from archsearch.nets.litepose import LitePose
from archsearch.nets.zoo import Arch
from archsearch.report import draw_hrnet, draw_litepose, style
from archsearch.report.boxes import Drawn, Pen, legend_handles


def draw_architecture(ax: Axes, arch: Arch, reference: Arch | None = None) -> Drawn:
    """Draw an architecture on empty axes; gives back what was drawn.

    ``reference``: an architecture of the same form, of which the blocks that ``arch`` lacks are outlined.
    Raises ``ValueError`` on a family that cannot be drawn and on a reference of another form.
    """
    if isinstance(arch, HRNet) and isinstance(reference, HRNet | None):
        return draw_hrnet.draw_hrnet(Pen(ax), arch, reference or arch)
    if isinstance(arch, LitePose) and isinstance(reference, LitePose | None):
        return draw_litepose.draw_litepose(Pen(ax), arch, reference or arch)
    if isinstance(arch, EfficientHRNet) and isinstance(reference, EfficientHRNet | None):
        return draw_hrnet.draw_efficient_hrnet(Pen(ax), arch, reference or arch)
    if isinstance(arch, HRNet | LitePose | EfficientHRNet):
        raise ValueError(f"reference is a {type(reference).__name__}, the architecture a {type(arch).__name__}")
    raise ValueError(
        f"{type(arch).__name__} is not one of the families that can be drawn: HRNet, EfficientHRNet, LitePose"
    )


def architectures_figure(archs: Mapping[str, Arch], notes: Mapping[str, str] | None = None) -> Figure:
    """Several architectures in one figure, each against the first one; to be called within ``style.style()``.

    ``notes``: text to add to the line below a name. Architectures of another form than the first one's are drawn
    without a reference. Raises ``ValueError`` where there are none.
    """
    if not archs:
        raise ValueError("no architectures to draw")
    first = next(iter(archs.values()))
    across = 2 if len(archs) > 1 and max(map(_columns, archs.values())) <= 24 else 1
    down = -(-len(archs) // across)
    height_in = max(map(_height_in, archs.values()))
    figure = style.new_figure(style.PAGE_IN, down * height_in + 0.42)
    axes = figure.subplots(down, across, squeeze=False)
    kinds: set[str] = set()
    for i, (name, arch) in enumerate(archs.items()):
        ax = axes[i // across][i % across]
        alike = arch is not first and type(arch) is type(first) and _form(arch) == _form(first)
        kinds |= draw_architecture(ax, arch, first if alike else None).kinds
        ax.set_title(style.literal(name), loc="left", fontweight="bold", fontsize=8, pad=11)
        note = "; ".join(text for text in (describe(arch, first if alike else None), (notes or {}).get(name)) if text)
        ax.text(0, 1.0, note, fontsize=6.6, color=style.MUTED, transform=ax.transAxes, va="bottom")
    for ax in axes.flat[len(archs) :]:
        ax.set_axis_off()
    handles = legend_handles(kinds)
    columns = -(-len(handles) // -(-len(handles) // 4))  # at most 4, rows as equal as can be
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=6.3, handlelength=1.5)
    return figure


def depths_text(arch: HRNet) -> str:
    """``A = <A1, ..., An>`` as LitePose writes it, as ``<4|4,4|4,4,4>``."""
    return "<" + "|".join(",".join(map(str, stage)) for stage in arch.depths) + ">"


def describe(arch: Arch, reference: Arch | None = None) -> str:
    """An architecture in one line; its blocks as a part of those of ``reference`` where there is one."""
    blocks = f"{arch.blocks} blocks" if reference is None else f"{arch.blocks} of {reference.blocks} blocks"
    if isinstance(arch, HRNet):
        return f"A = {depths_text(arch)}, width {arch.widths[0]}, {blocks}"
    widths = arch.widths if isinstance(arch, EfficientHRNet) else [stage.width for stage in arch.stages]
    return f"{arch.input_hw[0]} px, widths {', '.join(map(str, widths))}, {blocks}"


def _form(arch: Arch) -> tuple[int, ...]:
    if isinstance(arch, LitePose):
        return draw_litepose.form(arch)
    rows = tuple(row.stride for row in arch.rows) if isinstance(arch, EfficientHRNet) else ()
    return (*draw_hrnet.form(arch), *rows)


def _columns(arch: Arch) -> int:
    """About how many boxes long a drawing is."""
    if isinstance(arch, LitePose):
        return 6 + arch.blocks
    rows = arch.stem.blocks if isinstance(arch, HRNet) else [block for row in arch.rows for block in row.blocks]
    return 6 + len(rows) + sum(stage.modules * (max(*stage.depths, 1) + 1) for stage in arch.stages)


def _height_in(arch: Arch) -> float:
    """How high a drawing with its title is, in inches."""
    if isinstance(arch, LitePose):
        return 0.64 + 0.31 * (1 + len(arch.head.filters))
    return 0.64 + 0.235 * (1 + draw_hrnet.form(arch)[-1])
