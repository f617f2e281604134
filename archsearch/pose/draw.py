"""Drawing people over an image.

Colours are those of Okabe and Ito (2008), told apart with any kind of colour vision. The core of a limb says which side
of the body it is on; its rim says whose it is.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.skeleton import Skeleton

Colour = tuple[int, int, int]
Image = NDArray[np.uint8]

LEFT: Colour = (86, 180, 233)  # sky blue
RIGHT: Colour = (213, 94, 0)  # vermilion
MIDDLE: Colour = (240, 228, 66)  # yellow
RIMS: tuple[Colour, ...] = ((0, 0, 0), (0, 158, 115), (204, 121, 167), (0, 114, 178), (255, 255, 255), (230, 159, 0))
GROUND_TRUTH: Colour = (255, 255, 255)

_FAINT = 0.45  # opacity of what has a low score
_SHIFT = 4  # cv2 takes coordinates in 1/16 px


def draw_people(
    image_HW3: Image,
    persons_KJX: ArrayLike,
    skeleton: Skeleton,
    *,
    ground_truth: ArrayLike | None = None,
    threshold: float = 0.05,
    faint_below: float = 0.2,
) -> Image:
    """A copy of the RGB image with people drawn over it, lines in proportion to each person's size.

    ``persons_KJX`` holds (x, y, score, ...) a joint in image pixels. A joint is left out where its score is below
    ``threshold`` or 0, and faint below ``faint_below``; a limb is as sure as the less sure of its ends.
    ``ground_truth`` (P, J, 3) with COCO's visibilities is drawn on top as thin white lines.

    Raises ``ValueError`` where the image is not uint8 RGB or people have another number of joints.
    """
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3:
        raise ValueError(f"image of shape {image_HW3.shape} and type {image_HW3.dtype}: uint8 (H, W, 3) needed")
    canvas: Image = np.ascontiguousarray(image_HW3).copy()
    for k, joints in enumerate(_checked(persons_KJX, skeleton, "persons")):
        shown = (joints[:, 2] >= threshold) & (joints[:, 2] > 0)
        sure = shown & (joints[:, 2] >= faint_below)
        thickness, rim = _thickness(joints, shown, canvas), RIMS[k % len(RIMS)]
        if (shown & ~sure).any():
            layer = canvas.copy()
            _draw_person(layer, joints, shown, skeleton, rim, thickness)
            cv2.addWeighted(layer, _FAINT, canvas, 1 - _FAINT, 0, dst=canvas)
        _draw_person(canvas, joints, sure, skeleton, rim, thickness)
    if ground_truth is not None:
        for joints in _checked(ground_truth, skeleton, "ground_truth"):
            labelled = joints[:, 2] > 0
            thin = max(1, _thickness(joints, labelled, canvas) // 3)
            _draw_person(canvas, joints, labelled, skeleton, None, thin, core=GROUND_TRUTH)
    return canvas


def _checked(persons: ArrayLike, skeleton: Skeleton, name: str) -> NDArray[np.float64]:
    array = np.asarray(persons, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, len(skeleton), 3))
    if array.ndim != 3 or array.shape[1] != len(skeleton) or array.shape[2] < 3:
        raise ValueError(f"{name} of shape {array.shape}: (K, {len(skeleton)}, 3 or more) needed for {skeleton.name}")
    return array


def _thickness(joints_J3: NDArray[np.float64], shown_J: NDArray[np.bool_], canvas: Image) -> int:
    """Width of a limb's core in px: 1/60 of the diagonal of the box around the joints, and no more of the image's."""
    if not shown_J.any():
        return 1
    diagonal = min(np.hypot(*np.ptp(joints_J3[shown_J, :2], axis=0)), np.hypot(*canvas.shape[:2]))
    return max(1, round(float(diagonal) / 60))


def _side(joint: str) -> Colour:
    return LEFT if joint.startswith("left_") else RIGHT if joint.startswith("right_") else MIDDLE


def _draw_person(
    canvas: Image,
    joints_J3: NDArray[np.float64],
    shown_J: NDArray[np.bool_],
    skeleton: Skeleton,
    rim: Colour | None,
    thickness: int,
    core: Colour | None = None,
) -> None:
    """Draw into ``canvas``: all rims first, so that no rim cuts another limb's core."""
    reach = 4.0 * max(canvas.shape)  # keeps far-off joints within cv2's integers
    points = [(round(x), round(y)) for x, y in np.clip(joints_J3[:, :2], -reach, reach) * (1 << _SHIFT)]
    limbs = []
    for a, b in skeleton.limbs:
        if shown_J[a] and shown_J[b]:
            sides = {_side(skeleton.joints[a]), _side(skeleton.joints[b])} - {MIDDLE}
            limbs.append((points[a], points[b], core or (sides.pop() if len(sides) == 1 else MIDDLE)))
    edge = max(1, thickness // 2)
    if rim is not None:
        for start, end, _ in limbs:
            cv2.line(canvas, start, end, rim, thickness + 2 * edge, cv2.LINE_AA, _SHIFT)
    for start, end, colour in limbs:
        cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
    for j in np.flatnonzero(shown_J):
        radius = round(max(1.0, 0.9 * thickness) * (1 << _SHIFT))
        if rim is not None:
            cv2.circle(canvas, points[j], radius + (edge << _SHIFT), rim, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, points[j], radius, core or _side(skeleton.joints[j]), -1, cv2.LINE_AA, _SHIFT)
