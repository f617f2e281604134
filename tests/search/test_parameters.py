"""Holes as parameters: every one in every trial, and back to the same architecture."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from search import problems
from train import tiny

from archsearch.nets.zoo import load_space
from archsearch.search.parameters import Parameters


@pytest.mark.parametrize(
    "name", ["embedded_litepose", "embedded_hrnet_shrink", "embedded_lite_hrnet", "embedded_unified"]
)
def test_an_architecture_comes_back_from_its_parameters(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    parameters = Parameters(space)
    for _ in range(30):
        arch = space.sample(rng)
        params = parameters.of(arch, rng)
        assert set(params) == set(parameters.distributions)
        for path, value in params.items():
            assert parameters.distributions[path]._contains(parameters.distributions[path].to_internal_repr(value))
        assert parameters.arch(params) == arch


def test_even_numbers_keep_their_order_and_others_are_categories() -> None:
    found = Parameters(tiny.space()).distributions
    assert found["/stages/0/blocks/0/kernel"] == IntDistribution(3, 7, step=2)
    assert found["/resolution"] == IntDistribution(32, 48, step=16)
    named = Parameters(load_space("embedded_lite_hrnet")).distributions
    assert any(isinstance(d, CategoricalDistribution) and "shuffle" in d.choices for d in named.values())
    assert not any(d.single() for d in named.values())


def test_a_missing_or_foreign_value_is_named() -> None:
    parameters = problems.problem().parameters
    params = parameters.of(parameters.space.smallest(), np.random.default_rng(0))
    with pytest.raises(ValueError, match="no value for /stem"):
        parameters.arch({path: value for path, value in params.items() if path != "/stem"})
    with pytest.raises(ValueError, match=r"5 is not one of .4, 8. at /stem"):
        parameters.arch({**params, "/stem": 5})
