"""How every figure looks: colours that colour-blind readers tell apart, a second channel beside each, legible in print.

Nothing here touches matplotlib's global state: :func:`style` changes settings inside of a ``with`` block only, and
figures are made without pyplot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archsearch.files import InputError, replacing

COLUMN_IN = 3.5  # one column of a two-column paper
PAGE_IN = 7.16  # both of them
DPI = 200
INK, MUTED, FAINT = "#1a1a1a", "#5c5c5c", "#d9d9d9"

# Okabe and Ito's colours (jfly.uni-koeln.de/color) without yellow, which white paper swallows.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))

_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it along: the same figure on every machine
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "svg.hashsalt": "archsearch",  # the same figure gives the same bytes
    "svg.fonttype": "path",  # letters as outlines: no font is needed to show them
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn: told apart by colour and, without colour, by marker and line."""

    color: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]


def look(index: int) -> Look:
    """The look of the series with this index; colours repeat after 7, colours with markers after 56."""
    return Look(_COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)], _LINES[index % len(_LINES)])


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, within the block only."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of that size. To be called within :func:`style`."""
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``, each in one step, without dates; gives back the two paths."""
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    save_as(figure, png)
    save_as(figure, svg)
    return png, svg


_METADATA: dict[str, dict[str, Any]] = {  # without dates and versions
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_as(figure: Figure, path: Path) -> None:
    """Write one picture in one step, in the format of its suffix. Raises ``InputError`` on another than these three."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in _METADATA:
        raise InputError(f"{path}: the name of a picture ends in {', '.join('.' + known for known in _METADATA)}")
    with style(), replacing(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=_METADATA[kind])


def legend_above(figure: Figure, handles: Sequence[Line2D], names: Sequence[str]) -> None:
    """One legend above the whole figure, in as many columns as its names leave room for."""
    letters = figure.get_figwidth() * 17  # that fit in a line at the legend's font size
    columns = max(1, min(len(names), int(letters // (max(map(len, names), default=1) + 8))))
    # The last row is kept full where one column less needs no more rows.
    while columns > 1 and -(-len(names) // (columns - 1)) == -(-len(names) // columns):
        columns -= 1
    figure.legend(handles, [literal(name) for name in names], loc="outside upper center", ncols=columns)


def literal(text: str) -> str:
    """A name as figures show it letter by letter: matplotlib reads ``$`` as mathematics and hides ``_names``."""
    text = text.replace("$", r"\$")
    return f"\u200a{text}" if text.startswith("_") else text


def grid_along(ax: Axes, axis: Literal["x", "y"]) -> None:
    """Grid lines at the ticks of one axis only."""
    ax.grid(visible=False)
    ax.grid(visible=True, axis=axis)
