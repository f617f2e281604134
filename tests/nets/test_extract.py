"""Certified extraction: in every space that is shipped, ``extract(net, arch)`` is ``net`` run at ``arch``, bit for bit.

In evaluation the outputs. In training the outputs, the loss, the gradients and the running statistics: what the
extracted network has, written to where its weights came from, is what the supernet has, and the rest is left alone.
"""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archsearch.elastic import centre, take
from archsearch.files import resources
from archsearch.nets.zoo import Arch, build, extract, load_space
from archsearch.space import Space

NAMES = sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
JOINTS = 2
MORE = int(os.environ.get("ARCHSEARCH_CERTIFY", "1"))  # so many times as many architectures: 3 took 25 minutes


class Super(NamedTuple):
    """A space, its network, and a second one that holds at each place the number of that place in its tensor."""

    space: Space[Arch]
    net: nn.Module
    places: nn.Module


@functools.lru_cache(maxsize=1)
def supernet(name: str) -> Super:
    """The network of a shipped space at its full width: torch's weights, random norms and statistics."""
    space = load_space(name)
    torch.manual_seed(0)
    net = build(space.largest(), joints=JOINTS)
    with torch.device("meta"):
        places = build(space.largest(), joints=JOINTS)
    places.to_empty(device="cpu")
    with torch.no_grad():
        for key, tensor in net.state_dict(keep_vars=True).items():
            if tensor.ndim == 1:
                noise = torch.rand(tensor.shape)
                tensor.copy_(noise - 0.5 if key.endswith(("bias", "mean")) else 0.5 + noise)
        for tensor in places.state_dict(keep_vars=True).values():
            assert tensor.numel() < 2**24  # whole numbers in float32
            tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    return Super(space, net, places)


def archs(space: Space[Arch], count: int, seed: int) -> list[Arch]:
    """The smallest, one with every hole at its last option, and random ones: samples, crossovers and mutations."""
    rng = np.random.default_rng(seed)
    found = [space.smallest(), *([space.fill(lambda _, options: options[-1])] if count > 3 else [])]
    while len(found) < count:
        a, b = space.sample(rng), space.sample(rng)
        found += [a, space.crossover(a, b, rng), space.mutate(b, rng, 0.3)]
    return found[:count]


def certify(super_: Super, arch: Arch, x: Tensor) -> float:
    """Hold an extracted network against the supernet; the loss that both have. The supernet's statistics move."""
    net = super_.net
    small = extract(net.eval(), arch)
    with torch.no_grad():
        maps, maps_net = small(x), net(x, arch)
    assert all(torch.equal(a, b) for a, b in zip(maps, maps_net, strict=True))
    assert all(bool(torch.isfinite(m).all()) for m in maps)

    before = {name: tensor.clone() for name, tensor in net.named_buffers()}
    small.train()
    net.train().zero_grad()
    x_small, x_net = x.clone().requires_grad_(), x.clone().requires_grad_()
    maps, maps_net = small(x_small), net(x_net, arch)
    losses = [torch.stack([m.square().mean() + m.mean() for m in results]).sum() for results in (maps, maps_net)]
    assert all(torch.equal(a, b) for a, b in zip([losses[0], *maps], [losses[1], *maps_net], strict=True))
    for loss in losses:
        loss.backward()
    assert x_small.grad is not None
    assert x_net.grad is not None
    assert torch.equal(x_small.grad, x_net.grad)

    gradients = {name: p.grad for name, p in small.named_parameters() if p.grad is not None}
    buffers = {name: tensor.clone() for name, tensor in small.named_buffers()}
    assert gradients.keys() == dict(small.named_parameters()).keys()  # nothing in it goes unused
    take(small, super_.places)
    places = {name: tensor.detach().long().flatten() for name, tensor in small.state_dict().items()}
    assert gradients.keys() == {name for name, p in net.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        found = net.get_parameter(name).grad
        assert found is not None
        expected = torch.zeros(found.numel())
        expected[places[name]] = gradient.flatten()
        assert torch.equal(found, expected.view(found.shape)), name
    for name, tensor in buffers.items():
        before[name].view(-1)[places[name] if tensor.ndim else slice(None)] = tensor
    for name, tensor in net.named_buffers():
        assert torch.equal(tensor, before[name]), name
    return float(losses[0].detach())


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name in NAMES for layout in FORMATS])
def test_every_space(name: str, layout: str) -> None:
    super_ = supernet(name)
    super_.net.to(memory_format=FORMATS[layout])  # type: ignore[call-overload]
    params = sum(p.numel() for p in super_.net.parameters())
    count = (10 if params < 3e6 else 4 if params < 3e7 else 2) * MORE
    side = 2 * super_.space.largest().stride
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)).to(memory_format=FORMATS[layout])
    losses = [certify(super_, arch, x) for arch in archs(super_.space, count, seed=list(FORMATS).index(layout))]
    assert len(set(losses)) > count / 2  # they are different networks; some differ in the resolution only


def test_a_wrong_slice_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's corner instead of its centre in the supernet, in training only, changes what is compared."""
    super_ = supernet("embedded_litepose")
    super_.net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    arch = archs(super_.space, 2, seed=0)[1]
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def corner(weight: Tensor, kernel: int) -> Tensor:
        return weight[..., :kernel, :kernel] if torch.is_grad_enabled() else centre(weight, kernel)

    certify(super_, arch, x)
    monkeypatch.setattr("archsearch.elastic.centre", corner)
    with pytest.raises(AssertionError):
        certify(super_, arch, x)
