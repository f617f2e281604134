"""COCO-format files: what loads, and the one line that says why not."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data.broken import FUZZED, broken, valid
from hypothesis import HealthCheck, given, settings
from samples import SAMPLES, needs_samples

from archsearch.data.coco import load_coco
from archsearch.data.photos import read_image
from archsearch.data.segments import counted_pixels
from archsearch.files import InputError
from archsearch.pose.evaluate import evaluate
from archsearch.skeleton import COCO17, CROWDPOSE14, describe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    (root / "sub").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    image[0, 0] = (10, 20, 250)  # blue, green, red
    cv2.imwrite(str(root / "a.png"), image)
    cv2.imwrite(str(root / "sub" / "b.jpg"), image)
    return root


def load(content: Any, folder: Path, **options: Any) -> Any:
    source = folder / "annotations.json"
    source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_coco(source, folder, **options)


def test_people_images_and_ignored_segments(folder: Path) -> None:
    dataset = load(valid(), folder)
    assert dataset.skeleton is COCO17
    assert [(info.id, info.file, info.height, info.width) for info in dataset.images] == [
        (7, "a.png", 30, 40),
        (9, "sub/b.jpg", 30, 40),
    ]
    first, second = dataset.images
    assert first.joints_PJ3.shape == (1, 17, 3)
    assert first.joints_PJ3.dtype == np.float32
    assert first.joints_PJ3[0, 3].tolist() == [5, 6, 2]
    assert first.boxes_P4.tolist() == [[1, 2, 20, 25]]
    assert first.areas_P.tolist() == [300.5]
    assert len(first.ignore) == len(second.ignore) == 1
    assert second.joints_PJ3.shape == (0, 17, 3)
    assert second.boxes_P4.shape == (0, 4)
    assert len(dataset.annotations["annotations"]) == 3
    assert dataset.annotations["images"][1]["crowdIndex"] == 0.4

    counts = counted_pixels(first)
    assert counts[22, 32] == 0
    assert counts.sum() == 30 * 40 - 25
    assert counted_pixels(second)[:, :10].sum() == 0  # run lengths go down the columns
    assert counted_pixels(second).sum() == 30 * 30


def test_reading_gives_rgb_and_survives_pickling(folder: Path) -> None:
    dataset = load(valid(), folder)
    image = dataset.read(0)
    assert image.shape == (30, 40, 3)
    assert image[0, 0].tolist() == [250, 20, 10]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).read(0), image)


def test_what_crowdpose_leaves_out_is_filled_in(folder: Path) -> None:
    content = valid(14)
    del content["categories"]
    for annotation in content["annotations"]:
        for field in ("area", "segmentation", "num_keypoints", "iscrowd", "category_id"):
            annotation.pop(field)
    dataset = load(content, folder)
    assert dataset.skeleton is CROWDPOSE14  # by the number of joints
    assert dataset.images[0].areas_P[0] == pytest.approx(20 * 25 * 0.53)
    assert not dataset.images[0].ignore
    records = dataset.annotations["annotations"]
    assert [r["num_keypoints"] for r in records] == [14, 0, 0]
    assert {r["category_id"] for r in records} == {1}
    assert dataset.annotations["categories"][0]["id"] == 1


def test_compressed_run_lengths_equal_plain_ones(folder: Path) -> None:
    from pycocotools import mask as coco_mask

    pixels = np.random.default_rng(1).random((30, 40)) > 0.6
    pixels[:, 5:9] = True
    content = valid()
    content["annotations"][2]["segmentation"] = {
        "size": [30, 40],
        "counts": coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode(),
    }
    dataset = load(content, folder)
    assert np.array_equal(counted_pixels(dataset.images[1]), 1 - pixels)


def test_own_skeleton_and_other_categories(folder: Path) -> None:
    hand = describe("hand3", ["a", "b", "c"], limbs=[], sigmas=[0.1] * 3)
    content = valid(3)
    content["categories"] = [{"id": 1, "name": "hand", "keypoints": ["a", "b", "c"]}, {"id": 2, "name": "dog"}]
    content["annotations"].append({"id": 4, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]})
    assert len(load(content, folder, skeleton=hand).annotations["annotations"]) == 3
    with pytest.raises(InputError, match=r"the 3 keypoints of categories.*YAML"):
        load(content, folder)
    content["categories"][0]["keypoints"] = ["b", "a", "c"]
    with pytest.raises(InputError, match="keypoint 0 of categories is b; of skeleton hand3 it is a"):
        load(content, folder, skeleton=hand)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


FIRST = ("annotations", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("annotations"), "there is no list annotations"),
        (put("images", value=3), "images is 3, no list"),
        (drop("annotations", 2, "keypoints"), r"annotations\[2\].keypoints is missing"),
        (
            put(*FIRST, "keypoints", value=[0] * 63),
            r"annotations\[0\].keypoints has 63 numbers, 21 joints; skeleton coco17 has 17",
        ),
        (put(*FIRST, "keypoints", value=[0] * 50), "50 numbers, not three a joint"),
        (put(*FIRST, "keypoints", 4, value="x"), r"annotations\[0\].keypoints\[4\] is 'x'"),
        (put(*FIRST, "keypoints", 4, value=float("nan")), r"keypoints\[4\] is nan"),
        (put(*FIRST, "keypoints", 4, value=10**400), r"keypoints\[4\] is 1000"),
        (put(*FIRST, "keypoints", 5, value=3), r"keypoints\[5\] is 3, a visibility is 0, 1 or 2"),
        (put(*FIRST, "bbox", value=[1, 2, 3]), r"annotations\[0\].bbox is \[1, 2, 3\]"),
        (put(*FIRST, "bbox", 2, value=-3), "negative size"),
        (put(*FIRST, "area", value="big"), r"annotations\[0\].area is 'big'"),
        (put(*FIRST, "image_id", value=8), r"annotations\[0\].image_id is 8, which no image has"),
        (put(*FIRST, "id", value=2), r"annotations\[1\].id is 2, as an earlier"),
        (put(*FIRST, "category_id", value=5), r"annotations\[0\].category_id is 5"),
        (put("annotations", 1, value=None), r"annotations\[1\] is None"),
        (put("images", 1, "id", value=7), r"images\[1\].id is 7, as an earlier"),
        (put("images", 1, "id", value="x"), r"images\[1\].id is 'x', an integer"),
        (drop("images", 0, "file_name"), r"images\[0\].file_name is missing"),
        (drop("images", 0, "width"), r"images\[0\].width is missing"),
        (put("images", 0, "height", value=0), r"images\[0\].height is 0"),
        (put("images", 0, "file_name", value="../a.png"), "'../a.png', which is not inside the folder"),
        (put("images", 0, "file_name", value="/etc/passwd"), "not inside the folder"),
        (put("images", 0, "file_name", value="c.jpg"), r"c.jpg: no such file \(image id 7 of .*annotations.json\)"),
        (put("images", 0, "file_name", value="\ud800\0"), "no such file"),
        (put("annotations", 1, "segmentation", 0, 0, value=1e12), r"annotations\[1\].segmentation\[0\]\[0\] is 1"),
        (put("annotations", 2, "segmentation", "counts", value=[5, 5]), "do not add up to 30 x 40"),
        (put("annotations", 2, "segmentation", "counts", value="zzz"), "do not add up"),
        (put("annotations", 2, "segmentation", "size", value=[40, 30]), r"size is \[40, 30\]"),
        (put("categories", 0, "keypoints", value=["a", "b"]), "are not those of a known skeleton"),
    ],
)
def test_one_line_says_what_is_wrong(folder: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    content = valid()
    change(content)
    with pytest.raises(InputError, match=message) as caught:
        load(content, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"images": [], "annotations": [], "a": ' + "9" * 5000 + "}"])
def test_what_is_no_coco_file(folder: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"annotations\.json"):
        load(text, folder)


def test_detections_are_not_keypoints(folder: Path) -> None:
    content = valid()
    content["categories"] = [{"id": 1, "name": "person"}]
    for annotation in content["annotations"]:
        del annotation["keypoints"]
    with pytest.raises(InputError, match=r"annotations\[0\].keypoints is missing"):
        load(content, folder)


def test_images_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    whole = (folder / "sub" / "b.jpg").read_bytes()
    (tmp_path / "sub" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.png").write_bytes(b"not a picture")
    dataset = load(valid(), tmp_path)
    with pytest.raises(InputError, match=r"a.png: not an image"):
        dataset.read(0)
    with pytest.raises(InputError, match=r"b.jpg: a JPEG that is cut short"):
        dataset.read(1)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 30, 3), np.uint8))
    with pytest.raises(InputError, match=r"a.png: 30 x 40 pixels; image id 7 of .* says 40 x 30"):
        dataset.read(0)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="no such folder"):
        load_coco(tmp_path / "annotations.json", tmp_path / "nowhere")


@settings(max_examples=FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=broken(valid()))
def test_broken_files_load_right_or_say_why(folder: Path, text: str) -> None:
    """What loads holds what the file says; what does not is refused with one line that names the file."""
    try:
        dataset = load(text, folder)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert re.fullmatch(r"([^\n]*(annotations\.json|no such file)[^\n]*)?", message), message
    if message:
        return
    content = json.loads(text)
    assert [(i.id, i.file, i.height, i.width) for i in dataset.images] == [
        (i["id"], i["file_name"], i["height"], i["width"]) for i in content["images"]
    ]
    listed = {c["id"] for c in content.get("categories") or [] if c.get("keypoints")}
    read = [a for a in content["annotations"] if not listed or a.get("category_id", 1) in listed]
    assert [r["id"] for r in dataset.annotations["annotations"]] == [a["id"] for a in read]
    for info in dataset.images:
        people = [a for a in read if a["image_id"] == info.id and any(a["keypoints"][2::3]) and not a.get("iscrowd")]
        joints = np.reshape([a["keypoints"] for a in people], (-1, len(dataset.skeleton), 3))
        np.testing.assert_array_equal(info.joints_PJ3, joints.astype(np.float32))
        np.testing.assert_array_equal(info.boxes_P4, np.reshape([a["bbox"] for a in people], (-1, 4)).astype("f4"))
        assert np.isfinite(info.joints_PJ3).all()
        assert np.isfinite(info.areas_P).all()
        if info.height * info.width < 10_000:
            assert counted_pixels(info).shape == (info.height, info.width)
    with contextlib.suppress(InputError):  # nobody to find
        assert evaluate(dataset.annotations, [], dataset.skeleton).ap == 0
    for i, info in enumerate(dataset.images):
        with contextlib.suppress(InputError):
            assert dataset.read(i).shape == (info.height, info.width, 3)


@needs_samples
@pytest.mark.parametrize(("name", "images", "people"), [("coco", 4, 12), ("crowdpose", 2, 4)])
def test_real_photos(name: str, images: int, people: int) -> None:
    root = SAMPLES / name
    dataset = load_coco(root / f"test_{name}.json", root)
    assert dataset.skeleton is (COCO17 if name == "coco" else CROWDPOSE14)
    assert len(dataset) == images
    assert sum(len(info.joints_PJ3) for info in dataset.images) == people
    for i, info in enumerate(dataset.images):
        assert dataset.read(i).shape == (info.height, info.width, 3)
        labelled = info.joints_PJ3[info.joints_PJ3[..., 2] > 0]
        assert (labelled[:, :2] >= 0).all()
        assert (labelled[:, :2] <= [info.width, info.height]).all()
        counts = counted_pixels(info)
        assert counts.all() == (not info.ignore)
