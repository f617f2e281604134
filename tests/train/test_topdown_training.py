import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from train import topdown_pair

from archsearch.data.dataset import Dataset
from archsearch.data.person_targets import person_heatmaps
from archsearch.data.persons import annotated_persons
from archsearch.data.scenes import scenes
from archsearch.experiments.single import parse_study, run_training
from archsearch.files import InputError
from archsearch.jobs import run_jobs
from archsearch.nets.zoo import as_arch, build
from archsearch.pose.topdown import FAST_TOP_DOWN, OFFICIAL_TOP_DOWN, TopDownDecode
from archsearch.runs import Run
from archsearch.skeleton import COCO17
from archsearch.space import to_plain
from archsearch.train.checkpoint import load_model, save_model
from archsearch.train.loop import Stopped, train
from archsearch.train.processes import Processes
from archsearch.train.topdown import FAST_LOSS, OFFICIAL_LOSS, PersonLoss, TopDownSettings, TopDownTask, person_loss

ARCH = as_arch(
    {
        "kind": "hrnet",
        "input_hw": [64, 48],
        "widths": [8, 16],
        "stem": {"width": 8, "planes": 4, "blocks": [{"kernel": 3}]},
        "stages": [{"modules": 1, "branches": [[{"kernel": 3}], [{"kernel": 3}]]}],
        "head": {"kind": "top_down"},
    }
)
SIZE, MAP = (64, 48), (16, 12)


def some_joints(count: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(0)
    joints = torch.from_numpy(rng.uniform(-30, 80, (count, 17, 3))).float()
    joints[..., 2] = torch.from_numpy(rng.integers(0, 3, (count, 17))).float()
    return joints


def test_the_official_loss_is_half_the_squared_error_joint_by_joint() -> None:
    """0.5 * MSE(w * prediction, w * target) for every joint, over the number of joints."""
    joints = some_joints()
    predicted = torch.rand(3, 17, *MAP)
    target, counts = person_heatmaps(joints, SIZE, MAP, sigma=2, transform="official")
    assert 0 < counts.sum() < counts.numel()
    total = 0.0
    for j in range(17):
        weight = counts[:, j, None, None].float()
        total += 0.5 * nn.functional.mse_loss(predicted[:, j] * weight, target[:, j] * weight).item()
    parts = person_loss([predicted], joints, SIZE, OFFICIAL_LOSS, "official")
    assert parts.total.item() == pytest.approx(total / 17, rel=1e-5)
    assert parts.heatmaps[0].item() == parts.total.item()
    assert parts.pull == parts.push == 0


@pytest.mark.parametrize("loss", [OFFICIAL_LOSS, FAST_LOSS])
def test_joints_that_do_not_count_have_no_gradient(loss: PersonLoss) -> None:
    joints = some_joints()
    predicted = torch.randn(3, 17, *MAP, requires_grad=True)
    person_loss([predicted], joints, SIZE, loss, "udp").total.backward()
    _, counts = person_heatmaps(joints, SIZE, MAP, sigma=loss.sigma, transform="udp")
    assert predicted.grad is not None
    assert ((predicted.grad != 0).flatten(2).any(2) == counts).all()


def test_quality_focal_loss_of_the_joints_that_count() -> None:
    joints = some_joints()
    logits = torch.randn(3, 17, *MAP, dtype=torch.float64)
    target, counts = person_heatmaps(joints, SIZE, MAP, sigma=1.5, transform="udp")
    p = torch.sigmoid(logits.float() - 4)
    entropy = -(target * p.log() + (1 - target) * (1 - p).log())
    weighted = (entropy * (target - p) ** 2 * counts[..., None, None]).sum() / target.sum()
    ours = person_loss([logits], joints, SIZE, FAST_LOSS, "udp").total
    assert ours.item() == pytest.approx(weighted.item(), rel=1e-4)


def test_every_resolution_has_targets_of_its_own() -> None:
    joints = some_joints()
    outputs = [torch.rand(3, 17, *MAP), torch.rand(3, 17, 8, 6)]
    both = person_loss(outputs, joints, SIZE, OFFICIAL_LOSS, "official")
    apart = [person_loss([output], joints, SIZE, OFFICIAL_LOSS, "official").total for output in outputs]
    assert both.total.item() == pytest.approx(sum(apart).item())  # type: ignore[union-attr]


def test_a_network_of_another_skeleton_is_refused() -> None:
    with pytest.raises(ValueError, match="output 0 has 14 maps; 17 joints need as many"):
        person_loss([torch.rand(3, 14, *MAP)], some_joints(), SIZE, OFFICIAL_LOSS, "official")


# ------------------------------------------------------------------------------------------------------------- settings


def test_presets_are_the_papers() -> None:
    official, lite = (
        TopDownSettings.model_validate({"preset": name, "epochs": 210}) for name in ("official", "lite_hrnet")
    )
    assert (official.lr, lite.lr) == (1e-3, 2e-3)
    assert (official.loss.sigma, official.loss.heatmap) == (2, "mse")
    assert official.decode == lite.decode == OFFICIAL_TOP_DOWN
    assert (official.augmentation.scale, official.augmentation.rotation_deg) == (0.35, 45)
    assert (lite.augmentation.scale, lite.augmentation.rotation_deg) == (0.25, 30)
    assert official.augmentation.half_body == lite.augmentation.half_body == 0.3
    with pytest.raises(ValueError, match="1 validation error for TopDownSettings\npreset"):
        TopDownSettings.model_validate({"preset": "hrnet", "epochs": 1})
    changed = TopDownSettings.model_validate({"preset": "official", "epochs": 1, "loss": {"sigma": 3}})
    assert (changed.loss.sigma, changed.loss.heatmap) == (3, "mse")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sigma": 0}, "sigma 0"),
        ({"beta": 0.5}, "beta 0.5"),
        ({"heatmap": "l1"}, "'l1'"),
        ({"logit_shift": math.inf}, "inf"),
    ],
)
def test_what_is_no_loss_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PersonLoss(**{"heatmap": "mse", "sigma": 2.0, **fields})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def data() -> Dataset:
    return scenes(12, 96, 0, COCO17, "easy")


def settings(**changes: object) -> TopDownSettings:
    fields = {"preset": "fast", "images": 80, "batch": 8, "checkpoint_s": 0, **changes}
    return TopDownSettings.model_validate(fields)


def run(
    data: Dataset, folder: Path, chosen: TopDownSettings, stop_at: int | None = None
) -> tuple[nn.Module, list[float]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(ARCH, joints=17)
    task = TopDownTask(
        data, annotated_persons(data), chosen.decode.crop(ARCH.input_hw), chosen.augmentation, chosen.loss
    )
    losses: list[float] = []
    trained, _ = train(
        net,
        task,
        chosen,
        seed=0,
        folder=folder,
        on_step=lambda p: losses.append(p.loss),
        should_stop=lambda: len(losses) == stop_at,
    )
    return trained, losses


@pytest.mark.parametrize("preset", ["fast", "official"])
def test_training_lowers_the_loss(data: Dataset, tmp_path: Path, preset: str) -> None:
    _, losses = run(data, tmp_path, settings(preset=preset, images=480, lr=0.01, init="torch"))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_a_run_that_stopped_ends_with_the_weights_of_one_that_did_not(data: Dataset, tmp_path: Path) -> None:
    whole, _ = run(data, tmp_path / "whole", settings())
    with pytest.raises(Stopped):
        run(data, tmp_path / "parts", settings(), stop_at=4)
    resumed, _ = run(data, tmp_path / "parts", settings())
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_photos_train_as_pixels_in_memory_do(data: Dataset, tmp_path: Path) -> None:
    pixels = data.pixels_NHWC
    assert pixels is not None
    photos = dataclasses.replace(data, pixels_NHWC=None, read=lambda index: pixels[index])
    one, two = (run(d, tmp_path / d_name, settings())[1] for d, d_name in ((data, "a"), (photos, "b")))
    assert one == two


# ------------------------------------------------------------------------------------------------------- two processes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of two gloo processes that did all that is tested here."""
    folder = tmp_path_factory.mktemp("pair")
    halves = [topdown_pair.Half(folder, Processes(rank, 2)) for rank in range(2)]
    assert run_jobs(topdown_pair.work, halves, workers=2) == [{"count": 2}] * 2
    return folder


@pytest.mark.parametrize("preset", ["fast", "official"])
def test_two_processes_learn_what_one_learns_from_their_batch(both: Path, preset: str, tmp_path: Path) -> None:
    """Also quality focal loss, which is divided by the joints of the whole batch."""
    for kind, expected in (
        ("gradients", topdown_pair.gradients(preset)),
        ("weights", topdown_pair.weights(preset, tmp_path)),
    ):
        one, two = (torch.load(both / f"{kind}-{preset}-{rank}.pt") for rank in range(2))
        assert set(one) == set(expected)
        for name, value in expected.items():
            assert value.abs().max() > 0
            assert torch.equal(one[name], two[name]), name
            torch.testing.assert_close(one[name], value, rtol=1e-5, atol=1e-9)


def test_a_training_alone_refuses_torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    fields = {
        "kind": "train",
        "name": "two",
        "protocol": "top_down",
        "arch": to_plain(ARCH),
        "data": {"kind": "scenes", "train": 2, "val": 2},
        "train": {"images": 8},
    }
    study = parse_study(fields, tmp_path / "two.yaml")
    with pytest.raises(InputError, match="torchrun started 2 processes: archsearch train is one process"):
        run_training(study, Run(tmp_path), on_event=None, should_stop=None)


# --------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("decode", [OFFICIAL_TOP_DOWN, FAST_TOP_DOWN, TopDownDecode(dark_kernel=17, padding=1.1)])
def test_a_model_keeps_how_it_is_to_be_used(tmp_path: Path, decode: TopDownDecode) -> None:
    save_model(tmp_path, build(ARCH, joints=17), ARCH, COCO17, decode)
    assert load_model(tmp_path).decode == decode


def test_a_top_down_model_that_was_kept_with_a_bottom_up_decoding_gets_the_official_one(tmp_path: Path) -> None:
    from archsearch.pose.bottomup import OFFICIAL_DECODE

    save_model(tmp_path, build(ARCH, joints=17), ARCH, COCO17, OFFICIAL_DECODE)
    assert load_model(tmp_path).decode == OFFICIAL_TOP_DOWN
