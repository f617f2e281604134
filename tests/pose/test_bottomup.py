"""Evaluation of a data set is a pipeline: reading, the network, grouping and matching side by side."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from archsearch.data.dataset import Dataset
from archsearch.data.scenes import scenes
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE, predict
from archsearch.pose.ceiling import perfect_results
from archsearch.pose.evaluate import Evaluation, evaluate
from archsearch.skeleton import COCO17

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def data() -> Dataset:
    return scenes(6, 64, 0, COCO17, "easy")


class Waits(torch.nn.Module):
    """Empty maps; call number ``at`` waits for an event, which something else must set meanwhile."""

    def __init__(self, at: int, event: threading.Event) -> None:
        super().__init__()
        self.at, self.event, self.calls, self.came = at, event, 0, False

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.calls == self.at:
            self.came = self.event.wait(PATIENCE_S)
        self.calls += 1
        return [torch.zeros(len(x), 34, 16, 16), torch.zeros(len(x), 17, 32, 32)]


def test_people_are_grouped_and_matched_while_the_network_goes_on(data: Dataset) -> None:
    event = threading.Event()
    net = Waits(1, event)
    plain = dataclasses.replace(FAST_DECODE, flip=False, activation="none", logit_shift=0.0)
    predict(net, data, plain, size_px=64, batch=2, on_results=lambda _: event.set())
    assert net.calls == 3
    assert net.came, "the second batch was not in the network when the first one's people were there"


def test_photos_are_read_while_the_network_goes_on(data: Dataset) -> None:
    event, read_by = threading.Event(), set()
    pixels = data.pixels_NHWC
    assert pixels is not None

    def read(index: int) -> np.ndarray:
        read_by.add(index)
        if index >= 2:
            event.set()
        return pixels[index]

    photos = dataclasses.replace(data, pixels_NHWC=None, read=read)
    net = Waits(0, event)
    plain = dataclasses.replace(FAST_DECODE, flip=False, activation="none", logit_shift=0.0)
    predict(net, photos, plain, size_px=64, batch=2)
    assert net.came, "the second batch was not read while the first one was in the network"
    assert read_by == set(range(6))


def test_a_failing_reader_or_listener_ends_it(data: Dataset) -> None:
    def read(index: int) -> np.ndarray:
        raise OSError(f"no image {index}")

    def listen(_: object) -> None:
        raise RuntimeError("heard enough")

    plain = dataclasses.replace(FAST_DECODE, flip=False)
    net = Waits(-1, threading.Event())
    with pytest.raises(OSError, match="no image"):
        predict(net, dataclasses.replace(data, pixels_NHWC=None, read=read), plain, size_px=64)
    with pytest.raises(RuntimeError, match="heard enough"):
        predict(net, data, plain, size_px=64, batch=2, on_results=listen)


def test_nothing_to_see_is_nobody(data: Dataset) -> None:
    empty = dataclasses.replace(data, images=(), pixels_NHWC=None)
    assert predict(Waits(-1, threading.Event()), empty, FAST_DECODE, size_px=64) == []


def test_results_matched_image_by_image_score_as_all_at_once() -> None:
    data = scenes(12, 96, 4, COCO17, "hard")
    rng = np.random.default_rng(0)
    results = perfect_results(data, losses.FAST, FAST_DECODE, size_px=96)
    for result in results:
        result["keypoints"] = (np.array(result["keypoints"]) + rng.normal(0, 0.4, 51)).tolist()
    expected = evaluate(data.annotations, results, COCO17)
    assert 0.2 < expected.ap < 0.95
    evaluation = Evaluation(data.annotations, COCO17)
    for info in reversed(data.images):
        evaluation.add([r for r in results if r["image_id"] == info.id])
    assert evaluation.scores().summary() == expected.summary()
    assert [i.image_id for i in evaluation.scores().images] == [i.image_id for i in expected.images]
    with pytest.raises(ValueError, match=r"results of image \d+ were added before"):
        evaluation.add(results[:1])
    assert Evaluation(data.annotations, COCO17).scores().ap == 0
