"""MPII Human Pose, in the JSON that HRNet and its successors distribute: one entry a person.

Entries hold ``image``, ``center`` and ``scale`` (a square of 200 * scale pixels around the person), and, but for the
test split, ``joints`` (16 x and y) and ``joints_vis`` (0 or 1). Positions count from 1, as MATLAB does; here they count
from 0. The size of a head, which PCKh divides by, is in none of these files: it comes from ``gt_valid.mat`` beside
them, or from a JSON.

Shapes: N entries; J = 16 joints; P people of an image.
Sources: human-pose.mpi-inf.mpg.de; Andriluka et al., CVPR 2014, for PCKh; Sun et al., CVPR 2019 (HRNet), for the boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.data.coco import AREA_PER_BOX
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.faults import POSITION_LIMIT, SIDE_LIMIT_PX, Fault, file_name_faults, is_number
from archsearch.data.photos import PhotoReader, image_size
from archsearch.data.segments import shown
from archsearch.files import InputError, read_json
from archsearch.skeleton import MPII16

BOX_SIDE_PX = 200.0  # of scale 1
CENTRE_SHIFT_PX = 15.0  # at scale 1: HRNet moves boxes down by it, so that feet are inside
HEAD_PART = 0.6  # of the head box's diagonal: what PCKh calls the size of a head
JOINTS = len(MPII16)


def load_mpii(
    annotations: Path | str, images: Path | str, *, heads: Path | str | None = None, workers: int = 8
) -> Dataset:
    """The data set of an MPII JSON and its folder of images, with the 16 joints of ``mpii16``.

    ``heads``: head boxes, one an entry: ``gt_valid.mat`` or a JSON list of [left, top, right, bottom] in pixels. With
    them the annotations have ``head_px``, the length that PCKh divides by.

    Images are numbered from 1 in the order in which entries first name them, annotations from 1 in the order of the
    entries. ``bbox`` is HRNet's square, before it is enlarged by 1.25; labelled joints have visibility 2, since the
    file does not tell covered ones; ``area``, which MPII has not, is 0.53 of the box around the labelled joints.

    Raises ``InputError`` with one line where a file is missing or malformed.
    """
    source, folder = Path(annotations), Path(images)
    entries = open_mpii(source)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    for i, raw in enumerate(entries):
        for fault in mpii_faults(raw, f"[{i}]"):
            raise InputError(f"{source}: {fault.message}")
    head_px_N = None if heads is None else _head_sizes(Path(heads), len(entries))

    ids: dict[str, int] = {}
    for raw in entries:
        ids.setdefault(raw["image"], len(ids) + 1)
    with ThreadPoolExecutor(workers) as pool:
        sizes = list(pool.map(lambda name: _size(folder / name), ids))
    records = [
        as_annotation(raw, i + 1, ids[raw["image"]], None if head_px_N is None else float(head_px_N[i]))
        for i, raw in enumerate(entries)
    ]
    people: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        if record["num_keypoints"]:
            people.setdefault(record["image_id"], []).append(record)
    infos = tuple(
        ImageInfo(
            image_id,
            name,
            *size_hw,
            np.array([p["keypoints"] for p in people.get(image_id, [])], np.float32).reshape(-1, JOINTS, 3),
            np.array([p["bbox"] for p in people.get(image_id, [])], np.float32).reshape(-1, 4),
            np.array([p["area"] for p in people.get(image_id, [])], np.float32),
        )
        for (name, image_id), size_hw in zip(ids.items(), sizes, strict=True)
    )
    content = {
        "info": {"description": "MPII Human Pose"},
        "images": [{"id": i.id, "file_name": i.file, "height": i.height, "width": i.width} for i in infos],
        "annotations": records,
        "categories": [{"id": 1, "name": "person", "keypoints": list(MPII16.joints)}],
    }
    return Dataset(source.stem, MPII16, infos, content, PhotoReader(folder, infos, str(source)))


def open_mpii(annotations: Path | str) -> list[Any]:
    """The entries of an MPII JSON, not looked at yet. Raises ``InputError`` where it is no such list."""
    entries = read_json(annotations)
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{annotations}: {shown(entries)}: an MPII file is a list of people")
    return entries


def mpii_faults(raw: Any, where: str) -> Iterator[Fault]:
    """What is wrong with one entry of an MPII JSON."""
    if not isinstance(raw, dict):
        yield Fault("annotation_entry", f"{where} is {shown(raw)}, an object is needed")
        return
    yield from file_name_faults(raw, "image", where)
    centre = raw.get("center")
    if not _is_point(centre):
        yield Fault("bbox", f"{where}.center is {shown(centre)}, x and y are needed")
    scale = raw.get("scale")
    if scale is None or not is_number(scale, SIDE_LIMIT_PX / BOX_SIDE_PX) or scale <= 0:
        yield Fault("bbox", f"{where}.scale is {shown(scale)}, a part of {BOX_SIDE_PX:.0f} pixels is needed")
    if "joints" not in raw and "joints_vis" not in raw:  # the test split
        return
    joints, labelled = raw.get("joints"), raw.get("joints_vis")
    for field, value in (("joints", joints), ("joints_vis", labelled)):
        if not isinstance(value, list):
            yield Fault("keypoints", f"{where}.{field} is {shown(value)}, no list")
        elif len(value) != JOINTS:
            yield Fault("keypoints_length", f"{where}.{field} has {len(value)} entries; skeleton mpii16 has {JOINTS}")
    if isinstance(joints, list):
        for j, joint in enumerate(joints):
            if not _is_point(joint):
                yield Fault("keypoints", f"{where}.joints[{j}] is {shown(joint)}, x and y are needed")
                break
    if isinstance(labelled, list):
        for j, value in enumerate(labelled):
            if type(value) not in (int, float) or value not in (0, 1):
                yield Fault("visibility", f"{where}.joints_vis[{j}] is {shown(value)}, 0 or 1 is needed")
                break


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_number(v, POSITION_LIMIT) for v in value)


def _size(path: Path) -> tuple[int, int]:
    height, width = image_size(path)
    if max(height, width) > SIDE_LIMIT_PX:
        raise InputError(f"{path}: {width} x {height} pixels, sides of at most {SIDE_LIMIT_PX} are read")
    return height, width


def as_annotation(raw: dict[str, Any], number: int, image_id: int, head_px: float | None = None) -> dict[str, Any]:
    """A sound entry as a COCO annotation: positions from 0, HRNet's square as the box."""
    labelled_J = np.array(raw.get("joints_vis", [0] * JOINTS)) > 0
    joints_J3 = np.zeros((JOINTS, 3))
    if labelled_J.any():
        joints_J3[labelled_J, :2] = np.array(raw["joints"], np.float64)[labelled_J] - 1
        joints_J3[labelled_J, 2] = 2
    x, y = float(raw["center"][0]), float(raw["center"][1])
    if x != -1:  # HRNet's mark of a person without a place
        y += CENTRE_SHIFT_PX * raw["scale"]
    side = BOX_SIDE_PX * raw["scale"]
    extent = np.ptp(joints_J3[labelled_J, :2], axis=0) if labelled_J.any() else np.zeros(2)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int(labelled_J.sum()),
        "keypoints": joints_J3.reshape(-1).tolist(),
        "bbox": [x - 1 - side / 2, y - 1 - side / 2, side, side],
        "area": float(extent.prod()) * AREA_PER_BOX,
        **({} if head_px is None else {"head_px": head_px}),
    }


def _head_sizes(path: Path, entries: int) -> NDArray[np.float64]:
    """0.6 times the diagonals of the head boxes (N,) in pixels."""
    read: Callable[[Path], NDArray[np.float64]] = _mat_boxes if path.suffix == ".mat" else _json_boxes
    boxes_N4 = read(path)
    if len(boxes_N4) != entries:
        raise InputError(f"{path}: {len(boxes_N4)} head boxes; there are {entries} people")
    sizes_N = HEAD_PART * np.hypot(boxes_N4[:, 2] - boxes_N4[:, 0], boxes_N4[:, 3] - boxes_N4[:, 1])
    if not (sizes_N > 0).all():
        first = int(np.flatnonzero(~(sizes_N > 0))[0])
        raise InputError(f"{path}: head box {first} is {boxes_N4[first].tolist()}, which has no size")
    return sizes_N


def _mat_boxes(path: Path) -> NDArray[np.float64]:
    from scipy.io import loadmat  # takes longer to import than everything else here

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        boxes = loadmat(path, variable_names=["headboxes_src"]).get("headboxes_src")
    except Exception as error:  # whatever scipy makes of a damaged file
        reason = (str(error) or repr(error)).splitlines()[0]
        raise InputError(f"{path}: not a MATLAB file: {reason}") from None
    if boxes is None or boxes.ndim != 3 or boxes.shape[:2] != (2, 2) or boxes.dtype.kind not in "fiu":
        what = "missing" if boxes is None else f"of shape {boxes.shape}"
        raise InputError(f"{path}: headboxes_src is {what}, (2 corners, x and y, people) is needed")
    return np.asarray(boxes, np.float64).transpose(2, 0, 1).reshape(-1, 4)


def _json_boxes(path: Path) -> NDArray[np.float64]:
    boxes = read_json(path)
    if not isinstance(boxes, list):
        raise InputError(f"{path}: {shown(boxes)}: a list of head boxes is needed")
    for i, box in enumerate(boxes):
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(v, POSITION_LIMIT) for v in box):
            raise InputError(f"{path}: head box {i} is {shown(box)}, left, top, right and bottom are needed")
    return np.array(boxes, np.float64).reshape(-1, 4)
