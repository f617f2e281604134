"""Named architectures, files of architectures, and networks made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from archsearch.elastic import take
from archsearch.files import InputError, read_json, read_yaml, resources
from archsearch.nets.efficient_hrnet import EfficientHRNet, EfficientHRNetNet
from archsearch.nets.heads import TopDown
from archsearch.nets.hrnet import HRNet, HRNetNet
from archsearch.nets.litepose import LitePose, LitePoseNet
from archsearch.nets.litepose_json import from_litepose_json, is_litepose_json
from archsearch.nets.spaces import check_shared
from archsearch.space import Space, from_plain, resolve, to_plain

Arch = HRNet | LitePose | EfficientHRNet  # every family: the union that files are read as
NETS: dict[type, Callable[[Any, int | None], nn.Module]] = {
    HRNet: HRNetNet,
    LitePose: LitePoseNet,
    EfficientHRNet: EfficientHRNetNet,
}


def models() -> list[str]:
    """Names of the architectures that archsearch knows."""
    return sorted(path.stem for path in (resources("search_spaces") / "zoo").glob("*.yaml"))


def load_arch(name_or_path: str | Path) -> Arch:
    """The architecture of a known name or of a file. Raises ``InputError`` where there is none.

    A YAML architecture is a YAML space without choices; ``{repeat: item, times: n}`` shortens lists. A ``.json`` file
    may hold the same, or be one of those that LitePose's authors describe architectures with.
    """
    path = _find(name_or_path, "search_spaces/zoo", models())
    plain = read_json(path) if path.suffix == ".json" else read_yaml(path)
    try:
        return from_litepose_json(plain) if is_litepose_json(plain) else _parsed(plain)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def as_arch(given: str | Path | Arch | dict[str, Any]) -> Arch:
    """An architecture from whatever names or describes one: a name, a file, the mapping of a file, or itself.

    Raises ``ValueError`` where it is none of these.
    """
    if isinstance(given, str | Path):
        return load_arch(given)
    if isinstance(given, dict):
        return _parsed(given)
    if type(given) in NETS:
        return given
    raise ValueError(f"{given!r} is not an architecture: a name, a file or a mapping is needed")


def _parsed(plain: Any) -> Arch:
    def refuse(hole: str, options: tuple[Any, ...]) -> Any:
        raise ValueError(f"a choice of {options} at {hole}: this is a space, an architecture has no choices")

    return from_plain(Arch, resolve(plain, refuse))  # type: ignore[no-any-return]


def load_space(name_or_path: str | Path) -> Space[Arch]:
    """The space of a known name or of a YAML file.

    Raises ``InputError`` where there is none, or one whose architectures no single network can hold.
    """
    known = sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))
    path = _find(name_or_path, "search_spaces", known)
    try:
        space: Space[Arch] = Space(Arch, read_yaml(path), path.stem)
        check_shared(space)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return space


def _find(name_or_path: str | Path, folder: str, known: list[str]) -> Path:
    if str(name_or_path) in known:
        top, _, rest = folder.partition("/")
        return resources(top) / rest / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml", ".json") or path.exists():
        return path
    raise InputError(f"{name_or_path} is neither a file nor one of {', '.join(known)}")


def build(name_or_arch: str | Path | Arch, *, joints: int | None = None) -> nn.Module:
    """The network of an architecture, with torch's default initial weights.

    ``joints``: how many joints the heads predict; None for the number that the architecture names. Its outputs are
    lists of tensors: bottom-up ``[(N, J+T, H/4, W/4), (N, J, H/2, W/2)]``, top-down ``[(N, J, H/4, W/4)]``.
    """
    arch = as_arch(name_or_arch)
    if joints is not None and (not isinstance(joints, int) or isinstance(joints, bool) or joints < 1):
        raise ValueError(f"joints {joints} is not a positive whole number")
    return NETS[type(arch)](arch, joints)


def is_bottom_up(arch: Arch) -> bool:
    """Whether networks of ``arch`` find all people of an image at once, by tags; else joints in one person's box."""
    return not isinstance(arch.head, TopDown)


def extract(net: nn.Module, arch: Arch) -> nn.Module:
    """The stand-alone network of ``arch`` with its slice of ``net``'s weights: computes ``net(x, arch)`` bit for bit.

    Raises ``ValueError`` where ``net`` does not hold ``arch``. Batch-normalisation statistics come along as they are;
    recalibrate them where ``net`` was trained at several architectures. Weights lie in memory as ``net``'s do: torch
    computes with other bits where they do not.
    """
    weights = next(net.parameters())
    with torch.device("meta"):  # nothing is drawn: every tensor is taken from the larger network
        small = build(arch, joints=net.joints).to(weights.dtype)  # type: ignore[arg-type]
    small = small.to_empty(device=weights.device)
    if any(weight.ndim == 4 and not weight.is_contiguous() for weight in net.parameters()):
        small = small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    take(small, net)
    return small.train(net.training)


def arch_yaml(arch: Arch) -> str:
    """An architecture as the text of a YAML file that :func:`load_arch` reads; equal items in a row are shortened."""
    return yaml.dump(_short(to_plain(arch)), sort_keys=False, default_flow_style=None, width=110)


def _short(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _short(value) for key, value in plain.items()}
    if isinstance(plain, list):
        if len(plain) > 1 and isinstance(plain[0], dict) and all(item == plain[0] for item in plain[1:]):
            return {"repeat": _short(plain[0]), "times": len(plain)}
        return [_short(item) for item in plain]
    return plain
