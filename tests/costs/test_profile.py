"""The breakdown, the comparison with other counters, networks without weights, and `archsearch profile`."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import archsearch
from archsearch.cli import app
from archsearch.costs.breakdown import By, breakdown, part_of
from archsearch.costs.check import compare
from archsearch.costs.macs import tally, trace
from archsearch.costs.sketch import parameters, sketch, sketching, walk
from archsearch.costs.trace import follow
from archsearch.nets.zoo import load_arch
from archsearch.probe import Probe, Record

NAMES = ("litepose-xs", "higherhrnet-w18-shrink3", "small-hrnet-w16", "litehrnet-18", "efficienthrnet-h4")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ["stage", "block"])
def test_parts_sum_to_the_whole(name: str, by: By) -> None:
    ops, params = trace(load_arch(name))
    whole, parts = tally(ops, params), breakdown(ops, by)
    assert sum(part.params for part in parts) == whole.params
    assert sum(part.macs for part in parts) == whole.macs
    assert sum(part.macs_ptflops_0_6 for part in parts) == whole.macs_by_convention["ptflops_0_6"]
    assert sum(part.activations for part in parts) == whole.activations
    assert len({part.path for part in parts}) == len(parts)


def test_the_parts_of_a_litepose() -> None:
    parts = breakdown(trace(load_arch("litepose-s"))[0])
    assert [part.path for part in parts] == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]
    net = archsearch.build("litepose-s")
    assert [part.params for part in parts] == [
        sum(p.numel() for p in net.get_submodule(part.path).parameters()) for part in parts
    ]


def test_names_of_parts() -> None:
    path = "stages.1.last.branches.2.blocks.3.basic.conv1"
    assert part_of(path, "stage") == "stages.1"
    assert part_of(path, "block") == "stages.1.last.branches.2.blocks.3"
    assert part_of("stages.1.row.0.exchange.down.0_2.row.0.conv", "block") == "stages.1.row.0.exchange"
    assert part_of("stem.conv1.conv", "block") == "stem"
    assert part_of("", "stage") == "network"


@pytest.mark.parametrize("name", ["small-hrnet-w16", "efficienthrnet-h4"])
def test_fvcore_and_thop_count_the_same(name: str) -> None:
    rows = compare(load_arch(name), (64, 64))
    assert {row.counter for row in rows} == {"torch", "fvcore", "thop"}
    assert all(row.equal for row in rows), rows


@pytest.mark.parametrize("name", NAMES)
def test_a_sketch_is_the_network_but_for_its_weights(name: str) -> None:
    with torch.device("meta"):
        real = archsearch.build(name)
    sketched = sketch(load_arch(name))
    assert parameters(sketched) == sum(p.numel() for p in real.parameters())
    theirs, ours = dict(real.named_modules()), walk(sketched)
    assert set(theirs) == set(ours)
    for path, module in theirs.items():
        assert type(module) is type(ours[path])
        shapes = {name: p.shape for name, p in module._parameters.items() if p is not None}
        assert shapes == {name: p.shape for name, p in ours[path]._parameters.items() if p is not None}
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            for field in ("stride", "padding", "dilation", "groups", "kernel_size", "in_channels", "out_channels"):
                assert getattr(module, field) == getattr(ours[path], field)


def test_only_the_thread_that_asks_makes_sketches() -> None:
    made: list[nn.Module] = []
    with sketching():
        thread = threading.Thread(target=lambda: made.append(nn.Conv2d(2, 2, 1)))
        thread.start()
        thread.join()
        made.append(nn.Conv2d(2, 2, 1))
    made.append(nn.Conv2d(2, 2, 1))
    assert [conv.weight.is_meta for conv in made] == [False, True, False]
    assert ["_forward_hooks" in vars(conv) for conv in made] == [True, False, True]


def test_a_sketch_is_complete_and_can_be_called_by_torch() -> None:
    """Its modules have all that torch gives a module, each its own."""
    net, seen = sketch(load_arch("litepose-xs")), []
    assert all(vars(nn.Module()).keys() <= vars(module).keys() for module in net.modules())
    assert not any(module.training for module in net.modules())
    handle = net.get_submodule("stem.conv.conv").register_forward_hook(lambda *_: seen.append(1))
    net(Probe((1, 3, 64, 64), []))
    handle.remove()
    assert seen == [1]


class Assigned(nn.Module):
    """What may be assigned to a module, in every order."""

    def __init__(self) -> None:
        self.early = 1
        super().__init__()
        self.later: nn.Module | None = None
        self.later = nn.ReLU()
        self.gone: nn.Module | None = nn.ReLU()
        self.gone = None
        self.scale = nn.Parameter(torch.zeros(5))
        self.unscaled: nn.Parameter | None = nn.Parameter(torch.zeros(7))
        self.unscaled = None
        self.register_buffer("counts", torch.zeros(3))
        self.bare = nn.Conv2d(4, 6, (1, 3), padding=(0, 1), groups=2)
        self.bare.bias = None
        self.up = nn.ConvTranspose2d(6, 4, 3, 2, output_padding=1)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.items = nn.ModuleList([nn.ReLU()])
        self.items.append(nn.Sigmoid())
        self.named = nn.ModuleDict({"a": nn.SiLU()})


def test_what_is_assigned_lies_where_torch_puts_it() -> None:
    with sketching():
        ours = Assigned()
    theirs = Assigned()
    for held in ("_parameters", "_buffers", "_modules"):
        real, sketched = ({k: v is None for k, v in vars(net)[held].items()} for net in (theirs, ours))
        assert real == sketched
    assert (ours.early, ours.later is ours._modules["later"], ours.gone) == (1, True, None)
    assert list(walk(ours)) == list(walk(theirs))
    assert parameters(ours) == parameters(theirs) == 5 + 6 * 2 * 3 + (6 * 4 * 9 + 4)
    for name in ("bare", "up"):
        for field in ("stride", "padding", "output_padding", "dilation", "groups", "kernel_size", "transposed"):
            assert getattr(ours.get_submodule(name), field) == getattr(theirs.get_submodule(name), field)


def test_torch_is_as_it_was_afterwards() -> None:
    kinds = (nn.Module, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d.__base__)
    before = [dict(vars(kind)) for kind in kinds]
    with pytest.raises(ValueError), sketching():
        raise ValueError
    archsearch.cost("litepose-xs")
    assert [dict(vars(kind)) for kind in kinds] == before


def test_a_followed_network_says_which_module_runs() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), relu, nn.Sequential(nn.Conv2d(4, 2, 1), relu))
    ops = Record()
    assert follow(net, ops) == parameters(net) == 4 * 3 * 9 + 4 + 8 + 4 * 2 + 2
    net(Probe((1, 3, 8, 8), ops))
    assert [op.path for op in ops][:2] == ["0", "1"]
    assert ops[3].path == "3.0"
    assert ops[2].path == ops[4].path in ("2", "3.1")  # the same module in two places
    with pytest.raises(ValueError, match="a convolution of 3 channels is given 4"):
        net(Probe((1, 4, 8, 8), ops))
    assert ops.path == ""


def test_the_command() -> None:
    done = CliRunner().invoke(app, ["profile", "litepose-xs", "--by", "stage", "--check", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["peak_activation_bytes"] == archsearch.cost("litepose-xs").peak_activation_bytes
    assert next(part["path"] for part in found["parts"]) == "stem"
    assert all(row["equal"] for row in found["check"])
    shown = CliRunner().invoke(app, ["profile", "litepose-xs", "--by", "block"]).stdout
    assert "stages.2.blocks.9" in shown
    assert "alive in float32" in shown


def test_unknown_parts_are_refused() -> None:
    done = CliRunner().invoke(app, ["profile", "litepose-xs", "--by", "layer"])
    assert "--by layer: not one of stage, block" in str(done.exception)
