"""Which channels of which layers are the same channels: found by running a network on tensors that carry their names.

A layer makes channels, other layers read them; additions, residuals and normalisation make channels of several layers
one. The union of all of these is an *axis*: its channels may be put into another order everywhere at once, and the
network computes what it did. The axes follow from the network's own ``forward``, so they cannot describe another one:
an operator without a rule, a layer that no forward reaches and parts that do not fit are errors.

An axis is a whole part of a layer (see :mod:`archsearch.elastic`), since that is what smaller networks take the
leading channels of. Some axes are pinned and left out: the image's channels, the network's outputs, and whatever is
cut elsewhere than between parts or shuffled. Light blocks (``lite_blocks``) do so with the widths of their branches and
the lite stem with its own; what is left of them are squeezed channels, the stem's ``planes`` and chains of links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Parts, Transposed
from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.hrnet import HRNet, Stage
from archsearch.nets.lite_blocks import Lite
from archsearch.probe import Probe

Layer = Conv | Transposed | BatchNorm


class Place(NamedTuple):
    """Where an axis lies: along ``dim`` of the named tensor from ``start`` on. ``reads``: it is a layer's input there,
    mixed with other channels; depthwise layers and normalisation, which mix nothing, do not count."""

    tensor: str
    dim: int
    start: int
    reads: bool


@dataclass(frozen=True)
class Axis:
    """``size`` channels that are the same ones in all ``places``, and free to change their order."""

    size: int
    places: tuple[Place, ...]


def free_axes(net: nn.Module, archs: Iterable[Any] | None = None) -> list[Axis]:
    """The axes of ``net`` whose channels may change their order without changing what it computes at any of ``archs``.

    ``archs`` are as wide as the network and have its kernels, and together they run all of it; None for
    :func:`variants`. Raises ``ValueError`` where they do not, or where a layer is given other parts than it was built
    for, ``NotImplementedError`` on an operator without a rule. ``net`` is left as it was.
    """
    trace = _Trace(net)
    modes = {module: module.training for module in net.modules()}
    net.eval()  # training would count batches
    try:
        for arch in variants(net.arch) if archs is None else archs:
            image = _Channels(3, pinned=True)
            for output in net(_Named((1, 3, *arch.input_hw), (image,), trace), arch):
                _pin(output.axes)
    finally:
        for module, training in modes.items():
            module.training = training
    return trace.free()


def variants(arch: Any) -> list[Any]:
    """Architectures of the full width which join every two channels that any sub-net of the full width joins.

    Depths join nothing new but where a branch has no blocks: it runs the first half of its first one, whose inner
    channels are then the branch's (``Plain``). Likewise where a stage has fewer modules, where light blocks lack their
    parts, and for each kind of block that the network holds. Where a space has none of these, ``[arch]`` leaves more
    axes free. A weighting block that spans fewer branches than it was built for squeezes to fewer channels: such
    a sub-net is not of the full width.
    """
    if not isinstance(arch, HRNet | EfficientHRNet):
        return [arch]
    kinds = [stage.kind.split("|") for stage in arch.stages]
    found: list[tuple[Stage, ...]] = []
    for i in range(max(map(len, kinds))):
        whole = [replace(stage, kind=names[i % len(names)]) for stage, names in zip(arch.stages, kinds, strict=True)]
        found += [tuple(whole), tuple(map(_bare, whole))]
        for modules in range(1, max(stage.modules for stage in whole)):
            found.append(tuple(replace(stage, modules=min(modules, stage.modules)) for stage in whole))
    return [replace(arch, stages=stages) for stages in found]


def _bare(stage: Stage) -> Stage:
    branches = ((),) * len(stage.branches) if stage.kind == "basic" else stage.branches
    return replace(stage, branches=branches, lite=Lite(spatial=False, cross=False, pointwise=False))


class _Channels:
    """Some channels in a row; those that turn out to be the same have one :meth:`root`."""

    __slots__ = ("_parent", "_pinned", "size")

    def __init__(self, size: int, pinned: bool = False) -> None:
        self.size, self._pinned = size, pinned
        self._parent: _Channels | None = None

    def root(self) -> _Channels:
        found = self
        while found._parent is not None:
            found = found._parent
        return found

    @property
    def pinned(self) -> bool:
        return self.root()._pinned

    def pin(self) -> None:
        self.root()._pinned = True

    def unite(self, other: _Channels) -> None:
        a, b = self.root(), other.root()
        if a is not b:
            b._parent = a
            a._pinned |= b._pinned


_Axes = tuple[_Channels, ...]


def _sizes(axes: _Axes) -> Parts:
    return tuple(axis.size for axis in axes)


def _pin(axes: _Axes) -> None:
    for axis in axes:
        axis.pin()


def _unite(axes: _Axes, others: _Axes) -> None:
    if _sizes(axes) != _sizes(others):
        raise ValueError(f"channels of parts {_sizes(axes)} meet channels of parts {_sizes(others)}")
    for axis, other in zip(axes, others, strict=True):
        axis.unite(other)


class _Trace:
    """What every layer of a network was given and what it made."""

    def __init__(self, net: nn.Module) -> None:
        self._layers: dict[str, Layer] = {}
        for name, module in net.named_modules():
            if isinstance(module, Layer):
                self._layers[name] = module
            elif any(True for _ in module.parameters(recurse=False)) and not name.endswith(".transforms"):
                raise ValueError(f"{name} is a {type(module).__name__}: its channels have no rule")
        self._names = {id(layer.weight): name for name, layer in self._layers.items()}
        self._given: dict[str, _Axes] = {}
        self._made: dict[str, _Axes] = {}

    def pass_layer(self, weight: int, given: _Axes) -> _Axes:
        """The channels that the layer of this weight makes of those it is given."""
        if weight not in self._names:
            raise ValueError(
                "weights that are no layer's, or a slice of one: axes are found at full widths and kernels"
            )
        name = self._names[weight]
        layer = self._layers[name]
        parts = layer.features if isinstance(layer, BatchNorm) else layer.inputs
        if _sizes(given) != tuple(n for n in parts if n):
            raise ValueError(f"{name} is built for channels of parts {parts} and given {_sizes(given)}")
        _unite(given, self._given.setdefault(name, given))
        if isinstance(layer, BatchNorm) or _is_depthwise(layer):
            return given
        return self._made.setdefault(name, tuple(_Channels(n) for n in layer.outputs if n))

    def free(self) -> list[Axis]:
        """All that is not pinned. Raises ``ValueError`` where a layer did not run."""
        for name in self._layers:
            if name not in self._given:
                raise ValueError(f"no architecture that was given runs {name}: its channels are not known")
        found: dict[_Channels, list[Place]] = {}
        for axes, tensors, dim, reads in self._places():
            start = 0
            for axis in axes:
                places = found.setdefault(axis.root(), [])
                places.extend(Place(tensor, dim, start, reads) for tensor in tensors)
                start += axis.size
        return [Axis(axis.size, tuple(places)) for axis, places in found.items() if not axis.pinned]

    def _places(self) -> Iterator[tuple[_Axes, list[str], int, bool]]:
        for name, layer in self._layers.items():
            given, weight = self._given[name], [f"{name}.weight"]
            if isinstance(layer, BatchNorm):
                yield given, [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")], 0, False
                continue
            made = weight + [f"{name}.bias"] * (layer.bias is not None)
            if _is_depthwise(layer):
                yield given, made, 0, False
            elif isinstance(layer, Transposed):
                yield given, weight, 0, True
                yield self._made[name], made, 1, False
            else:
                yield given, weight, 1, True
                yield self._made[name], made, 0, False


def _is_depthwise(layer: Layer) -> bool:
    return isinstance(layer, Conv) and layer.depthwise


LAYERS = ("conv", "deconv", "batch_norm")
ALIKE = ("relu", "sigmoid", "silu", "upsample", "pool", "average", "pad")  # each channel by itself


class _Named(Probe):
    """A probe that knows which channels it has. Shapes, and which operators there are, follow :class:`Probe`."""

    __slots__ = ("axes", "trace")

    def __init__(self, shape: Sequence[int], axes: _Axes, trace: _Trace) -> None:
        super().__init__(shape, [])
        self.axes, self.trace = axes, trace

    def record(self, shape: Sequence[int], kind: str, shared: bool = False, **fields: Any) -> _Named:
        """A probe of ``shape`` with the channels that an operator of ``kind`` leaves."""
        if kind in LAYERS:
            return _Named(shape, self.trace.pass_layer(fields.get("weight", 0), self.axes), self.trace)
        if kind == "shuffle":
            _pin(self.axes)
            return _Named(shape, (_Channels(shape[1], pinned=True),), self.trace)
        if kind in ("add", "mul", "concat", "split") or (kind in ALIKE and shape[1] == self.shape[1]):
            return _Named(shape, self.axes, self.trace)  # the first four are completed by who asked
        raise NotImplementedError(f"no rule for what {kind} does to channels")

    def __add__(self, other: Any) -> Probe:
        return self._with(other, super().__add__(other))

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Probe:
        return self._with(other, super().__iadd__(other))

    def __mul__(self, other: Any) -> Probe:
        return self._with(other, super().__mul__(other))

    __rmul__ = __mul__

    def __imul__(self, other: Any) -> Probe:
        return self._with(other, super().__imul__(other))

    def _with(self, other: Any, result: Probe) -> Probe:
        if isinstance(other, _Named):
            _unite(self.axes, other.axes)
        elif isinstance(other, Tensor):
            raise NotImplementedError(f"no rule for the channels of a tensor {tuple(other.shape)} in a sum or product")
        return result

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], kinds: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = super().__torch_function__(func, kinds, args, kwargs)
        at = {torch.cat: 1, torch.split: 2, torch.chunk: 2}.get(func)
        if at is not None:
            dim = (kwargs or {}).get("dim", args[at] if len(args) > at else 0)
            if dim != 1:
                raise NotImplementedError(f"no rule for the channels of {func.__name__} along {dim}")
            if func is torch.cat:
                result.axes = tuple(axis for tensor in args[0] for axis in tensor.axes)
            else:
                _cut(args[0].axes, result)
        return result


def _cut(axes: _Axes, pieces: Sequence[_Named]) -> None:
    """Give each piece of a split its channels: between parts the parts, else new ones that are pinned."""
    ends = {sum(_sizes(axes)[: i + 1]): i + 1 for i in range(len(axes))}
    wanted = [sum(piece.shape[1] for piece in pieces[: i + 1]) for i in range(len(pieces))]
    if all(end in ends for end in wanted):
        starts = [0, *(ends[end] for end in wanted)]
        for i, piece in enumerate(pieces):
            piece.axes = axes[starts[i] : starts[i + 1]]
        return
    _pin(axes)
    for piece in pieces:
        piece.axes = (_Channels(piece.shape[1], pinned=True),)
