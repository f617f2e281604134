"""Peak activation memory: against what torch itself keeps alive while the network runs on numbers."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import archsearch
from archsearch.probe import Probe, Record


class Watch(TorchDispatchMode):
    """Bytes of the storages that operators made and that are still referenced."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._freed, key, storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.watch(tensor)
        return result


FAMILIES = {
    "litepose-xs": (32, 32),
    "higherhrnet-w18-shrink3": (32, 32),
    "small-hrnet-w16": (64, 32),
    "litehrnet-18": (64, 64),
    "efficienthrnet-h4": (64, 64),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_is_what_torch_keeps_alive(name: str) -> None:
    net, hw = archsearch.build(name).eval(), FAMILIES[name]
    weights = {t.untyped_storage()._cdata for t in net.state_dict().values()}
    with torch.no_grad(), Watch() as watch:
        watch.known |= weights
        net(torch.zeros(1, 3, *hw))
    assert archsearch.cost(name, hw).peak_activation_bytes == watch.peak


def peak(function: Any, *shape: int) -> int:
    ops = Record()
    function(Probe(shape, ops))
    assert ops.memory.live == 0
    return ops.memory.peak


def test_by_hand() -> None:
    """An image of 1x2x4x4 float32 takes 128 bytes."""
    assert peak(lambda x: F.relu(x), 1, 2, 4, 4) == 256
    assert peak(nn.ReLU(inplace=True), 1, 2, 4, 4) == 128
    assert peak(lambda x: F.relu(F.relu(F.relu(x))), 1, 2, 4, 4) == 384
    assert peak(lambda x: torch.chunk(x, 2, 1), 1, 2, 4, 4) == 128
    assert peak(lambda x: torch.cat((x, x), 1), 1, 2, 4, 4) == 384

    def kept(x: Any) -> Any:
        y = F.relu(x)
        y += F.relu(x)
        return F.relu(y)

    assert peak(kept, 1, 2, 4, 4) == 384
