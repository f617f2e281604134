"""From the outputs of a bottom-up network to the maps that grouping takes, and from its positions to image pixels.

What HigherHRNet calls heatmap aggregation (Cheng et al. 2020, section 3.4): heatmaps of all resolutions are brought to
the finest and averaged; tags come from the coarsest. For a flip test the mirrored image goes through the network too,
for a multi-scale test the image at other sizes.

Shapes: N images, J joints, T tag maps a joint, K people; H x W is the size of the image at the network's input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

Activation = Literal["none", "sigmoid"]
Convention = Literal["official", "aligned"]
Maps = tuple[torch.Tensor, torch.Tensor]


def merge_scales(
    outputs: Sequence[torch.Tensor],
    joints: int,
    *,
    size_px: tuple[int, int] | None = None,
    activation: Activation = "none",
) -> Maps:
    """``(heatmaps_NJHW, tags_NJHWT)`` with T = 1 from a network's outputs, coarsest first.

    ``outputs`` are ``[(N, J+J, H/4, W/4), (N, J, H/2, W/2)]``, heatmaps before tags, or any number of resolutions of
    which the first carries the tags. ``activation`` is applied to the heatmaps of each resolution; they are then
    resized bilinearly (``align_corners=False``) to the finest resolution and averaged. ``size_px`` = (height, width)
    resizes both maps once more; the published pipelines go to the input's size before they look for peaks.

    Raises ``ValueError`` where the channels do not fit the number of joints.
    """
    if not outputs:
        raise ValueError("no outputs to merge")
    if activation not in ("none", "sigmoid"):
        raise ValueError(f"activation {activation!r} is not one of none, sigmoid")
    for i, output in enumerate(outputs):
        channels = 2 * joints if i == 0 else joints
        if output.ndim != 4 or output.shape[1] != channels:
            raise ValueError(
                f"output {i} of shape {tuple(output.shape)}: (N, {channels}, H, W) needed, {joints} joints"
            )
    finest = (outputs[-1].shape[2], outputs[-1].shape[3])
    heatmaps = [output[:, :joints] for output in outputs]
    if activation == "sigmoid":
        heatmaps = [h.sigmoid() for h in heatmaps]
    heatmap = torch.stack([_resized(h, finest) for h in heatmaps]).mean(dim=0)
    tags = _resized(outputs[0][:, joints:], finest)
    if size_px is not None:
        heatmap, tags = _resized(heatmap, size_px), _resized(tags, size_px)
    return heatmap, tags[..., None]


def merge_flip(plain: Maps, mirrored: Maps, flip: Sequence[int]) -> Maps:
    """The maps of an image and of the same image mirrored left to right, as one: (N, J, H, W) and (N, J, H, W, 2T).

    Both come from :func:`merge_scales`. The mirrored maps are mirrored back and their joints swapped by
    ``skeleton.flip``; heatmaps are averaged, while tags, whose values have no meaning across passes, become further
    tag dimensions.

    Raises ``ValueError`` where shapes differ or ``flip`` has another number of joints.
    """
    (heatmaps, tags), (mirrored_heatmaps, mirrored_tags) = plain, mirrored
    if heatmaps.shape != mirrored_heatmaps.shape or tags.shape != mirrored_tags.shape:
        raise ValueError(
            f"maps of shapes {tuple(heatmaps.shape)} and {tuple(tags.shape)} do not go with mirrored ones of "
            f"{tuple(mirrored_heatmaps.shape)} and {tuple(mirrored_tags.shape)}"
        )
    if len(flip) != heatmaps.shape[1]:
        raise ValueError(f"flip of {len(flip)} joints for maps of {heatmaps.shape[1]}")
    swap = list(flip)
    return (
        (heatmaps + mirrored_heatmaps.flip(3)[:, swap]) / 2,
        torch.cat((tags, mirrored_tags.flip(3)[:, swap]), dim=4),
    )


def merge_sizes(maps: Iterable[Maps], tags_of: int) -> Maps:
    """The maps of an image that a network saw at several sizes, as one: heatmaps (N, J, H, W), tags (N, J, H, W, T).

    All are resized bilinearly to the first one's H and W. Heatmaps are averaged; tags, whose values are learned at one
    size, are those of the size ``tags_of``, counted from 0 (HigherHRNet's released code, which goes from the largest
    size to the smallest and takes the tags of scale 1). ``maps`` are taken one after the other, so that a generator
    holds one size at a time.

    Raises ``ValueError`` where there is no such size.
    """
    total: torch.Tensor | None = None
    tags: torch.Tensor | None = None
    count = 0
    for count, (heatmaps, own_tags) in enumerate(maps, start=1):
        size = (heatmaps.shape[2], heatmaps.shape[3]) if total is None else (total.shape[2], total.shape[3])
        total = heatmaps if total is None else total + _resized(heatmaps, size)
        if count - 1 == tags_of:
            tags = torch.stack([_resized(tag, size) for tag in own_tags.unbind(4)], dim=4)
    if total is None or tags is None:
        raise ValueError(f"no maps of size {tags_of} among {count}")
    return total / count if count > 1 else total, tags


def to_image(
    persons_KJX: NDArray[np.float32], px_per_cell: float, convention: Convention = "official"
) -> NDArray[np.float32]:
    """People as :func:`archsearch.pose.decode.group` returns them, with x and y in pixels instead of cells.

    ``px_per_cell`` is image pixels per cell of the maps that were grouped: the stride, 1 for maps at input size.

    - "official": pixel = position * px_per_cell, as the published pipelines compute (their targets sit at
      ``int(x / stride)``, and half a cell makes up for what was cut off).
    - "aligned": pixel = position * px_per_cell - 0.5, for targets drawn around ``(x + 0.5) / stride - 0.5``, where cell
      and pixel edges coincide and the centre of pixel 0 is x = 0.

    A joint without a score is absent and stays at (0, 0).
    """
    if not px_per_cell > 0:
        raise ValueError(f"px_per_cell {px_per_cell} is not positive")
    if convention not in ("official", "aligned"):
        raise ValueError(f"convention {convention!r} is not one of official, aligned")
    shift = 0.5 if convention == "aligned" else 0.0
    persons = np.array(persons_KJX, dtype=np.float32)
    present = persons[..., 2:3] != 0
    persons[..., :2] = np.where(present, persons[..., :2] * px_per_cell - shift, 0)
    return persons


def _resized(maps_NJHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if maps_NJHW.shape[2:] == size:
        return maps_NJHW
    return interpolate(maps_NJHW, size=size, mode="bilinear", align_corners=False)
