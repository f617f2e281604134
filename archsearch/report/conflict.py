"""Where gradients fight, as heat maps: one panel a property, places of the network down, pairs of options across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from archsearch.experiments.conflict import Cell, latest_images, references
from archsearch.report.style import FAINT, MUTED, PAGE_IN, literal, new_figure
from archsearch.runs import Run

WRAP = 3  # panels in a row
ROW_IN, HEADING_IN = 0.24, 0.62  # of a panel: each place, and its title with the names of the options
MANY = 6  # pairs of options beyond which numbers are set smaller
BAR_IN = 0.55  # the scale of colours below all panels


def conflict_figure(found: Sequence[Cell]) -> Figure:
    """Mean cosines from -1 to 1, in numbers too; a dash where a place does not have the pair. Within ``style``."""
    properties = sorted({cell.property for cell in found}, key=lambda name: (-_places(found, name), name))
    rows = [properties[start : start + WRAP] for start in range(0, len(properties), WRAP)]
    heights = [HEADING_IN + ROW_IN * max(_places(found, name) for name in row) for row in rows]
    figure = new_figure(PAGE_IN, sum(heights) + BAR_IN)
    columns = min(WRAP, len(properties))
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    panels, image = [], None
    for y, row in enumerate(rows):
        for x, name in enumerate(row):
            panels.append(figure.add_subplot(grid[y, x]))
            image = _panel(panels[-1], name, [cell for cell in found if cell.property == name])
            panels[-1].set_ylim(max(_places(found, other) for other in row) - 0.5, -0.5)  # cells of one height
    if image is not None:
        bar = figure.colorbar(image, ax=panels, location="bottom", shrink=0.5, aspect=40, pad=0.02)
        bar.set_label("cosine of the two gradients (1: agree, 0: ignore each other, −1: fight)")
    return figure


def _places(found: Sequence[Cell], name: str) -> int:
    return len({cell.place for cell in found if cell.property == name})


def _panel(ax: Axes, name: str, cells: Sequence[Cell]) -> AxesImage:
    places = sorted({cell.place for cell in cells}, key=lambda place: (not place.startswith("stage"), place))
    options = sorted({(cell.a, cell.b) for cell in cells}, key=lambda pair: [_rank(option) for option in pair])
    values = np.full((len(places), len(options)), np.nan)
    for cell in cells:
        values[places.index(cell.place), options.index((cell.a, cell.b))] = cell.cosine
    ax.imshow(np.zeros_like(values), cmap=ListedColormap([FAINT]), aspect="auto")
    image = ax.imshow(values, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    narrow = len(options) > MANY
    for (y, x), value in np.ndenumerate(values):
        text, color = ("–", MUTED) if np.isnan(value) else (f"{value:.2f}", "black" if abs(value) < 0.6 else "white")
        text = text.replace("0.", ".") if narrow else text
        ax.text(x, y, text, ha="center", va="center", fontsize=5.2 if narrow else 6, color=color)
    names = [literal(f"{_short(a)} / {_short(b)}") for a, b in options]
    crowded = sum(map(len, names)) > 30
    ax.set_xticks(range(len(options)), names, fontsize=6, rotation=90 if crowded else 0)
    ax.set_yticks(range(len(places)), places, fontsize=6)
    ax.xaxis.tick_top()
    ax.set_title(name)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _rank(option: str) -> tuple[bool, float, str]:
    """Numbers in their order, then names."""
    number = option.replace(".", "", 1).isdigit()
    return not number, float(option) if number else 0.0, option


def _short(option: str) -> str:
    """A size ``(96, 96)`` as ``96``; other options as they are."""
    sides = option.strip("()[]").split(", ")
    return sides[0] if len(sides) == 2 and sides[0] == sides[1] else option


def conflict_text(run: Run, found: Sequence[Cell]) -> str:
    """The caption: what is drawn, from how much, what two batches alone make of it, and where it is worst."""
    images = latest_images(run)
    bases = {record["base"] for record in run.records("conflict_base") if record["images"] == images}
    worst = min(found, key=lambda cell: cell.cosine)
    text = (
        "Mean cosine between the gradients of two sub-nets that differ in one choice only, over the weights that both "
        f"use; {len(bases)} random architectures, {images} training images each. "
    )
    noise = references(run)
    if noise:
        text += (
            f"For comparison: one architecture's gradients on two disjoint sets of {images} images have a mean cosine "
            f"of {np.mean(noise):.2f} ({min(noise):.2f} to {max(noise):.2f}). "
        )
    return text + (
        f"Lowest: {worst.property} {_short(worst.a)} against {_short(worst.b)} at {worst.place}, {worst.cosine:.2f} "
        f"(smallest of {worst.count}: {worst.low:.2f}). A dash: that place does not have the pair."
    )
