"""Trained supernets on disk: ``space.yaml`` and ``weights.safetensors`` in one folder."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import nn

from archsearch.elastic import Conv
from archsearch.files import InputError, read_yaml, write_text
from archsearch.nets.zoo import Arch, build
from archsearch.pose.bottomup import DecodeSettings
from archsearch.skeleton import Skeleton
from archsearch.space import Space, from_plain
from archsearch.train.checkpoint import WEIGHTS, load_tensors, save_tensors

SPACE = "space.yaml"


@dataclass(frozen=True, eq=False)
class Supernet:
    """A trained weight-sharing network with all that is needed to use it."""

    net: nn.Module
    space: Space[Arch]
    skeleton: Skeleton
    decode: DecodeSettings


def save_supernet(folder: Path, supernet: Supernet) -> None:
    """Write a supernet; each file is replaced in one step."""
    write_text(folder / SPACE, yaml.safe_dump(supernet.space.plain, sort_keys=False, width=110))
    meta = {
        "supernet": supernet.space.name,
        "skeleton": dataclasses.asdict(supernet.skeleton),
        "decode": dataclasses.asdict(supernet.decode),
    }
    save_tensors(folder / WEIGHTS, supernet.net.state_dict(), meta)


def weights_sha256(folder: Path) -> str:
    """What tells a supernet from every other one. Raises ``InputError`` where it has no weights."""
    path = folder / WEIGHTS
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def load_supernet(folder: Path, device: torch.device | str = "cpu") -> Supernet:
    """What :func:`save_supernet` wrote, in evaluation mode.

    Raises ``InputError`` where a file is missing or does not fit.
    """
    plain = read_yaml(folder / SPACE)
    tensors, meta = load_tensors(folder / WEIGHTS)
    if "supernet" not in meta:
        raise InputError(f"{folder / WEIGHTS}: not the weights of a supernet")
    try:
        space: Space[Arch] = Space(Arch, plain, meta["supernet"])
    except ValueError as error:
        raise InputError(f"{folder / SPACE}: {error}") from None
    try:
        skeleton = from_plain(Skeleton, meta.get("skeleton"))
        decode = TypeAdapter(DecodeSettings).validate_python(meta.get("decode"))
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, ('decode', *fault['loc'])))}: {fault['msg']}"
        raise InputError(f"{folder / WEIGHTS}: its header is not a supernet's: {reason}") from None
    except ValueError as error:
        raise InputError(f"{folder / WEIGHTS}: its header is not a supernet's: skeleton: {error}") from None
    net = build(space.largest(), joints=len(skeleton))
    for name, layer in net.named_modules():
        sizes = [int(k.rpartition(".")[2]) for k in tensors if k.startswith(f"{name}.transforms.")]
        if isinstance(layer, Conv) and sizes:
            layer.add_transforms(min(sizes))
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{folder / WEIGHTS}: does not fit {folder / SPACE}: {first}") from None
    net.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Supernet(net, space, skeleton, decode)
