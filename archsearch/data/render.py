"""Painting people: shaded limbs, trunks and heads, in colour and, at the same time, into a map of labels.

Every polygon of a part is drawn twice: anti-aliased in colours, and without blending into the label map, which says
what covers each pixel: 0 for the background and objects, ``(person + 1) * PARTS + part`` for people. Areas, boxes,
segmentations and visibility all come from that map, so they are what is seen and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.figure import AT
from archsearch.data.looks import SLOT
from archsearch.data.shapes import (
    CAP,
    CAPSULE,
    CHEEKS,
    CROWN,
    FACE,
    FACING,
    HAT,
    LOCKS,
    ONE,
    SHIFT,
    SKULL,
    TRESSES,
    Colour,
    Crowd,
    Ints,
    fixed,
)

PARTS = 16  # labels are (person + 1) * PARTS + part
TRUNK, HEAD = 1, 2
_LIMBS = ("upper_arm", "forearm", "thigh", "shin")
_SIDES = ("left", "right")
LIMBS: Mapping[str, int] = {f"{side}_{n}": 3 + 2 * i + s for i, n in enumerate(_LIMBS) for s, side in enumerate(_SIDES)}
_NECK = 3 + 2 * len(_LIMBS)  # painted apart, labelled as trunk

_PLAIN_PX = 56.0  # people smaller than this have no highlights, cuffs, stripes and collars
_SKETCH_PX = 40.0  # people smaller than this have eyes and noses of one dot
_DRAWN = {  # what is drawn for a limb, in its order
    "upper_arm": ("upper_arm",),
    "forearm": ("hand", "forearm", "cuff"),
    "thigh": ("thigh",),
    "shin": ("foot", "shin", "sock"),
}
# Parts are ordered by the depth of the middle of their bones, plus what lies on top at one depth, in statures.
_BIAS = {"upper_arm": 0.025, "forearm": 0.035, "thigh": -0.03, "shin": -0.035}
_BONE = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
}
_LIMB_TABLE = [  # part, capsules, the ends of the bone, bias
    (
        LIMBS[f"{side}_{limb}"],
        tuple(CAPSULE[f"{side}_{name}"] for name in _DRAWN[limb]),
        AT[f"{side}_{_BONE[limb][0]}"],
        AT[f"{side}_{_BONE[limb][1]}"],
        _BIAS[limb],
    )
    for limb in _LIMBS
    for side in _SIDES
]
_EXTRAS = frozenset(c for name, c in CAPSULE.items() if name.endswith(("cuff", "sock")))


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture (uint8 RGB, H W 3) and the label map (uint16, H W) that are drawn into together."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]

    def fill(self, polygon: Ints, colour: Colour, label: int) -> None:
        """Paint a convex polygon that belongs to a label."""
        cv2.fillConvexPoly(self.image, polygon, colour, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(self.labels, polygon, label, cv2.LINE_8, SHIFT)

    def shade(self, polygon: Ints, colour: Colour) -> None:
        """Paint a convex polygon that lies within one that belongs to a label already."""
        cv2.fillConvexPoly(self.image, polygon, colour, cv2.LINE_AA, SHIFT)


def paint_person(canvas: Canvas, crowd: Crowd, p: int) -> None:
    """Paint person ``p`` over what is there, its parts from far to near."""
    near = crowd.near[p]
    head = near[AT["head_centre"]]
    order = [(0.0, TRUNK, ()), (0.6 * head + 0.03, HEAD, ()), (min(-0.001, head), _NECK, (CAPSULE["neck"],))]
    order += [((near[a] + near[b]) / 2 + bias, part, drawn) for part, drawn, a, b, bias in _LIMB_TABLE]
    order.sort()
    for _, part, drawn in order:
        if part == TRUNK:
            _paint_trunk(canvas, crowd, p)
        elif part == HEAD:
            _paint_head(canvas, crowd, p)
        elif part == _NECK:
            if crowd.looks.long_hair_P[p] and not _faces_away(crowd, p):  # hair falls behind the neck and the shoulders
                dark = crowd.shades[p][SLOT["hair"]][0]
                canvas.fill(crowd.heads[p][TRESSES], dark, (p + 1) * PARTS + HEAD)
            _paint_limb(canvas, crowd, p, drawn, TRUNK)
        else:
            _paint_limb(canvas, crowd, p, drawn, part)


def _faces_away(crowd: Crowd, p: int) -> bool:
    return crowd.forward[p] <= -0.3


def _paint_limb(canvas: Canvas, crowd: Crowd, p: int, drawn: tuple[int, ...], part: int) -> None:
    label = (p + 1) * PARTS + part
    plain = crowd.stature_px_P[p] < _PLAIN_PX
    for c in drawn:
        layers, shades = crowd.limbs[p][c], crowd.shades[p][c]
        if c in _EXTRAS:
            if not plain and crowd.looks.cuffs_P[p]:
                canvas.shade(layers[0], shades[0])
                canvas.shade(layers[1], shades[1])
            continue
        canvas.fill(layers[0], shades[0], label)
        canvas.shade(layers[1], shades[1])
        if not plain:
            canvas.shade(layers[2], shades[2])


def _line(image: NDArray[np.uint8], a: list[int], b: list[int], colour: Colour, width_px: float) -> None:
    cv2.line(image, a, b, colour, max(1, round(width_px)), cv2.LINE_AA, SHIFT)


def _disc(image: NDArray[np.uint8], xy: list[int], radius_px: float, colour: Colour) -> None:
    cv2.circle(image, xy, max(ONE // 2, round(radius_px * ONE)), colour, -1, cv2.LINE_AA, SHIFT)


def _paint_trunk(canvas: Canvas, crowd: Crowd, p: int) -> None:
    unit = float(crowd.stature_px_P[p])
    shades, spots, near = crowd.shades[p], crowd.spots[p], crowd.near[p]
    for layers, slot in zip(crowd.trunks[p], ("trousers", "shirt"), strict=True):
        dark, plain, lit = shades[SLOT[slot]]
        canvas.fill(layers[0], dark, (p + 1) * PARTS + TRUNK)
        canvas.shade(layers[1], plain)
        if unit >= _PLAIN_PX:
            canvas.shade(layers[2], lit)
    if unit < _PLAIN_PX:
        return
    if crowd.looks.stripes_P[p]:
        belts = crowd.belts[p]
        for ring, share in ((0, 0.25), (0, 0.75), (1, 0.2)):
            loop = belts[ring] + share * (belts[ring + 1] - belts[ring])
            left, right = loop[loop[:, 0].argmin()], loop[loop[:, 0].argmax()]
            a, b = fixed(np.stack([left + 0.08 * (right - left), right + 0.08 * (left - right)])).tolist()
            _line(canvas.image, a, b, shades[SLOT["trim"]][1], 0.022 * unit)
    if near[AT["collar"]] - near[AT["neck"]] > 0.02:  # the front: an open collar and a row of buttons
        opening = np.array([spots[AT[k]] for k in ("left_lapel", "right_lapel", "collar")], np.int32)
        canvas.shade(opening, shades[SLOT["skin"]][1])
        _line(canvas.image, spots[AT["collar"]], spots[AT["placket"]], shades[SLOT["shirt"]][0], 0.006 * unit)


def _paint_head(canvas: Canvas, crowd: Crowd, p: int) -> None:
    unit = float(crowd.stature_px_P[p])
    label = (p + 1) * PARTS + HEAD
    shapes, shades, spots, near = crowd.heads[p], crowd.shades[p], crowd.spots[p], crowd.near[p]
    skin, hair = shades[SLOT["skin"]], shades[SLOT["hair"]]
    radius = 0.065 * unit
    long_hair, away = bool(crowd.looks.long_hair_P[p]), _faces_away(crowd, p)
    ears = [] if long_hair else [AT["left_ear"], AT["right_ear"]]
    ear_in_front = [near[e] - near[AT["head_centre"]] > 0.01 for e in ears]
    for e, in_front in zip(ears, ear_in_front, strict=True):
        if not in_front:
            _disc(canvas.image, spots[e], 0.19 * radius, skin[0])
    canvas.fill(shapes[SKULL], hair[0], label)
    canvas.shade(shapes[CROWN], hair[1])
    if crowd.face_seen[p]:
        canvas.shade(shapes[FACE], skin[0])
        canvas.shade(shapes[CHEEKS], skin[1])
    for e, in_front in zip(ears, ear_in_front, strict=True):
        if in_front:
            _disc(canvas.image, spots[e], 0.22 * radius, skin[0])
            _disc(canvas.image, spots[e], 0.12 * radius, skin[1])
    _paint_face(canvas.image, crowd, p, radius, unit < _SKETCH_PX)
    if long_hair and away:
        canvas.fill(shapes[TRESSES], hair[0], label)
        canvas.shade(shapes[LOCKS], hair[1])
    if crowd.looks.hat_P[p]:
        trim = shades[SLOT["trim"]]
        canvas.fill(shapes[HAT], trim[0], label)
        canvas.shade(shapes[CAP], trim[1])


def _paint_face(image: NDArray[np.uint8], crowd: Crowd, p: int, radius: float, sketch: bool) -> None:
    """Eyes, nose and mouth, where they face the camera."""
    spots, near = crowd.spots[p], crowd.near[p]
    centre = near[AT["head_centre"]]
    skin = crowd.shades[p][SLOT["skin"]]
    shown = {name: near[AT[name]] - centre > limit for name, limit in FACING.items()}
    for side in _SIDES:
        if shown[f"{side}_eye"]:
            eye = spots[AT[f"{side}_eye"]]
            if not sketch:
                _disc(image, eye, 0.19 * radius, (240, 240, 236))
            _disc(image, eye, 0.12 * radius, (28, 22, 30))
    if shown["nose"]:
        nose = spots[AT["nose"]]
        _disc(image, nose, 0.18 * radius, skin[0])
        if not sketch:
            _disc(image, nose, 0.10 * radius, skin[2])
    if sketch:
        return
    if crowd.looks.glasses_P[p] and shown["left_eye"] and shown["right_eye"]:
        a, b = spots[AT["left_eye"]], spots[AT["right_eye"]]
        _line(image, a, b, (30, 30, 36), 1)
        for eye in (a, b):
            cv2.circle(image, eye, round(0.27 * radius * ONE), (30, 30, 36), 1, cv2.LINE_AA, SHIFT)
    left, right = AT["left_mouth"], AT["right_mouth"]
    if min(near[left], near[right]) - centre > 0.01:
        _line(image, spots[left], spots[right], (150, 58, 58), 0.12 * radius)
