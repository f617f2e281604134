"""Where the boxes of a top-down network come from when it is let loose on photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsearch.files import InputError

if TYPE_CHECKING:
    from archsearch.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and the boxes to look for people in."""

    image_HW3: NDArray[np.uint8]
    boxes_K4: NDArray[np.float64]  # x, y, width, height in pixels
    scores_K: NDArray[np.float64]  # of the boxes


@dataclass(frozen=True, eq=False)
class BoxSource:
    """Reads photos together with their boxes; ``words`` say what boxes they are."""

    words: str
    read: Callable[[Path], Photo]


def box_source(
    photos: Sequence[Path], annotations: Path | None, detections: Path | None, skeleton: Skeleton
) -> BoxSource:
    """The boxes of photos: annotated, detected, or without both the whole image as one box.

    Detections name images by number: that of ``annotations``, or without them the number that is the photo's name.
    Raises ``InputError`` where a file is wrong or a photo is not in it.
    """
    if annotations is not None:
        return _listed(photos, annotations, detections, skeleton)
    if detections is not None:
        return _numbered(photos, detections)
    return BoxSource("the whole image as one box (people's boxes: --annotations or --detections)", _whole)


def _whole(path: Path) -> Photo:
    from archsearch.data.photos import read_image

    image = read_image(path, upright=True)
    height, width = image.shape[:2]
    return Photo(image, np.array([[0.0, 0.0, width, height]]), np.ones(1))


def _listed(photos: Sequence[Path], annotations: Path, detections: Path | None, skeleton: Skeleton) -> BoxSource:
    from archsearch.data.detections import detected_persons
    from archsearch.data.formats import load_annotated
    from archsearch.data.persons import annotated_persons

    folders = {path.parent for path in photos}
    if len(folders) != 1:
        raise InputError(f"{annotations}: the photos of its images must lie in one folder, not {len(folders)}")
    dataset = load_annotated(annotations, folders.pop(), skeleton=skeleton)
    persons = annotated_persons(dataset) if detections is None else detected_persons(dataset, detections)
    index_of = {info.file: index for index, info in enumerate(dataset.images)}
    for path in photos:
        if path.name not in index_of:
            raise InputError(f"{path}: {annotations} has no image of this name")
    words = f"annotated boxes of {annotations}" if detections is None else persons.source

    def read(path: Path) -> Photo:
        index = index_of[path.name]
        own = persons.images_K == index
        return Photo(dataset.read(index), persons.boxes_K4[own], persons.scores_K[own])

    return BoxSource(words, read)


def _numbered(photos: Sequence[Path], detections: Path) -> BoxSource:
    from archsearch.data.detections import read_detections
    from archsearch.data.photos import read_image

    for path in photos:
        if not path.stem.isdecimal():
            raise InputError(
                f"{path}: {detections} names images by number, which is not this photo's name; "
                "give --annotations, which knows the numbers of files"
            )
    found = read_detections(detections, [int(path.stem) for path in photos])
    place = {path: index for index, path in enumerate(photos)}

    def read(path: Path) -> Photo:
        own = found.images_K == place[path]
        return Photo(read_image(path), found.boxes_K4[own], found.scores_K[own])

    return BoxSource(f"boxes of {detections}", read)
