"""COCO segmentations: which parts of an image do not count, because nobody labelled the people there.

A segmentation is a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, or run lengths
``{"size": [height, width], "counts": ...}`` down the columns, as a list or in COCO's compressed text.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from archsearch.data.dataset import ImageInfo
from archsearch.files import InputError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def shown(value: Any) -> str:
    """A value from a file for an error message: one line of bounded length."""
    return _short.repr(value)


def checked_segments(value: Any, height: int, width: int, where: str) -> Any:
    """A segmentation that rasterises without harm, or None where there is nothing to rasterise.

    pycocotools takes memory in proportion to a polygon's length and other readers write out of bounds on malformed run
    lengths, so everything is checked here. Polygons of fewer than three points are dropped.
    Raises ``InputError`` otherwise.
    """
    where = f"{where}.segmentation"
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return _checked_runs(value, height, width, where)
    if not isinstance(value, list):
        raise InputError(f"{where} is {shown(value)}, polygons or run lengths are needed")
    polygons = []
    for i, polygon in enumerate(value):
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise InputError(f"{where}[{i}] is {shown(polygon)}, a polygon is a list of x and y")
        for k, number in enumerate(polygon):
            side = height if k % 2 else width
            if type(number) not in (int, float) or not -side <= number <= 2 * side:
                raise InputError(f"{where}[{i}][{k}] is {shown(number)}, far from the image's {width} x {height}")
        if len(polygon) >= 6:
            polygons.append([float(number) for number in polygon])
    return polygons or None


def _checked_runs(value: dict[str, Any], height: int, width: int, where: str) -> dict[str, Any]:
    size, counts = value.get("size"), value.get("counts")
    if size != [height, width]:
        raise InputError(f"{where}.size is {shown(size)}, the image's is [{height}, {width}]")
    if isinstance(counts, str):
        runs = _decompressed(counts)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    else:
        raise InputError(f"{where}.counts is {shown(counts)}, run lengths are needed")
    if runs is None or any(run < 0 for run in runs) or sum(runs) != height * width:
        raise InputError(f"{where}.counts {shown(counts)} do not add up to {height} x {width} pixels")
    return {"size": [height, width], "counts": counts}


def _decompressed(text: str) -> list[int] | None:
    """Run lengths from COCO's compressed text: five bits a character, differences from the run before last."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 50:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def counted_pixels(info: ImageInfo) -> NDArray[np.uint8]:
    """(H, W): 1 where an image counts in the loss, 0 inside the segmentations that are to be ignored.

    Reference: the official pipelines leave crowds and people without labelled joints out of the heatmap loss.
    """
    counts_HW = np.ones((info.height, info.width), np.uint8)
    for segments in info.ignore:
        parts = [segments] if isinstance(segments, dict) else coco_mask.frPyObjects(segments, info.height, info.width)
        for part in parts:
            counts_HW[_inside(part)] = 0
    return counts_HW


def _inside(part: dict[str, Any]) -> NDArray[np.bool_]:
    """(H, W) from run lengths: the first run is outside. (pycocotools' own decoder warns under numpy 2.)"""
    counts = part["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _decompressed(counts.decode() if isinstance(counts, bytes) else counts)
    height, width = part["size"]
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
