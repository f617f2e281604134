"""Cosines of gradients by hand, and places that people can read; the run is in test_supernet_study.py."""

from pathlib import Path

import pytest
import torch

from archsearch.experiments.conflict import _with, cells, place_of, shared_cosine
from archsearch.files import resources
from archsearch.nets.zoo import load_space
from archsearch.runs import Run

SHIPPED = sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))


def test_a_gradient_agrees_with_itself_and_fights_its_negative() -> None:
    a = [torch.randn(3, 4), None, torch.randn(5)]
    negative = [None if t is None else -t for t in a]
    assert shared_cosine(a, a) == pytest.approx(1)
    assert shared_cosine(a, negative) == pytest.approx(-1)
    assert shared_cosine(a, [None if t is None else 7 * t for t in a]) == pytest.approx(1)


def test_only_weights_that_both_use_count() -> None:
    a = [torch.tensor([3.0, 4.0, 9.0]), torch.tensor([5.0]), None]
    b = [torch.tensor([4.0, 3.0, 0.0]), None, torch.tensor([2.0])]
    assert shared_cosine(a, b) == pytest.approx(24 / 25)
    assert shared_cosine([torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]) is None
    assert shared_cosine([None], [torch.ones(1)]) is None


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
