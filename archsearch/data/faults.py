"""What can be wrong with the entries of a COCO keypoints JSON. Reading a data set refuses the first fault; checking one
lists them all.

Sources: cocodataset.org/#format-data; the CrowdPose API for what may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from archsearch.data.segments import shown
from archsearch.skeleton import Skeleton

SIDE_LIMIT_PX = 32766  # OpenCV warps no larger image
POSITION_LIMIT = 1e6  # pixels; anything farther out is no position
ID_LIMIT = 2**53  # what every JSON reader and evaluator can hold


class Fault(NamedTuple):
    """One thing that is wrong: its kind, and one line that names the place and the value."""

    kind: str
    message: str


def whole(value: Any, low: int, high: int) -> int | None:
    """The integer that a JSON number is (7 and 7.0 are), None where it is none or not within ``low`` .. ``high``."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and low <= value <= high else None


def is_number(value: Any, limit: float) -> bool:
    """Whether a JSON value is a number within ``-limit`` .. ``limit``; NaN is not."""
    return type(value) in (int, float) and abs(value) <= limit  # NaN compares false, 10**400 compares right


def image_faults(raw: Any, where: str) -> Iterator[Fault]:
    """What is wrong with one entry of ``images``, duplicates apart."""
    if not isinstance(raw, dict):
        yield Fault("image_entry", f"{where} is {shown(raw)}, an object is needed")
        return
    yield from _integer(raw, "id", where, 0, ID_LIMIT, "image_id")
    for side in ("height", "width"):
        yield from _integer(raw, side, where, 1, SIDE_LIMIT_PX, "image_size")
    if "crowdIndex" in raw and not is_number(raw["crowdIndex"], 1e6):
        yield Fault("crowd_index", f"{where}.crowdIndex is {shown(raw['crowdIndex'])}, a number is needed")
    yield from file_name_faults(raw, "file_name", where)


def file_name_faults(raw: dict[str, Any], field: str, where: str) -> Iterator[Fault]:
    """What is wrong with the field that names an image's file: it must lie in the folder of images."""
    if field not in raw:
        yield Fault("file_name", f"{where}.{field} is missing")
        return
    name = raw[field]
    if not isinstance(name, str) or not name.strip():
        yield Fault("file_name", f"{where}.{field} is {shown(name)}, the name of a file is needed")
        return
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0]:
        yield Fault("file_name", f"{where}.{field} is {shown(name)}, which is not inside the folder of images")


def annotation_faults(
    raw: dict[str, Any], where: str, images: Mapping[int, dict[str, Any]], skeleton: Skeleton
) -> Iterator[Fault]:
    """What is wrong with one annotation of a category with keypoints: duplicates and segmentations apart.

    ``images``: the entries of ``images`` by their id.
    """
    image_id = list(_integer(raw, "image_id", where, 0, ID_LIMIT, "unknown_image"))
    yield from image_id
    if not image_id and whole(raw["image_id"], 0, ID_LIMIT) not in images:
        yield Fault("unknown_image", f"{where}.image_id is {shown(raw['image_id'])}, which no image has")
    if "keypoints" in raw:
        yield from _keypoint_faults(raw["keypoints"], f"{where}.keypoints", skeleton)
    else:
        yield Fault("keypoints", f"{where}.keypoints is missing")
    yield from _box_faults(raw, where)
    area = raw.get("area")
    if area is not None and not (is_number(area, POSITION_LIMIT**2) and area >= 0):
        yield Fault("area", f"{where}.area is {shown(area)}, a number of square pixels is needed")
    yield from _integer(raw, "id", where, 0, ID_LIMIT, "annotation_id")
    crowd = raw.get("iscrowd") or 0
    yield from _integer({"iscrowd": crowd}, "iscrowd", where, 0, 1, "iscrowd")
    if raw.get("num_keypoints") is not None:
        yield from _integer(raw, "num_keypoints", where, 0, len(skeleton), "num_keypoints")


def _integer(raw: dict[str, Any], field: str, where: str, low: int, high: int, kind: str) -> Iterator[Fault]:
    if field not in raw:
        yield Fault(kind, f"{where}.{field} is missing")
    elif whole(raw[field], low, high) is None:
        yield Fault(kind, f"{where}.{field} is {shown(raw[field])}, an integer from {low} to {high} is needed")


def _box_faults(raw: dict[str, Any], where: str) -> Iterator[Fault]:
    if "bbox" not in raw:
        yield Fault("bbox", f"{where}.bbox is missing")
        return
    box = raw["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v, POSITION_LIMIT) for v in box):
        yield Fault("bbox", f"{where}.bbox is {shown(box)}, four numbers (x, y, width, height) are needed")
    elif box[2] < 0 or box[3] < 0:
        yield Fault("bbox", f"{where}.bbox is {box}, of negative size")


def _keypoint_faults(value: Any, where: str, skeleton: Skeleton) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield Fault("keypoints", f"{where} is {shown(value)}, no list")
        return
    if len(value) != 3 * len(skeleton):
        joints = f"{len(value) // 3} joints" if len(value) % 3 == 0 else "not three a joint"
        yield Fault(
            "keypoints_length",
            f"{where} has {len(value)} numbers, {joints}; skeleton {skeleton.name} has {len(skeleton)} joints",
        )
        return
    numbers = set(map(type, value)) <= {int, float}
    if numbers and -POSITION_LIMIT <= min(value) <= max(value) <= POSITION_LIMIT and not math.isnan(sum(value)):
        if set(value[2::3]) <= {0, 1, 2}:
            return
    else:
        i = next(i for i, number in enumerate(value) if not is_number(number, POSITION_LIMIT))
        yield Fault("keypoints", f"{where}[{i}] is {shown(value[i])}, a number of pixels is needed")
        return
    i = next(i for i in range(2, len(value), 3) if value[i] not in (0, 1, 2))
    yield Fault("visibility", f"{where}[{i}] is {shown(value[i])}, a visibility is 0, 1 or 2")
