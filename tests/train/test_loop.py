import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from archsearch.data.dataset import Dataset
from archsearch.data.scenes import scenes
from archsearch.nets.zoo import as_arch, build
from archsearch.skeleton import COCO17
from archsearch.train.loop import Progress, Stopped, TrainingDiverged, learning_rate, parameter_groups, train
from archsearch.train.settings import TrainSettings
from archsearch.train.task import BottomUpTask

ARCH = as_arch(
    {
        "kind": "hrnet",
        "input_hw": [32, 32],
        "widths": [4, 8],
        "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
        "stages": [{"modules": 1, "branches": [[], [{"kernel": 3}]]}],
        "head": {"kind": "bottom_up", "deconvs": [{"width": 4, "blocks": []}]},
    }
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return scenes(12, 32, 0, COCO17, "easy")


def settings(**changes: object) -> TrainSettings:
    fields = {"preset": "fast", "images": 40, "batch": 4, "evaluations": 2, "checkpoint_s": 0, **changes}
    return TrainSettings.model_validate(fields)


def task(data: Dataset, chosen: TrainSettings) -> BottomUpTask:
    return BottomUpTask(data, 32, chosen.augmentation, chosen.loss)


def first() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(ARCH)


def run(data: Dataset, folder: Path, chosen: TrainSettings, stop_at: int | None = None, seed: int = 0) -> nn.Module:
    steps: list[int] = []
    net, _ = train(
        first(),
        task(data, chosen),
        chosen,
        seed=seed,
        folder=folder,
        on_step=lambda p: steps.append(p.step),
        should_stop=lambda: bool(steps) and steps[-1] == stop_at,
    )
    return net


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize("changes", [{}, {"preset": "official"}])
def test_a_seed_gives_the_same_bits_and_another_seed_others(
    data: Dataset, tmp_path: Path, changes: dict[str, object]
) -> None:
    one, two = run(data, tmp_path / "a", settings(**changes)), run(data, tmp_path / "b", settings(**changes))
    other = run(data, tmp_path / "c", settings(**changes), seed=1)
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("stop_at", [1, 5, 8])
def test_a_run_that_stopped_ends_with_the_weights_of_one_that_did_not(
    data: Dataset, tmp_path: Path, stop_at: int
) -> None:
    whole = run(data, tmp_path / "whole", settings())
    with pytest.raises(Stopped):
        run(data, tmp_path / "parts", settings(), stop_at)
    assert same(run(data, tmp_path / "parts", settings()), whole)


def test_evaluations_are_evenly_spaced_and_see_the_averaged_network(data: Dataset, tmp_path: Path) -> None:
    seen: list[Progress] = []
    nets: list[nn.Module] = []
    start = first()
    net, end = train(
        start,
        task(data, settings()),
        settings(evaluations=3),
        seed=0,
        folder=tmp_path,
        on_evaluation=lambda averaged, progress: (seen.append(progress), nets.append(averaged))[0],
    )
    assert [p.step for p in seen] == [4, 7, 10]
    assert [p.images_seen for p in seen] == [16, 28, 40]
    assert end.step == end.steps == 10
    assert nets[-1] is net
    assert net is not start  # an average, not the last weights
    assert not net.training
    assert not same(net, start)


def test_without_averaging_the_network_itself_comes_back(data: Dataset, tmp_path: Path) -> None:
    start = first()
    net, _ = train(start, task(data, settings()), settings(ema=0), seed=0, folder=tmp_path)
    assert net is start


def test_a_loss_that_is_not_finite_stops_with_a_reason(data: Dataset, tmp_path: Path) -> None:
    net = first()
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    with pytest.raises(TrainingDiverged, match=r"not finite at step 0 of 10 .*try a lower lr"):
        train(net, task(data, settings()), settings(), seed=0, folder=tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_training_lowers_the_loss(data: Dataset, tmp_path: Path) -> None:
    losses: list[float] = []
    train(
        first(),
        task(data, settings()),
        settings(images=480, batch=4),
        seed=0,
        folder=tmp_path,
        on_step=lambda p: losses.append(p.loss),
    )
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])


def test_images_without_people_train(data: Dataset, tmp_path: Path) -> None:
    empty = [dataclasses.replace(i, joints_PJ3=i.joints_PJ3[:0], boxes_P4=i.boxes_P4[:0]) for i in data.images]
    trained = weights(run(dataclasses.replace(data, images=tuple(empty)), tmp_path, settings()))
    before = weights(first())
    assert all(bool(tensor.isfinite().all()) for tensor in trained.values())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trained.items())


def test_learning_rates_follow_the_schedules() -> None:
    cosine = settings(lr=1.0, warmup=0.1)
    rates = [learning_rate(cosine, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 1e-3
    assert rates[9:] == sorted(rates[9:], reverse=True)
    steps = TrainSettings.model_validate({"preset": "official", "epochs": 300, "lr": 1.0})
    assert [round(learning_rate(steps, s, 300), 12) for s in (0, 199, 200, 259, 260, 299)] == [
        1,
        1,
        0.1,
        0.1,
        0.01,
        0.01,
    ]


def test_only_weights_decay() -> None:
    decayed, kept = parameter_groups(first(), 0.01)
    assert decayed["weight_decay"] == 0.01
    assert kept["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in kept["params"])
