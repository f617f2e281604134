"""From posed bodies to the polygons that are painted: limbs as tapered capsules, hulls of the trunk, outlines of heads.

Everything here is computed for all people of a scene at once, as fixed-point integers for OpenCV.

Shapes: P people; K points of a body; C capsules of a body; L layers of shading; N points of a polygon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.figure import AT, BELT, Bodies
from archsearch.data.looks import SLOT, Looks

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Colour = tuple[int, int, int]

SHIFT = 4  # fractional bits of polygon coordinates
ONE = 1 << SHIFT


def fixed(points: Floats) -> Ints:
    """Pixel coordinates as the fixed-point integers that OpenCV draws from."""
    return np.rint(points * ONE).astype(np.int32)


_T = np.linspace(0.0, 1.0, 6)


def capsule_normals(a: Floats, b: Floats, radius_a: Floats, radius_b: Floats) -> Floats:
    """Unit vectors (..., 12, 2) from the ends of tapered capsules to their outlines: 6 around a, then 6 around b.

    The outline ``centre + radius * normal`` is the convex hull of the circles around a and b (..., 2).
    """
    along = b - a
    x, y = along[..., 0], along[..., 1]
    angle = np.arctan2(y, x)[..., None]
    slope = (radius_a - radius_b) / np.maximum(np.hypot(x, y), 1e-6)
    tangent = np.arccos(np.clip(slope, -1, 1))[..., None]
    turn = np.concatenate(
        [angle + tangent + _T * (2 * np.pi - 2 * tangent), angle - tangent + _T * 2 * tangent], axis=-1
    )
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1)


def capsules(a: Floats, b: Floats, radius_a: Floats, radius_b: Floats) -> Floats:
    """Outlines (..., 12, 2) of tapered capsules from a to b (..., 2) with radii of shape (...)."""
    out = capsule_normals(a, b, radius_a, radius_b)
    out[..., :6, :] *= radius_a[..., None, None]
    out[..., 6:, :] *= radius_b[..., None, None]
    out[..., :6, :] += a[..., None, :]
    out[..., 6:, :] += b[..., None, :]
    return out


# Capsules: slot, from, to, radii in statures, and where along the bone they begin and end.
_CAPSULES: tuple[tuple[str, str, str, float, float, float, float], ...] = (
    ("neck", "neck", "head_centre", 0.031, 0.028, -0.1, 0.8),
    *(
        (f"{side}_{slot}", f"{side}_{a}", f"{side}_{b}", ra, rb, start, end)
        for slot, a, b, ra, rb, start, end in (
            ("upper_arm", "shoulder", "elbow", 0.037, 0.028, 0.0, 1.0),
            ("forearm", "elbow", "wrist", 0.028, 0.019, 0.0, 1.0),
            ("hand", "wrist", "hand", 0.019, 0.021, 0.0, 1.1),
            ("thigh", "hip", "knee", 0.055, 0.037, 0.0, 1.0),
            ("shin", "knee", "ankle", 0.038, 0.022, 0.0, 1.0),
            ("foot", "ankle", "toe", 0.024, 0.018, 0.05, 1.0),
            ("cuff", "elbow", "wrist", 0.023, 0.0215, 0.72, 0.92),
            ("sock", "knee", "ankle", 0.028, 0.025, 0.72, 0.94),
        )
        for side in ("left", "right")
    ),
)
_FROM = [AT[c[1]] for c in _CAPSULES]
_TO = [AT[c[2]] for c in _CAPSULES]
_RADII_C2 = np.array([c[3:5] for c in _CAPSULES])
_SPAN_2C1 = np.array([c[5:7] for c in _CAPSULES]).T[..., None]
CAPSULE: Mapping[str, int] = {c[0]: i for i, c in enumerate(_CAPSULES)}
assert all(SLOT[name] == i for name, i in CAPSULE.items()), "capsules and colours are in one order"

# Layers of shading: share of the radius, shift of the centre towards the light in radii, brightness.
_LAYERS = ((1.0, 0.0, 0.72), (0.78, 0.17, 1.0), (0.36, 0.38, 1.13))
_GROW, _TOWARDS, _BRIGHT = (np.array(x) for x in zip(*_LAYERS, strict=True))
_TRUNK_GROW = np.array([1.0, 0.88, 0.50])[:, None, None]
_TRUNK_TOWARDS = np.array([0.0, 0.008, 0.020])[:, None, None]

_CIRCLE = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_UNIT_N2 = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=-1)
# Polygons of a head, of 16 points each.
SKULL, CROWN, FACE, CHEEKS, TRESSES, LOCKS, HAT, CAP = range(8)

# How near, in statures from the middle of the head, a point of the face must be to be seen.
FACING: Mapping[str, float] = {"nose": -0.012, "left_eye": 0.006, "right_eye": 0.006}
EAR_SEEN = -0.018


@dataclass(frozen=True, eq=False)
class Crowd:
    """Everyone in a scene in pixels, ready to paint.

    ``points_PK3`` are the points of :data:`archsearch.data.figure.POINTS`; polygons are lists by person; ``spots`` are
    the points in fixed-point integers; ``near`` how far, in statures, a point is in front of the pelvis.
    """

    points_PK3: Floats
    stature_px_P: Floats
    girth_P: Floats
    looks: Looks
    limbs: list[list[list[Ints]]]  # [person][capsule][layer]
    trunks: list[list[list[Ints]]]  # [person][trousers, shirt][layer]
    belts: Floats  # rings of the shirt in pixels, (P, R, M, 2)
    heads: list[list[Ints]]  # [person][SKULL .. CAP]
    forward: list[float]  # 1: the head faces the camera, -1: away from it
    face_seen: list[bool]
    shades: list[list[list[Colour]]]  # [person][slot][dark, plain, lit]
    spots: list[list[list[int]]]  # [person][point]
    near: list[list[float]]  # [person][point]


def place(
    bodies: Bodies,
    looks: Looks,
    pelvis_px_P2: Floats,
    stature_px_P: Floats,
    light_xy: tuple[float, float],
    gain_P: Floats,
) -> Crowd:
    """Put bodies into the image (weak perspective) and make their polygons.

    Args:
        bodies: from :func:`archsearch.data.figure.pose_bodies`.
        looks: what they wear.
        pelvis_px_P2: where the pelvises are, in pixels.
        stature_px_P: how many pixels one stature is.
        light_xy: unit vector in the image, towards the light.
        gain_P: how much light each person gets; 1 is neutral.
    """
    light = np.array(light_xy)
    scale = stature_px_P[:, None, None]
    points = bodies.points_PK3 * scale
    points[..., :2] += pelvis_px_P2[:, None]
    rings = bodies.rings_PRM3[..., :2] * scale[..., None] + pelvis_px_P2[:, None, None]
    shades = looks.colours_PS3[:, :, None] * (_BRIGHT[:, None] * gain_P[:, None, None, None])
    heads, forward, face_seen = _heads(bodies, points[:, AT["head_centre"], :2], stature_px_P, light)
    return Crowd(
        points_PK3=points,
        stature_px_P=stature_px_P,
        girth_P=bodies.builds_PB[:, 4],
        looks=looks,
        limbs=[[list(c) for c in person] for person in _limbs(points, stature_px_P * bodies.builds_PB[:, 4], light)],
        trunks=_trunks(rings, stature_px_P, light),
        belts=rings[:, BELT:],
        heads=[list(head) for head in heads],
        forward=forward.tolist(),
        face_seen=face_seen.tolist(),
        shades=np.clip(shades, 0, 255).astype(int).tolist(),
        spots=fixed(points[..., :2]).tolist(),
        near=bodies.points_PK3[..., 2].tolist(),
    )


def _limbs(points_PK3: Floats, girth_px_P: Floats, light: Floats) -> Ints:
    """Capsules (P, C, L, 12, 2) of limbs in fixed-point integers."""
    start, end = points_PK3[:, _FROM, :2], points_PK3[:, _TO, :2]
    bone = end - start
    a, b = start + _SPAN_2C1[0] * bone, start + _SPAN_2C1[1] * bone
    radii = _RADII_C2 * girth_px_P[:, None, None]
    rim = capsule_normals(a, b, radii[..., 0], radii[..., 1])
    rim[..., :6, :] *= radii[..., :1, None]
    rim[..., 6:, :] *= radii[..., 1:, None]
    out = rim[:, :, None] * _GROW[:, None, None]
    towards = (radii[..., :1] * _TOWARDS)[..., None] * light
    out[..., :6, :] += (a[:, :, None] + towards)[..., None, :]
    out[..., 6:, :] += (b[:, :, None] + towards)[..., None, :]
    return fixed(out)


def _trunks(rings_PRM2: Floats, stature_px_P: Floats, light: Floats) -> list[list[list[Ints]]]:
    """Layers of the hulls of trousers and shirt, shrunk towards the middle of their rings."""
    sections = (slice(0, BELT + 1), slice(BELT, None))
    middles = [rings_PRM2[:, rows].mean(axis=(1, 2)) * ONE for rows in sections]
    towards = _TRUNK_TOWARDS * (ONE * stature_px_P[:, None] * light)[:, None, None]
    points = (rings_PRM2 * ONE).astype(np.float32)
    trunks = []
    for p in range(len(points)):
        layers = []
        for rows, middle in zip(sections, middles, strict=True):
            hull = cv2.convexHull(points[p, rows].reshape(-1, 2))[:, 0]
            centre = middle[p]
            layers.append(list((_TRUNK_GROW * (hull - centre) + (centre + towards[p])).astype(np.int32)))
        trunks.append(layers)
    return trunks


def _heads(
    bodies: Bodies, centre_P2: Floats, stature_px_P: Floats, light: Floats
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Polygons (P, 8, 16, 2) of heads in fixed-point integers; how far they face the camera; whether faces show."""
    sphere = bodies.head_P33 * stature_px_P[:, None, None]
    flat = sphere[:, :2]
    m = flat @ flat.swapaxes(1, 2)  # the silhouette is the ellipse x' m^-1 x = 1; its root maps the unit circle to it
    m00, m01, m11 = m[:, 0, 0], m[:, 0, 1], m[:, 1, 1]
    root_det = np.sqrt(np.maximum(m00 * m11 - m01 * m01, 1e-9))
    half = (m + root_det[:, None, None] * np.eye(2)) / np.sqrt(m00 + m11 + 2 * root_det)[:, None, None]
    skull = _UNIT_N2 @ half
    glow = (stature_px_P[:, None] * light)[:, None]
    up = flat[:, None, :, 1]
    height = np.hypot(up[..., 0], up[..., 1])[..., None] + 1e-9
    upward = up / height

    rim = bodies.rim_PN3 * stature_px_P[:, None, None]
    x, y = rim[..., 0], rim[..., 1]
    reach = (m11[:, None] * x * x - 2 * m01[:, None] * x * y + m00[:, None] * y * y) / root_det[:, None] ** 2
    behind = rim[..., 2] < 0  # what lies behind is seen at the silhouette
    face = np.where(behind[..., None], rim[..., :2] / np.sqrt(np.maximum(reach, 1e-9))[..., None], rim[..., :2])
    middle = face.mean(axis=1, keepdims=True)
    along = (skull * upward).sum(axis=-1, keepdims=True)
    nape = -0.3 * flat[:, None, :, 2]
    tresses = 1.08 * skull + nape - np.where(along < 0, 0.9 * up, 0.0)
    hat = 1.10 * skull + upward * np.maximum(0.40 * height - 1.06 * along, 0)
    out = np.stack(
        [
            skull,
            0.74 * skull + 0.012 * glow + 0.12 * up,
            face,
            middle + 0.88 * (face - middle) + 0.006 * glow,
            tresses,
            0.72 * tresses + 0.010 * glow,
            hat,
            0.72 * hat + 0.22 * up + 0.006 * glow,
        ],
        axis=1,
    )
    forward = sphere[:, 2, 2] / np.linalg.norm(sphere[:, :, 2], axis=1)
    face_seen = (forward > -0.5) & (rim[..., 2].max(axis=1) > 0)
    return fixed(out + centre_P2[:, None, None]), forward, face_seen
