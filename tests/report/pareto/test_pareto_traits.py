"""What holes are called, and what those of a list have in common."""

from __future__ import annotations

import pytest

from archsearch.report.pareto.traits import trait_name, trait_path, traits


@pytest.mark.parametrize(
    ("path", "trait", "name"),
    [
        ("/resolution", "/resolution", "resolution"),
        ("/stages/0/width", "/stages/0/width", "stage 1 width"),
        ("/stages/0/blocks/3/kernel", "/stages/0/blocks/*/kernel", "stage 1 kernel"),
        ("/stages/0/blocks/times", "/stages/0/blocks/times", "stage 1 depth"),
        ("/stages/1/branches/0/times", "/stages/1/branches/0/times", "stage 2 branch 1 depth"),
        ("/stages/1/branches/0/2/kernel", "/stages/1/branches/0/*/kernel", "stage 2 branch 1 kernel"),
        ("/head/filters/1", "/head/filters/1", "head filter 2"),
    ],
)
def test_traits_have_names(path: str, trait: str, name: str) -> None:
    assert trait_path(path) == trait
    assert trait_name(trait) == name


def test_blocks_of_a_list_are_one_trait() -> None:
    choices = {
        "/stages/0/blocks/times": 3,
        "/stages/0/blocks/0/kernel": 3,
        "/stages/0/blocks/1/kernel": 7,
        "/stages/0/blocks/2/kernel": 5,
        "/stages/0/kind": "shuffle",
        "/widths": [16, 32],
    }
    assert traits(choices) == {
        "/stages/0/blocks/times": 3,
        "/stages/0/blocks/*/kernel": 5,
        "/stages/0/kind": "shuffle",
        "/widths": 24,
    }
