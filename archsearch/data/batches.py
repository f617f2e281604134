"""Training and evaluation batches. What a batch holds depends on the data, the settings, the seed and the step only.

There is no random state to save: a run that stopped at step k goes on with ``indices_at(seed, k, ...)`` and
``make_batch(..., step=k)``, and several processes make their shares of one batch by giving their ``first`` position.

Shapes: N images; H, W of the network input in pixels; P the most people in an image of the batch; J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.segments import counted_pixels
from archsearch.data.transforms import (
    Augmentation,
    Matrix,
    augment_batch,
    in_turn,
    official_resize,
    resize_matrix,
    sample_matrix,
    warp,
    warp_joints,
    warped_batch,
    where_shown,
)

_ORDER, _AUGMENT = 1, 2  # keep the streams of random numbers apart


@dataclass(frozen=True, eq=False)
class Batch:
    """Images ready for a network, and what is to be learned from them."""

    indices: tuple[int, ...]  # into the data set's images
    images_N3HW: Tensor  # normalised float32
    joints_NPJ3: Tensor  # x, y in pixels of the network input, visibility; padding has visibility 0
    masks_NHW: Tensor | None  # bool, true where the heatmap loss counts; None: everywhere
    matrices_N23: Matrix  # from pixels of the image to pixels of the network input; transforms.inverse leads back

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        return int(self.images_N3HW.shape[2]), int(self.images_N3HW.shape[3])

    def __len__(self) -> int:
        return len(self.indices)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order in which an epoch visits ``n`` images: a permutation, from the seed and the epoch alone."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(n).astype(np.int64)


def indices_at(seed: int, step: int, batch: int, n: int) -> tuple[int, ...]:
    """The images of step ``step``: epochs follow each other without a gap, so a batch may span two of them.

    Raises ``ValueError`` where there is nothing to draw from.
    """
    if n < 1 or batch < 1 or step < 0:
        raise ValueError(f"no batch of {batch} from {n} images at step {step}")
    places = range(step * batch, (step + 1) * batch)
    orders = {epoch: epoch_order(seed, epoch, n) for epoch in range(places[0] // n, places[-1] // n + 1)}
    return tuple(int(orders[place // n][place % n]) for place in places)


def make_batch(
    dataset: Dataset,
    indices: Sequence[int],
    *,
    seed: int,
    step: int,
    size_px: int,
    augmentation: Augmentation,
    device: torch.device | str = "cpu",
    pixels_NHWC: Tensor | None = None,
    pool: Executor | None = None,
    first: int = 0,
) -> Batch:
    """A training batch: images ``indices``, augmented, at a square network input of ``size_px``.

    Image k of the batch is augmented by random numbers from (seed, step, first + k) alone.
    ``pixels_NHWC``: ``dataset.pixels_NHWC`` as a tensor on an accelerator, which then augments there.
    ``pool``: threads that read and warp photos side by side.
    Raises ``InputError`` where a photo cannot be read.
    """
    drawn = []
    for k, index in enumerate(indices):
        rng = np.random.default_rng([seed, _AUGMENT, step, first + k])
        info = dataset.images[index]
        drawn.append(sample_matrix(rng, info.height, info.width, size_px, augmentation))
    matrices_N23 = np.stack([matrix for matrix, _ in drawn]) if drawn else np.zeros((0, 2, 3))
    flipped = [flip for _, flip in drawn]
    outside = not augmentation.ignore_outside
    return _assemble(dataset, indices, matrices_N23, flipped, (size_px, size_px), outside, device, pixels_NHWC, pool)


def eval_batch(
    dataset: Dataset,
    indices: Sequence[int],
    size_px: int,
    device: torch.device | str = "cpu",
    *,
    multiple: int | None = None,
    pixels_NHWC: Tensor | None = None,
    pool: Executor | None = None,
) -> Batch:
    """An evaluation batch: whole images, as they are.

    Without ``multiple``, each fits into a square of ``size_px``. With it, the official way: short sides become
    ``size_px`` and both sides multiples of ``multiple`` (64). Raises ``ValueError`` where images of one batch then
    differ in size.
    """
    infos = [dataset.images[index] for index in indices]
    if multiple is None:
        size_hw = (size_px, size_px)
        matrices = [resize_matrix(info.height, info.width, size_px) for info in infos]
    else:
        resized = [official_resize(info.height, info.width, size_px, multiple) for info in infos]
        sizes = sorted({size for _, size in resized})
        if len(sizes) != 1:
            raise ValueError(f"images {list(indices)} come to different sizes {sizes}: not one batch")
        size_hw = sizes[0]
        matrices = [matrix for matrix, _ in resized]
    matrices_N23 = np.stack(matrices) if matrices else np.zeros((0, 2, 3))
    return _assemble(dataset, indices, matrices_N23, [False] * len(infos), size_hw, True, device, pixels_NHWC, pool)


def _assemble(
    dataset: Dataset,
    indices: Sequence[int],
    matrices_N23: Matrix,
    flipped: Sequence[bool],
    size_hw: tuple[int, int],
    outside_counts: bool,
    device: torch.device | str,
    pixels_NHWC: Tensor | None,
    pool: Executor | None,
) -> Batch:
    infos = [dataset.images[index] for index in indices]
    joints = [
        warp_joints(info.joints_PJ3, matrix, size_hw, dataset.skeleton.flip if flip else None)
        for info, matrix, flip in zip(infos, matrices_N23, flipped, strict=True)
    ]
    return Batch(
        tuple(int(index) for index in indices),
        _images(dataset, indices, matrices_N23, size_hw, device, pixels_NHWC, pool),
        torch.from_numpy(_padded(joints, len(dataset.skeleton))).to(device),
        _masks(infos, matrices_N23, size_hw, outside_counts, device, pool),
        matrices_N23,
    )


def _images(
    dataset: Dataset,
    indices: Sequence[int],
    matrices_N23: Matrix,
    size_hw: tuple[int, int],
    device: torch.device | str,
    pixels_NHWC: Tensor | None,
    pool: Executor | None,
) -> Tensor:
    if pixels_NHWC is not None:
        picked = pixels_NHWC[torch.as_tensor(list(indices), dtype=torch.long, device=pixels_NHWC.device)]
        return augment_batch(picked, matrices_N23, size_hw, device)
    if dataset.pixels_NHWC is not None:
        return augment_batch([dataset.pixels_NHWC[index] for index in indices], matrices_N23, size_hw, device)
    return warped_batch(lambda k: dataset.read(indices[k]), matrices_N23, size_hw, device, pool)


def _padded(joints: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """(N, P, J, 3): the people who still have a labelled joint, padded with zeros to the most in an image."""
    kept = [people[(people[..., 2] > 0).any(-1)] for people in joints]
    padded = np.zeros((len(kept), max((len(people) for people in kept), default=0), count, 3), np.float32)
    for row, people in zip(padded, kept, strict=True):
        row[: len(people)] = people
    return padded


def _masks(
    infos: Sequence[ImageInfo],
    matrices_N23: Matrix,
    size_hw: tuple[int, int],
    outside_counts: bool,
    device: torch.device | str,
    pool: Executor | None,
) -> Tensor | None:
    if outside_counts and not any(info.ignore for info in infos):
        return None
    masks = np.empty((len(infos), *size_hw), np.bool_)

    def place(k: int) -> None:
        info = infos[k]
        if not info.ignore:
            masks[k] = outside_counts or where_shown(matrices_N23[k], (info.height, info.width), size_hw)
            return
        grey, border = counted_pixels(info) * np.uint8(255), 255 if outside_counts else 0
        np.greater(warp(grey, matrices_N23[k], size_hw, border=border), 127, out=masks[k])

    in_turn(place, len(infos), pool)
    return torch.from_numpy(masks).to(device)
