"""What of a space is measured: its distinct blocks, each as a module that can be run alone, and random networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from archsearch.costs.fast import CostModel, Unit
from archsearch.costs.runtimes import Bound, Shape
from archsearch.costs.sketch import sketch
from archsearch.nets.zoo import Arch, build
from archsearch.space import Space, fingerprint, is_choice

QUIET = 1500  # samples in a row without a new block, after which all of them are taken to be known


def at_resolution(space: Space[Arch], resolution: int) -> Space[Arch]:
    """The part of a space with this resolution. Raises ``ValueError`` where it has none such."""
    field = "resolution" if "resolution" in space.plain else "input_hw"
    value: Any = resolution if field == "resolution" else [resolution, resolution]
    found = space.plain[field]
    options = found["choice"] if is_choice(found) else [found]
    if value not in options:
        raise ValueError(f"resolution {resolution} is not one of {options} in {space.name}")
    return Space(space.kind, {**space.plain, field: value}, space.name)


def distinct(space: Space[Arch], model: CostModel, on_found: Callable[[int], None] = lambda _: None) -> list[Unit]:
    """Every distinct block of the space's architectures, by sampling until no new one turns up.

    ``model`` is of the space's largest architecture. The order is that of discovery, the same at every call.
    """
    rng, quiet = np.random.default_rng(0), 0
    numbers: dict[int, None] = {}
    while quiet < min(QUIET, 4 * space.size):
        before = len(numbers)
        numbers.update(dict.fromkeys(model.units_of(space.sample(rng))))
        quiet = 0 if len(numbers) > before else quiet + 1
        if quiet == 0:
            on_found(len(numbers))
    return [model.units[number] for number in numbers]


def draw(parts: Sequence[Space[Arch]], count: int) -> list[Arch]:
    """Distinct random architectures, the parts in turn; the same ones at every call."""
    rng = np.random.default_rng(1)
    found: dict[str, Arch] = {}
    for i in range(100 * count):
        if len(found) == min(count, sum(part.size for part in parts)):
            break
        arch = parts[i % len(parts)].sample(rng)
        found[fingerprint(arch)] = arch
    return list(found.values())


def whole(arch: Arch, batch: int = 1) -> Bound:
    """An architecture's whole network, and what it is called with."""
    return Bound(build(arch), ((Shape((batch, 3, *arch.input_hw)),), {}))


def runnable(unit: Unit, batch: int = 1) -> Bound:
    """The unit's own module, with weights small enough that no value overflows, and what it is called with."""
    module = sketch(unit.arch).get_submodule(unit.path)
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        for name, weight in layer._parameters.items():
            if weight is not None:
                layer._parameters[name] = nn.Parameter(torch.randn(weight.shape, generator=generator) * 0.05)
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = torch.full(buffer.shape, float(name == "running_var"))
    return Bound(module, _batched(unit.call, batch))


def _batched(value: Any, batch: int) -> Any:
    if isinstance(value, Shape):
        return Shape((batch, *value[1:]))
    if isinstance(value, dict):
        return {key: _batched(item, batch) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_batched(item, batch) for item in value)
    return value
