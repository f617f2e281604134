"""Photo data sets in COCO's keypoints format: COCO, CrowdPose and your own.

Everything is checked before anything is trained: one line names the file, the field and the value that is wrong.

Shapes: H, W image size in pixels; J joints of the skeleton; P people.
Sources: cocodataset.org/#format-data; the CrowdPose API for people without an area.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.faults import ID_LIMIT, Fault, annotation_faults, image_faults, whole
from archsearch.data.photos import PhotoReader, one_line
from archsearch.data.segments import checked_segments, shown
from archsearch.files import InputError, read_json
from archsearch.skeleton import SKELETONS, Skeleton

AREA_PER_BOX = 0.53  # CrowdPose API: a person without an area has this part of its box


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO keypoints JSON whose frame is sound; its images and annotations are not looked at yet."""

    source: Path
    content: dict[str, Any]
    images: list[Any]
    annotations: list[Any]
    categories: list[dict[str, Any]]
    category_ids: list[int]  # of the categories with keypoints; of all, where none lists them
    skeleton: Skeleton

    def with_keypoints(self) -> Iterator[tuple[int, Any, Fault | None]]:
        """Number and entry of the annotations of categories with keypoints, and of those that belong to no category,
        with what is wrong about that."""
        known = [category["id"] for category in self.categories]
        for i, raw in enumerate(self.annotations):
            if not isinstance(raw, dict):
                yield i, raw, Fault("annotation_entry", f"annotations[{i}] is {shown(raw)}, an object is needed")
                continue
            category = raw.get("category_id", self.category_ids[0])
            if category not in known:
                words = f"annotations[{i}].category_id is {shown(category)}, which is none of the categories"
                yield i, raw, Fault("category", words)
            elif category in self.category_ids:
                yield i, raw, None


def open_coco(annotations: Path | str, skeleton: Skeleton | None = None) -> CocoFile:
    """A COCO keypoints JSON with its categories and its skeleton, see :func:`load_coco`.

    Raises ``InputError`` where it is not JSON, not such an object, or its skeleton cannot be told.
    """
    return parse_coco(read_json(annotations), Path(annotations), skeleton)


def parse_coco(content: Any, source: Path, skeleton: Skeleton | None = None) -> CocoFile:
    """:func:`open_coco` of what was read from ``source``."""
    if not isinstance(content, dict):
        raise InputError(f"{source}: {shown(content)}: a COCO keypoints file is an object")
    if skeleton is not None and "annotations" not in content:  # COCO's test-dev: images that only its server can judge
        content = {**content, "annotations": []}
    for field in ("images", "annotations"):
        if not isinstance(content.get(field), list):
            raise InputError(f"{source}: {_no_list(content, field)}: a COCO keypoints file has one")
    categories, category_ids, names = _categories(content.get("categories"), source)
    if skeleton is None:
        skeleton = _known_skeleton(names, content["annotations"], source)
    elif names is not None:
        _check_names(names, skeleton, source)
    return CocoFile(
        source, content, content["images"], content["annotations"], categories, category_ids, skeleton
    )  # fmt: skip


def load_coco(annotations: Path | str, images: Path | str, *, skeleton: Skeleton | None = None) -> Dataset:
    """The data set that a COCO keypoints JSON and its folder of images describe.

    Without ``skeleton``, the one whose joint names the JSON's categories list; if they list none, a known one with as
    many joints as the annotations have. Images are in the order of the JSON. ``ImageInfo`` lists the people with at
    least one labelled joint; the segmentations of crowds and of people without labelled joints become ``ignore``.
    With a ``skeleton``, a file without a list of annotations (COCO's ``image_info_test-dev2017.json``) has no people.
    A missing ``area`` is 0.53 of the box's (CrowdPose), a missing ``num_keypoints`` is counted. ``annotations`` of the
    result has these filled in, and no segmentations. Annotations of categories without keypoints, where others have
    them, are left out.

    Raises ``InputError`` with one line where the JSON is malformed or an image file is missing; ``read(i)`` raises it
    where the file is no image or its size is not what the JSON says.
    """
    file, folder = open_coco(annotations, skeleton), Path(images)
    source, joints = file.source, len(file.skeleton)
    images_by_id = _images(file)
    _check_files(images_by_id.values(), folder, source)

    records: list[dict[str, Any]] = []
    people: dict[int, list[tuple[NDArray[np.float32], dict[str, Any]]]] = {}
    ignore: dict[int, list[Any]] = {}
    seen: set[int] = set()
    for i, raw, foreign in file.with_keypoints():
        where = f"annotations[{i}]"
        if foreign is not None:
            raise InputError(f"{source}: {foreign.message}")
        for fault in annotation_faults(raw, where, images_by_id, file.skeleton):
            raise InputError(f"{source}: {fault.message}")
        record, joints_J3 = _annotation(raw, file.category_ids[0])
        if record["id"] in seen:
            raise InputError(f"{source}: {where}.id is {record['id']}, as an earlier annotation's")
        seen.add(record["id"])
        records.append(record)
        image_id = record["image_id"]
        if not record["iscrowd"] and joints_J3[:, 2].any():
            people.setdefault(image_id, []).append((joints_J3, record))
        else:
            image = images_by_id[image_id]
            size_hw = (image["height"], image["width"])
            segments = checked_segments(raw.get("segmentation"), *size_hw, f"{source}: {where}")
            if segments is not None:
                ignore.setdefault(image_id, []).append(segments)

    infos = tuple(_info(image, people.get(i, []), ignore.get(i, []), joints) for i, image in images_by_id.items())
    cleaned = {
        "info": file.content.get("info", {}),
        "images": list(images_by_id.values()),
        "annotations": records,
        "categories": file.categories,
    }
    return Dataset(source.stem, file.skeleton, infos, cleaned, PhotoReader(folder, infos, str(source)))


def _no_list(fields: dict[str, Any], name: str) -> str:
    return f"{name} is {shown(fields[name])}, no list" if name in fields else f"there is no list {name}"


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
        identity = whole(category.get("id"), 0, ID_LIMIT)
        if identity is None:
            raise InputError(f"{where}.id is {shown(category.get('id'))}, an integer from 0 to {ID_LIMIT} is needed")
        if identity in ids:
            raise InputError(f"{where}.id is {identity}, as an earlier category's")
        ids.append(identity)
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


def _images(file: CocoFile) -> dict[int, dict[str, Any]]:
    """The checked image entries by id, in the order of the file."""
    images: dict[int, dict[str, Any]] = {}
    for i, raw in enumerate(file.images):
        where = f"{file.source}: images[{i}]"
        for fault in image_faults(raw, f"images[{i}]"):
            raise InputError(f"{file.source}: {fault.message}")
        image = {**raw, **{field: int(raw[field]) for field in ("id", "height", "width")}}
        if image["id"] in images:
            raise InputError(f"{where}.id is {image['id']}, as an earlier image's")
        images[image["id"]] = image
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
            raise InputError(f"{one_line(folder / path)}: no such file (image id {entry['id']} of {source})")


def _annotation(raw: dict[str, Any], category_id: int) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """A sound annotation as evaluators read it, without its segmentation, and its joints (J, 3)."""
    joints_J3 = np.array(raw["keypoints"], np.float32).reshape(-1, 3)
    box, area, count = raw["bbox"], raw.get("area"), raw.get("num_keypoints")
    return {
        **{name: value for name, value in raw.items() if name != "segmentation"},
        "id": int(raw["id"]),
        "image_id": int(raw["image_id"]),
        "category_id": int(raw.get("category_id", category_id)),
        "iscrowd": int(raw.get("iscrowd") or 0),
        "num_keypoints": int((joints_J3[:, 2] > 0).sum() if count is None else count),
        "area": box[2] * box[3] * AREA_PER_BOX if area is None else area,
    }, joints_J3


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
