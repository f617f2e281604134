"""Photo data sets in COCO's keypoints format: COCO, CrowdPose and your own.

Everything is checked before anything is trained: one line names the file, the field and the value that is wrong.

Shapes: H, W image size in pixels; J joints of the skeleton; P people.
Sources: cocodataset.org/#format-data; the CrowdPose API for people without an area.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.segments import checked_segments, shown
from archsearch.files import InputError, read_json
from archsearch.skeleton import SKELETONS, Skeleton

AREA_PER_BOX = 0.53  # CrowdPose API: a person without an area has this part of its box
SIDE_LIMIT_PX = 32766  # OpenCV warps no larger image
POSITION_LIMIT = 1e6  # pixels; anything farther out is no position
ID_LIMIT = 2**53  # what every JSON reader and evaluator can hold


def load_coco(annotations: Path | str, images: Path | str, *, skeleton: Skeleton | None = None) -> Dataset:
    """The data set that a COCO keypoints JSON and its folder of images describe.

    Without ``skeleton``, the one whose joint names the JSON's categories list; if they list none, a known one with as
    many joints as the annotations have. Images are in the order of the JSON. ``ImageInfo`` lists the people with at
    least one labelled joint; the segmentations of crowds and of people without labelled joints become ``ignore``.
    A missing ``area`` is 0.53 of the box's (CrowdPose), a missing ``num_keypoints`` is counted. ``annotations`` of the
    result has these filled in, and no segmentations. Annotations of categories without keypoints, where others have
    them, are left out.

    Raises ``InputError`` with one line where the JSON is malformed or an image file is missing; ``read(i)`` raises it
    where the file is no image or its size is not what the JSON says.
    """
    source, folder = Path(annotations), Path(images)
    content = _parse(source)
    for field in ("images", "annotations"):
        if not isinstance(content.get(field), list):
            raise InputError(f"{source}: {_no_list(content, field)}: a COCO keypoints file has one")
    categories, category_ids, names = _categories(content.get("categories"), source)
    if skeleton is None:
        skeleton = _known_skeleton(names, content["annotations"], source)
    elif names is not None:
        _check_names(names, skeleton, source)
    images_by_id = _images(content["images"], source)
    _check_files(images_by_id.values(), folder, source)

    all_ids = [category["id"] for category in categories]
    records: list[dict[str, Any]] = []
    people: dict[int, list[tuple[NDArray[np.float32], dict[str, Any]]]] = {}
    ignore: dict[int, list[Any]] = {}
    seen: set[int] = set()
    for i, raw in enumerate(content["annotations"]):
        where = f"{source}: annotations[{i}]"
        if not isinstance(raw, dict):
            raise InputError(f"{where} is {shown(raw)}, an object is needed")
        category = raw.get("category_id", category_ids[0])
        if category not in all_ids:
            raise InputError(f"{where}.category_id is {shown(category)}, which is none of the categories")
        if category not in category_ids:
            continue
        record, joints_J3 = _annotation(raw, where, images_by_id, skeleton)
        if record["id"] in seen:
            raise InputError(f"{where}.id is {record['id']}, as an earlier annotation's")
        seen.add(record["id"])
        record["category_id"] = int(category)
        records.append(record)
        image_id = record["image_id"]
        if not record["iscrowd"] and joints_J3[:, 2].any():
            people.setdefault(image_id, []).append((joints_J3, record))
        else:
            image = images_by_id[image_id]
            segments = checked_segments(raw.get("segmentation"), image["height"], image["width"], where)
            if segments is not None:
                ignore.setdefault(image_id, []).append(segments)

    infos = tuple(
        _info(image, people.get(i, []), ignore.get(i, []), len(skeleton)) for i, image in images_by_id.items()
    )
    cleaned = {
        "info": content.get("info", {}),
        "images": list(images_by_id.values()),
        "annotations": records,
        "categories": categories,
    }
    reader = partial(_read_checked, folder, infos, str(source))
    return Dataset(source.stem, skeleton, infos, cleaned, reader)


def read_image(path: Path | str, *, upright: bool = False) -> NDArray[np.uint8]:
    """The pixels of an image file as uint8 RGB (H, W, 3).

    ``upright`` turns them as the EXIF orientation says, as viewers do; annotations are made on pixels as they lie.

    Raises ``InputError`` where the file is missing, cut short or no image.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data:  # OpenCV 4 would fill the rest with grey
        raise InputError(f"{path}: a JPEG that is cut short ({len(data)} bytes)")
    try:
        flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise InputError(f"{path}: not an image that can be decoded ({len(data)} bytes)")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _read_checked(folder: Path, infos: tuple[ImageInfo, ...], source: str, index: int) -> NDArray[np.uint8]:
    info = infos[index]
    image = read_image(folder / info.file)
    if image.shape[:2] != (info.height, info.width):
        raise InputError(
            f"{folder / info.file}: {image.shape[1]} x {image.shape[0]} pixels; "
            f"image id {info.id} of {source} says {info.width} x {info.height}"
        )
    return image


def _parse(source: Path) -> dict[str, Any]:
    try:
        content = read_json(source)
    except InputError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{source}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: {shown(content)}: a COCO keypoints file is an object")
    return content


def _no_list(fields: dict[str, Any], name: str) -> str:
    return f"{name} is {shown(fields[name])}, no list" if name in fields else f"there is no list {name}"


def _required(fields: dict[str, Any], name: str, where: str) -> Any:
    if name not in fields:
        raise InputError(f"{where}.{name} is missing")
    return fields[name]


def _integer(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{where} is {shown(value)}, an integer from {low} to {high} is needed")
    return value


def _is_number(value: Any, limit: float) -> bool:
    return type(value) in (int, float) and abs(value) <= limit  # NaN compares false, 10**400 compares right


def _categories(value: Any, source: Path) -> tuple[list[dict[str, Any]], list[int], list[str] | None]:
    """The categories, the ids of those with keypoints (all, if none lists them) and the names of the keypoints."""
    if value is None or value == []:
        value = [{"id": 1, "name": "person"}]
    if not isinstance(value, list):
        raise InputError(f"{source}: categories is {shown(value)}, no list")
    names: list[str] | None = None
    ids: list[int] = []
    with_keypoints: list[int] = []
    for i, category in enumerate(value):
        where = f"{source}: categories[{i}]"
        if not isinstance(category, dict):
            raise InputError(f"{where} is {shown(category)}, an object is needed")
        ids.append(_integer(_required(category, "id", where), f"{where}.id", 0, ID_LIMIT))
        if ids[-1] in ids[:-1]:
            raise InputError(f"{where}.id is {ids[-1]}, as an earlier category's")
        keypoints = category.get("keypoints")
        if keypoints is None or keypoints == []:
            continue
        if not isinstance(keypoints, list) or not all(isinstance(name, str) for name in keypoints):
            raise InputError(f"{where}.keypoints is {shown(keypoints)}, a list of names is needed")
        if names is not None and keypoints != names:
            raise InputError(f"{where}.keypoints differ from an earlier category's: one skeleton at a time")
        names = keypoints
        with_keypoints.append(ids[-1])
    return [{**category, "id": i} for category, i in zip(value, ids, strict=True)], with_keypoints or ids, names


def _known_skeleton(names: list[str] | None, annotations: list[Any], source: Path) -> Skeleton:
    known = ", ".join(f"{s.name}: {len(s)}" for s in SKELETONS.values())
    advice = "describe it in a YAML file (name, joints, limbs, sigmas) and give that as the skeleton"
    if names is not None:
        for skeleton in SKELETONS.values():
            if [name.lower().replace(" ", "_") for name in names] == list(skeleton.joints):
                return skeleton
        raise InputError(
            f"{source}: the {len(names)} keypoints of categories, {shown(names)}, are not those of a known "
            f"skeleton ({known}): {advice}"
        )
    if not annotations:
        raise InputError(f"{source}: no annotations and no keypoints in categories: {advice}")
    first = annotations[0]
    keypoints = first.get("keypoints") if isinstance(first, dict) else None
    if not isinstance(keypoints, list):
        raise InputError(f"{source}: annotations[0].keypoints is missing: a COCO keypoints file is needed")
    for skeleton in SKELETONS.values():
        if len(keypoints) == 3 * len(skeleton):
            return skeleton
    raise InputError(
        f"{source}: annotations[0].keypoints has {len(keypoints)} numbers, {len(keypoints) // 3} joints, "
        f"which no known skeleton has ({known}): {advice}"
    )


def _check_names(names: list[str], skeleton: Skeleton, source: Path) -> None:
    if len(names) != len(skeleton):
        raise InputError(
            f"{source}: categories list {len(names)} keypoints; skeleton {skeleton.name} has {len(skeleton)} joints"
        )
    moved = [i for i, name in enumerate(names) if name in skeleton.joints and skeleton.joints[i] != name]
    if moved:
        raise InputError(
            f"{source}: keypoint {moved[0]} of categories is {names[moved[0]]}; "
            f"of skeleton {skeleton.name} it is {skeleton.joints[moved[0]]}"
        )


def _images(entries: list[Any], source: Path) -> dict[int, dict[str, Any]]:
    """The checked image entries by id, in the order of the file."""
    images: dict[int, dict[str, Any]] = {}
    for i, entry in enumerate(entries):
        where = f"{source}: images[{i}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is {shown(entry)}, an object is needed")
        identity = _integer(_required(entry, "id", where), f"{where}.id", 0, ID_LIMIT)
        if identity in images:
            raise InputError(f"{where}.id is {identity}, as an earlier image's")
        size = {
            side: _integer(_required(entry, side, where), f"{where}.{side}", 1, SIDE_LIMIT_PX)
            for side in ("height", "width")
        }
        name = _required(entry, "file_name", where)
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}.file_name is {shown(name)}, the name of a file is needed")
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0]:
            raise InputError(f"{where}.file_name is {shown(name)}, which is not inside the folder of images")
        images[identity] = {**entry, "id": identity, **size}
    return images


def _check_files(entries: Iterable[dict[str, Any]], folder: Path, source: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    listed: dict[str, set[str]] = {}
    for entry in entries:
        path = PurePosixPath(entry["file_name"])
        parent = str(path.parent)
        if parent not in listed:
            try:
                with os.scandir(folder / parent) as found:
                    listed[parent] = {item.name for item in found}
            except (OSError, ValueError):  # ValueError: a name that no file can have
                listed[parent] = set()
        if path.name not in listed[parent]:
            name = str(folder / path).encode("ascii", "backslashreplace").decode()
            raise InputError(f"{name}: no such file (image id {entry['id']} of {source})")


def _annotation(
    raw: dict[str, Any], where: str, images: dict[int, dict[str, Any]], skeleton: Skeleton
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """One annotation as evaluators read it, without its segmentation, and its joints (J, 3)."""
    image_id = _integer(_required(raw, "image_id", where), f"{where}.image_id", 0, ID_LIMIT)
    if image_id not in images:
        raise InputError(f"{where}.image_id is {image_id}, which no image has")
    keypoints = _required(raw, "keypoints", where)
    _check_keypoints(keypoints, f"{where}.keypoints", skeleton)
    joints_J3 = np.array(keypoints, np.float32).reshape(-1, 3)
    box = _required(raw, "bbox", where)
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v, POSITION_LIMIT) for v in box):
        raise InputError(f"{where}.bbox is {shown(box)}, four numbers (x, y, width, height) are needed")
    if box[2] < 0 or box[3] < 0:
        raise InputError(f"{where}.bbox is {box}, of negative size")
    area = raw.get("area")
    if area is None:
        area = box[2] * box[3] * AREA_PER_BOX
    elif not _is_number(area, POSITION_LIMIT**2) or area < 0:
        raise InputError(f"{where}.area is {shown(area)}, a number of square pixels is needed")
    count = raw.get("num_keypoints")
    labelled = int((joints_J3[:, 2] > 0).sum())
    return {
        **{name: value for name, value in raw.items() if name != "segmentation"},
        "id": _integer(_required(raw, "id", where), f"{where}.id", 0, ID_LIMIT),
        "image_id": image_id,
        "iscrowd": _integer(raw.get("iscrowd") or 0, f"{where}.iscrowd", 0, 1),
        "num_keypoints": labelled if count is None else _integer(count, f"{where}.num_keypoints", 0, len(skeleton)),
        "area": area,
    }, joints_J3


def _check_keypoints(value: Any, where: str, skeleton: Skeleton) -> None:
    if not isinstance(value, list):
        raise InputError(f"{where} is {shown(value)}, no list")
    if len(value) != 3 * len(skeleton):
        joints = f"{len(value) // 3} joints" if len(value) % 3 == 0 else "not three a joint"
        raise InputError(
            f"{where} has {len(value)} numbers, {joints}; skeleton {skeleton.name} has {len(skeleton)} joints"
        )
    if not set(map(type, value)) <= {int, float} or not -POSITION_LIMIT <= min(value) <= max(value) <= POSITION_LIMIT:
        _refuse_number(value, where)
    if math.isnan(sum(value)):  # which min and max may pass over
        _refuse_number(value, where)
    if not set(value[2::3]) <= {0, 1, 2}:
        i = next(i for i in range(2, len(value), 3) if value[i] not in (0, 1, 2))
        raise InputError(f"{where}[{i}] is {value[i]}, a visibility is 0, 1 or 2")


def _refuse_number(value: list[Any], where: str) -> NoReturn:
    i = next(i for i, number in enumerate(value) if not _is_number(number, POSITION_LIMIT))
    raise InputError(f"{where}[{i}] is {shown(value[i])}, a number of pixels is needed")


def _info(
    image: dict[str, Any],
    people: Sequence[tuple[NDArray[np.float32], dict[str, Any]]],
    ignore: Sequence[Any],
    joints: int,
) -> ImageInfo:
    records = [record for _, record in people]
    return ImageInfo(
        image["id"],
        image["file_name"],
        image["height"],
        image["width"],
        np.stack([j for j, _ in people]) if people else np.zeros((0, joints, 3), np.float32),
        np.array([record["bbox"] for record in records], np.float32).reshape(-1, 4),
        np.array([record["area"] for record in records], np.float32),
        tuple(ignore),
    )
