"""One person's box and the network input: the geometry of top-down pose estimation.

A box grows to the input's ratio of sides, then by a padding; the crop that comes out is turned, scaled and mirrored in
training, and mapped to the input by one matrix. Sources: HRNet (Sun et al., CVPR 2019) and Lite-HRNet (Yu et al., CVPR
2021) with their released configurations; unbiased data processing (UDP: Huang et al., CVPR 2020).

Shapes: K people; J joints; H, W the network input in pixels. A box (4,) is x, y, width, height; a crop is its centre
(2,) as x, y and its size (2,) as width, height. All in pixel-index coordinates, see :mod:`archsearch.data.transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archsearch.data.transforms import Matrix
from archsearch.skeleton import Skeleton

Float64 = NDArray[np.float64]

# official: the crop's width is the input's number of pixels, its centre comes to pixel (W/2, H/2).
# udp: the crop's sides are the distances between the input's outermost pixel centres, (W - 1, H - 1), and its centre
# comes to their middle, so that a mirrored image has mirrored heatmaps.
Transform = Literal["official", "udp"]
TRANSFORMS: tuple[Transform, ...] = ("official", "udp")

HALF_BODY_PADDING = 1.5  # of the box around the joints of half a body
_LOWER = ("pelvis", "hip", "knee", "ankle", "heel", "foot", "toe")  # what names of joints below the waist contain


@dataclass(frozen=True)
class PersonAugmentation:
    """How far a person's crop is changed in training. Raises ``ValueError`` on what is no augmentation."""

    scale: float  # the crop's sides times 1 + scale * normal, within 1 - scale .. 1 + scale
    rotation_deg: float  # the crop is turned by rotation_deg * normal, within -2 .. 2 times rotation_deg
    rotation: float = 0.6  # probability of turning at all
    flip: float = 0.5  # probability of a mirror image
    half_body: float = 0.3  # probability of a crop around the upper or the lower body only
    half_body_joints: int = 8  # of people with more labelled joints than this
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)

    def __post_init__(self) -> None:
        if not (0 <= self.scale < 1 and 0 <= self.rotation_deg <= 90):
            raise ValueError(
                f"scale {self.scale} is not in 0..1 (1 excluded), or rotation_deg not: {self.rotation_deg}"
            )
        for name in ("rotation", "flip", "half_body"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} is not a probability")
        if self.half_body_joints < 0:
            raise ValueError(f"half_body_joints {self.half_body_joints} is negative")


HRNET = PersonAugmentation(scale=0.35, rotation_deg=45)
LITE_HRNET = PersonAugmentation(scale=0.25, rotation_deg=30)


def clipped_boxes(boxes_K4: ArrayLike, height: int, width: int) -> Float64:
    """Boxes cut to their image as HRNet's reader of COCO does it: from pixel centre to pixel centre, so that a box
    loses a pixel of its width and height. A box that lies outside altogether gets a negative side."""
    x, y, box_width, box_height = np.asarray(boxes_K4, np.float64).reshape(-1, 4).T
    left, top = np.maximum(x, 0), np.maximum(y, 0)
    right = np.minimum(width - 1, left + np.maximum(box_width - 1, 0))
    bottom = np.minimum(height - 1, top + np.maximum(box_height - 1, 0))
    return np.stack([left, top, right - left, bottom - top], axis=1)


def has_extent(boxes_K4: Float64) -> NDArray[np.bool_]:
    """Which boxes (K,) a crop can be made of: no side negative, and one positive."""
    return np.asarray((boxes_K4[:, 2:] >= 0).all(1) & (boxes_K4[:, 2:] > 0).any(1))


def crops(boxes_K4: ArrayLike, input_hw: tuple[int, int], padding: float) -> tuple[Float64, Float64]:
    """The crops (K, 2), (K, 2) of boxes: their centres; their shorter sides grown to the input's ratio, then padded."""
    boxes = np.asarray(boxes_K4, np.float64).reshape(-1, 4)
    return boxes[:, :2] + boxes[:, 2:] / 2, grown(boxes[:, 2:], input_hw) * padding


def grown(sizes_K2: Float64, input_hw: tuple[int, int]) -> Float64:
    """Sizes (..., 2) whose shorter side has grown to the input's ratio of sides."""
    ratio = input_hw[1] / input_hw[0]
    width, height = sizes_K2[..., 0], sizes_K2[..., 1]
    return np.stack([np.maximum(width, height * ratio), np.maximum(height, width / ratio)], axis=-1)


def crop_matrices(
    centres_K2: ArrayLike,
    sizes_K2: ArrayLike,
    input_hw: tuple[int, int],
    transform: Transform = "official",
    rotation_deg: ArrayLike = 0.0,
    mirrored: ArrayLike = False,
) -> Matrix:
    """Matrices (K, 2, 3) from the image to the network input, for crops turned about their centres.

    The input's upward direction is the image's, turned clockwise by ``rotation_deg`` (one angle or K). A mirrored crop
    (one flag or K) is what the mirrored image's crop shows: joints are to be swapped as :func:`warp_joints` does.
    Raises ``ValueError`` where a size is not positive.
    """
    centres = np.asarray(centres_K2, np.float64).reshape(-1, 2)
    sizes = np.asarray(sizes_K2, np.float64).reshape(-1, 2)
    if not (sizes > 0).all():
        raise ValueError(f"crops of sizes {sizes[~(sizes > 0).all(1)].tolist()}: width and height must be positive")
    height, width = input_hw
    if transform == "official":
        scales = np.repeat(width / sizes[:, :1], 2, axis=1)
        middle = np.array([width, height]) / 2
    elif transform == "udp":
        scales = np.array([width - 1, height - 1]) / sizes
        middle = np.array([width - 1, height - 1]) / 2
    else:
        raise ValueError(f"transform {transform!r} is not one of {TRANSFORMS}")
    angle = np.broadcast_to(np.deg2rad(np.asarray(rotation_deg, np.float64)), len(centres))
    sign = np.where(np.broadcast_to(np.asarray(mirrored, bool), len(centres)), -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos * sign, sin], -1), np.stack([-sin * sign, cos], -1)], -2)
    linear = scales[:, :, None] * turn
    shift = middle[:, None] - linear @ centres[:, :, None]
    return np.concatenate([linear, shift], axis=2)


# --------------------------------------------------------------------------------------------------------- augmentation


def lower_body(skeleton: Skeleton) -> NDArray[np.bool_]:
    """Which joints (J,) lie below the waist, by their names: hips, knees, ankles, feet, the pelvis."""
    return np.array([any(part in joint for part in _LOWER) for joint in skeleton.joints])


def half_body(
    joints_J3: NDArray[np.float32], lower_J: NDArray[np.bool_], input_hw: tuple[int, int], *, prefer_upper: bool
) -> tuple[Float64, Float64] | None:
    """The crop around the labelled joints above or below the waist: centre at their mean, sides 1.5 times their box.

    The preferred half is taken where it has over 2 labelled joints (the lower one also where ``prefer_upper`` finds too
    few), else the upper one. None where that has fewer than 2, or no extent, or the skeleton has no such halves.
    """
    labelled = joints_J3[:, 2] > 0
    upper, lower = labelled & ~lower_J, labelled & lower_J
    if not lower_J.any() or lower_J.all():
        return None
    upper_it_is = (prefer_upper and upper.sum() > 2) or lower.sum() <= 2
    chosen = upper if upper_it_is else lower
    if chosen.sum() < 2:
        return None
    points = joints_J3[chosen, :2].astype(np.float64)
    size = grown(np.ptp(points, axis=0), input_hw) * HALF_BODY_PADDING
    return (points.mean(axis=0), size) if (size > 0).all() else None


def sample_crop(
    rng: np.random.Generator,
    centre_2: Float64,
    size_2: Float64,
    joints_J3: NDArray[np.float32],
    lower_J: NDArray[np.bool_],
    augmentation: PersonAugmentation,
    input_hw: tuple[int, int],
    transform: Transform,
) -> tuple[Matrix, bool]:
    """A random matrix (2, 3) from the image to the network input for one person, and whether it mirrors.

    Six numbers are drawn, whatever the settings, so that a setting does not change what another one draws.
    """
    u_half, u_turn, u_flip = rng.random(3)
    n_part, n_scale, n_turn = rng.standard_normal(3)
    aug = augmentation
    if u_half < aug.half_body and (joints_J3[:, 2] > 0).sum() > aug.half_body_joints:
        # The released code compares a normal number with 0.5, so the upper half is preferred in 69 % of all cases.
        half = half_body(joints_J3, lower_J, input_hw, prefer_upper=bool(n_part < 0.5))
        centre_2, size_2 = half or (centre_2, size_2)
    size_2 = size_2 * np.clip(1 + aug.scale * n_scale, 1 - aug.scale, 1 + aug.scale)
    angle = np.clip(aug.rotation_deg * n_turn, -2 * aug.rotation_deg, 2 * aug.rotation_deg)
    mirrored = bool(u_flip < aug.flip)
    turned = float(angle) if u_turn < aug.rotation else 0.0
    return crop_matrices(centre_2, size_2, input_hw, transform, turned, mirrored)[0], mirrored
