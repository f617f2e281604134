"""Weights of another training, to begin from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from archsearch.files import InputError
from archsearch.train.checkpoint import WEIGHTS, load_tensors


@torch.no_grad()
def take_weights(net: nn.Module, source: Path | str) -> tuple[int, int]:
    """Copy into ``net`` every tensor of ``source`` that has a place there: the same name and shape.

    ``source``: a model's folder (also one that holds a backbone only) or a safetensors file of archsearch, where of
    a training's state the averaged weights are taken. Gives back how many tensors were taken and how many ``net``
    has. Raises ``InputError`` where the file cannot be read or none fits.
    """
    path = weights_file(source)
    tree: dict[str, Any] = load_tensors(path)[0]
    tensors = next((tree[part] for part in ("ema", "net") if isinstance(tree.get(part), dict)), tree)
    own = net.state_dict(keep_vars=True)
    fitting: dict[str, Tensor] = {
        name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape
    }
    if not any(tensor.ndim for tensor in fitting.values()):
        raise InputError(
            f"{path}: none of its {len(tensors)} tensors has the name and shape of one of this architecture; "
            "a published checkpoint is first read with archsearch import"
        )
    for name, tensor in fitting.items():
        own[name].copy_(tensor)
    return len(fitting), len(own)


def weights_file(source: Path | str) -> Path:
    """The file that ``source`` names, itself or the one in a model's folder. Raises ``InputError`` where it is not."""
    path = Path(source)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.exists():
        raise InputError(f"{path}: no such file")
    return path


def _existing(source: Path) -> Path:
    weights_file(source)
    return source


Weights = Annotated[Path, AfterValidator(_existing)]  # of a study: weights to begin from, which are there
