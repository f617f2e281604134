"""Everything that is wrong with a data set in COCO's keypoints format, or MPII's, counted, with examples: to be known
before a night of training, not after it.

Errors are what a training or an evaluation would refuse, and what no good data set has. Warnings are read as they are;
well-kept data sets have a few.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archsearch.data.coco import AREA_PER_BOX, CocoFile, parse_coco
from archsearch.data.faults import ID_LIMIT, Fault, annotation_faults, image_faults, whole
from archsearch.data.mpii import as_annotation, mpii_faults
from archsearch.data.photos import image_size, one_line, read_image
from archsearch.data.segments import checked_segments, shown
from archsearch.files import InputError, read_json
from archsearch.skeleton import MPII16, Skeleton

Level = Literal["error", "warning"]

ERRORS: Mapping[str, str] = {
    "missing_file": "image files that are not there",
    "unreadable_file": "image files that are damaged or no images",
    "wrong_size": "images of another size than said",
    "image_entry": "entries of images that are no objects",
    "image_id": "images without a proper id",
    "duplicate_image_id": "image ids that an earlier image has",
    "image_size": "images without a proper height or width",
    "file_name": "images without a proper file name",
    "crowd_index": "crowdIndex that is no number",
    "annotation_entry": "entries of annotations that are no objects",
    "annotation_id": "annotations without a proper id",
    "duplicate_annotation_id": "annotation ids that an earlier annotation has",
    "category": "annotations of unknown categories",
    "unknown_image": "annotations of unknown images",
    "keypoints": "keypoints that are no list of numbers",
    "keypoints_length": "keypoints of another number of joints than the skeleton's",
    "visibility": "impossible visibilities",
    "num_keypoints": "num_keypoints that is no count of joints",
    "bbox": "boxes that are not x, y, width, height",
    "area": "areas that are no number of square pixels",
    "iscrowd": "iscrowd that is neither 0 nor 1",
    "segmentation": "segmentations of crowds or of people without joints that cannot be read",
    "box_outside": "boxes wholly outside of their image",
    "joints_outside": "people with all joints outside of their image",
    "zero_area": "people with joints and an area of 0, whom no detection can match",
}
WARNINGS: Mapping[str, str] = {
    "box_beyond": "boxes that reach out of their image by more than a pixel",
    "joint_outside": "people with joints outside of their image by more than a pixel",
    "box_elsewhere": "boxes that hold less than half of their person's joints",
    "joint_at_origin": "people with labelled joints at exactly (0, 0)",
    "num_keypoints_differs": "num_keypoints that is not the number of labelled joints",
    "repeated_person": "people with the same joints as another of the image",
    "repeated_file": "images with the same file as an earlier image",
}
_CHUNK = 128  # files that a thread looks at between reports


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is wrong: how often, and the first few places."""

    kind: str  # a key of ERRORS or WARNINGS
    level: Level
    title: str
    count: int
    examples: tuple[str, ...]  # one line each: place and value


@dataclass(frozen=True)
class Report:
    """What a data set holds and what is wrong with it, errors first."""

    skeleton: str
    images: int
    images_without_people: int  # no annotation at all
    people: int  # annotations that are no crowds and have a labelled joint
    people_without_joints: int
    crowds: int
    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        """How many errors, or warnings, there are in all."""
        return sum(finding.count for finding in self.findings if finding.level == level)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "errors": self.count("error"), "warnings": self.count("warning")}


def check(
    annotations: Path | str,
    images: Path | str,
    *,
    skeleton: Skeleton | None = None,
    decode: bool = False,
    examples: int = 3,
    workers: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """What is wrong with a COCO keypoints JSON, or MPII's (a list of people), and its folder of images.

    Of every image file the header and the end are read by ``workers`` threads, with ``decode`` the whole file is
    decoded; ``progress`` is told how many of them are done. ``examples``: how many places of a kind are kept.
    Raises ``InputError`` where there is nothing to check: no JSON of these formats, no folder, an unknown skeleton.
    """
    source, folder = Path(annotations), Path(images)
    content = read_json(source)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    look = _Look(folder, decode, workers, progress)
    if isinstance(content, list) and content:
        return _check_mpii(content, _Found(examples), look)
    return _check_coco(parse_coco(content, source, skeleton), _Found(examples), look)


class _Found:
    """Faults by kind: how many, and the first ones."""

    def __init__(self, examples: int) -> None:
        self._limit = examples
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, fault: Fault) -> None:
        self._counts[fault.kind] += 1
        kept = self._examples.setdefault(fault.kind, [])
        if len(kept) < self._limit:
            kept.append(fault.message)

    def findings(self) -> tuple[Finding, ...]:
        levels: tuple[tuple[Level, Mapping[str, str]], ...] = (("error", ERRORS), ("warning", WARNINGS))
        unknown = self._counts.keys() - ERRORS.keys() - WARNINGS.keys()
        assert not unknown, unknown
        return tuple(
            Finding(kind, level, title, self._counts[kind], tuple(self._examples[kind]))
            for level, titles in levels
            for kind, title in titles.items()
            if self._counts[kind]
        )


@dataclass(frozen=True)
class _Look:
    """Looks at image files, many at a time."""

    folder: Path
    decode: bool
    workers: int
    progress: Callable[[int, int], None]

    def __call__(self, files: Sequence[tuple[str, str]]) -> Iterator[tuple[int, int] | Fault]:
        """(height, width), or what is wrong, of each file; ``files`` are places in the annotations and file names."""

        def some(start: int) -> list[tuple[int, int] | Fault]:
            return [self._one(*file) for file in files[start : start + _CHUNK]]

        self.progress(0, len(files))
        with ThreadPoolExecutor(self.workers) as pool:
            starts = range(0, len(files), _CHUNK)
            for start, sizes in zip(starts, pool.map(some, starts), strict=True):
                yield from sizes
                self.progress(min(start + _CHUNK, len(files)), len(files))

    def _one(self, where: str, name: str) -> tuple[int, int] | Fault:
        path = self.folder / name
        try:
            if not self.decode:
                return image_size(path)
            height, width, _ = read_image(path).shape
        except InputError as error:
            return Fault("unreadable_file" if _is_there(path) else "missing_file", f"{where}: {error}")
        return height, width


def _is_there(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a name that no file can have
        return False


def _check_coco(file: CocoFile, found: _Found, look: _Look) -> Report:
    by_id = _check_images(file, found)
    counts = _check_annotations(file, by_id, found)
    sound = [(f"images[{i}]", raw) for i, raw in enumerate(file.images) if not any(image_faults(raw, ""))]
    sizes = look([(where, raw["file_name"]) for where, raw in sound])
    for (where, raw), size_hw in zip(sound, sizes, strict=True):
        if isinstance(size_hw, Fault):
            found.add(size_hw)
        elif size_hw != (int(raw["height"]), int(raw["width"])):
            seen, said = f"{size_hw[1]} x {size_hw[0]}", f"{raw['width']} x {raw['height']}"
            found.add(Fault("wrong_size", f"{where}: {one_line(raw['file_name'])} has {seen} pixels, {said} are said"))
    return Report(
        skeleton=file.skeleton.name,
        images=len(file.images),
        images_without_people=len(by_id) - counts["images"],
        people=counts["people"],
        people_without_joints=counts["people_without_joints"],
        crowds=counts["crowds"],
        findings=found.findings(),
    )


def _check_mpii(entries: list[Any], found: _Found, look: _Look) -> Report:
    people: dict[str, list[tuple[str, dict[str, Any]]]] = {}  # sound entries by image, with their places
    labelled = 0
    for i, raw in enumerate(entries):
        faults = list(mpii_faults(raw, f"[{i}]"))
        for fault in faults:
            found.add(fault)
        if not faults:
            people.setdefault(raw["image"], []).append((f"[{i}]", raw))
            labelled += any(raw.get("joints_vis", ()))
    sizes = look([(mine[0][0], name) for name, mine in people.items()])
    for (name, mine), size_hw in zip(people.items(), sizes, strict=True):
        if isinstance(size_hw, Fault):
            found.add(size_hw)
            continue
        poses: set[bytes] = set()
        for where, raw in mine:
            record = as_annotation(raw, 1, 1)
            joints_J3 = np.array(record["keypoints"]).reshape(-1, 3)
            if not record["num_keypoints"]:
                continue
            if joints_J3.tobytes() in poses:
                found.add(Fault("repeated_person", f"{where} has the joints of another person of {one_line(name)}"))
            poses.add(joints_J3.tobytes())
            for fault in _person_faults(record, where, joints_J3[joints_J3[:, 2] > 0, :2], size_hw):
                if fault.kind not in ("box_beyond", "zero_area"):  # boxes are HRNet's squares, MPII has no areas
                    found.add(fault)
    sound = sum(map(len, people.values()))
    return Report(MPII16.name, len(people), 0, labelled, sound - labelled, 0, found.findings())


def _check_images(file: CocoFile, found: _Found) -> dict[int, dict[str, Any]]:
    """The first image entry of every id, as it is; those without a proper id cannot be referred to."""
    by_id: dict[int, dict[str, Any]] = {}
    names: dict[str, int] = {}
    for i, raw in enumerate(file.images):
        where = f"images[{i}]"
        for fault in image_faults(raw, where):
            found.add(fault)
        if not isinstance(raw, dict):
            continue
        name, identity = raw.get("file_name"), whole(raw.get("id"), 0, ID_LIMIT)
        if isinstance(name, str):
            if name in names:
                found.add(Fault("repeated_file", f"{where}.file_name is {shown(name)}, as images[{names[name]}]'s"))
            names.setdefault(name, i)
        if identity is None:
            continue
        if identity in by_id:
            found.add(Fault("duplicate_image_id", f"{where}.id is {identity}, as an earlier image's"))
        else:
            by_id[identity] = raw
    return by_id


def _check_annotations(file: CocoFile, by_id: Mapping[int, dict[str, Any]], found: _Found) -> Counter[str]:
    """How many ``people``, ``people_without_joints``, ``crowds`` and ``images`` with any of them there are."""
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    poses: set[tuple[int, bytes]] = set()
    annotated: set[int] = set()
    for i, raw, foreign in file.with_keypoints():
        where = f"annotations[{i}]"
        if foreign is not None:
            found.add(foreign)
        if not isinstance(raw, dict):
            continue
        identity = whole(raw.get("id"), 0, ID_LIMIT)
        if identity in seen:
            found.add(Fault("duplicate_annotation_id", f"{where}.id is {identity}, as an earlier annotation's"))
        elif identity is not None:
            seen.add(identity)
        faults = list(annotation_faults(raw, where, by_id, file.skeleton))
        for fault in faults:
            found.add(fault)
        if faults:
            continue
        image_id, image = int(raw["image_id"]), by_id[int(raw["image_id"])]
        annotated.add(image_id)
        joints_J3 = np.array(raw["keypoints"], np.float64).reshape(-1, 3)
        crowd, labelled = bool(raw.get("iscrowd")), bool((joints_J3[:, 2] > 0).any())
        counts["crowds" if crowd else "people" if labelled else "people_without_joints"] += 1
        if any(image_faults(image, "")):
            continue
        size_hw = int(image["height"]), int(image["width"])
        if crowd or not labelled:
            try:
                checked_segments(raw.get("segmentation"), *size_hw, where)
            except InputError as error:
                found.add(Fault("segmentation", str(error)))
            continue
        pose = (image_id, joints_J3.tobytes())
        if pose in poses:
            found.add(Fault("repeated_person", f"{where} has the joints of another person of image {image_id}"))
        poses.add(pose)
        for fault in _person_faults(raw, where, joints_J3[joints_J3[:, 2] > 0, :2], size_hw):
            found.add(fault)
    counts["images"] = len(annotated)
    return counts


def _person_faults(
    raw: dict[str, Any], where: str, labelled_K2: NDArray[np.float64], size_hw: tuple[int, int]
) -> Iterator[Fault]:
    """What does not fit together in a sound annotation of a person with labelled joints."""
    height, width = size_hw
    said = f"the image is {width} x {height}"
    left, top, box_width, box_height = raw["bbox"]
    right, bottom = left + box_width, top + box_height
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        yield Fault("box_outside", f"{where}.bbox is {raw['bbox']}, {said}")
    elif left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        yield Fault("box_beyond", f"{where}.bbox is {raw['bbox']}, {said}")

    x, y = labelled_K2.T
    beyond = (x < -1) | (y < -1) | (x > width) | (y > height)  # 0 and the width itself are both in use for borders
    if beyond.any():
        first = [round(float(v), 2) for v in labelled_K2[beyond][0]]
        kind = "joints_outside" if beyond.all() else "joint_outside"
        yield Fault(kind, f"{where}.keypoints: {beyond.sum()} of {len(x)} joints, one at {first}, {said}")
    # A margin of a quarter of the box: boxes are drawn around what can be seen.
    margin_x, margin_y = 0.25 * box_width, 0.25 * box_height
    inside = (x >= left - margin_x) & (x <= right + margin_x) & (y >= top - margin_y) & (y <= bottom + margin_y)
    if 2 * inside.sum() < len(x):
        yield Fault("box_elsewhere", f"{where}.bbox {raw['bbox']} holds {inside.sum()} of {len(x)} joints")
    if ((x == 0) & (y == 0)).any():
        yield Fault("joint_at_origin", f"{where}.keypoints: {((x == 0) & (y == 0)).sum()} labelled joints at (0, 0)")

    count = raw.get("num_keypoints")
    if count is not None and count != len(x):
        yield Fault("num_keypoints_differs", f"{where}.num_keypoints is {count}, {len(x)} joints are labelled")
    area = raw.get("area")
    if (box_width * box_height * AREA_PER_BOX if area is None else area) == 0:
        yield Fault("zero_area", f"{where}.area is {area}, bbox {raw['bbox']}")
