"""Forward of stand-alone networks on the elastic layers against the same networks on torch's own layers.

Run: python benchmarks/bm_forward.py [NAME ...] [--size 128] [--rounds 40]

Both compute the same numbers with the same weights (checked first); in the second every elastic layer is torch's own
class, which ignores what the elastic one is told. One thread, float32, channels_last, evaluation mode. The two run by
turns within a round, in an order that alternates; shown are medians over the rounds, the median of the ratio within
each round and its 95 % interval (bootstrap).
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Transposed
from archsearch.environment import cpu_name
from archsearch.nets.efficient_hrnet import SameConv
from archsearch.nets.zoo import build, models


class TorchConv(nn.Conv2d):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return self._conv_forward(x, self.weight, self.bias)


class TorchSameConv(TorchConv):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        margin = max(self.kernel_size[0] - 2, 0)
        before, after = margin // 2, margin - margin // 2
        return self._conv_forward(F.pad(x, (before, after, before, after)), self.weight, self.bias)


class TorchTransposed(nn.ConvTranspose2d):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return super().forward(x)


class TorchBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return super().forward(x)


def plain(net: nn.Module) -> nn.Module:
    """A copy of the network on torch's layers, with the same weights."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, Conv | Transposed | BatchNorm):
                setattr(parent, name, _torch_layer(layer))
    return net


def _torch_layer(layer: Conv | Transposed | BatchNorm) -> nn.Module:
    new: nn.Module
    if isinstance(layer, BatchNorm):
        new = TorchBatchNorm(layer.num_features)
    else:
        kind = {Conv: TorchConv, SameConv: TorchSameConv, Transposed: TorchTransposed}[type(layer)]
        channels = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride
        new = kind(*channels, layer.padding, groups=layer.groups, bias=layer.bias is not None)
    new.load_state_dict(layer.state_dict())
    return new.train(layer.training)


def ratios(name: str, size_px: int, rounds: int) -> tuple[float, float, float, float, float]:
    """Median ms of ours and of torch's, the median ratio and its 95 % interval."""
    ours = build(name).eval().to(memory_format=torch.channels_last)
    nets = (ours, plain(ours).to(memory_format=torch.channels_last))
    images = torch.randn(1, 3, size_px, size_px).to(memory_format=torch.channels_last)
    times = np.zeros((rounds, 2))
    with torch.inference_mode():
        for a, b in zip(*(net(images) for net in nets), strict=True):
            assert torch.equal(a, b)
        for turn in range(-5, rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                start = time.perf_counter()
                nets[which](images)
                if turn >= 0:
                    times[turn, which] = time.perf_counter() - start
    ratio = times[:, 0] / times[:, 1]
    rng = np.random.default_rng(0)
    medians = np.median(ratio[rng.integers(rounds, size=(2000, rounds))], 1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return *(np.median(times, 0) * 1e3), float(np.median(ratio)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=models())
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_name()}, torch {torch.__version__}, {options.size} px, {options.rounds} rounds")
    print(f"{'network':26}{'ours ms':>9}{'torch ms':>10}{'ours / torch':>14}   95 %")
    for name in options.names:
        ours, theirs, ratio, low, high = ratios(name, options.size, options.rounds)
        print(f"{name:26}{ours:9.2f}{theirs:10.2f}{ratio:14.4f}   {low:.4f} to {high:.4f}", flush=True)


if __name__ == "__main__":
    main()
