"""Cosines of gradients by hand, and places that people can read; the run is in test_supernet_study.py."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from train import tiny

from archsearch.experiments.conflict import Gradient, _with, cells, place_of, references, shared_cosine, used_entries
from archsearch.files import resources
from archsearch.nets.zoo import extract, load_space
from archsearch.runs import Run

SHIPPED = sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))


def gradient(values: list[Tensor | None], used: list[list[int]] | None = None) -> Gradient:
    """``used``: 1 for each entry that the sub-net uses; None: all."""
    masks = [torch.ones(1) if v is None else torch.ones_like(v) for v in values] if used is None else used
    return Gradient(values, [torch.as_tensor(mask).bool() for mask in masks])


def test_a_gradient_agrees_with_itself_and_fights_its_negative() -> None:
    a = [torch.randn(3, 4), None, torch.randn(5)]
    negative = [None if t is None else -t for t in a]
    assert shared_cosine(gradient(a), gradient(a)) == pytest.approx(1)
    assert shared_cosine(gradient(a), gradient(negative)) == pytest.approx(-1)
    assert shared_cosine(gradient(a), gradient([None if t is None else 7 * t for t in a])) == pytest.approx(1)


def test_only_weights_that_both_use_count() -> None:
    a = gradient([torch.tensor([3.0, 4.0, 9.0]), torch.tensor([5.0]), None])
    b = gradient([torch.tensor([4.0, 3.0, 0.0]), None, torch.tensor([2.0])], [[1, 1, 0], [0], [1]])
    assert shared_cosine(a, b) == pytest.approx(24 / 25)
    assert shared_cosine(gradient([None]), gradient([torch.ones(1)])) is None
    assert shared_cosine(gradient([torch.zeros(2)]), gradient([torch.ones(2)])) is None


def test_entries_that_happen_to_be_zero_count_where_both_use_them() -> None:
    """What one sub-net wants of a weight that the other leaves alone is disagreement, not another weight."""
    a, b = [torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 0.0])]
    assert shared_cosine(gradient(a), gradient(b)) == pytest.approx(3 / 5)
    assert shared_cosine(gradient([torch.tensor([1.0, 0.0])]), gradient([torch.tensor([0.0, 1.0])])) == 0


@pytest.mark.parametrize("transforms", [False, True])
def test_the_entries_that_a_sub_net_uses_are_those_of_its_own_network_and_only_they_have_gradients(
    transforms: bool,
) -> None:
    net = tiny.shaken(tiny.net(kernel_transforms=transforms)).double().train()
    for k, arch in enumerate(tiny.samples(6)):
        empty = copy.deepcopy(net)
        used = used_entries(empty, arch)
        net.zero_grad(set_to_none=True)
        x = torch.randn(2, 3, *arch.input_hw, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        sum((out * torch.randn_like(out)).sum() for out in net(x, arch)).backward()  # type: ignore[union-attr]
        masks = dict(zip((name for name, _ in net.named_parameters()), used, strict=True))
        for name, p in net.named_parameters():
            assert masks[name].shape == p.shape
            assert p.grad is None or not p.grad[~masks[name]].any(), name
        shared = [mask for name, mask in masks.items() if ".transforms." not in name]
        count = sum(int(mask.sum()) for mask in shared)
        assert transforms or count == sum(p.numel() for p in extract(net, arch).parameters())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_hole_of_every_shipped_space_has_a_readable_place(name: str) -> None:
    known = {"kernel", "expand", "width", "depth", "kind", "resolution", "modules", "fusion"}
    for hole in load_space(name).holes:
        prop, place = place_of(hole.path)
        assert prop in known, hole.path
        words = place.replace(",", "").split()
        assert words[0] in ("input", "stem", "stage", "head", "branches"), hole.path
        assert all(word.isdigit() or word in ("stage", "branch", *words[:1]) for word in words), hole.path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/stages/0/branches/1/times", ("depth", "stage 1, branch 2")),
        ("/stages/2/blocks/3/kernel", ("kernel", "stage 3")),
        ("/stages/1/width", ("width", "stage 2")),
        ("/resolution", ("resolution", "input")),
        ("/input_hw", ("resolution", "input")),
        ("/stem", ("width", "stem")),
        ("/stem/blocks/times", ("depth", "stem")),
        ("/head/filters/0", ("width", "head")),
        ("/widths", ("width", "branches")),
    ],
)
def test_places(path: str, expected: tuple[str, str]) -> None:
    assert place_of(path) == expected


def test_one_choice_is_changed() -> None:
    pick = _with("/a", 5, {"/a": 3, "/b": 7})
    assert pick("/a", (3, 5)) == 5
    assert pick("/b", (7, 9)) == 7
    assert pick("/new", (1, 2)) == 2


def test_cells_are_means_of_the_newest_records_each_once(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def record(base: int, block: int, cosine: float | None, images: int = 32) -> None:
        run.record(
            "conflict", base=base, images=images, path=f"/stages/0/blocks/{block}/kernel", a="3", b="5", cosine=cosine
        )

    record(0, 0, -1.0, images=8)
    run.record("conflict_base", base=0, images=8)
    for _ in range(2):  # killed after its records, before they were declared done
        record(0, 0, 0.5)
        record(0, 1, None)
    run.record("conflict_base", base=0, images=32)
    record(1, 1, -0.1)
    run.record("conflict_base", base=1, images=32)
    (cell,) = cells(run)
    assert (cell.property, cell.place, cell.a, cell.b) == ("kernel", "stage 1", "3", "5")
    assert cell.cosine == pytest.approx(0.2)
    assert (cell.low, cell.count) == (-0.1, 2)
    assert cells(Run(tmp_path / "none")) == []
    assert references(run) == []  # records of before they were kept
    run.record("conflict_base", base=2, images=32, reference=0.4)
    run.record("conflict_base", base=3, images=32, reference=None)
    assert references(run) == [0.4]
