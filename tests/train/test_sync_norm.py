"""What synchronised normalisation is without a group; tests/train/test_processes.py has it within one."""

import copy

import torch
from torch import nn
from train import tiny

from archsearch.elastic import BatchNorm
from archsearch.train.sync_norm import SyncBatchNorm, synchronised


def test_alone_it_is_the_plain_layer() -> None:
    plain, sync = BatchNorm(6), SyncBatchNorm(6)
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(plain.train()(x), sync.train()(x))
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), sync.state_dict().values(), strict=True))
    assert torch.equal(plain.eval()(x), sync.eval()(x))


def test_every_normalisation_of_a_network_is_replaced_with_its_own_tensors() -> None:
    net = tiny.shaken(tiny.net())
    net.stem.conv.bn.momentum = 0.3  # type: ignore[union-attr]
    before = copy.deepcopy(net)
    parameters = {name: id(p) for name, p in net.named_parameters()}
    found = synchronised(net)
    assert found is net
    kinds = {type(layer) for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert kinds == {SyncBatchNorm}
    assert {name: id(p) for name, p in net.named_parameters()} == parameters
    assert net.state_dict().keys() == before.state_dict().keys()
    assert net.stem.conv.bn.momentum == 0.3  # type: ignore[union-attr]
    for arch in tiny.samples(2):
        x = torch.randn(2, 3, *arch.input_hw)
        for training in (True, False):
            outputs = (copy.deepcopy(n).train(training)(x, arch) for n in (net, before))
            assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert type(copy.deepcopy(net).stem.conv.bn) is SyncBatchNorm
