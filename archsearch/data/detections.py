"""Boxes of people that a detector found, in COCO's detections format: a list of image_id, category_id, bbox, score.

Source: cocodataset.org/#format-results.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.data.boxes import Float64, has_extent
from archsearch.data.dataset import Dataset
from archsearch.data.faults import ID_LIMIT, POSITION_LIMIT, is_number, whole
from archsearch.data.persons import Persons
from archsearch.data.segments import shown
from archsearch.files import InputError, read_json


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of people by image, and how many of the file are not among them."""

    images_K: NDArray[np.int64]  # into the image ids that were asked for, rising
    boxes_K4: Float64  # x, y, width, height in pixels
    scores_K: Float64
    elsewhere: int  # boxes of other images
    others: int  # boxes of other categories, and boxes without extent


def read_detections(path: Path | str, image_ids: Sequence[int], categories: Collection[int] = (1,)) -> Detections:
    """The boxes of the images ``image_ids`` and of ``categories``, in the file's order within an image.

    Raises ``InputError`` with one line where the file is no such list, or holds no box of any of the images.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: {shown(content)}: a list of detections is needed")
    place = {image_id: index for index, image_id in enumerate(image_ids)}
    rows: list[tuple[int, list[float], float]] = []
    elsewhere = others = 0
    for i, raw in enumerate(content):
        image_id, category, box, score = _checked(raw, f"{path}: [{i}]")
        if category not in categories or not has_extent(np.array([box], np.float64))[0]:
            others += 1
        elif image_id not in place:
            elsewhere += 1
        else:
            rows.append((place[image_id], box, score))
    if elsewhere and not rows:
        raise InputError(f"{path}: none of its {elsewhere} boxes is of one of the {len(place)} images")
    rows.sort(key=lambda row: row[0])
    return Detections(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float64),
        elsewhere,
        others,
    )


def detected_persons(dataset: Dataset, path: Path | str) -> Persons:
    """A detector's boxes of people in a data set's images. Raises ``InputError`` as :func:`read_detections`."""
    categories = dataset.annotations["categories"]
    with_joints = [category["id"] for category in categories if category.get("keypoints")]
    people = [category["id"] for category in categories if category.get("name") == "person"]
    wanted = with_joints or people or [category["id"] for category in categories]
    found = read_detections(path, [info.id for info in dataset.images], wanted)
    joints_KJ3 = np.zeros((len(found.images_K), len(dataset.skeleton), 3), np.float32)
    left_out = [
        f"{count} {what}" for count, what in ((found.elsewhere, "of other images"), (found.others, "unusable")) if count
    ]
    source = f"boxes of {path}" + (f" ({', '.join(left_out)} left out)" if left_out else "")
    return Persons(found.images_K, found.boxes_K4, found.scores_K, joints_KJ3, source)


def _checked(raw: Any, where: str) -> tuple[int, int, list[float], float]:
    """Image id, category, box and score of one entry."""
    if not isinstance(raw, dict):
        raise InputError(f"{where} is {shown(raw)}, an object is needed")
    numbers = []
    for field in ("image_id", "category_id"):
        number = whole(raw.get(field), 0, ID_LIMIT)
        if number is None:
            what = f"is {shown(raw[field])}, an integer is needed" if field in raw else "is missing"
            raise InputError(f"{where}.{field} {what}")
        numbers.append(number)
    box, score = raw.get("bbox"), raw.get("score")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v, POSITION_LIMIT) for v in box):
        raise InputError(f"{where}.bbox is {shown(box)}, four numbers (x, y, width, height) are needed")
    if box[2] < 0 or box[3] < 0:
        raise InputError(f"{where}.bbox is {box}, of negative size")
    if not is_number(score, 1e6):
        raise InputError(f"{where}.score is {shown(score)}, a number is needed")
    return numbers[0], numbers[1], box, float(score)  # type: ignore[arg-type]
