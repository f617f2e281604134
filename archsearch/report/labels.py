"""Names beside points that cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from archsearch.report.style import literal

Boxes = NDArray[np.float64]  # (n, 4): x0, y0, x1, y1 in pixels

# Where a name may stand: direction from the point, and the text's alignment there. Earlier ones are preferred.
_PLACES = (
    (1, 0, "left", "center"),
    (1, 1, "left", "bottom"),
    (1, -1, "left", "top"),
    (-1, 0, "right", "center"),
    (-1, 1, "right", "bottom"),
    (-1, -1, "right", "top"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
)
_DISTANCES_PT = (5.0, 9.0, 14.0)


def label_points(
    ax: Axes,
    points_N2: NDArray[np.float64],
    names: Sequence[str],
    *,
    colors: Sequence[str],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    size_pt: float = 7.0,
) -> list[Annotation]:
    """Write each name beside its point, in data coordinates, where it covers least; gives back the texts.

    ``bars``: segments ``((x0, y0), (x1, y1))`` in data coordinates that names should not cover either. To be called
    when everything else is drawn and limits are final.
    """
    figure = ax.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    pixel_pt = figure.dpi / 72
    points = ax.transData.transform(points_N2)
    taken = [np.column_stack((points - 3.5 * pixel_pt, points + 3.5 * pixel_pt))]
    taken += [_along(ax.transData.transform(np.asarray(bar)), 1.5 * pixel_pt) for bar in bars]
    obstacles: Boxes = np.concatenate(taken)
    frame = ax.get_window_extent()
    texts = []
    for point, name, color in zip(points_N2, names, colors, strict=True):
        found: tuple[float, Annotation, Bbox] | None = None
        for rank, (distance, (dx, dy, ha, va)) in enumerate((d, p) for d in _DISTANCES_PT for p in _PLACES):
            scale = distance / max(float(np.hypot(dx, dy)), 1.0)
            text = ax.annotate(
                literal(name), (float(point[0]), float(point[1])), (dx * scale, dy * scale), textcoords="offset points",
                ha=ha, va=va, fontsize=size_pt, color=color, zorder=6,
            )  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent()
            cost = _covered(box, obstacles) + 4 * _outside(box, frame) + 1e-3 * rank * box.width * box.height
            if found is None or cost < found[0]:
                if found is not None:
                    found[1].remove()
                found = (cost, text, box)
            else:
                text.remove()
        assert found is not None
        obstacles = np.vstack((obstacles, np.asarray(found[2].extents)))
        texts.append(found[1])
    return texts


def _along(ends: NDArray[np.float64], half: float) -> Boxes:
    """Boxes that follow a straight line between two points."""
    count = 2 + int(np.hypot(*(ends[1] - ends[0])) / (4 * half))
    centres = np.linspace(ends[0], ends[1], count)
    return np.column_stack((centres - half, centres + half))


def _covered(box: Bbox, boxes: Boxes) -> float:
    """The area that ``box`` shares with each of ``boxes``, summed."""
    wide = np.minimum(box.x1, boxes[:, 2]) - np.maximum(box.x0, boxes[:, 0])
    high = np.minimum(box.y1, boxes[:, 3]) - np.maximum(box.y0, boxes[:, 1])
    return float(np.sum(np.clip(wide, 0, None) * np.clip(high, 0, None)))


def _outside(box: Bbox, frame: Bbox) -> float:
    """The area of ``box`` outside of ``frame``."""
    inside = Bbox.intersection(box, frame)
    return float(box.width * box.height - (0 if inside is None else inside.width * inside.height))
