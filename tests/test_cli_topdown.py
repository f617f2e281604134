"""``archsearch train|eval|predict`` of top-down networks, as a user meets them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from samples import SAMPLES, needs_samples

from archsearch.data.coco import load_coco
from archsearch.data.persons import annotated_persons
from archsearch.data.scenes import scenes, write_scenes
from archsearch.nets.zoo import as_arch, build
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.pose.topdown import FAST_TOP_DOWN, OFFICIAL_TOP_DOWN
from archsearch.skeleton import COCO17, MPII16
from archsearch.train.checkpoint import load_model, save_model

PLAIN: dict[str, Any] = {
    "kind": "hrnet",
    "input_hw": [64, 48],
    "widths": [4, 8],
    "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
    "stages": [{"modules": 1, "branches": [[], []]}],
    "head": {"kind": "top_down"},
}
ARCH = as_arch(PLAIN)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of embedded people, and boxes that a detector could have found: two for everybody, of two scores."""
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder, scenes(4, 64, 0, COCO17, "easy"))
    annotations = json.loads((folder / "annotations.json").read_text())
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": score}
        for a in annotations["annotations"]
        for score in (0.9, 0.3)
    ]
    (folder / "detections.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build(ARCH, joints=17), ARCH, COCO17, FAST_TOP_DOWN)
    return folder


def study(folder: Path, **fields: Any) -> Path:
    plain = {
        "kind": "train",
        "name": "tiny",
        "protocol": "top_down",
        "arch": PLAIN,
        "data": {"kind": "scenes", "size_px": 64, "train": 4, "val": 3},
        "train": {"preset": "fast", "images": 16, "batch": 4},
        "threads": 1,
        "bootstrap": 10,
        **fields,
    }
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(plain))
    return path


# ---------------------------------------------------------------------------------------------------------------- train


def test_a_study_is_trained_evaluated_and_kept(run: Any, tmp_path: Path) -> None:
    code, out, err = run("train", study(tmp_path), "train.decode.subpixel=quarter", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert 0 <= result["ap"] <= 1
    assert result["images_seen"] == 16
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    loaded = load_model(folder / "models" / "tiny-s0")
    assert loaded.decode.subpixel == "quarter"
    assert loaded.decode.transform == "udp"  # type: ignore[union-attr]
    assert "protocol: top_down" in (folder / "study.yaml").read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["protocol=sideways"], "tiny.yaml: protocol: 'sideways' is not one of bottom_up, top_down"),
        (["protocol=bottom_up"], "tiny.yaml: the study: protocol bottom_up: the architecture has a top_down head"),
        (["arch=higherhrnet-w32"], "tiny.yaml: the study: protocol top_down: the architecture has a bottom_up head"),
        (["train.optimiser=adam"], "train.optimiser: unknown key; did you mean optimizer?"),
        (["train.loss.pull_weight=1"], "train.loss.pull_weight: unknown key"),
        (
            ["train.decode.subpixel=taylor"],
            "train.decode.subpixel: input should be 'none', 'quarter' or 'dark' (given 'taylor')",
        ),
        (["detections=nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_a_study_that_cannot_be_is_refused(run: Any, tmp_path: Path, overrides: list[str], words: str) -> None:
    code, _, err = run("train", study(tmp_path), *overrides)
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]


# ----------------------------------------------------------------------------------------------------------------- eval


def test_eval_says_which_boxes_it_took(run: Any, data: Path, model: Path, tmp_path: Path) -> None:
    files = ("--annotations", data / "annotations.json", "--images", data / "images")
    people = len(annotated_persons(load_coco(data / "annotations.json", data / "images")))
    code, out, err = run("eval", model, *files, "--json", "--out", tmp_path / "r.json")
    assert code == 0, err
    assert json.loads(out)["boxes"] == f"{people} annotated boxes"
    results = json.loads((tmp_path / "r.json").read_text())
    assert 0 < len(results) <= people
    assert {"image_id", "category_id", "keypoints", "score"} == set(results[0])
    found = data / "detections.json"
    code, out, err = run("eval", model, *files, "--detections", found, "--json", "--out", tmp_path / "d.json")
    assert code == 0, err
    assert f"boxes of {found}" in json.loads(out)["boxes"]
    assert len(json.loads((tmp_path / "d.json").read_text())) <= len(json.loads(found.read_text())) // 2


def test_a_bottom_up_network_takes_no_boxes(run: Any, data: Path, tmp_path: Path) -> None:
    arch = as_arch({**PLAIN, "input_hw": [64, 64], "head": {"kind": "bottom_up", "deconvs": [{"width": 4}]}})
    save_model(tmp_path / "m", build(arch, joints=17), arch, COCO17, FAST_DECODE)
    files = ("--annotations", data / "annotations.json", "--images", data / "images")
    code, _, err = run("eval", tmp_path / "m", *files, "--detections", data / "detections.json")
    assert code == 2
    assert "is a bottom-up network, which finds people without boxes" in err
    code, _, err = run("predict", tmp_path / "m", data / "images", "--annotations", data / "annotations.json")
    assert code == 2
    assert "--annotations" in err


def mpii(folder: Path) -> tuple[Path, Path]:
    """Two photos with three people in MPII's format, and their head boxes."""
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    entries = [
        {
            "image": image,
            "center": [80.0, 60.0],
            "scale": 0.4,
            "joints": rng.uniform(10, 110, (16, 2)).tolist(),
            "joints_vis": [1] * 16,
        }
        for image in ("a.jpg", "b.jpg", "a.jpg")
    ]
    (folder / "mpii.json").write_text(json.dumps(entries))
    (folder / "heads.json").write_text(json.dumps([[10, 10, 40, 50]] * 3))
    return folder / "mpii.json", folder / "heads.json"


def test_mpii_is_evaluated_by_pckh_one_result_a_person(run: Any, tmp_path: Path) -> None:
    annotations, heads = mpii(tmp_path)
    arch = as_arch({**PLAIN, "input_hw": [64, 64]})
    save_model(tmp_path / "m", build(arch, joints=16), arch, MPII16, OFFICIAL_TOP_DOWN)
    options = ("--annotations", annotations, "--images", tmp_path, "--out", tmp_path / "r.json")
    code, out, err = run("eval", tmp_path / "m", *options, "--heads", heads, "--json")
    assert code == 0, err
    figures = json.loads(out)
    assert figures["pckh"]["people"] == 3
    assert 0 <= figures["pckh"]["mean"] <= 1
    assert figures["boxes"] == "3 annotated boxes"
    results = json.loads((tmp_path / "r.json").read_text())
    assert [(r["image_id"], r["annotation_id"]) for r in results] == [(1, 1), (1, 3), (2, 2)]
    code, out, _ = run("eval", tmp_path / "m", *options, "--heads", heads)
    assert "PCKh" in out
    code, out, _ = run("eval", tmp_path / "m", *options, "--json")
    assert "pckh" not in json.loads(out)


# -------------------------------------------------------------------------------------------------------------- predict


def people(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "people.json").read_text())["images"]
    return found


def test_predict_says_where_it_looks(run: Any, data: Path, model: Path, tmp_path: Path) -> None:
    photos, annotations, detections = data / "images", data / "annotations.json", data / "detections.json"
    code, _, err = run("predict", model, photos, "--out", "whole")
    assert code == 0, err
    assert "looked for in the whole image as one box" in err
    assert all([person["box"] for person in found] == [[0, 0, 64, 64]] for found in people(Path("whole")).values())

    code, _, err = run("predict", model, photos, "--annotations", annotations, "--out", "told", "--threshold", 0)
    assert code == 0, err
    assert f"looked for in annotated boxes of {annotations}" in err
    told = people(Path("told"))
    assert sum(map(len, told.values())) <= len(annotated_persons(load_coco(annotations, photos)))
    assert len(list(Path("told").glob("*.png"))) == 4

    code, _, err = run("predict", model, photos, "--detections", detections, "--out", "found")
    assert code == 0, err
    assert f"looked for in boxes of {detections}" in err
    both = ("--annotations", annotations, "--detections", detections)
    assert run("predict", model, photos, *both, "--out", "both")[0] == 0
    assert people(Path("both")) == people(Path("found"))
    boxes = [box["bbox"] for box in json.loads(detections.read_text())]
    assert all(person["box"] in boxes for found in people(Path("found")).values() for person in found)


def test_photos_that_nobody_knows_boxes_of_are_refused(run: Any, data: Path, model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "holiday.png"
    cv2.imwrite(str(photo), np.zeros((40, 30, 3), np.uint8))
    code, _, err = run("predict", model, photo, "--detections", data / "detections.json")
    assert code == 2
    assert "holiday.png: " in err
    assert "give --annotations" in err
    stranger = data / "images" / "stranger.png"
    stranger.write_bytes(photo.read_bytes())
    code, _, err = run("predict", model, stranger, "--annotations", data / "annotations.json")
    stranger.unlink()
    assert code == 2
    assert "has no image of this name" in err
    code, _, err = run("predict", model, photo, data / "images", "--annotations", data / "annotations.json")
    assert code == 2
    assert "must lie in one folder, not 2" in err


# -------------------------------------------------------------------------------------------------------- real photos


@needs_samples
def test_real_photos_are_learned_by_heart(run: Any, tmp_path: Path) -> None:
    """The shipped study, from JPEG and annotation to AP."""
    folder = SAMPLES / "coco"
    options = ("--annotations", folder / "test_coco.json", "--images", folder, "--json")
    code, out, err = run("train", "overfit_photos_topdown", *options, "threads=1", "train.images=960")
    assert code == 0, err
    assert json.loads(out)["ap"] > 0.9
