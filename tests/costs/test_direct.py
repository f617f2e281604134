"""Probes on the shorter way to their rules, which costs are counted on: the same record, errors and neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import archsearch
from archsearch.probe import Op, Probe, Record, direct_rules

NAMES = ("litepose-xs", "higherhrnet-w18-shrink3", "litehrnet-18", "efficienthrnet-h4")


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_that_of_torchs_own_way(name: str) -> None:
    net, records = archsearch.build(name).eval(), []
    for direct in (False, True):
        ops = Record()
        image: Any = Probe((1, 3, 64, 64), ops)
        if direct:
            with direct_rules():
                net(image)
        else:
            net(image)
        records.append((list(ops), ops.memory.peak))
    assert records[0] == records[1]


def test_an_operator_without_a_rule_is_still_named() -> None:
    with direct_rules(), pytest.raises(NotImplementedError, match="no rule for the operator gelu"):
        F.gelu(Probe((1, 2), []))  # type: ignore[arg-type]
    with direct_rules(), pytest.raises(NotImplementedError, match="no rule for the operator softplus"):
        F.softplus(Probe((1, 2), []))  # type: ignore[arg-type]


class Other(Tensor):
    """A tensor that overrides torch's functions too."""


def test_what_is_no_probe_goes_torchs_own_way() -> None:
    before = vars(F)["handle_torch_function"]
    with direct_rules():
        with direct_rules():
            pass
        made = F.relu6(torch.full((2,), 9.0).as_subclass(Other))
    assert type(made) is Other
    assert made.tolist() == [6, 6]
    assert vars(F)["handle_torch_function"] is before


sizes = st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=4).map(tuple)


@given(sizes, sizes)
def test_shapes_are_broadcast_as_torch_does(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    ops: list[Op] = []
    x, y = Probe(a, ops), Probe(b, ops)
    try:
        expected = (torch.zeros(a) + torch.zeros(b)).shape
    except RuntimeError:
        with pytest.raises(ValueError, match="do not add"):
            x + y
    else:
        assert (x + y).shape == tuple(expected)
