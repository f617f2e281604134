"""The samples of top-down pose estimation: boxes with at most one person to find, and batches of their crops.

As with whole images, what a batch holds depends on the data, the settings, the seed and the step only.

Shapes: K people of a data set; N people of a batch; J joints; H, W of the network input in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data.boxes import (
    Float64,
    PersonAugmentation,
    Transform,
    clipped_boxes,
    crop_matrices,
    crops,
    has_extent,
    lower_body,
    sample_crop,
)
from archsearch.data.dataset import Dataset
from archsearch.data.transforms import Matrix, apply, normalise, warp_batch, warped_batch
from archsearch.skeleton import MPII16

_CROP = 3  # keeps the stream of random numbers apart from those of data.batches


@dataclass(frozen=True, eq=False)
class Persons:
    """Boxes to find one person's joints in, in the order of the images."""

    images_K: NDArray[np.int64]  # into the data set's images
    boxes_K4: Float64  # x, y, width, height in pixels of the image, see boxes.has_extent
    scores_K: Float64  # of the boxes: how sure the detector is of a person there; 1 where they are annotated
    joints_KJ3: NDArray[np.float32]  # in pixels of the image; all zeros where nobody knows them
    source: str  # what boxes these are, in words
    annotated: bool = False  # one for each annotated person

    def __len__(self) -> int:
        return len(self.images_K)


@dataclass(frozen=True)
class Crop:
    """How a box comes to the network."""

    input_hw: tuple[int, int]  # pixels
    transform: Transform = "official"
    padding: float = 1.25  # of the box's sides, after they have grown to the input's ratio


@dataclass(frozen=True, eq=False)
class PersonBatch:
    """Crops ready for a network, and the joints that are to be found in them."""

    persons: tuple[int, ...]  # into the data set's persons
    images_N3HW: Tensor  # normalised float32
    joints_NJ3: Tensor  # x, y in pixels of the network input, on it or not, and visibility
    matrices_N23: Matrix  # from pixels of the image to pixels of the network input

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the network input in pixels."""
        return int(self.images_N3HW.shape[2]), int(self.images_N3HW.shape[3])

    def __len__(self) -> int:
        return len(self.persons)


def annotated_persons(dataset: Dataset) -> Persons:
    """The annotated people with at least one labelled joint and their boxes.

    Boxes are cut to the image, see :func:`clipped_boxes`; who has no area, or nothing left of the box, is left out. The
    squares of MPII, which are made from a place and a size, stay as they are.
    """
    images, boxes, joints = [], [], []
    for index, info in enumerate(dataset.images):
        own = info.boxes_P4.astype(np.float64)
        kept = np.ones(len(own), bool)
        if dataset.skeleton != MPII16:
            own = clipped_boxes(own, info.height, info.width)
            kept = (info.areas_P > 0) & has_extent(own)
        images.append(np.full(int(kept.sum()), index, np.int64))
        boxes.append(own[kept])
        joints.append(info.joints_PJ3[kept])
    empty = np.zeros((0, len(dataset.skeleton), 3), np.float32)
    images_K = np.concatenate([np.zeros(0, np.int64), *images])
    boxes_K4 = np.concatenate([np.zeros((0, 4)), *boxes])
    joints_KJ3 = np.concatenate([empty, *joints])
    return Persons(images_K, boxes_K4, np.ones(len(images_K)), joints_KJ3, "annotated boxes", annotated=True)


def train_batch(
    dataset: Dataset,
    persons: Persons,
    indices: Sequence[int],
    *,
    seed: int,
    step: int,
    crop: Crop,
    augmentation: PersonAugmentation,
    device: torch.device | str = "cpu",
    pixels_NHWC: Tensor | None = None,
    pool: Executor | None = None,
    first: int = 0,
) -> PersonBatch:
    """A training batch of the people ``indices``, augmented; the arguments are those of ``batches.make_batch``.

    Person k of the batch is augmented by random numbers from (seed, step, first + k) alone. Joints that leave the
    input keep their places: the targets cut them off. Raises ``InputError`` where a photo cannot be read.
    """
    chosen = list(indices)
    centres, sizes = crops(persons.boxes_K4[chosen], crop.input_hw, crop.padding)
    lower_J, flip = lower_body(dataset.skeleton), list(dataset.skeleton.flip)
    matrices_N23 = np.zeros((len(chosen), 2, 3))
    joints_NJ3 = np.zeros((len(chosen), len(dataset.skeleton), 3), np.float32)
    for k, index in enumerate(chosen):
        rng = np.random.default_rng([seed, _CROP, step, first + k])
        joints = persons.joints_KJ3[index]
        matrices_N23[k], mirrored = sample_crop(
            rng, centres[k], sizes[k], joints, lower_J, augmentation, crop.input_hw, crop.transform
        )
        joints = joints[flip] if mirrored else joints
        joints_NJ3[k, :, :2] = apply(matrices_N23[k], joints[:, :2])
        joints_NJ3[k, :, 2] = joints[:, 2]
    images = cropped(dataset, persons.images_K[chosen], matrices_N23, crop.input_hw, device, pixels_NHWC, pool)
    return PersonBatch(tuple(chosen), images, torch.from_numpy(joints_NJ3).to(device), matrices_N23)


def eval_matrices(boxes_K4: Float64, crop: Crop) -> Matrix:
    """The matrices (K, 2, 3) from the image to the network input with which boxes are evaluated."""
    return crop_matrices(*crops(boxes_K4, crop.input_hw, crop.padding), crop.input_hw, crop.transform)


def cropped(
    dataset: Dataset,
    images_N: NDArray[np.int64],
    matrices_N23: Matrix,
    input_hw: tuple[int, int],
    device: torch.device | str = "cpu",
    pixels_NHWC: Tensor | None = None,
    pool: Executor | None = None,
) -> Tensor:
    """What images ``images_N`` of a data set show through matrices: normalised float32 (N, 3, H, W).

    A photo that several people share is read once. ``pixels_NHWC`` and ``pool``: see :func:`train_batch`.
    """
    if pixels_NHWC is not None and pixels_NHWC.device.type != "cpu":
        picked = pixels_NHWC[torch.from_numpy(images_N).to(pixels_NHWC.device)]
        return normalise(warp_batch(picked, matrices_N23, input_hw, device))
    distinct = np.unique(images_N).tolist()

    def read(index: int) -> NDArray[np.uint8]:
        return dataset.read(index) if dataset.pixels_NHWC is None else dataset.pixels_NHWC[index]

    pixels = dict(zip(distinct, (pool.map if pool is not None else map)(read, distinct), strict=True))
    return warped_batch(lambda k: pixels[int(images_N[k])], matrices_N23, input_hw, device, pool)


def annotation_ids(dataset: Dataset, persons: Persons) -> list[int]:
    """The ids of the annotations that annotated people of MPII are, whom :func:`annotated_persons` all keeps."""
    ids: dict[int, list[int]] = {info.id: [] for info in dataset.images}
    for annotation in dataset.annotations["annotations"]:
        if any(annotation["keypoints"][2::3]):
            ids[annotation["image_id"]].append(annotation["id"])
    found = [identity for info in dataset.images for identity in ids[info.id]]
    assert len(found) == len(persons), f"{len(found)} annotations of {len(persons)} people"
    return found
