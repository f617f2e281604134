"""The commands about architectures and weights, called in this process: profile, models, draw, import, export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor

import archsearch
from archsearch.data.scenes import scenes, write_scenes
from archsearch.files import InputError
from archsearch.nets import onnx
from archsearch.nets.heads import Block, BottomUp, Deconv, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.official_names import FAMILIES
from archsearch.nets.zoo import arch_yaml
from archsearch.pose.bottomup import OFFICIAL_DECODE
from archsearch.pose.topdown import OFFICIAL_TOP_DOWN
from archsearch.report import models as table
from archsearch.skeleton import COCO17, CROWDPOSE14
from archsearch.train import checkpoint
from archsearch.train.checkpoint import load_model
from archsearch.train.pretrained import take_weights

ONE = (Block(),)
ARCH = HRNet("hrnet", (64, 64), (4, 6), Stem(4, 2, ONE), (Stage(1, (ONE, ONE)),), BottomUp(deconvs=(Deconv(4, ONE),)))
TOP_DOWN = dataclasses.replace(ARCH, head=TopDown())


def official(arch: Any) -> dict[str, Tensor]:
    """A state dict as the authors' network of an architecture has it."""
    torch.manual_seed(0)
    net = archsearch.build(arch)
    layers = FAMILIES[type(arch)].layers(arch)
    return {f"{b}.{key}": t for a, b in layers for key, t in net.get_submodule(a).state_dict().items()}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with checkpoints as the authors save them, and the YAMLs of their architectures."""
    for name, arch in (("net", ARCH), ("top", TOP_DOWN), ("crowd", dataclasses.replace(ARCH, joints=14))):
        state = {f"module.{key}": tensor for key, tensor in official(arch).items()}
        torch.save({"state_dict": {**state, "module.classifier.bias": torch.zeros(3)}}, tmp_path / f"{name}.pth")
    (tmp_path / "net.yaml").write_text(arch_yaml(ARCH))
    (tmp_path / "top.yaml").write_text(arch_yaml(TOP_DOWN))
    return tmp_path


@pytest.mark.parametrize("command", ["draw", "import", "export"])
def test_help_has_an_example(command: str, run: Any) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Example: archsearch {command}" in out


# --------------------------------------------------------------------------------------------------- architectures


@pytest.mark.parametrize("name", archsearch.models())
def test_profile_of_every_known_name(name: str, run: Any) -> None:
    code, out, _ = run("profile", name, "--json")
    assert code == 0
    figures = json.loads(out)
    arch = archsearch.load_arch(name)
    with torch.device("meta"):
        assert figures["params"] == sum(p.numel() for p in archsearch.build(arch).parameters())
    assert figures["macs"]["true"] > 1e8


def litepose_s() -> dict[str, Any]:
    """LitePose-S as its authors' files describe it."""
    rows = [(6, 2, 16), (8, 2, 32), (10, 2, 48), (10, 1, 120)]
    keys = ("num_blocks", "stride", "channel")
    backbone = [{**dict(zip(keys, row, strict=True)), "block_setting": [[6, 7]] * row[0]} for row in rows]
    return {"img_size": 448, "input_channel": 16, "deconv_setting": [32, 24, 32], "backbone_setting": backbone}


def test_profile_of_the_authors_own_json(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "search-S.json"
    path.write_text(json.dumps(litepose_s()))
    code, out, _ = run("profile", path, "--json")
    assert code == 0
    figures = json.loads(out)
    assert (figures["params"], figures["macs"]["ptflops_0_6"]) == (2_731_240, 4_981_285_120)
    path.write_text(json.dumps({**litepose_s(), "deconv_setting": [32]}))
    code, _, err = run("profile", path)
    assert code == 2
    assert "search-S.json: deconv_setting [32] with 4 items" in err


def test_models_as_markdown(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "models", lambda: ["litepose-xs"])
    code, out, _ = run("models", "--markdown")
    assert (code, out.count("\n")) == (0, 3)
    assert "| `litepose-xs` | LitePose, CVPR 2022 | 256x256 | 14 | 1,675,552 | 0.883 G |" in out
    page = tmp_path / "page.md"
    code, _, err = run("models", "--into", page)
    assert code == 2
    assert "page.md: no such file" in err
    page.write_text(f"before {table.BEGIN}{table.END} after")
    assert run("models", "--into", page)[:2] == (0, f"{page}\n")
    assert page.read_text() == f"before {table.BEGIN}\n{out}{table.END} after"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_draw(suffix: str, run: Any, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{suffix}"
    (tmp_path / "net.yaml").write_text(arch_yaml(ARCH))
    assert run("draw", tmp_path / "net.yaml", "--out", path)[:2] == (0, f"{path}\n")
    if suffix == "png":
        assert cv2.imread(str(path)).shape[1] > 1000


def test_a_picture_of_another_kind(run: Any, tmp_path: Path) -> None:
    code, _, err = run("draw", "litepose-xs", "--out", tmp_path / "picture.bmp")
    assert code == 2
    assert "picture.bmp: the name of a picture ends in .png, .svg, .pdf" in err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------- import


def test_an_imported_model_is_evaluated_and_predicts(run: Any, files: Path) -> None:
    out = files / "models" / "net"
    code, printed, err = run("import", files / "net.pth", "--arch", files / "net.yaml", "--out", out)
    assert (code, printed) == (0, f"{out}\n")
    assert "not used of" in err
    assert "classifier.bias" in err
    model = load_model(out)
    assert (model.arch, model.skeleton, model.decode) == (ARCH, COCO17, OFFICIAL_DECODE)
    expected = archsearch.load_official(without_classifier(files), ARCH).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in model.net.state_dict().items())

    write_scenes(files / "data", scenes(1, 64, 0, COCO17, "easy"))
    images = files / "data" / "images"
    options = ("--annotations", files / "data" / "annotations.json", "--images", images)
    assert run("eval", out, *options, "--json")[0] == 0
    assert run("predict", out, images, "--out", files / "drawn")[0] == 0


def without_classifier(files: Path) -> dict[str, Any]:
    state = torch.load(files / "net.pth", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if "classifier" not in name}


def test_the_skeleton_follows_the_joints(run: Any, files: Path) -> None:
    code, printed, _ = run("import", files / "crowd.pth", "--arch", files / "net.yaml", "--out", files / "m", "--json")
    assert code == 0
    assert json.loads(printed) == {
        "model": str(files / "m"), "arch": str(files / "net.yaml"), "joints": 14, "skeleton": "crowdpose14",
        "unused": ["classifier.bias"], "untouched": [],
    }  # fmt: skip
    assert load_model(files / "m").skeleton == CROWDPOSE14


def test_a_top_down_model_is_used_the_official_way(run: Any, files: Path) -> None:
    out = files / "m"
    code, _, err = run("import", files / "top.pth", "--arch", files / "top.yaml", "--out", out)
    assert code == 0
    assert load_model(out).decode == OFFICIAL_TOP_DOWN
    (files / "photo.png").write_bytes(cv2.imencode(".png", torch.zeros(8, 8, 3).byte().numpy())[1].tobytes())
    code, printed, err = run("predict", out, files / "photo.png", "--out", files / "drawn")
    assert code == 0, err
    assert "the whole image as one box" in err
    assert "photo.png" in printed


def test_a_backbone_begins_a_training(run: Any, files: Path) -> None:
    out = files / "m"
    code, _, err = run("import", files / "top.pth", "--arch", files / "net.yaml", "--backbone-only", "--out", out)
    assert code == 0
    assert f"left out, to be trained: {', '.join(LEFT_OUT[:4])} and 4 more; begin a training with weights={out}" in err
    with pytest.raises(InputError, match=r"m/weights.safetensors: a backbone only, without head\.deconvs\.0"):
        load_model(out)
    net = archsearch.build(ARCH, joints=14)
    head = {name: tensor.clone() for name, tensor in net.head.state_dict().items()}  # type: ignore[union-attr]
    taken, total = take_weights(net, out)
    assert total - taken == len(head)
    body = archsearch.load_official(official(TOP_DOWN), TOP_DOWN).state_dict()
    for name, tensor in net.state_dict().items():
        wanted = head[name.removeprefix("head.")] if name.startswith("head.") else body[name]
        assert torch.equal(tensor, wanted)


LEFT_OUT = [
    "head.deconvs.0.blocks.0.bn1", "head.deconvs.0.blocks.0.bn2", "head.deconvs.0.blocks.0.conv1",
    "head.deconvs.0.blocks.0.conv2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lost.pth", "--arch", "net.yaml"], "lost.pth: no such file"),
        (["net.pth", "--arch", "nothing"], "nothing is neither a file nor one of"),
        (["net.pth", "--arch", "top.yaml"], "net.pth: the checkpoint does not fit: final_layer.weight, the layer that"),
        (
            ["net.pth", "--arch", "wide.yaml"],
            "fit: transition1.0.0.weight: expected (8, 8, 3, 3), found (4, 8, 3, 3);",
        ),
        (["net.pth", "--arch", "net.yaml", "--joints", "14"], "expected (28, 4, 1, 1), found (34, 4, 1, 1)"),
        (["net.pth", "--arch", "net.yaml", "--skeleton", "crowdpose14"], "has 17 joints, skeleton crowdpose14 14"),
        (["net.pth", "--arch", "net.yaml", "--skeleton", "dog"], "skeleton dog is not one of coco17, crowdpose14"),
        (
            ["net.pth", "--arch", "net.yaml", "--skeleton", "coco17", "--joints", "14"],
            "--joints 14: skeleton coco17 has 17",
        ),
        (
            ["top.pth", "--arch", "net.yaml", "--backbone-only", "--joints", "5"],
            "5 joints: coco17 has 17, crowdpose14 has 14, mpii16 has 16; describe another skeleton with",
        ),
        (["net.yaml", "--arch", "net.yaml"], "net.yaml: not a checkpoint of torch"),
    ],
)
def test_what_cannot_be_imported(args: list[str], words: str, run: Any, files: Path) -> None:
    wide = dataclasses.replace(ARCH, widths=(8, 6))
    (files / "wide.yaml").write_text(arch_yaml(wide))
    before = sorted(files.rglob("*"))
    named = [str(files / arg) if "." in arg else arg for arg in args]
    code, out, err = run("import", *named, "--out", files / "m")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert sorted(files.rglob("*")) == before


def test_a_folder_is_not_written_over_nor_half_written(run: Any, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("import", files / "net.pth", "--arch", files / "net.yaml", "--out")
    (files / "full").mkdir()
    (files / "full" / "mine.txt").write_text("")
    code, _, err = run(*args, files / "full")
    assert code == 2
    assert "full: is there already; name a new folder" in err

    def fail(*_: Any) -> None:
        raise ValueError("the disk is full")

    before = sorted(files.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_tensors", fail)
        assert run(*args, files / "m")[0] == 2
    assert sorted(files.rglob("*")) == before
    (files / "empty").mkdir()
    assert run(*args, files / "empty")[0] == 0
    assert {p.name for p in (files / "empty").iterdir()} == {"arch.yaml", "weights.safetensors"}
    assert (files / "empty").stat().st_mode == (files / "full").stat().st_mode


# ---------------------------------------------------------------------------------------------------------- export


def test_export_of_a_model_and_of_an_architecture(run: Any, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("import", files / "net.pth", "--arch", files / "net.yaml", "--out", files / "m")
    path = files / "net.onnx"
    code, out, _ = run("export", files / "m", "--out", path, "--input", "32x64", "--batch", 2, "--json")
    assert code == 0
    figures = json.loads(out)
    assert figures["input"] == [2, 3, 32, 64]
    assert figures["bytes"] == path.stat().st_size
    assert figures["relative_difference"] < 1e-5
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "export_onnx", lambda net, hw, path, batch: float(len(net(torch.zeros(batch, 3, *hw)))))
        code, out, _ = run("export", files / "top.yaml", "--out", path)
    assert code == 0
    assert "input 1x3x64x64" in out
    assert "differs from torch by 1.0e+00" in out
    for args, words in (
        ((files / "m", "--input", "30x64"), "input 1x3x30x64: a batch from 1 and multiples of 8"),
        ((files / "m", "--input", "big"), "--input big: height x width"),
        ((files,), "no trained model"),
        (("litepose-z",), "litepose-z is neither a file nor one of"),
    ):
        code, _, err = run("export", *args, "--out", files / "other.onnx")
        assert code == 2
        assert words in err
    assert not (files / "other.onnx").exists()
