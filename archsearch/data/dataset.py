"""What a data set is to the rest of archsearch: images, the people in them, and COCO-format annotations.

Shapes: H, W image size in pixels; J joints of the skeleton; P people.
Coordinates are continuous pixels in COCO's convention: the centre of the upper left pixel is (0, 0) for a joint's
integer coordinates, as the official pipelines read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """One image and the people annotated in it."""

    id: int
    file: str
    height: int
    width: int
    joints_PJ3: NDArray[np.float32]  # x, y in pixels and visibility: 0 unlabelled, 1 covered, 2 visible
    boxes_P4: NDArray[np.float32]  # x, y, width, height in pixels
    areas_P: NDArray[np.float32]  # px^2, what OKS divides by
    ignore: tuple[Any, ...] = ()  # COCO segmentations (polygons or RLE) of crowds and people without joints


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with annotated people. ``read(i)`` gives image ``i`` as uint8 RGB (H, W, 3).

    ``annotations`` is the COCO keypoints JSON as a dict: what evaluators read. ``pixels_NHWC`` holds all images at once
    where they have one size and fit in memory (the embedded scenes), else it is None.
    """

    name: str
    skeleton: Skeleton
    images: tuple[ImageInfo, ...]
    annotations: dict[str, Any]
    read: Callable[[int], NDArray[np.uint8]]
    pixels_NHWC: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.images)


def some_images(dataset: Dataset, indices: list[int]) -> Dataset:
    """The data set of these images, in this order."""
    images = tuple(dataset.images[i] for i in indices)
    ids = {info.id for info in images}
    annotations = {
        **dataset.annotations,
        "images": [image for image in dataset.annotations["images"] if image["id"] in ids],
        "annotations": [a for a in dataset.annotations["annotations"] if a["image_id"] in ids],
    }
    pixels = None if dataset.pixels_NHWC is None else dataset.pixels_NHWC[indices]
    return Dataset(dataset.name, dataset.skeleton, images, annotations, _Picked(dataset.read, tuple(indices)), pixels)


def first_images(dataset: Dataset, count: int) -> Dataset:
    """At most ``count`` images of a data set, the first ones."""
    return dataset if len(dataset) <= count else some_images(dataset, list(range(count)))


def annotated_images(dataset: Dataset) -> Dataset:
    """The images with an annotation of any kind, crowds included: what the official pipelines train on."""
    ids = {annotation["image_id"] for annotation in dataset.annotations["annotations"]}
    indices = [i for i, info in enumerate(dataset.images) if info.id in ids]
    return dataset if len(indices) == len(dataset) else some_images(dataset, indices)


@dataclass(frozen=True)
class _Picked:
    """Reads image ``indices[i]`` of another data set."""

    read: Callable[[int], NDArray[np.uint8]]
    indices: tuple[int, ...]

    def __call__(self, i: int) -> NDArray[np.uint8]:
        return self.read(self.indices[i])
