"""Training states and trained models on disk, as safetensors: no pickle, replaced in one step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from archsearch.files import InputError, replacing, write_text
from archsearch.nets.zoo import Arch, arch_yaml, build, is_bottom_up, load_arch
from archsearch.pose.bottomup import DecodeSettings
from archsearch.pose.topdown import OFFICIAL_TOP_DOWN, TopDownDecode
from archsearch.skeleton import Skeleton
from archsearch.space import from_plain

Tree = Mapping[str, Any]
WEIGHTS = "weights.safetensors"  # the file in a model's folder


def save_tensors(path: Path | str, tree: Tree, meta: Mapping[str, Any]) -> None:
    """Write nested mappings of tensors, and ``meta`` (JSON values) with them, as one file.

    The file is the old one or the new one whatever happens meanwhile. Tensors keep their memory layout's values only;
    names of the mappings are joined by ``/``.
    """
    flat = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in _flatten(tree, "")}
    with replacing(path) as temporary:
        save_file(flat, temporary, {"archsearch": json.dumps(meta)})


def load_tensors(path: Path | str, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Any]]:
    """The nested mappings and the ``meta`` that :func:`save_tensors` wrote.

    Raises ``InputError`` where the file is missing or is not such a file.
    """
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            meta = json.loads((file.metadata() or {}).get("archsearch", "{}"))
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}") from None
    tree: dict[str, Any] = {}
    for name, tensor in flat.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = tensor
    return tree, meta


def _flatten(tree: Tree, prefix: str) -> list[tuple[str, Tensor]]:
    items: list[tuple[str, Tensor]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            items += _flatten(value, f"{prefix}{name}/")
        else:
            items.append((prefix + str(name), value))
    return items


# --------------------------------------------------------------------------------------------------------- whole models


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with all that is needed to use it."""

    net: nn.Module
    arch: Arch
    skeleton: Skeleton
    decode: DecodeSettings | TopDownDecode  # the former of a bottom-up network, the latter of a top-down one


def save_model(
    folder: Path | str,
    net: nn.Module,
    arch: Arch,
    skeleton: Skeleton,
    decode: DecodeSettings | TopDownDecode,
    *,
    without: Collection[str] = (),
) -> None:
    """Write ``arch.yaml`` and ``weights.safetensors``; the skeleton and the decoding travel in the weights' header.

    ``without``: layers that were never trained and are left out; such weights can begin a training, nothing else.
    """
    folder = Path(folder)
    write_text(folder / "arch.yaml", arch_yaml(arch))
    meta: dict[str, Any] = {"skeleton": dataclasses.asdict(skeleton), "decode": dataclasses.asdict(decode)}
    meta["protocol"] = "top_down" if isinstance(decode, TopDownDecode) else "bottom_up"
    if without:
        meta["without"] = sorted(without)
    tensors = {name: t for name, t in net.state_dict().items() if name.rpartition(".")[0] not in without}
    save_tensors(folder / WEIGHTS, tensors, meta)


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> Model:
    """What :func:`save_model` wrote, in evaluation mode. Raises ``InputError`` where a file is missing or misfits."""
    folder = Path(folder)
    arch = load_arch(folder / "arch.yaml")
    path = folder / WEIGHTS
    tensors, meta = load_tensors(path)
    if not {"skeleton", "decode"} <= set(meta):
        raise InputError(f"{path}: not the weights of a trained model, its header has no skeleton")
    if "without" in meta:
        absent = ", ".join(meta["without"][:3])
        raise InputError(f"{path}: a backbone only, without {absent}: it can begin a training (weights: {folder})")
    skeleton = from_plain(Skeleton, meta["skeleton"])
    net = build(arch, joints=len(skeleton))
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: does not fit {folder / 'arch.yaml'}: {first}") from None
    net.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(net, arch, skeleton, _decode(arch, meta))


def _decode(arch: Arch, meta: dict[str, Any]) -> DecodeSettings | TopDownDecode:
    """The decoding in a header. Top-down networks were once imported with one for bottom-up: theirs is the official."""
    if is_bottom_up(arch):
        return DecodeSettings(**meta["decode"])
    return TopDownDecode(**meta["decode"]) if meta.get("protocol") == "top_down" else OFFICIAL_TOP_DOWN
