"""Costs by name, limits, and what is said where limits cannot be met."""

import pytest
from search import problems
from train import tiny

from archsearch.costs.macs import cost
from archsearch.files import InputError
from archsearch.search.afford import Costing, check_cost_name


def test_costs_are_those_of_profile_in_every_convention() -> None:
    space = tiny.space()
    names = ("macs", "params", "macs:ptflops_0_6", "macs:thop")
    found, counted = Costing(space, names)(space.largest()), cost(space.largest())
    assert found == {
        "macs": counted.macs, "params": counted.params, "macs:thop": counted.macs_by_convention["thop"],
        "macs:ptflops_0_6": counted.macs_by_convention["ptflops_0_6"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["flops", "macs:", "macs:mine", "latency:cpu", ""])
def test_an_unknown_cost_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not macs, macs:true"):
        check_cost_name(name)


def test_limits_that_nothing_meets_name_the_cheapest_cost() -> None:
    space = tiny.space()
    smallest = cost(space.smallest()).macs
    with pytest.raises(InputError, match=rf"constraints.macs: 1000 cannot be met in tiny, .* {smallest:,}"):
        Costing(space, ("macs",), {"macs": 1000}).check()
    problems.problem(macs=smallest).costing.check()
    found = Costing(space, ("macs",), {"macs": smallest})
    assert found.fits(space.smallest())
    assert not found.fits(space.largest())
    assert found.over({"macs": smallest + 3}) == {"macs": 3}


def test_latency_needs_a_source_and_counts_as_any_other_cost() -> None:
    space = tiny.space()
    with pytest.raises(ValueError, match="neither a table nor a device"):
        Costing(space, ("latency",))
    costing = Costing(space, ("macs",), {"latency": 2.0}, lambda arch: float(arch.resolution) / 16)
    assert costing(space.smallest())["latency"] == 2.0
    assert costing.fits(space.smallest())
    assert not costing.fits(space.largest())
