import copy
from typing import Any

import pytest
import torch
from torch import nn
from train import tiny

from archsearch.data.batches import Batch, make_batch
from archsearch.data.dataset import Dataset, some_images
from archsearch.elastic import BatchNorm
from archsearch.experiments.candidates import EstimateSettings, Estimator
from archsearch.nets.zoo import build, extract
from archsearch.skeleton import COCO17
from archsearch.train import calibrate as calibration
from archsearch.train.calibrate import recalibrate
from archsearch.train.stored import Supernet

CHOSEN = tiny.settings()


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny.data()


def calibrate(net: nn.Module, data: Dataset, images: int = 10, batch: int = 4) -> dict[str, torch.Tensor]:
    recalibrate(net, data, size_px=32, images=images, augmentation=CHOSEN.augmentation, batch=batch)
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_statistics_are_the_plain_mean_over_batches(data: Dataset) -> None:
    """The first normalisation: its input depends on no other one, so that plain torch can say what it sees."""
    net = tiny.shaken(build(tiny.space().smallest()))
    conv, bn = net.stem.conv.conv, net.stem.conv.bn  # type: ignore[union-attr]
    calibrate(net, data)
    assert isinstance(bn, BatchNorm)
    picked = [k * 12 // 10 for k in range(10)]
    means, variances = [], []
    for step, chunk in enumerate((picked[:4], picked[4:7], picked[7:])):
        made = make_batch(data, chunk, seed=0, step=step, size_px=32, augmentation=CHOSEN.augmentation)
        with torch.no_grad():
            seen = conv(made.images_N3HW)  # type: ignore[operator]
        means.append(seen.mean((0, 2, 3)))
        variances.append(seen.transpose(0, 1).flatten(1).var(1))
    assert bn.running_mean is not None
    assert bn.running_var is not None
    assert torch.allclose(bn.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert torch.allclose(bn.running_var, torch.stack(variances).mean(0), atol=1e-5)


@pytest.mark.parametrize(("images", "sizes"), [(8, [4, 4]), (9, [3, 3, 3]), (5, [3, 2]), (3, [3])])
def test_no_image_counts_for_much_more_than_another(
    data: Dataset, images: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch counts the same: a last one of a single image would count as four."""
    chunks: list[list[int]] = []

    def spy(dataset: Dataset, indices: list[int], **settings: Any) -> Batch:
        chunks.append(indices)
        return make_batch(dataset, indices, **settings)

    monkeypatch.setattr(calibration, "make_batch", spy)
    calibrate(build(tiny.space().smallest()), data, images=images)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [index for chunk in chunks for index in chunk] == [k * 12 // images for k in range(images)]


def test_only_statistics_change_and_neither_momentum_nor_what_was_there_matters(data: Dataset) -> None:
    net = tiny.shaken(build(tiny.space().smallest()))
    other = copy.deepcopy(net)
    for layer in other.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.7
            assert layer.running_mean is not None
            layer.running_mean.fill_(1e6)
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked.fill_(99)
    before = {name: value.clone() for name, value in net.named_parameters()}
    one, two = calibrate(net.train(), data), calibrate(other.eval(), data)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
    assert not net.training
    assert not any(module.training for module in net.modules())
    assert {m.momentum for m in other.modules() if isinstance(m, nn.BatchNorm2d)} == {0.7}
    again = calibrate(net, data)
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_no_images_are_refused(data: Dataset) -> None:
    net = build(tiny.space().smallest())
    with pytest.raises(ValueError, match="0 of 12 images: at least one is needed"):
        calibrate(net, data, images=0)
    calibrate(net, data, images=1000)  # all of them


def test_an_estimate_is_of_as_many_validation_images_as_it_says(data: Dataset) -> None:
    supernet = Supernet(tiny.net(CHOSEN), tiny.space(), COCO17, CHOSEN.decode)
    for count, expected in ((3, 3), (99, 12), (None, 12)):
        settings = EstimateSettings.model_validate({"val_images": count})
        found = Estimator(supernet, data, data, CHOSEN, settings, torch.device("cpu"))
        assert [info.id for info in found.val_set.images] == [info.id for info in data.images[:expected]]
        assert len(found.train_set) == 12


def test_nothing_of_one_candidate_reaches_the_next(data: Dataset) -> None:
    net = tiny.shaken(tiny.net(CHOSEN, kernel_transforms=True)).eval()
    supernet = Supernet(net, tiny.space(), COCO17, CHOSEN.decode)
    val_set = some_images(data, [0, 1, 2])
    settings = EstimateSettings.model_validate({"calibration_images": 6})
    found = Estimator(supernet, data, val_set, CHOSEN, settings, torch.device("cpu"))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    a, b = tiny.samples(2)
    first, x = found.network(a), torch.randn(1, 3, *a.input_hw)
    first_scores, _ = found.scores(a), found.scores(b)
    found.network(b)
    again = found.network(a)
    assert found.scores(a).summary() == first_scores.summary()
    assert all(torch.equal(p, q) for p, q in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(first(x), again(x), strict=True))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    stale = extract(net, a)
    assert not all(torch.equal(p, q) for p, q in zip(stale(x), again(x), strict=True))  # statistics are its own
