"""The geometry of augmentation and of evaluation: matrices, warped images, warped joints.

Shapes: N images; H, W height and width in pixels; P people; J joints. A matrix (2, 3) maps the pixel-index coordinates
of the source to those of the network input: the centre of the upper left pixel is (0, 0), the image reaches from -0.5
to W - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)

Size = int | tuple[int, int]  # the side of a square, or (height, width), in pixels
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """How far a training image is turned, scaled, shifted. Raises ``ValueError`` on what is no augmentation."""

    rotation_deg: float  # uniform in -rotation_deg .. rotation_deg
    scale: tuple[float, float]  # side of the square crop over the image's reference side: uniform in low .. high
    shift: float  # the crop's centre moves by up to this part of the crop, in x and in y
    flip: float  # probability of a mirror image
    scale_reference: Literal["short", "long"] = "short"  # the side that scale 1 crops
    ignore_outside: bool = False  # the heatmap loss leaves out what lies outside of the image
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale {self.scale} is not 0 < low <= high")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip {self.flip} is not a probability")
        if not (0 <= self.rotation_deg <= 180 and 0 <= self.shift <= 1):
            raise ValueError(f"rotation_deg {self.rotation_deg} is not in 0..180, or shift {self.shift} not in 0..1")
        if self.scale_reference not in ("short", "long"):
            raise ValueError(f"scale_reference {self.scale_reference!r} is not one of ('short', 'long')")


# HigherHRNet and LitePose. Theirs warps an image's mask with zeros around it, which ignores what lies outside.
OFFICIAL = Augmentation(rotation_deg=30, scale=(0.75, 1.5), shift=0.2, flip=0.5, ignore_outside=True)
FAST = Augmentation(rotation_deg=20, scale=(0.75, 1.25), shift=0.12, flip=0.5)  # for the embedded scenes


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) of a size in pixels."""
    return (size, size) if isinstance(size, int) else size


def sample_matrix(
    rng: np.random.Generator, height: int, width: int, size_px: int, aug: Augmentation
) -> tuple[Matrix, bool]:
    """A random matrix (2, 3) from an image to a square input of ``size_px``, and whether it mirrors.

    Five numbers are drawn, whatever the settings, so that a setting does not change what another one draws.
    A mirror image has x' = size_px - 1 - x: give the skeleton's ``flip`` to :func:`warp_joints`.
    """
    u_scale, u_angle, u_x, u_y, u_flip = rng.random(5)
    low, high = aug.scale
    reference = min(height, width) if aug.scale_reference == "short" else max(height, width)
    crop = reference * (low + (high - low) * u_scale)
    angle = math.radians(aug.rotation_deg * (2 * u_angle - 1))
    centre_x = (width - 1) / 2 + aug.shift * crop * (2 * u_x - 1)
    centre_y = (height - 1) / 2 + aug.shift * crop * (2 * u_y - 1)
    cos, sin = math.cos(angle) * size_px / crop, math.sin(angle) * size_px / crop
    middle = (size_px - 1) / 2
    flipped = bool(u_flip < aug.flip)
    sign = -1.0 if flipped else 1.0
    matrix = np.array(
        [
            [sign * cos, -sign * sin, middle - sign * (cos * centre_x - sin * centre_y)],
            [sin, cos, middle - (sin * centre_x + cos * centre_y)],
        ]
    )
    return matrix, flipped


def resize_matrix(height: int, width: int, size_px: int) -> Matrix:
    """The matrix (2, 3) that fits a whole image, centred, into a square input of ``size_px``."""
    scale = size_px / max(height, width)
    return np.array(
        [
            [scale, 0.0, (size_px - 1) / 2 - scale * (width - 1) / 2],
            [0.0, scale, (size_px - 1) / 2 - scale * (height - 1) / 2],
        ]
    )


def official_resize(
    height: int, width: int, short_px: int, multiple: int = 64, *, scale: float = 1.0, smallest: float = 1.0
) -> tuple[Matrix, tuple[int, int]]:
    """The matrix (2, 3) and the input's (height, width) with which the official pipelines evaluate.

    The short side goes to ``short_px`` (up to a multiple), the long one keeps the ratio and is padded on both sides to
    a multiple. Unlike :func:`resize_matrix` theirs maps the image's middle, rounded to a whole number, to half of the
    input's size.

    In a test at several scales the input of the ``smallest`` one has sides of multiples, and the one of ``scale`` is as
    many times larger (HigherHRNet's released code).
    """
    least = int((smallest * short_px + multiple - 1) // multiple * multiple)

    def fitted(side: int) -> int:
        """The side at this scale; the released code cuts off what rounding errors leave below a whole number."""
        at_smallest = int((least / min(height, width) * side + multiple - 1) // multiple) * multiple
        return round(at_smallest * scale / smallest)

    short_side = round(least * scale / smallest)
    out_height, out_width = (fitted(height), short_side) if width < height else (short_side, fitted(width))
    zoom = short_side / min(height, width)
    centre_x, centre_y = int(width / 2 + 0.5), int(height / 2 + 0.5)
    matrix = np.array([[zoom, 0.0, out_width / 2 - zoom * centre_x], [0.0, zoom, out_height / 2 - zoom * centre_y]])
    return matrix, (out_height, out_width)


def inverse(matrix_23: Matrix) -> Matrix:
    """The matrices (..., 2, 3) that map back. Raises ``ValueError`` where one flattens the image."""
    linear = matrix_23[..., :2]
    if not np.all(np.abs(np.linalg.det(linear)) > 1e-12):
        raise ValueError(f"matrix {matrix_23.tolist()} has no inverse")
    back = np.linalg.inv(linear)
    return np.concatenate([back, -back @ matrix_23[..., 2:]], axis=-1)


def apply(matrix_23: Matrix, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (..., 2) mapped by one matrix (2, 3)."""
    return xy.astype(np.float64) @ matrix_23[:, :2].T + matrix_23[:, 2]


def warp(image: NDArray[np.uint8], matrix_23: Matrix, size: Size, *, border: int = 0) -> NDArray[np.uint8]:
    """An image (H, W[, C]) seen through a matrix: bilinear, ``border`` (black) where the image does not reach."""
    height, width = height_width(size)
    value = (border,) * 4
    warped = cv2.warpAffine(image, matrix_23, (width, height), flags=cv2.INTER_LINEAR, borderValue=value)
    return np.asarray(warped, np.uint8)


def where_shown(matrix_23: Matrix, source_hw: tuple[int, int], size: Size) -> NDArray[np.bool_]:
    """(H, W): true where an input shows the image, that is where a pixel's centre lies on one of the image's pixels.

    Row by row between two ends, in a fifth of the time that warping a white image takes.
    """
    height, width = height_width(size)
    back = inverse(matrix_23)
    rows = np.arange(height)
    first, last = np.zeros(height), np.full(height, width - 1.0)
    for (along, down, offset), side in zip(back, source_hw[::-1], strict=True):
        start = down * rows + offset  # the source position at x = 0; it moves by `along` with x
        if abs(along) < 1e-12:
            outside = (start < -0.5) | (start > side - 0.5)
            last[outside] = -1
            continue
        ends = np.sort([(-0.5 - start) / along, (side - 0.5 - start) / along], axis=0)
        first, last = np.maximum(first, ends[0]), np.minimum(last, ends[1])
    from_H1, to_H1 = (np.clip(end, -1, width).astype(np.int16)[:, None] for end in (np.ceil(first), np.floor(last)))
    columns = np.arange(width, dtype=np.int16)
    return np.asarray((columns >= from_H1) & (columns <= to_H1))


def warp_batch(images_NHWC: Tensor, matrices_N23: Matrix, size: Size, device: torch.device | str) -> Tensor:
    """:func:`warp` of images of one size on any device: grey levels 0..255 as float32 (N, 3, H, W).

    Agrees with OpenCV to about one grey level: OpenCV rounds positions to 1/32 pixel and grey levels to integers.
    """
    count, in_height, in_width, channels = images_NHWC.shape
    height, width = height_width(size)
    back = inverse(matrices_N23)
    # From output positions u in [-1, 1] (x' = ((u + 1) W' - 1) / 2) to source ones in [-1, 1] (u = (2 x + 1) / W - 1).
    to_pixels = np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])
    to_unit = np.array([[2 / in_width, 0, 1 / in_width - 1], [0, 2 / in_height, 1 / in_height - 1]])
    full = np.concatenate([back, np.broadcast_to([[[0.0, 0.0, 1.0]]], (count, 1, 3))], axis=1)
    theta = torch.from_numpy((to_unit @ full @ to_pixels).astype(np.float32)).to(device)
    grid = F.affine_grid(theta, [count, channels, height, width], align_corners=False)
    images = images_NHWC.to(device).permute(0, 3, 1, 2).float()
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def normalise(images_N3HW: Tensor) -> Tensor:
    """Grey levels 0..255 (uint8 or float) less ImageNet's mean, over its deviation: float32, in channels-last order."""
    count, channels, height, width = images_N3HW.shape
    device = images_N3HW.device
    images_NHWC = images_N3HW.permute(0, 2, 3, 1)
    if device.type == "cpu" and images_N3HW.dtype == torch.uint8:
        out_NHWC = np.empty((count, height, width, channels), np.float32)
        for out, image in zip(out_NHWC, images_NHWC.numpy(), strict=True):
            normalise_into(out, image)
        return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)
    scale, offset = (t.to(device).repeat(width) for t in _scale_offset())
    # Whole rows at a time: broadcasting over three channels is ten times slower.
    rows = images_NHWC.float().reshape(count * height, width * channels)
    return torch.addcmul(offset, rows, scale).view(count, height, width, channels).permute(0, 3, 1, 2)


def _scale_offset() -> tuple[Tensor, Tensor]:
    """What each channel's grey levels are multiplied by, and what is then added: (3,) each."""
    offset = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return torch.tensor([1 / (255 * std) for std in IMAGENET_STD]), torch.tensor(offset)


def _levels() -> NDArray[np.float32]:
    """What each grey level of each channel becomes, (256, 1, 3): the same floats as arithmetic gives."""
    scale, offset = _scale_offset()
    table = torch.addcmul(offset, torch.arange(256.0)[:, None].expand(256, 3), scale)
    return np.ascontiguousarray(table.numpy()[:, None])


_LEVELS = _levels()


def normalise_into(out_HW3: NDArray[np.float32], image_HW3: NDArray[np.uint8]) -> None:
    """:func:`normalise` of one image, written to an array of its shape: looked up, which takes a third of the time."""
    cv2.LUT(image_HW3, _LEVELS, dst=out_HW3)


def augment_batch(
    images: Tensor | Sequence[NDArray[np.uint8]], matrices_N23: Matrix, size: Size, device: torch.device | str
) -> Tensor:
    """Warped and normalised images, float32 (N, 3, H, W), the fastest way there is on the device.

    ``images``: arrays (H, W, 3) of any sizes, warped one by one by OpenCV on the CPU; or, on an accelerator, a uint8
    tensor (N, H, W, 3) that is there already, warped as a batch.
    """
    if isinstance(images, Tensor):
        if images.device.type != "cpu":
            return normalise(warp_batch(images, matrices_N23, size, device))
        images = list(images.numpy())
    return warped_batch(lambda k: images[k], matrices_N23, size, device)


def warped_batch(
    read: Callable[[int], NDArray[np.uint8]],
    matrices_N23: Matrix,
    size: Size,
    device: torch.device | str,
    pool: Executor | None = None,
) -> Tensor:
    """The images ``read(0)``, ``read(1)`` ... warped by OpenCV and normalised, float32 (N, 3, H, W) on the device.

    ``pool``: threads that read and warp side by side. An accelerator is given bytes and normalises them itself.
    """
    count, (height, width) = len(matrices_N23), height_width(size)
    if torch.device(device).type != "cpu":
        bytes_NHWC = np.empty((count, height, width, 3), np.uint8)

        def place_bytes(k: int) -> None:
            bytes_NHWC[k] = warp(read(k), matrices_N23[k], size)

        in_turn(place_bytes, count, pool)
        return normalise(torch.from_numpy(bytes_NHWC).to(device).permute(0, 3, 1, 2))
    out_NHWC = np.empty((count, height, width, 3), np.float32)

    def place(k: int) -> None:
        normalise_into(out_NHWC[k], warp(read(k), matrices_N23[k], size))

    in_turn(place, count, pool)
    return torch.from_numpy(out_NHWC).permute(0, 3, 1, 2)


def in_turn(function: Callable[[int], None], count: int, pool: Executor | None) -> None:
    """``function(0)`` .. ``function(count - 1)``, side by side where there is a pool; raises what they raise."""
    for _ in (pool.map if pool is not None else map)(function, range(count)):
        pass


def warp_joints(
    joints_PJ3: NDArray[np.float32], matrix_23: Matrix, size: Size, flip: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Joints (P, J, 3) where a matrix puts them; those that it puts outside of the input become unlabelled (zeros).

    ``flip``: the skeleton's, where the matrix mirrors: joint j of the result is joint ``flip[j]`` of the source.
    """
    joints = joints_PJ3 if flip is None else joints_PJ3[:, list(flip)]
    height, width = height_width(size)
    xy = apply(matrix_23, joints[..., :2])
    inside = (xy >= -0.5).all(-1) & (xy[..., 0] < width - 0.5) & (xy[..., 1] < height - 0.5) & (joints[..., 2] > 0)
    warped = np.concatenate([xy, joints[..., 2:]], axis=-1)
    return np.where(inside[..., None], warped, 0).astype(np.float32)
