"""What is in a scene beside people: cluttered backgrounds, objects that cover people, light, blur and noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.render import Canvas
from archsearch.data.shapes import ONE, SHIFT, Colour, Floats, Ints, capsules, fixed

Image = NDArray[np.uint8]


def _rgb(values: list[float], low: float = 20, high: float = 235) -> Colour:
    r, g, b = values
    span = high - low
    return int(low + span * r), int(low + span * g), int(low + span * b)


def _scaled(colour: Colour, gain: float) -> Colour:
    r, g, b = colour
    return min(255, int(r * gain)), min(255, int(g * gain)), min(255, int(b * gain))


def _muted(values: list[float], chroma: float = 0.35) -> Colour:
    """A colour drawn mostly grey: the world is duller than people's clothes."""
    r, g, b, grey = values
    base, span = (1 - chroma) * (30 + 190 * grey) + 20 * chroma, 215 * chroma
    return int(base + span * r), int(base + span * g), int(base + span * b)


_TEXTURE_CELLS = 40


def paint_backdrop(rng: np.random.Generator, size_px: int, horizon: float, clutter: int, distractors: float) -> Image:
    """A background (size, size, 3) of a wall or sky, a floor and random things.

    Args:
        rng: the same numbers are drawn whatever the size.
        size_px: the side of the image.
        horizon: where the floor begins, as a share of the side from above.
        clutter: how many things there are.
        distractors: the share of them that look like limbs and are not.
    """
    v = rng.random(12).tolist()
    cells = int(rng.integers(2, 7))
    mottle = rng.integers(-26, 27, (cells, cells, 1)) + rng.integers(-13, 14, (cells, cells, 3))
    coarse = np.clip(np.array(_muted(v[:4])) + mottle, 0, 255).astype(np.uint8)
    image = np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if v[4] < 0.8:
        _floor(image, round(horizon * size_px), _muted(v[6:10]), v[11] if v[10] < 0.5 else None)
    values = rng.random((clutter, 14))
    limbs = values[:, 13] < distractors
    for row in values[~limbs].tolist():
        _thing(image, row, size_px)
    if limbs.any():
        _distractors(image, values[limbs], size_px)
    texture = rng.integers(0, int(rng.integers(6, 26)), (_TEXTURE_CELLS, _TEXTURE_CELLS), dtype=np.uint8)
    grain = cv2.resize(texture, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    cv2.add(image, cv2.cvtColor(grain, cv2.COLOR_GRAY2RGB), dst=image)
    return image


def _floor(image: Image, top: int, colour: Colour, vanish: float | None) -> None:
    """A floor in two bands, the nearer one lighter, with boards that meet at ``vanish`` (share of the width)."""
    size_px = image.shape[0]
    cv2.rectangle(image, (0, top), (size_px, size_px), colour, -1)
    cv2.rectangle(image, (0, (top + size_px) // 2), (size_px, size_px), _scaled(colour, 1.08), -1)
    if vanish is None:
        return
    centre, far = vanish * size_px, top - 0.3 * size_px
    t = (size_px - top) / (size_px - far)
    for i in range(-4, 9):
        foot = i * size_px / 4
        start, end = (round(foot + t * (centre - foot)), top), (round(foot), size_px)
        cv2.line(image, start, end, _scaled(colour, 0.8), 1)


def _point(x: float, y: float) -> tuple[int, int]:
    return round(x * ONE), round(y * ONE)


def _bar(image: Image, x: float, y: float, w: float, h: float, colour: Colour) -> None:
    """A filled rectangle around (x, y)."""
    corner = round(x - w / 2), round(y - h / 2)
    cv2.rectangle(image, corner, (round(x + w / 2), round(y + h / 2)), colour, -1)


def _rectangle(x: float, y: float, w: float, h: float, angle: float = 0.0) -> Ints:
    """The corners of a turned rectangle around (x, y), in fixed-point integers."""
    cw, sw = math.cos(angle) * w / 2 * ONE, math.sin(angle) * w / 2 * ONE
    ch, sh = math.cos(angle) * h / 2 * ONE, math.sin(angle) * h / 2 * ONE
    x, y = x * ONE, y * ONE
    corners = (
        (x - cw + sh, y - sw - ch),
        (x + cw + sh, y + sw - ch),
        (x + cw - sh, y + sw + ch),
        (x - cw - sh, y - sw + ch),
    )
    return np.array(corners, np.float64).astype(np.int32)


def _thing(image: Image, v: list[float], size_px: int) -> None:
    """One piece of clutter from 13 random numbers: furniture, panels, lamps, cables, trees, windows."""
    x, y = v[0] * size_px, v[1] * size_px
    w, h = (0.05 + 0.35 * v[2] ** 2) * size_px, (0.05 + 0.4 * v[3] ** 2) * size_px
    colour = _muted(v[4:8], 0.4) if v[8] < 0.7 else _muted(v[4:8], 0.9)
    dark, bright = _scaled(colour, 0.72), _scaled(colour, 1.2)
    kind = v[9]
    if kind < 0.28:  # furniture: a front with a lighter top, sometimes with drawers
        _bar(image, x, y, w, h, colour)
        _bar(image, x, y - h / 2, w * 1.06, h * 0.14, bright)
        for i in range(int(4 * v[10])):
            _bar(image, x, y - h / 2 + (i + 1) * h / 4, w, 0, dark)
    elif kind < 0.44:  # a tilted panel or picture
        angle = (v[10] - 0.5) * (0.4 if v[11] < 0.6 else 3.0)
        cv2.fillConvexPoly(image, _rectangle(x, y, w, h, angle), dark, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(image, _rectangle(x, y, 0.84 * w, 0.84 * h, angle), colour, cv2.LINE_8, SHIFT)
    elif kind < 0.58:  # a ball or lamp
        radius = 0.25 * w + 0.01 * size_px
        cv2.circle(image, _point(x, y), round(radius * ONE), dark, -1, cv2.LINE_AA, SHIFT)
        inner = _point(x - 0.15 * radius, y - 0.2 * radius)
        cv2.circle(image, inner, round(0.7 * radius * ONE), bright, -1, cv2.LINE_8, SHIFT)
    elif kind < 0.72:  # cables and edges
        end = _point(x + (v[10] - 0.5) * 1.6 * size_px, y + (v[11] - 0.5) * 1.2 * size_px)
        width = 1 + int(2.5 * v[12] * size_px / 128)
        cv2.line(image, _point(x, y), end, colour, width, cv2.LINE_AA, SHIFT)
    elif kind < 0.86:  # a tree or a lamp post with its head
        top = y - h
        _bar(image, x, y, 0.1 * w, 2 * h, dark)
        green = (int(40 + 50 * v[4]), int(70 + 70 * v[5]), int(40 + 40 * v[6]))
        for i, grow in enumerate((0.40, 0.32, 0.26)):
            spot = _point(x + (v[10 + i] - 0.5) * 0.5 * w, top + (v[9 + i] - 0.5) * 0.4 * w)
            cv2.circle(image, spot, round(grow * w * ONE), _scaled(green, 0.8 + 0.2 * i), -1, cv2.LINE_8, SHIFT)
    else:  # a grid: windows, shelves, a fence
        across, rows = 2 + int(3 * v[10]), 1 + int(4 * v[11])
        for i in range(across):
            for j in range(rows):
                shade = bright if (i + j) % 3 else dark
                _bar(image, x + i * w / across, y + j * h / rows, 0.6 * w / across, 0.7 * h / rows, shade)


def _distractors(image: Image, values: Floats, size_px: int) -> None:
    """Things like limbs that are none, from rows of 10 random numbers: one or two shaded capsules each."""
    length = (0.05 + 0.2 * values[:, 2]) * size_px
    turn = 2 * np.pi * np.stack([values[:, 7], values[:, 7] + 0.15 + 0.3 * values[:, 8]], axis=-1)
    steps = length[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    a = np.repeat(values[:, None, :2] * size_px, 2, axis=1)
    a[:, 1] += steps[:, 0]
    radius = (length * (0.08 + 0.14 * values[:, 3]))[:, None, None] * np.array([1.0, 0.65])
    a, steps = a[:, :, None], steps[:, :, None]
    outlines = fixed(
        capsules(
            a + 0 * radius[..., None],
            a + steps + 0 * radius[..., None],
            np.repeat(radius, 2, axis=1),
            np.repeat(0.8 * radius, 2, axis=1),
        )
    )
    for row, bones in zip(values.tolist(), outlines, strict=True):
        colour = _muted(row[4:8], 0.7)
        for bone in bones[: 1 + (row[9] < 0.4)]:
            cv2.fillConvexPoly(image, bone[0], _scaled(colour, 0.7), cv2.LINE_AA, SHIFT)
            cv2.fillConvexPoly(image, bone[1], _scaled(colour, 1.05), cv2.LINE_AA, SHIFT)


def _cover(canvas: Canvas, outline: Ints, colour: Colour) -> None:
    """Paint a polygon of an object: what it covers belongs to nobody any more."""
    canvas.fill(outline, colour, 0)


_DISC = np.stack([f(np.linspace(0, 2 * np.pi, 20, endpoint=False)) for f in (np.cos, np.sin)], axis=-1)
OBJECTS = ("box", "pole", "ball", "plant", "fence", "table")


def paint_object(canvas: Canvas, kind: str, x: float, y: float, unit_px: float, v: list[float]) -> None:
    """Paint an object over everything at (x, y); ``unit_px`` is the stature of people at its distance.

    ``kind`` is one of :data:`OBJECTS`; ``v`` holds 8 random numbers from 0 to 1. Raises ``ValueError`` on another kind.
    """
    colour = _rgb(v[:3], 30, 225)
    dark, bright = _scaled(colour, 0.68), _scaled(colour, 1.22)
    at = np.array([x, y])
    if kind == "box":
        w, h = (0.22 + 0.25 * v[3]) * unit_px, (0.15 + 0.3 * v[4]) * unit_px
        slant = 0.25 * w * (1 if v[5] < 0.5 else -1)
        top = np.array([(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2 + slant, -0.72 * h), (-w / 2 + slant, -0.72 * h)])
        _cover(canvas, fixed(top + at), bright)
        _cover(canvas, _rectangle(x, y, w, h), colour)
        canvas.shade(_rectangle(x, y, 0.12 * w, h), dark)
    elif kind == "pole":
        w, tall = (0.035 + 0.06 * v[3]) * unit_px, 2.2 * canvas.image.shape[0]
        angle = (v[4] - 0.5) * 0.12
        _cover(canvas, _rectangle(x, y, w, tall, angle), dark)
        canvas.shade(_rectangle(x - 0.08 * w, y, 0.66 * w, tall, angle), colour)
        canvas.shade(_rectangle(x - 0.2 * w, y, 0.22 * w, tall, angle), bright)
    elif kind == "ball":
        radius = (0.06 + 0.1 * v[3]) * unit_px
        _cover(canvas, fixed(at + radius * _DISC), dark)
        canvas.shade(fixed(at - np.array([0.07, 0.1]) * radius + 0.8 * radius * _DISC), colour)
        canvas.shade(fixed(at - np.array([0.28, 0.4]) * radius + 0.3 * radius * _DISC), bright)
    elif kind == "plant":
        size = (0.12 + 0.14 * v[3]) * unit_px
        green = (int(30 + 60 * v[0]), int(90 + 90 * v[1]), int(40 + 40 * v[2]))
        turn = -np.pi / 2 + (np.arange(7) - 3) * (0.3 + 0.15 * v[4])
        reach = size * (1.2 + 0.4 * np.array([v[5 + i % 3] for i in range(7)]))
        tips = at + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        leaves = capsules(np.tile(at, (7, 1)), tips, np.full(7, 0.10 * size), np.full(7, 0.03 * size))
        for i, leaf in enumerate(fixed(leaves)):
            _cover(canvas, leaf, _scaled(green, 0.7 + 0.1 * (i * 3 % 7)))
        pot = np.array([(-0.42, -0.1), (0.42, -0.1), (0.3, 0.7), (-0.3, 0.7)]) * size
        _cover(canvas, fixed(pot + at), (176, 96, 62))
    elif kind == "fence":
        w, h = (0.5 + 0.7 * v[3]) * unit_px, (0.2 + 0.2 * v[4]) * unit_px
        for level in (-0.35, 0.3):
            _cover(canvas, _rectangle(x, y + level * h, w, 0.16 * h), colour)
        for i in range(5):
            _cover(canvas, _rectangle(x + (i - 2) * w / 4.4, y, 0.055 * w, h), bright if i % 2 else dark)
    elif kind == "table":
        w, h = (0.4 + 0.4 * v[3]) * unit_px, (0.28 + 0.1 * v[4]) * unit_px
        for side in (-0.45, 0.45):
            _cover(canvas, _rectangle(x + side * w, y + h / 2, 0.06 * w, h), dark)
        _cover(canvas, _rectangle(x, y, w, 0.14 * h), colour)
        top = np.array([(-w / 2, -0.07 * h), (w / 2, -0.07 * h), (0.42 * w, -0.3 * h), (-0.42 * w, -0.3 * h)])
        _cover(canvas, fixed(top + at), bright)
    else:
        raise ValueError(f"object {kind} is not one of {', '.join(OBJECTS)}")


def paint_stool(canvas: Canvas, x: float, y: float, unit_px: float, v: list[float]) -> None:
    """Paint something to sit on, its seat at (x, y), before the person who sits there."""
    colour = _muted(v)
    w, h = 0.26 * unit_px, 0.26 * unit_px
    for side in (-0.4, 0.4):
        _cover(canvas, _rectangle(x + side * w, y + h / 2, 0.1 * w, h), _scaled(colour, 0.6))
    _cover(canvas, _rectangle(x, y, w, 0.2 * h), colour)


def paint_shadows(image: Image, feet_px: list[tuple[float, float, float]]) -> None:
    """Darken the ground under people: (x, y, stature) in pixels each."""
    height, width = image.shape[:2]
    for x, y, unit in feet_px:
        w, h = int(0.17 * unit), max(1, int(0.035 * unit))
        x0, x1 = max(0, int(x) - w), min(width, int(x) + w)
        y0, y1 = max(0, int(y) - h), min(height, int(y) + h)
        if x0 >= x1 or y0 >= y1:
            continue
        mask = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
        cv2.ellipse(mask, (int(x) - x0, int(y) - y0), (w, h), 0, 0, 360, (150, 150, 150), -1, cv2.LINE_AA)
        image[y0:y1, x0:x1] = cv2.multiply(image[y0:y1, x0:x1], mask, scale=1 / 255)


def develop(rng: np.random.Generator, image: Image, strength: float) -> None:
    """Take the photograph, in place: uneven and tinted light, exposure, contrast, blur and noise.

    ``strength`` from 0 to 1 scales all of it.
    """
    size_px = image.shape[0]
    v = rng.random(8).tolist()
    grain = int(rng.integers(3, 5 + int(12 * strength)))
    cells, spread = 2 + int(2 * v[1]), 8 + 34 * strength * v[0]
    gain = 1 + (v[2] - 0.55) * 0.6 * strength
    tints = 1 + (np.array(v[3:6]) - 0.5) * 0.22 * strength
    coarse = (128 + spread * rng.uniform(-1, 1, (cells, cells, 1))) * (gain * tints)
    light = cv2.resize(coarse.astype(np.uint8), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(image, light, dst=image, scale=1 / 128)
    if v[7] < 0.25 + 0.25 * strength:
        cv2.GaussianBlur(image, (3, 3), 0.35 + 0.8 * v[7], dst=image)
    pixels = size_px * size_px  # random bytes are dear: one third of the noise, shifted, makes the other two
    noise = np.frombuffer(rng.bytes(pixels + 2), np.uint8)
    speckle = np.concatenate([noise[i : i + pixels] for i in range(3)]).reshape(size_px, size_px, 3)
    contrast = 1 + (v[6] - 0.6) * 0.4 * strength
    cv2.addWeighted(image, contrast, speckle, grain / 255, 118 * (1 - contrast) - grain / 2, dst=image)
