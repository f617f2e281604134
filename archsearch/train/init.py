"""First weights."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from archsearch.nets.zoo import Arch, build

Init = Literal["torch", "official"]
OFFICIAL_STD = 1e-3  # of every convolution in the released code of HRNet, HigherHRNet and LitePose


def first_weights(arch: Arch, joints: int, *, seed: int, init: Init = "torch", tag_gain: float = 0.0) -> nn.Module:
    """The network of ``arch`` for ``joints`` joints before training, from the seed alone.

    ``init``: torch's own distributions, or the released code's normal one. ``tag_gain`` over 0: weights that make
    tags are normal with standard deviation tag_gain / sqrt(inputs). All people begin with nearly equal tags otherwise,
    where the push between them has no gradient (exp(-d^2) is flat at d = 0), and the pull keeps them there.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = build(arch, joints=joints)
        if init == "official":
            for layer in net.modules():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    layer.weight.normal_(0, OFFICIAL_STD)
                    if layer.bias is not None:
                        layer.bias.zero_()
        if tag_gain:
            for layer in net.head.tag_layers():  # type: ignore[union-attr, operator]
                layer.weight[joints:].normal_(0, tag_gain / math.sqrt(layer.weight[0].numel()))
    return net
