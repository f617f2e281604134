"""The authors' published checkpoints, read into our networks: nothing is guessed, and nothing is left out silently.

Every layer of the network is looked up by the name that the reference implementation gives it
(:mod:`archsearch.nets.official_names`). Prefixes that wrappers add to all names (``module.``, ``1.``) and those of
mmpose (``backbone.``, ``keypoint_head.`` of 0.x, ``head.`` of 1.x) do not matter.
"""

from __future__ import annotations

import dataclasses
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from archsearch.files import InputError
from archsearch.nets.official_names import FAMILIES, Family
from archsearch.nets.zoo import Arch, as_arch, build

WRAPPERS = ("state_dict", "model")  # under which training loops keep the weights
PREFIXES = ("module.", "1.")  # of all names: DataParallel, and the half-precision wrapper of HigherHRNet
PARTS = ("backbone.", "keypoint_head.", "head.")  # of mmpose: its names go on as those of the authors
HEAD = "head."  # ours: what a backbone-only import leaves out
LISTED = 4  # names in a message


@dataclass(frozen=True)
class Imported:
    """A network with the weights of a checkpoint, and what did not take part."""

    net: nn.Module
    unused: tuple[str, ...]  # entries of the checkpoint that the network has no place for
    untouched: tuple[str, ...]  # layers of the network that keep their initial weights


def load_official(
    state_dict: Mapping[str, Any],
    name_or_arch: str | Path | Arch,
    *,
    joints: int | None = None,
    backbone_only: bool = False,
) -> nn.Module:
    """The network of an architecture with the weights of a published checkpoint, in training mode as built.

    ``joints``: None for as many as the checkpoint has. ``backbone_only``: the head keeps its initial weights, as for
    a backbone that was trained on ImageNet. Warns (``UserWarning``) of entries that were not used. Raises
    ``InputError`` where the checkpoint does not fit, with the name, the expected and the found shape.
    """
    imported = import_official(state_dict, name_or_arch, joints=joints, backbone_only=backbone_only)
    if imported.unused:
        warnings.warn(f"not used of the checkpoint: {_listed(imported.unused)}", stacklevel=2)
    return imported.net


def import_official(
    state_dict: Mapping[str, Any],
    name_or_arch: str | Path | Arch,
    *,
    joints: int | None = None,
    backbone_only: bool = False,
) -> Imported:
    """:func:`load_official` for those who want to know what was not used, without a warning."""
    arch = as_arch(name_or_arch)
    if type(arch) not in FAMILIES:
        raise InputError(f"no published checkpoints of {type(arch).__name__} are known")
    family = FAMILIES[type(arch)]
    found: dict[str, tuple[str, Tensor]] = {}
    for name, tensor in weights(state_dict).items():
        if _short(name) in found:
            raise InputError(f"the checkpoint holds {_short(name)} twice: {found[_short(name)][0]} and {name}")
        found[_short(name)] = (name, tensor)
    layers = {ours: theirs for ours, theirs in family.layers(arch) if not (backbone_only and ours.startswith(HEAD))}
    if joints is None and not backbone_only:
        joints = _joints(family, arch, layers, found)
    if joints is not None:
        arch = dataclasses.replace(arch, joints=joints)
    with torch.device("meta"):  # initial weights that a checkpoint replaces would take longer than the import
        net = build(arch)
    net.to_empty(device="cpu")
    dtypes = [tensor.dtype for _, tensor in found.values() if tensor.is_floating_point()]
    net.to(torch.promote_types(dtypes[0], torch.float32) if dtypes else torch.float32)

    used, wrong = _fill(net, layers, found)
    if wrong:
        raise InputError(f"the checkpoint does not fit: {'; '.join(wrong[:LISTED])}{_more(wrong)}")
    owners = {name.rpartition(".")[0] for name in net.state_dict()}
    untouched = sorted(owners - set(layers))
    if not backbone_only and untouched:
        raise InputError(f"no published checkpoint has the layers {_listed(untouched)} of this architecture")
    for name in untouched:
        net.get_submodule(name).reset_parameters()  # type: ignore[operator]
    unused = tuple(name for short, (name, _) in found.items() if short not in used)
    return Imported(net, unused, tuple(untouched))


@torch.no_grad()
def _fill(
    net: nn.Module, layers: Mapping[str, str], found: Mapping[str, tuple[str, Tensor]]
) -> tuple[set[str], list[str]]:
    """Copy what fits; the names that were used, and a complaint for each tensor that is missing or does not fit."""
    used: set[str] = set()
    wrong: list[str] = []
    for ours, theirs in layers.items():
        for key, own in net.get_submodule(ours).state_dict(keep_vars=True).items():
            name = f"{theirs}.{key}"
            if name not in found:
                if key == "num_batches_tracked":  # which files of torch before 0.4.1 do not have
                    own.zero_()
                else:
                    wrong.append(f"{name}: expected {tuple(own.shape)}, found nothing")
                continue
            full, tensor = found[name]
            used.add(name)
            if tensor.shape != own.shape:
                wrong.append(f"{full}: expected {tuple(own.shape)}, found {tuple(tensor.shape)}")
            else:
                own.copy_(tensor)
    return used, wrong


def _joints(family: Family, arch: Arch, layers: Mapping[str, str], found: Mapping[str, tuple[str, Tensor]]) -> int:
    """How many joints the checkpoint is for, from the shape of its last layer."""
    ours, share = family.outputs(arch)
    name = f"{layers[ours]}.weight"
    if name not in found:
        raise InputError(f"the checkpoint does not fit: {name}, the layer that gives the heatmaps, is missing")
    full, tensor = found[name]
    if tensor.ndim != 4 or tensor.shape[0] < 1 or tensor.shape[0] % share:
        raise InputError(f"the checkpoint does not fit: {full} of shape {tuple(tensor.shape)} gives no heatmaps")
    return int(tensor.shape[0]) // share


def weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, taken out of ``state_dict`` or ``model`` and freed of common prefixes.

    Raises ``InputError`` where there are none.
    """
    inner: Any = checkpoint
    for _ in WRAPPERS:
        if isinstance(inner, Mapping):
            inner = next((inner[key] for key in WRAPPERS if isinstance(inner.get(key), Mapping)), inner)
    if not isinstance(inner, Mapping):
        raise InputError(f"the checkpoint is a {type(inner).__name__}, not a mapping of names to tensors")
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"the checkpoint holds no tensors, only {_listed([str(key) for key in inner]) or 'nothing'}")
    while True:  # a stray entry, as a counter of averages, does not hide a prefix that all others have
        share = {p: sum(name.startswith(p) for name in tensors) / len(tensors) for p in PREFIXES}
        prefix = max(share, key=lambda p: share[p])
        if share[prefix] < 0.9:
            return tensors
        stripped = [name.removeprefix(prefix) for name in tensors]
        if len(set(stripped)) < len(stripped):
            twice = next(name for name in stripped if stripped.count(name) > 1)
            raise InputError(f"the checkpoint holds {twice} with the prefix {prefix} and without it")
        tensors = dict(zip(stripped, tensors.values(), strict=True))


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of one that ``torch.save`` wrote, as :func:`weights` gives them.

    No code in the file is run. Raises ``InputError`` where it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, a file is needed")
    if path.suffix == ".safetensors":
        try:
            return weights(load_file(path))
        except SafetensorError as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from None
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"holds Python objects ({refused[1]}), which are not read" if refused else "not a checkpoint of torch"
        raise InputError(f"{path}: {reason}") from None
    except Exception as error:  # the reader of old files fails in any way that bytes can be wrong
        raise InputError(f"{path}: not a checkpoint of torch ({type(error).__name__})") from None
    try:
        return weights(checkpoint)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _numpy_globals() -> list[Any]:
    """What a pickled numpy array consists of: mmpose 1.x keeps a few beside the weights. Plain data, no code."""
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"}
    named = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ]
    return [np.ndarray, np.dtype, *kinds, *named]


def _short(name: str) -> str:
    part = next((p for p in PARTS if name.startswith(p)), "")
    return name.removeprefix(part)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(names[:LISTED])}{_more(names)}"


def _more(items: list[str] | tuple[str, ...]) -> str:
    return f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
