"""MPII's JSON: positions, boxes, head boxes, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data.broken import FUZZED, broken
from hypothesis import HealthCheck, given, settings
from samples import SAMPLES, needs_samples
from scipy.io import savemat

from archsearch.data.check import check
from archsearch.data.mpii import load_mpii
from archsearch.data.sources import CocoData, load_data
from archsearch.files import InputError
from archsearch.skeleton import MPII16


def entry(image: str = "a.png", x: float = 10.0, unlabelled: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "image": image,
        "center": [x + 8.0, 20.0],
        "scale": 0.16,
        "joints": [[-1.0, -1.0] if j in unlabelled else [x + j, 5.0 + 2 * j] for j in range(16)],
        "joints_vis": [int(j not in unlabelled) for j in range(16)],
    }


ENTRIES = [entry(), entry("b.jpg"), entry(x=20.0, unlabelled=(0, 5))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mpii")
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3)).astype(np.uint8)
    cv2.imwrite(str(root / "a.png"), image)
    cv2.imwrite(str(root / "b.jpg"), image)
    return root


def load(content: Any, folder: Path, **options: Any) -> Any:
    source = folder / "valid.json"
    source.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_mpii(source, folder, **options)


def test_people_are_gathered_by_image_and_count_from_zero(folder: Path) -> None:
    data = load(ENTRIES, folder)
    assert data.skeleton is MPII16
    assert [(i.id, i.file, i.height, i.width) for i in data.images] == [(1, "a.png", 48, 60), (2, "b.jpg", 48, 60)]
    first = data.images[0]
    assert first.joints_PJ3.shape == (2, 16, 3)
    assert first.joints_PJ3[0, 3].tolist() == [12, 10, 2]  # (13, 11) in MATLAB's counting
    assert first.joints_PJ3[1, 0].tolist() == [0, 0, 0]
    records = data.annotations["annotations"]
    assert [(r["id"], r["image_id"], r["num_keypoints"]) for r in records] == [(1, 1, 16), (2, 2, 16), (3, 1, 14)]
    assert "head_px" not in records[0]
    assert data.read(1).shape == (48, 60, 3)
    assert first.areas_P[0] == pytest.approx(0.53 * 15 * 30)


def test_boxes_are_those_of_hrnet(folder: Path) -> None:
    """Centre 15 scales lower, counted from 0; a square of 200 scales, times 1.25 when it is cropped."""
    left, top, width, height = load(ENTRIES, folder).images[0].boxes_P4[0]
    assert (width, height) == (32, 32)
    assert (left + width / 2, top + height / 2) == pytest.approx((18 - 1, 20 + 15 * 0.16 - 1))


def test_flips_swap_left_and_right() -> None:
    assert MPII16.flip == (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)


def test_head_boxes_from_matlab_and_from_json(folder: Path, tmp_path: Path) -> None:
    boxes = [[10, 5, 13, 9], [0, 0, 6, 8], [20, 5, 23, 9]]
    (tmp_path / "heads.json").write_text(json.dumps(boxes))
    corners = np.array(boxes, float).reshape(3, 2, 2).transpose(1, 2, 0)  # corner, x and y, person
    savemat(tmp_path / "gt_valid.mat", {"headboxes_src": corners, "jnt_missing": np.zeros((16, 3))})
    for name in ("heads.json", "gt_valid.mat"):
        records = load(ENTRIES, folder, heads=tmp_path / name).annotations["annotations"]
        assert [r["head_px"] for r in records] == pytest.approx([3.0, 6.0, 3.0])  # 0.6 times 5, 10, 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1, 2, 3, 4]] * 2, "2 head boxes; there are 3 people"),
        ([[1, 2, 3, 4], [5, 5, 5, 5], [1, 2, 3, 4]], "head box 1 is .*, which has no size"),
        ([[1, 2, 3]] * 3, r"head box 0 is \[1, 2, 3\], left, top, right and bottom"),
        ({}, "a list of head boxes is needed"),
    ],
)
def test_wrong_head_boxes(folder: Path, tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "heads.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load(ENTRIES, folder, heads=tmp_path / "heads.json")


def test_what_is_no_matlab_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "gt_valid.mat"
    with pytest.raises(InputError, match=r"gt_valid.mat: no such file"):
        load(ENTRIES, folder, heads=path)
    path.write_bytes(b"not a MATLAB file at all" * 20)
    with pytest.raises(InputError, match=r"gt_valid.mat: not a MATLAB file"):
        load(ENTRIES, folder, heads=path)
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(InputError, match="headboxes_src is missing"):
        load(ENTRIES, folder, heads=path)
    savemat(path, {"headboxes_src": np.zeros((3, 4))})
    with pytest.raises(InputError, match=r"headboxes_src is of shape \(3, 4\)"):
        load(ENTRIES, folder, heads=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "../a.png"}, r"\[1\].image is '../a.png', which is not inside"),
        ({"image": "c.png"}, r"c.png: no such file"),
        ({"center": [1]}, r"\[1\].center is \[1\], x and y"),
        ({"scale": -1}, r"\[1\].scale is -1"),
        ({"joints": [[0, 0]] * 17}, r"\[1\].joints has 17 entries; skeleton mpii16 has 16"),
        ({"joints": [[0, 0]] * 15 + [[0, None]]}, r"\[1\].joints\[15\] is \[0, None\]"),
        ({"joints": 3}, r"\[1\].joints is 3, no list"),
        ({"joints_vis": [1] * 15 + [2]}, r"\[1\].joints_vis\[15\] is 2, 0 or 1"),
        ({"joints_vis": None}, r"\[1\].joints_vis is None, no list"),
    ],
)
def test_one_line_says_what_is_wrong(folder: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load([entry(), entry() | change], folder)


def test_the_test_split_has_people_without_joints(folder: Path) -> None:
    bare = {name: value for name, value in entry().items() if not name.startswith("joints")}
    data = load([bare], folder)
    assert data.images[0].joints_PJ3.shape == (0, 16, 3)
    assert data.annotations["annotations"][0]["num_keypoints"] == 0
    report = check(folder / "valid.json", folder)
    assert (report.people, report.people_without_joints, report.findings) == (0, 1, ())


def test_the_check_reads_it_too(folder: Path, tmp_path: Path) -> None:
    entries = copy.deepcopy(ENTRIES)
    entries[1]["image"] = "c.jpg"
    entries[2]["joints"][3] = [500.0, 3.0]
    entries.append(entry() | {"joints_vis": [3] * 16})
    entries.append(entry())
    source = tmp_path / "train.json"
    source.write_text(json.dumps(entries))
    report = check(source, folder)
    assert {f.kind: f.count for f in report.findings} == {
        "missing_file": 1,
        "visibility": 1,
        "joint_outside": 1,
        "repeated_person": 1,
    }
    assert report.skeleton == "mpii16"


@settings(max_examples=FUZZED // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=broken(ENTRIES))
def test_broken_files_load_or_say_why(folder: Path, text: str) -> None:
    try:
        data = load(text, folder)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        raw = json.loads(text)
        assert len(data.annotations["annotations"]) == len(raw)
        labelled = sum(any(r.get("joints_vis", [])) for r in raw)
        assert sum(len(i.joints_PJ3) for i in data.images) == labelled
        assert all(np.isfinite(i.joints_PJ3).all() for i in data.images)
    assert "\n" not in message
    try:
        errors = [f for f in check(folder / "valid.json", folder).findings if f.level == "error"]
    except InputError:
        assert message
    else:
        assert bool(message) <= bool(errors)


def test_as_data_of_a_study(folder: Path) -> None:
    (folder / "train.json").write_text(json.dumps(ENTRIES))
    (folder / "valid.json").write_text(json.dumps(ENTRIES[:1]))
    (folder / "heads.json").write_text("[[0, 0, 6, 8]]")
    fields: dict[str, Any] = {"train_annotations": "train.json", "val_annotations": "valid.json", "root": folder}
    fields |= {"train_images": ".", "val_images": ".", "val_heads": "heads.json"}
    train, val = load_data(CocoData(kind="mpii", **fields))
    assert (len(train), len(val)) == (2, 1)
    assert val.annotations["annotations"][0]["head_px"] == pytest.approx(6.0)
    with pytest.raises(ValueError, match=r"val_heads heads.json: only data of kind mpii has head boxes"):
        CocoData(kind="coco", **fields)
    with pytest.raises(ValueError, match="skeleton coco17: data of kind mpii has the skeleton mpii16"):
        CocoData(kind="mpii", skeleton="coco17", **fields)
    with pytest.raises(InputError, match=r"data.val_heads: .*gone.mat: not there"):
        load_data(CocoData(kind="mpii", **fields | {"val_heads": "gone.mat"}))


@needs_samples
def test_real_photos() -> None:
    data = load_mpii(SAMPLES / "mpii" / "test_mpii.json", SAMPLES / "mpii")
    assert len(data) == 5
    for i, info in enumerate(data.images):
        assert data.read(i).shape == (info.height, info.width, 3)
        labelled = info.joints_PJ3[0][info.joints_PJ3[0, :, 2] > 0, :2]
        assert (labelled >= 0).all()
        assert (labelled < [info.width, info.height]).all()
        x, y, width, height = info.boxes_P4[0]
        inside = (labelled >= (x - width / 8, y - height / 8)) & (labelled <= (x + 1.125 * width, y + 1.125 * height))
        assert inside.all(axis=1).mean() > 0.9  # HRNet's square, times 1.25
