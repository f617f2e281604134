"""Commands that bring weights in and networks out: published checkpoints, ONNX."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli.shared import AsJson, Device, Input, model_folder, print_json, screen, size_hw
from archsearch.files import InputError

if TYPE_CHECKING:
    from archsearch.skeleton import Skeleton

app = typer.Typer()


@app.command(
    "import", epilog="Example: archsearch import pose_higher_hrnet_w32_512.pth --arch higherhrnet-w32 --out higher32/"
)
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A published checkpoint: .pth, .pth.tar or .safetensors.")],
    arch: Annotated[str, typer.Option(help="What it is a checkpoint of: a known name or a YAML file.")],
    out: Annotated[Path, typer.Option(help="The model's folder to write.")],
    joints: Annotated[int | None, typer.Option(help="Joints that the heads predict; default: the file's.")] = None,
    backbone_only: Annotated[
        bool, typer.Option("--backbone-only", help="Leave the head out: weights to begin a training with.")
    ] = False,
    skeleton: Annotated[
        str | None, typer.Option(help="coco17, crowdpose14 or a YAML file; default: by the number of joints.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read the authors' published weights into a model that the other commands take."""
    from archsearch.nets.official import import_official, read_checkpoint
    from archsearch.nets.zoo import is_bottom_up, load_arch
    from archsearch.pose.bottomup import OFFICIAL_DECODE
    from archsearch.pose.topdown import OFFICIAL_TOP_DOWN
    from archsearch.train.checkpoint import save_model

    wanted = load_arch(arch)
    named = _skeleton(skeleton, joints) if skeleton is not None else None
    state = read_checkpoint(file)
    if named is not None and backbone_only:
        joints = len(named)
    try:
        imported = import_official(state, wanted, joints=joints, backbone_only=backbone_only)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    net = imported.net.float()
    loaded = dataclasses.replace(wanted, joints=net.joints)  # type: ignore[arg-type]
    body = named or _skeleton(None, loaded.joints)
    if len(body) != loaded.joints:
        raise InputError(f"{file}: has {loaded.joints} joints, skeleton {body.name} {len(body)}")
    with _new_folder(out) as folder:
        decode = OFFICIAL_DECODE if is_bottom_up(loaded) else OFFICIAL_TOP_DOWN
        save_model(folder, net, loaded, body, decode, without=imported.untouched)
    if as_json:
        fields = {"model": str(out), "arch": arch, "joints": len(body), "skeleton": body.name}
        print_json({**fields, "unused": list(imported.unused), "untouched": list(imported.untouched)})
        return
    if imported.unused:
        _say(f"not used of {file}: {_listed(imported.unused)}")
    if imported.untouched:
        _say(f"left out, to be trained: {_listed(imported.untouched)}; begin a training with weights={out}")
    print(out)


def _say(text: str) -> None:
    screen.print(text, markup=False, highlight=False, soft_wrap=True)


def _skeleton(name: str | None, joints: int | None) -> Skeleton:
    """The skeleton of a name, else the known one with so many joints."""
    from archsearch.skeleton import SKELETONS, load_skeleton

    if name is not None:
        found = load_skeleton(name)
        if joints is not None and joints != len(found):
            raise InputError(f"--joints {joints}: skeleton {found.name} has {len(found)}")
        return found
    by_count = {len(known): known for known in SKELETONS.values()}
    if joints not in by_count:
        counts = ", ".join(f"{s.name} has {len(s)}" for s in SKELETONS.values())
        raise InputError(f"{joints} joints: {counts}; describe another skeleton with --skeleton FILE.yaml")
    return by_count[joints]


@app.command(epilog="Example: archsearch extract runs/embedded_search/20260101-120000 --trial 17 --out small/ --onnx")
def extract(
    run: Annotated[Path, typer.Argument(help="A run of archsearch supernet or archsearch search.")],
    out: Annotated[Path, typer.Option(help="The model's folder to write.")],
    arch: Annotated[
        str | None, typer.Option(help="smallest, largest, a known name or a YAML file of the supernet's space.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="The architecture of that trial of a search.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as model.onnx, checked against torch.")] = False,
    device: Device = "auto",
) -> None:
    """Take a sub-net out of a supernet, its normalisation recalibrated: arch.yaml and weights.safetensors."""
    from archsearch.environment import choose_device
    from archsearch.experiments.extracting import chosen_arch, recalibrated, supernet_of
    from archsearch.nets.onnx import export_onnx
    from archsearch.train.checkpoint import save_model

    folder = supernet_of(run)
    picked = chosen_arch(run, folder, arch, trial)
    found = recalibrated(run, folder, picked, choose_device(device))
    with _new_folder(out) as made:
        save_model(made, found.net, picked, found.supernet.skeleton, found.supernet.decode)
        if onnx:
            export_onnx(found.net, picked.input_hw, made / "model.onnx")
    print(out)


@app.command(epilog="Example: archsearch export higher32/ --out higher32.onnx --input 512x512")
def export(
    model: Annotated[str, typer.Argument(help="A model's folder, a run with one model, or an architecture.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    input: Input = None,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Write a network as ONNX, checked against torch; an architecture's name gives initial weights, for timing."""
    from archsearch.nets.onnx import export_onnx
    from archsearch.nets.zoo import build
    from archsearch.train.checkpoint import load_model

    net = load_model(model_folder(Path(model))).net if Path(model).is_dir() else build(model)
    height, width = size_hw(input) if input else net.arch.input_hw  # type: ignore[union-attr, misc]
    difference = export_onnx(net, (height, width), out, batch=batch)
    if as_json:
        fields = {"input": [batch, 3, height, width], "bytes": out.stat().st_size}
        print_json({"file": str(out), **fields, "relative_difference": difference})
    else:
        print(f"{out}: input {batch}x3x{height}x{width}, {out.stat().st_size:,} bytes, ", end="")
        print(f"onnxruntime differs from torch by {difference:.1e} of the largest value")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes it when the block ends without an exception.

    Raises ``InputError`` where ``path`` is there already, unless it is an empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: is there already; name a new folder")
    path = Path(os.path.abspath(path))  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        inside = temporary / path.name
        inside.mkdir()  # with the usual permissions, which a temporary folder has not
        yield inside
        os.replace(inside, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
