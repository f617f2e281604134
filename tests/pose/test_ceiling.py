import dataclasses

import numpy as np
import pytest
import torch

from archsearch.data.batches import eval_batch
from archsearch.data.dataset import Dataset, ImageInfo
from archsearch.data.scenes import scenes
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE, OFFICIAL_DECODE, infer, predict, predict_image
from archsearch.pose.ceiling import ceiling, perfect_outputs
from archsearch.skeleton import COCO17, CROWDPOSE14


@pytest.mark.parametrize("skeleton", [COCO17, CROWDPOSE14])
def test_perfect_maps_lose_almost_nothing_at_96_px(skeleton):
    data = scenes(40, 96, 1, skeleton, "easy")
    scores = ceiling(data, losses.FAST, FAST_DECODE, size_px=96)
    assert scores.ap >= 0.94
    assert ceiling(data, losses.FAST, dataclasses.replace(FAST_DECODE, subpixel="none"), size_px=96).ap < scores.ap


def test_the_official_pipeline_reaches_its_ceiling_too():
    data = scenes(12, 256, 2, COCO17, "easy")
    assert ceiling(data, losses.OFFICIAL, OFFICIAL_DECODE, size_px=256).ap >= 0.94


def test_perfect_maps_have_no_loss_worth_speaking_of():
    batch = eval_batch(scenes(8, 96, 1, COCO17, "easy"), range(8), 96)
    outputs = perfect_outputs(batch, losses.FAST, FAST_DECODE, (4, 2))
    parts = losses.bottom_up_loss(outputs, losses.Targets(batch.joints_NPJ3, None, 96, losses.FAST))
    assert all(value < 0.02 for value in parts.heatmaps)
    assert parts.pull < 2.0  # two people whose joints share a cell are told apart by 10 elsewhere
    assert parts.push < 1e-3


class Copies(torch.nn.Module):
    """A network whose heatmaps are the image's own brightness: mirror it and the maps are mirrored."""

    def forward(self, x):
        small = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4)
        wide = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2)
        return [small.expand(-1, 34, -1, -1), wide.expand(-1, 17, -1, -1)]


def test_the_flip_test_leaves_a_mirror_symmetric_network_alone():
    images = torch.randn(2, 3, 64, 64)
    plain = infer(Copies(), images, COCO17, dataclasses.replace(OFFICIAL_DECODE, flip=False))
    flipped = infer(Copies(), images, COCO17, OFFICIAL_DECODE)
    torch.testing.assert_close(plain[0], flipped[0])
    assert plain[1].shape[-1] == 1
    assert flipped[1].shape[-1] == 2


def test_one_image_is_seen_as_the_same_image_of_a_data_set():
    """predict_image and predict bring a photo of odd sides to the network in the same way."""
    photo = np.random.default_rng(0).integers(0, 255, (150, 233, 3), np.uint8)
    info = ImageInfo(1, "a.jpg", 150, 233, np.zeros((0, 17, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0))
    data = Dataset("one", COCO17, (info,), {"images": [{"id": 1}], "annotations": []}, lambda _: photo)
    for multiple in (None, 64):
        settings = dataclasses.replace(OFFICIAL_DECODE, multiple=multiple)
        persons, scores = predict_image(Copies(), photo, COCO17, settings, size_px=128)
        results = predict(Copies(), data, settings, size_px=128)
        assert len(results) == len(scores) > 0
        np.testing.assert_allclose(
            np.reshape([r["keypoints"] for r in results], (-1, 17, 3)), persons[..., :3], rtol=1e-5
        )


def test_people_come_back_in_the_pixels_of_the_photo():
    """A white dot on a photo of odd size, found where it is whatever the network's input size."""
    photo = np.zeros((150, 233, 3), np.uint8)
    photo[68:73, 118:123] = 255  # around x = 120, y = 70
    for size in (128, 192):
        settings = dataclasses.replace(FAST_DECODE, activation="none", logit_shift=0.0, detection_threshold=0.2)
        persons, _ = predict_image(Copies(), photo, COCO17, settings, size_px=size)
        x, y = persons[0, 0, :2]
        assert abs(x - 120) < 1.5
        assert abs(y - 70) < 1.5
