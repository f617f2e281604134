"""What drawings of architectures consist of: boxes for blocks, outlines for removed ones, wires, fields and labels.

Coordinates: x in boxes, y in rows; row 0 is 1/4 of the input's resolution, row -1 is 1/2, row 1 is 1/8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from archsearch.report import style

# Kind of box: name in the legend, face, hatch.
KINDS: dict[str, tuple[str, str, str]] = {
    "conv": ("3×3 convolution", "#ffffff", ""),
    "bottleneck": ("bottleneck", "#f3c46b", "////"),
    "basic": ("residual block", "#5aa5d6", ""),
    "shuffle": ("shuffle block", "#d9a5c2", "\\\\\\\\"),
    "weighting": ("channel weighting", "#9fd3c0", "||||"),
    "inverted": ("inverted residual", "#cfe3a1", ""),
    "plain": ("no blocks left: one 3×3 convolution", "#cfcfcf", ""),
    "mix": ("1×1 convolution", "#ffffff", "----"),
    "separable": ("separable convolution", "#dcdcdc", "----"),
    "deconv": ("transposed convolution", "#e89a66", "xxxx"),
}
GHOST, RAW = "removed block", "raw features, fused"
_EDGE, _WIRE = "#333333", "#8a8a8a"
_GHOST_DASHES, _RAW_DASHES = (0, (2, 1.2)), (0, (4, 1.5))
_SMALL_PT = 5.6


@dataclass(frozen=True)
class Drawn:
    """What a drawing contains."""

    blocks: int  # of the body
    ghosts: int  # blocks of the reference that are not there
    columns: float  # its length, in boxes
    kinds: frozenset[str]  # what needs a place in the legend: keys of KINDS, GHOST, RAW


@dataclass
class Pen:
    """Draws on one pair of axes and keeps count."""

    ax: Axes
    blocks: int = 0
    ghosts: int = 0
    kinds: set[str] = field(default_factory=set)

    def box(self, kind: str, x: float, row: int, kernel: int = 3, note: str = "", *, small: bool = False) -> None:
        """A box; ``kernel`` is written into it where it is not 3, ``note`` above it."""
        _, face, hatch = KINDS[kind]
        height, width = box_height(row) * (0.6 if small else 1), 0.5 if small else 0.76
        corner = (x - width / 2, -row - height / 2)
        look = {"facecolor": face, "edgecolor": _EDGE, "hatch": hatch, "linewidth": 0.5}
        self.ax.add_patch(Rectangle(corner, width, height, zorder=3, **look))  # type: ignore[arg-type]
        self.kinds.add(kind)
        if kernel != 3:
            ground = {"boxstyle": "square,pad=0.05", "facecolor": face, "linewidth": 0} if hatch else None
            self.ax.text(
                x, -row, str(kernel), ha="center", va="center_baseline", fontsize=_SMALL_PT, zorder=4, bbox=ground
            )
        if note:
            self.note(x, -row + height / 2 + 0.05, note)

    def block(self, kind: str, x: float, row: int, kernel: int = 3, note: str = "") -> None:
        """A box that counts as a block of the body."""
        self.box(kind, x, row, kernel, note)
        self.blocks += 1

    def ghost(self, x: float, row: int) -> None:
        """The outline of a block that was removed."""
        height = box_height(row)
        look = {"facecolor": "white", "edgecolor": style.VERMILLION, "linestyle": _GHOST_DASHES, "linewidth": 0.6}
        self.ax.add_patch(Rectangle((x - 0.38, -row - height / 2), 0.76, height, zorder=2, **look))  # type: ignore[arg-type]
        self.ghosts += 1
        self.kinds.add(GHOST)

    def wire(self, x0: float, row0: int, x1: float, row1: int, *, light: bool = False) -> None:
        """A connection of two places."""
        width, alpha = (0.45, 0.75) if light else (0.7, 1)
        self.ax.plot((x0, x1), (-row0, -row1), color=_WIRE, linewidth=width, alpha=alpha, zorder=1)

    def raw(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """The way that raw features take to where they are fused; ``ys`` upwards."""
        self.ax.plot(xs, ys, color=style.GREEN, linewidth=0.8, linestyle=_RAW_DASHES, zorder=1.5)
        self.kinds.add(RAW)

    def note(self, x: float, y: float, text: str) -> None:
        """Small text that stands on a point; ``y`` upwards."""
        self.ax.text(x, y, text, ha="center", va="bottom", fontsize=_SMALL_PT, color=style.MUTED)

    def fields(self, edges: Sequence[float], names: Sequence[str], top: int, bottom: int) -> None:
        """Faint fields behind the parts of a network, from edge to edge, with their names above."""
        for x0, x1, name in zip(edges, edges[1:], names, strict=False):
            size = (x1 - x0 - 0.12, bottom - top + 1.27)
            patch = Rectangle((x0 + 0.06, -bottom - 0.5), *size, facecolor="#f3f3f3", linewidth=0, zorder=0)
            self.ax.add_patch(patch)
            self.ax.text((x0 + x1) / 2, -top + 0.82, name, ha="center", va="bottom", fontsize=6, color=style.MUTED)

    def left(self, row: int, text: str) -> None:
        """What a row is, left of the drawing."""
        across = self.ax.get_yaxis_transform()
        self.ax.text(-0.008, -row, text, ha="right", va="center", fontsize=6.3, transform=across)

    def right(self, row: int, text: str) -> None:
        """What comes out of a row, right of the drawing."""
        across = self.ax.get_yaxis_transform()
        self.ax.text(1.006, -row, text, ha="left", va="center", fontsize=6.3, transform=across)

    def finish(self, end: float, top: int, bottom: int) -> Drawn:
        """Set the limits; gives back what was drawn."""
        self.ax.set_xlim(-0.6, end)
        self.ax.set_ylim(-bottom - 0.55, -top + 1.4)
        self.ax.set_axis_off()
        return Drawn(self.blocks, self.ghosts, end, frozenset(self.kinds))


def box_height(row: int) -> float:
    """Height of a box, in rows: coarser features are lower."""
    return max(0.62 - 0.08 * max(row, 0), 0.3)


def resolution_text(row: int) -> str:
    """A row's part of the input's resolution, as ``1/4``."""
    return f"1/{2 ** (2 + row)}" if row > -2 else "1" if row == -2 else f"×{2 ** (-2 - row)}"


def legend_handles(kinds: set[str]) -> list[Patch | Line2D]:
    """What explains these kinds in a legend."""
    handles: list[Patch | Line2D] = [
        Patch(facecolor=face, hatch=hatch, edgecolor=_EDGE, linewidth=0.5, label=label)
        for kind, (label, face, hatch) in KINDS.items()
        if kind in kinds
    ]
    if RAW in kinds:
        handles.append(Line2D((), (), color=style.GREEN, linewidth=0.8, linestyle=_RAW_DASHES, label=RAW))
    if GHOST in kinds:
        handles.append(Patch(facecolor="white", edgecolor=style.VERMILLION, linestyle=_GHOST_DASHES, label=GHOST))
    return handles
