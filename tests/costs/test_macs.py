"""Costs in every convention: worked by hand on single operators, and against independent counters on real networks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets.fingerprint import load
from torch import Tensor, nn

import archsearch
from archsearch.costs.macs import tally
from archsearch.elastic import BatchNorm, Conv, Transposed
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.probe import Op, Probe

BRANCH = (Block(),)
TINY = HRNet(
    kind="hrnet",
    input_hw=(64, 32),
    widths=(2, 4),
    stem=Stem(4, 2, BRANCH),
    stages=(Stage(1, (BRANCH, BRANCH)),),
    head=BottomUp(deconvs=(Deconv(4, BRANCH),)),
    joints=3,
)


def conventions(function: Any, *shape: int) -> dict[str, float]:
    ops: list[Op] = []
    function(Probe(shape, ops))
    return tally(ops, 0).macs_by_convention


def test_a_convolution_with_bias() -> None:
    """4*2*9 weights, 12 positions, 48 outputs."""
    found = conventions(lambda x: F.conv2d(x, torch.zeros(4, 2, 3, 3), torch.zeros(4), 2, 1), 1, 2, 6, 8)
    assert found == {
        "true": 864,
        "fvcore": 864,
        "thop": 864,
        "ptflops_0_6": 864 + 48,
        "hrnet_summary": 864,
        "hrnet_gi": 864 / 2**30,
        "torchstat_mi": (864 + 48) / 2**20,
    }


def test_a_transposed_convolution_is_four_times_too_much_at_its_output() -> None:
    found = conventions(lambda x: F.conv_transpose2d(x, torch.zeros(2, 4, 4, 4), None, 2, 1), 1, 2, 3, 5)
    assert found["true"] == found["fvcore"] == 2 * 4 * 16 * 15
    assert found["thop"] == found["ptflops_0_6"] == found["hrnet_summary"] == 4 * found["true"]


def test_elements_of_normalisation_activation_and_upsampling() -> None:
    """On 1x2x3x5, 30 elements; upsampled 120."""
    bn = conventions(nn.BatchNorm2d(2), 1, 2, 3, 5)
    assert [bn[k] for k in ("true", "fvcore", "thop", "ptflops_0_6")] == [0, 60, 120, 60]
    relu = conventions(nn.ReLU(), 1, 2, 3, 5)
    assert [relu[k] for k in ("true", "fvcore", "thop", "ptflops_0_6")] == [0, 0, 0, 30]
    nearest = conventions(nn.Upsample(scale_factor=2.0), 1, 2, 3, 5)
    assert [nearest[k] for k in ("true", "fvcore", "thop", "ptflops_0_6")] == [0, 120, 120, 120]
    bilinear = conventions(lambda x: F.interpolate(x, (6, 10), mode="bilinear"), 1, 2, 3, 5)
    assert [bilinear[k] for k in ("true", "fvcore", "thop", "ptflops_0_6")] == [0, 480, 0, 0]


def test_torchstat_counts_a_stored_layer_once() -> None:
    conv = nn.Conv2d(2, 2, 1, bias=False)
    once, twice = conventions(conv, 1, 2, 4, 4), conventions(lambda x: conv(conv(x)), 1, 2, 4, 4)
    assert twice["true"] == 2 * once["true"]
    assert twice["torchstat_mi"] == once["torchstat_mi"] > 0


def test_activations_are_the_outputs_of_convolutions() -> None:
    ops: list[Op] = []
    F.relu(F.conv2d(Probe((1, 2, 4, 4), ops), torch.zeros(3, 2, 1, 1)))  # type: ignore[arg-type]
    assert tally(ops, 0).activations == 3 * 16


def test_agrees_with_thop() -> None:
    """thop hooks modules and matches their types exactly, so ours have to be named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of thop's use of distutils
        import thop
        from thop.vision import basic_hooks

        conv, norm = basic_hooks.count_convNd, basic_hooks.count_normalization
        hooks = {Conv: conv, Transposed: conv, BatchNorm: norm}
        for arch in (TINY, archsearch.load_arch("litepose-xs")):
            cost = archsearch.cost(arch, (64, 64))
            found, params = thop.profile(
                archsearch.build(arch), (torch.zeros(1, 3, 64, 64),), custom_ops=hooks, verbose=False
            )
            assert (found, params) == (cost.macs_by_convention["thop"], cost.params)


def test_the_real_run_multiplies_as_much() -> None:
    """Counted at the calls of torch's convolutions while the network runs on numbers."""
    net, total = archsearch.build(TINY).eval(), 0

    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        at = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        total += sum(p.numel() for p in [module.weight]) * at.shape[2] * at.shape[3]

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(hook)  # type: ignore[arg-type]
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 32))
    assert archsearch.cost(TINY).macs == total


def test_input_size_and_joints() -> None:
    whole, quarter = archsearch.cost(TINY), archsearch.cost(TINY, (32, 16))
    assert whole.macs == 4 * quarter.macs
    assert whole.params == quarter.params
    assert archsearch.cost(TINY, joints=4).params > whole.params
    assert whole == archsearch.cost(TINY, (64, 32), 3)


@pytest.mark.parametrize("hw", [(60, 32), (64, 30), (0, 32), (-64, 32)])
def test_inputs_that_do_not_fit(hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"input {hw[0]}x{hw[1]} is not a multiple of 8"):
        archsearch.cost(TINY, hw)
    with pytest.raises(ValueError, match=r"input 500x512 is not a multiple of 16"):
        archsearch.cost("litepose-s", (500, 512))


def test_names_files_and_architectures(tmp_path: Path) -> None:
    from archsearch.nets.zoo import arch_yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(arch_yaml(TINY))
    assert archsearch.cost(path) == archsearch.cost(str(path)) == archsearch.cost(TINY)
    with pytest.raises(ValueError, match="joints 0 is not a positive whole number"):
        archsearch.cost(TINY, joints=0)


def test_one_name_of_every_family_as_published() -> None:
    """What the papers print, by their own convention."""
    assert round(archsearch.cost("litepose-s").macs_by_convention["ptflops_0_6"] / 1e9, 1) == 5.0
    assert round(archsearch.cost("higherhrnet-w32").macs_by_convention["hrnet_summary"] / 1e9, 1) == 47.9
    assert round(archsearch.cost("hrnet-w32").macs_by_convention["hrnet_gi"], 1) == 7.1
    assert load("complexity")["hrnet/w32-256x192"]["params"] == archsearch.cost("hrnet-w32").params
