"""Where gradients fight, as heat maps: one panel a property, places of the network down, pairs of options across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from archsearch.experiments.conflict import Cell, latest_images
from archsearch.report.style import PAGE_IN, literal, new_figure
from archsearch.runs import Run

WRAP = 3  # panels in a row


def conflict_figure(found: Sequence[Cell]) -> Figure:
    """Mean cosines from -1 to 1, in numbers too; empty where a place does not have the pair. Within ``style``."""
    properties = sorted({cell.property for cell in found})
    rows = -(-len(properties) // WRAP)
    deepest = max(len({c.place for c in found if c.property == p}) for p in properties)
    figure = new_figure(PAGE_IN, rows * (0.9 + 0.24 * deepest) + 0.5)
    axes = figure.subplots(rows, min(WRAP, len(properties)), squeeze=False)
    image = None
    for ax in axes.flat[len(properties) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, properties, strict=False):
        mine = [cell for cell in found if cell.property == name]
        places = sorted({cell.place for cell in mine}, key=lambda place: (not place.startswith("stage"), place))
        options = list(dict.fromkeys((cell.a, cell.b) for cell in mine))
        grid = np.full((len(places), len(options)), np.nan)
        for cell in mine:
            grid[places.index(cell.place), options.index((cell.a, cell.b))] = cell.cosine
        image = ax.imshow(grid, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
        for (y, x), value in np.ndenumerate(grid):
            if not np.isnan(value):
                ax.text(
                    x,
                    y,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="black" if abs(value) < 0.6 else "white",
                )
        names = [literal(f"{a} / {b}") for a, b in options]
        turned = {"rotation": 90, "fontsize": 5.5} if max(map(len, names)) > 8 or len(names) > 4 else {"fontsize": 6}
        ax.set_xticks(range(len(options)), names, **turned)
        ax.set_yticks(range(len(places)), places, fontsize=6)
        ax.set_title(name)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02)
        bar.set_label("cosine of the two gradients (1: agree, 0: ignore each other, −1: fight)")
    return figure


def conflict_text(run: Run, found: Sequence[Cell]) -> str:
    """The caption: what is drawn, from how much, and where it is worst."""
    images = latest_images(run)
    bases = {record["base"] for record in run.records("conflict_base") if record["images"] == images}
    worst = min(found, key=lambda cell: cell.cosine)
    return (
        "Mean cosine between the gradients of two sub-nets that differ in one choice only, over the weights that both "
        f"use; {len(bases)} random architectures, {images} training images each. Lowest: {worst.property} "
        f"{worst.a} against {worst.b} at {worst.place}, {worst.cosine:.2f} "
        f"(smallest of {worst.count}: {worst.low:.2f})."
    )
