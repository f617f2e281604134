"""Distillation, first weights and steps of once-for-all training."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train import tiny
from train.pair import Double

from archsearch.data.dataset import Dataset
from archsearch.elastic import Conv
from archsearch.files import InputError
from archsearch.nets.zoo import Arch, build, extract, load_space
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.pose.losses import FAST, OFFICIAL, LossSettings, Targets, bottom_up_loss
from archsearch.skeleton import COCO17, CROWDPOSE14
from archsearch.space import Space
from archsearch.train.checkpoint import save_model
from archsearch.train.loop import train
from archsearch.train.supernet import add_kernel_transforms, first_supernet, take_model
from archsearch.train.task import Place

J = 5
CPU = Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny.data()


def case(masked: bool = False) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor | None]:
    """Outputs of a pupil and of a teacher, joints, and a mask that covers the left half."""
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 2 * J, 8, 8), (2, J, 16, 16)]
    pupil = [torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_() for shape in shapes]
    teacher = [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]
    joints = torch.cat((torch.rand(2, 3, J, 2, generator=g) * 32, torch.full((2, 3, J, 1), 2.0)), -1)
    mask = torch.ones(2, 32, 32, dtype=torch.bool)
    mask[:, :, :16] = False
    return pupil, teacher, joints, mask if masked else None


def gradients(settings: LossSettings, weight: float | None, masked: bool = False, seed: int = 0) -> list[Tensor]:
    pupil, teacher, joints, mask = case(masked)
    if seed:
        teacher = [torch.randn(t.shape, generator=torch.Generator().manual_seed(seed), dtype=t.dtype) for t in teacher]
    targets = Targets(joints, mask, 32, settings)
    taught = {} if weight is None else {"teacher": teacher, "teacher_weight": weight}
    total = bottom_up_loss(pupil, targets, **taught).total  # type: ignore[arg-type]
    return list(torch.autograd.grad(total, pupil))


@pytest.mark.parametrize("settings", [FAST, OFFICIAL])
def test_a_teacher_changes_heatmaps_and_never_tags(settings: LossSettings) -> None:
    alone, taught = gradients(settings, None), gradients(settings, 0.5)
    assert torch.equal(alone[0][:, J:], taught[0][:, J:])
    assert alone[0][:, J:].abs().sum() > 0
    for a, b in zip((alone[0][:, :J], alone[1]), (taught[0][:, :J], taught[1]), strict=True):
        assert (a - b).abs().max() > 1e-6
    assert all(torch.equal(a, b) for a, b in zip(alone, gradients(settings, 0.0), strict=True))


@pytest.mark.parametrize("settings", [FAST, OFFICIAL])
def test_a_teacher_says_nothing_about_masked_places(settings: LossSettings) -> None:
    for weight in (0.5, 1.0):
        one, other = gradients(settings, weight, masked=True), gradients(settings, weight, masked=True, seed=7)
        for maps in (slice(0, 1), slice(1, 2)):
            a, b = one[maps][0], other[maps][0]
            half = a.shape[3] // 2
            assert torch.equal(a[:, :J, :, :half], torch.zeros_like(a[:, :J, :, :half]))
            assert not torch.equal(a[:, :J, :, half:], b[:, :J, :, half:])


def test_mixed_squared_errors_have_the_gradient_of_the_weighted_sum_of_both() -> None:
    weight = 0.3
    hard, taught, soft = (gradients(OFFICIAL, w) for w in (None, weight, 1.0))
    for a, b, both in zip(hard, soft, taught, strict=True):
        assert torch.allclose((1 - weight) * a[:, :J] + weight * b[:, :J], both[:, :J], atol=1e-14)
    pupil, teacher, _, _ = case()
    for i, grad in enumerate(soft):  # a teacher alone: 2 (pupil - teacher) over the number of entries
        error = 2 * (pupil[i] - teacher[i])[:, :J] / pupil[i][:, :J].numel()
        assert torch.allclose(grad[:, :J], error, atol=1e-14)


def test_a_pupil_that_says_what_its_teacher_says_learns_nothing_from_it() -> None:
    pupil, _, joints, _ = case()
    for settings in (FAST, OFFICIAL):
        targets = Targets(joints, None, 32, settings)
        teacher = [p.detach().clone() for p in pupil]
        total = bottom_up_loss(pupil, targets, teacher=teacher, teacher_weight=1.0).total
        for grad in torch.autograd.grad(total, pupil):
            assert grad[:, :J].abs().max() < 1e-12


def test_teaching_keeps_the_scale_of_quality_focal_loss() -> None:
    """Its divisor counts the annotated people, not what a teacher imagines."""
    pupil, teacher, joints, _ = case()
    targets = Targets(joints, None, 32, dataclasses.replace(FAST, logit_shift=0.0))
    positives = targets.maps(1, (16, 16))[0].sum().item()
    (grad,) = torch.autograd.grad(
        bottom_up_loss(pupil, targets, teacher=teacher, teacher_weight=1.0).heatmaps[1], pupil[1]
    )
    z, t = pupil[1].detach().requires_grad_(), teacher[1].sigmoid()
    p = z.sigmoid()
    plain = ((t - p).abs() ** 2 * -(t * p.log() + (1 - t) * (1 - p).log())).sum() / positives
    (expected,) = torch.autograd.grad(plain, z)
    assert positives > 1
    assert torch.allclose(grad, expected, atol=1e-10)


# ---------------------------------------------------------------------------------------------------------- steps


def test_a_step_leaves_the_mean_of_the_gradients_of_its_sub_nets(data: Dataset) -> None:
    chosen = tiny.settings()
    task = tiny.task(data, chosen, teacher_weight=0.5, random=2)
    net = tiny.net(chosen).train()
    other = copy.deepcopy(net)
    batch = task.batch([0, 3, 5], CPU, seed=0, step=1, first=0)
    assert batch.size_hw == task.archs(1)[0].input_hw
    parts = task.backward(net, batch, CPU, 1)

    targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, chosen.loss)
    total, teacher, losses = None, None, []
    for arch in task.archs(1):
        outputs = other(batch.images_N3HW.contiguous(memory_format=torch.channels_last), arch)
        loss = bottom_up_loss(outputs, targets, teacher=teacher, teacher_weight=0.5).total
        teacher = teacher or [output.detach() for output in outputs]
        losses.append(loss.item())
        total = loss / 4 if total is None else total + loss / 4
    assert total is not None
    total.backward()
    assert parts.total.item() == pytest.approx(sum(losses) / 4, rel=1e-6)
    for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6), name


def test_the_largest_net_may_count_for_more(data: Dataset) -> None:
    """Gradients are linear in what each counts: those of counts 1 and 3 give that of 2."""
    chosen = tiny.settings()
    found: dict[float, list[Tensor]] = {}
    losses = {}
    for count in (1.0, 2.0, 3.0):
        task = Double(**vars(tiny.task(data, chosen, random=1, teacher_weight=0.0, largest_weight=count)))
        net = tiny.net(chosen, zero_init=False).double().train()
        batch = task.batch([0, 3], CPU, seed=0, step=1, first=0)
        losses[count] = task.backward(net, batch, CPU, 1).total.item() * (count + 2)
        found[count] = [p.grad * (count + 2) for p in net.parameters() if p.grad is not None]
    for one, two, three in zip(found[1.0], found[2.0], found[3.0], strict=True):
        assert torch.allclose(one + three, 2 * two, atol=1e-10)
    assert losses[1.0] + losses[3.0] == pytest.approx(2 * losses[2.0])
    assert losses[3.0] > losses[1.0]


def test_a_ramp_teaches_nothing_at_first_and_all_in_the_end(data: Dataset) -> None:
    chosen = tiny.settings()

    def learned(step: int, steps: int, **changes: float) -> list[Tensor]:
        task = dataclasses.replace(tiny.task(data, chosen, steps=steps, random=0, **changes), seed=1)
        net = tiny.net(chosen).train()
        task.backward(net, task.batch([1, 2], CPU, seed=0, step=0, first=0), CPU, step)
        return [p.grad for p in net.parameters() if p.grad is not None]

    def equal(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    ramp = {"teacher_weight": 0.8, "teacher_ramp": 0.5}
    assert equal(learned(0, 16, **ramp), learned(0, 16, teacher_weight=0.1))
    assert equal(learned(0, 2, **ramp), learned(0, 2, teacher_weight=0.8))
    assert not equal(learned(0, 16, **ramp), learned(0, 16, teacher_weight=0.8))


def test_what_no_sub_net_uses_has_no_gradient_and_does_not_move(data: Dataset, tmp_path: Path) -> None:
    chosen = tiny.settings(images=8, ema=0)
    one_block = {"strategy": "single_path", "random": 1}
    tasks = (dataclasses.replace(tiny.task(data, chosen, steps=1, **one_block), seed=seed) for seed in range(99))
    task = next(t for t in tasks if tiny.space().choices(t.archs(0)[0])["/stages/0/blocks/times"] == 1)
    net = tiny.net(chosen, kernel_transforms=True)
    before = {name: value.clone() for name, value in net.named_parameters()}
    train(net, task, chosen, seed=0, folder=tmp_path)
    unused = [name for name, p in net.named_parameters() if p.grad is None]
    assert any(name.startswith("stages.0.blocks.1.") for name in unused)
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters() if name in unused)
    assert any(not torch.equal(before[name], p) for name, p in net.named_parameters())


@pytest.mark.parametrize("strategy", ["sandwich", "fair", "single_path"])
def test_training_lowers_the_loss_at_both_ends(data: Dataset, tmp_path: Path, strategy: str) -> None:
    chosen = tiny.settings(images=8 * 25)
    task = tiny.task(data, chosen, steps=25, strategy=strategy, random=1)
    net = tiny.net(chosen)
    batch = task.batch(range(12), CPU, seed=5, step=0, first=0)

    def losses(module: nn.Module) -> list[float]:
        targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, chosen.loss)
        module = copy.deepcopy(module).train()
        with torch.no_grad():
            ends = (tiny.space().largest(), tiny.space().smallest())
            return [bottom_up_loss(module(batch.images_N3HW, arch), targets).total.item() for arch in ends]

    before = losses(net)
    after = losses(train(net, task, chosen, seed=0, folder=tmp_path)[0])
    assert all(a < 0.8 * b for a, b in zip(after, before, strict=True)), (before, after)


# --------------------------------------------------------------------------------------------------- first weights


SMALL_HRNET = {
    **load_space("embedded_hrnet_shrink").plain,
    "widths": [8, 16],
    "stem": {"width": 8, "planes": 4, "blocks": [{"kernel": 3}, {"kernel": 3}]},
    "stages": [{"modules": 1, "branches": [{"repeat": {"kernel": 3}, "times": [0, 1, 2]}, [{"kernel": 3}]]}],
    "head": {"kind": "bottom_up", "deconvs": [{"width": 16, "blocks": [{"kernel": 3}]}]},
}


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (tiny.LITEPOSE, {"stages.0.blocks.1.project.bn.weight"}),  # the first of a stage has no residual
        (
            SMALL_HRNET,
            {
                "stem.blocks.0.bn3.weight",
                "stem.blocks.1.bn3.weight",
                "stages.0.last.branches.0.blocks.0.basic.bn2.weight",
                "stages.0.last.branches.0.blocks.1.basic.bn2.weight",
                "stages.0.last.branches.1.blocks.0.basic.bn2.weight",
                "head.deconvs.0.blocks.0.bn2.weight",
            },
        ),
    ],
    ids=["litepose", "hrnet"],
)
def test_residuals_begin_as_the_identity(plain: dict[str, Any], expected: set[str]) -> None:
    """The last normalisation of each residual, and no other weight, is zero."""
    zeros = []
    for zero_init in (True, False):
        chosen = tiny.supernet_settings(zero_init=zero_init)
        net = first_supernet(Space(Arch, plain, "small"), 17, tiny.settings(), chosen, 0)
        zeros.append({name for name, p in net.named_parameters() if name.endswith("weight") and not p.any()})
    assert zeros == [expected, set()]


def test_first_weights_follow_from_the_seed() -> None:
    make = lambda seed: first_supernet(tiny.space(), 17, tiny.settings(), tiny.supernet_settings(), seed)  # noqa: E731
    one, two, other = make(3).state_dict(), make(3).state_dict(), make(4).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_trained_model_becomes_its_slice_of_a_supernet(tmp_path: Path) -> None:
    for k, arch in enumerate(tiny.samples(4)):
        small = tiny.shaken(build(arch), seed=k).eval()
        save_model(tmp_path / str(k), small, arch, COCO17, FAST_DECODE)
        net = tiny.net(weights=tmp_path / str(k), kernel_transforms=True).eval()
        x = torch.randn(2, 3, *arch.input_hw, generator=torch.Generator().manual_seed(k))
        small = small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for a, b in zip(small(x), net(x, arch), strict=True):
            assert torch.equal(a, b)
        before = tiny.net(kernel_transforms=True).state_dict()
        assert any(torch.equal(before[n], t) for n, t in net.state_dict().items() if "transforms" in n)


def test_a_model_of_another_space_is_refused_in_one_line(tmp_path: Path) -> None:
    space = tiny.space()
    (arch,) = tiny.samples(1)
    for name, changes, words in (
        ("stem", {"stem": 16}, "16 is not one of"),
        ("joints", {"joints": 14}, "joints"),
    ):
        other = dataclasses.replace(arch, **changes)  # type: ignore[arg-type]
        folder = tmp_path / name
        skeleton = COCO17
        if name == "joints":
            skeleton = CROWDPOSE14
        save_model(folder, build(other, joints=len(skeleton)), other, skeleton, FAST_DECODE)
        with pytest.raises(InputError, match=f"{folder}: not a model of tiny: .*{words}") as caught:
            take_model(tiny.net(), space, folder)
        assert "\n" not in str(caught.value)


def test_a_backbone_alone_is_refused_in_words_for_supernets(tmp_path: Path) -> None:
    (arch,) = tiny.samples(1)
    save_model(tmp_path, build(arch), arch, COCO17, FAST_DECODE, without={"head.heads.0", "head.heads.1"})
    words = "a backbone only, without head.heads.0, head.heads.1: a supernet begins with a whole model of its space"
    with pytest.raises(InputError, match=f"^{tmp_path}: {words}"):
        take_model(tiny.net(), tiny.space(), tmp_path)


def test_a_model_whose_file_names_another_number_of_joints_than_it_has_is_taken(tmp_path: Path) -> None:
    """Zoo architectures name 14 joints and are trained with 17: what counts is the network."""
    (arch,) = tiny.samples(1)
    other = dataclasses.replace(arch, joints=14)
    small = tiny.shaken(build(other, joints=17)).eval()
    save_model(tmp_path, small, other, COCO17, FAST_DECODE)
    net = tiny.net(weights=tmp_path).eval()
    x = torch.randn(1, 3, *arch.input_hw)
    small = small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert all(torch.equal(a, b) for a, b in zip(small(x), net(x, arch), strict=True))


# ----------------------------------------------------------------------------------------------- kernel transforms


def test_transforms_begin_as_plain_centres_and_only_where_kernels_are_holes() -> None:
    plain, learned = tiny.net().eval(), tiny.net(kernel_transforms=True).eval()
    held = {name: sorted(layer.transforms) for name, layer in learned.named_modules() if _has_transforms(layer)}
    assert held == {
        "stages.0.blocks.0.depthwise.conv": ["3", "5"],
        "stages.0.blocks.1.depthwise.conv": ["3", "5"],
    }
    for arch in tiny.samples(5):
        x = torch.randn(1, 3, *arch.input_hw)
        assert all(torch.equal(a, b) for a, b in zip(plain(x, arch), learned(x, arch), strict=True))


def _has_transforms(layer: nn.Module) -> bool:
    return isinstance(layer, Conv) and layer.transforms is not None


@pytest.mark.parametrize("training", [False, True])
def test_extraction_holds_after_transforms_were_learned(training: bool) -> None:
    net = tiny.shaken(tiny.net(kernel_transforms=True)).train(training)
    differs = False
    for k, arch in enumerate(tiny.samples(12)):
        small = extract(net, arch)
        assert not any("transforms" in name for name in small.state_dict())
        x = torch.randn(2, 3, *arch.input_hw, generator=torch.Generator().manual_seed(k))
        x = x.contiguous(memory_format=torch.channels_last)
        assert all(torch.equal(a, b) for a, b in zip(copy.deepcopy(net)(x, arch), small(x), strict=True))
        without = copy.deepcopy(net)
        for layer in without.modules():
            if isinstance(layer, Conv):
                layer.transforms = None
        differs |= not all(torch.equal(a, b) for a, b in zip(without(x, arch), small(x), strict=True))
    assert differs


def test_gradients_reach_every_transform(data: Dataset) -> None:
    chosen = tiny.settings()
    net = tiny.net(chosen, kernel_transforms=True, zero_init=False).train()
    task = tiny.task(data, chosen, random=6)
    for step in range(3):
        task.backward(net, task.batch(range(4), CPU, seed=0, step=step, first=0), CPU, step)
    found = {name: p.grad for name, p in net.named_parameters() if ".transforms." in name}
    assert len(found) == 4
    assert all(grad is not None and grad.abs().sum() > 0 for grad in found.values())


def test_spaces_without_kernels_get_no_transforms() -> None:
    space = load_space("embedded_hrnet_shrink")
    net = build(space.largest())
    add_kernel_transforms(net, space)
    assert not any(_has_transforms(layer) for layer in net.modules())


def test_sorting_channels_on_the_way_changes_nothing_that_the_full_width_learns(data: Dataset, tmp_path: Path) -> None:
    """Averaged weights and the optimizer's moments follow: with all holes closed the same function is learned."""
    chosen = tiny.settings(images=8 * 6)
    nets = []
    for sort in (False, True):
        phases = [{"until": 0.5, "open": []}, {"until": 1.0, "open": [], "sort_channels": sort}]
        one = {"strategy": "single_path", "random": 1, "phases": phases}
        task = Double(**vars(tiny.task(data, chosen, steps=6, **one)))
        start = tiny.net(chosen, zero_init=False).double()
        folder = tmp_path / str(sort)
        nets.append(train(start, task, chosen, seed=0, folder=folder, rearrange=task.rearrange)[0])
    plain, sorted_ = (net.state_dict()["stages.0.blocks.0.expand.conv.weight"] for net in nets)
    assert not torch.allclose(plain, sorted_)
    x = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    for a, b in zip(nets[0](x), nets[1](x), strict=True):
        assert torch.allclose(a, b, atol=1e-9)
