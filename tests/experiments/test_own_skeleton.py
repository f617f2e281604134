"""A hand of 21 points, described by the YAML in docs/data.md: data, training, evaluation and drawing follow it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from archsearch.cli import app
from archsearch.data.batches import make_batch
from archsearch.data.coco import load_coco
from archsearch.data.transforms import Augmentation
from archsearch.nets.zoo import as_arch
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.pose.ceiling import ceiling
from archsearch.pose.draw import draw_people
from archsearch.skeleton import Skeleton, load_skeleton
from archsearch.train.checkpoint import load_model

SIZE_PX = 64
ARCH = {
    "kind": "hrnet",
    "input_hw": [SIZE_PX, SIZE_PX],
    "widths": [4, 8],
    "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
    "stages": [{"modules": 1, "branches": [[], []]}],
    "head": {"kind": "bottom_up", "deconvs": [{"width": 4, "blocks": []}]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hand.yaml, hands.json and six pictures of one or two hands."""
    root = tmp_path_factory.mktemp("hands")
    (root / "images").mkdir()
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (root / "hand.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1))  # type: ignore[union-attr]
    hand = load_skeleton(root / "hand.yaml")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(6):
        picture = np.full((SIZE_PX, SIZE_PX, 3), 40, np.uint8)
        for k in range(1 + i % 2):
            points = _hand(rng, np.array([18.0 + 28 * k, 50.0]))
            for a, b in hand.limbs:
                cv2.line(picture, *(tuple(int(v) for v in points[j].round()) for j in (a, b)), (90, 160, 220), 2)
            low, high = points.min(0) - 2, points.max(0) + 2
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": 3,
                    "iscrowd": 0,
                    "keypoints": [float(v) for x, y in points.round(2) for v in (x, y, 2)],
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float((high - low).prod()),
                }
            )
        cv2.imwrite(str(root / "images" / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png", "height": SIZE_PX, "width": SIZE_PX})
    categories = [{"id": 3, "name": "hand", "keypoints": list(hand.joints)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "hands.json").write_text(json.dumps(content))
    return root


def _hand(rng: np.random.Generator, wrist: np.ndarray) -> np.ndarray:
    """(21, 2): five fingers of four joints that fan out upward."""
    angles = np.deg2rad(np.array([-60, -25, 0, 22, 45]) + rng.normal(0, 5, 5))
    reach = (
        np.array([12.0, 19, 25, 30])[None] * rng.uniform(0.8, 1.1, (5, 1)) * np.array([0.7, 1, 1.1, 1, 0.8])[:, None]
    )
    fingers = wrist + np.stack([np.sin(angles)[:, None] * reach * 0.7, -np.cos(angles)[:, None] * reach], -1)
    return np.clip(np.concatenate([wrist[None], fingers.reshape(20, 2)]), 0, SIZE_PX - 1)


@pytest.fixture(scope="module")
def hand(folder: Path) -> Skeleton:
    return load_skeleton(folder / "hand.yaml")


def command(*args: object) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


def test_data_and_mirror_images(folder: Path, hand: Skeleton) -> None:
    data = load_coco(folder / "hands.json", folder / "images", skeleton=hand)
    assert data.images[1].joints_PJ3.shape == (2, 21, 3)
    assert hand.flip == tuple(range(21))  # a mirrored hand keeps its fingers
    mirror = Augmentation(rotation_deg=0, scale=(1, 1), shift=0, flip=1)
    batch = make_batch(data, [0], seed=0, step=0, size_px=SIZE_PX, augmentation=mirror)
    expected = data.images[0].joints_PJ3.copy()
    expected[..., 0] = SIZE_PX - 1 - expected[..., 0]
    np.testing.assert_allclose(batch.joints_NPJ3[0].numpy(), expected, atol=1e-4)
    report = json.loads(
        command("data", "check", folder / "hands.json", "--images", folder / "images",
                "--skeleton", folder / "hand.yaml", "--json")
    )  # fmt: skip
    assert (report["skeleton"], report["people"], report["findings"]) == ("hand21", 9, [])


def test_perfect_maps_of_hands_give_perfect_people(folder: Path, hand: Skeleton) -> None:
    data = load_coco(folder / "hands.json", folder / "images", skeleton=hand)
    scores = ceiling(data, losses.FAST, FAST_DECODE, size_px=256)
    assert scores.people == 9
    assert scores.ap > 0.95


def test_training_evaluation_and_drawing(folder: Path, hand: Skeleton, tmp_path: Path) -> None:
    study = {
        "kind": "train",
        "name": "hands",
        "arch": ARCH,
        "data": {
            "kind": "coco",
            "name": "hands",
            "root": str(folder),
            "skeleton": str(folder / "hand.yaml"),
            **{f"{part}_annotations": "hands.json" for part in ("train", "val")},
            **{f"{part}_images": "images" for part in ("train", "val")},
        },
        "train": {"preset": "fast", "images": 24, "batch": 4},
        "bootstrap": 10,
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "hands.yaml"
    path.write_text(yaml.safe_dump(study))
    result = json.loads(command("train", path, "--runs", tmp_path / "runs", "--json"))
    assert 0 <= result["ap"] <= 1
    (folder_of_model,) = (tmp_path / "runs" / "hands").glob("*/models/*")
    model = load_model(folder_of_model, torch.device("cpu"))
    assert model.skeleton == hand
    assert as_arch(model.arch).joints == 21
    maps_and_tags, maps = model.net(torch.zeros(1, 3, SIZE_PX, SIZE_PX))
    assert (maps_and_tags.shape[1], maps.shape[1]) == (42, 21)

    options = ("--annotations", folder / "hands.json", "--images", folder / "images", "--device", "cpu", "--json")
    figures = json.loads(command("eval", folder_of_model, *options, "--out", tmp_path / "found.json"))
    assert figures["people"] == 9
    assert figures["ap"] == pytest.approx(result["ap"], abs=1e-9)
    assert all(len(r["keypoints"]) == 63 for r in json.loads((tmp_path / "found.json").read_text()))

    data = load_coco(folder / "hands.json", folder / "images", skeleton=hand)
    picture = data.read(0)
    drawn = draw_people(picture, data.images[0].joints_PJ3, model.skeleton)
    x, y = data.images[0].joints_PJ3[0, 12, :2].round().astype(int)  # the middle finger's end
    assert (drawn != picture).any(-1)[y, x]
