"""Networks as ONNX: onnxruntime agrees, and a file that does not agree is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import archsearch
from archsearch.files import InputError
from archsearch.nets import onnx as ours
from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.heads import Block, BottomUp, Deconv, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.litepose import Block as Inverted
from archsearch.nets.litepose import Head, LitePose
from archsearch.nets.litepose import Stage as Row

ONE = (Block(),)
BOTTOM_UP = HRNet(
    "hrnet", (32, 64), (4, 6), Stem(4, 2, ONE), (Stage(1, (ONE, ())),), BottomUp(deconvs=(Deconv(4, ONE),)), joints=3
)
TINY = {
    "higherhrnet": BOTTOM_UP,
    "litehrnet": HRNet(
        "hrnet", (64, 32), (4, 8), Stem(4, 4, (), "lite"),
        (Stage(1, (ONE, ONE), "shuffle"), Stage(1, (ONE, (Block(5),)), "weighting")),
        TopDown(features="iterative"), 3, "separable", "authors",
    ),
    "pyramid": HRNet(
        "hrnet", (32, 32), (4, 6), Stem(4, 2, ONE), (Stage(1, (ONE, ONE)),), TopDown(features="concat", pyramid=(4, 4)),
    ),
    "litepose": LitePose(
        "litepose", 32, 4, tuple(Row(4, s, (Inverted(7, 2),) * 2) for s in (2, 2, 2, 1)), Head((4, 4, 4)), joints=3
    ),
    "efficienthrnet": EfficientHRNet(
        "efficient_hrnet", (32, 32), 4,
        (Row(4, 1, (Inverted(3, 1),)), Row(4, 2, (Inverted(3, 2),)), Row(6, 2, (Inverted(5, 2),) * 2)),
        (4, 6), (Stage(1, (ONE, ONE)),), BottomUp(deconvs=(Deconv(4),)), 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_every_family(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arch: Any = TINY[name]
    net = archsearch.build(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = tmp_path / "net.onnx"
    assert ours.export_onnx(net, arch.input_hw, path, batch=2) < 1e-5
    assert net.training
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [i.name for i in model.graph.input] == ["images"]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [2, 3, *arch.input_hw]
    outputs = net.eval()(torch.zeros(shape))
    assert [o.name for o in model.graph.output] == [f"maps_{i}" for i in range(len(outputs))]
    assert b"site-packages" not in path.read_bytes()  # where it was made is nobody's business


def test_a_network_of_the_zoo(tmp_path: Path) -> None:
    assert ours.export_onnx(archsearch.build("litepose-xs"), (256, 256), tmp_path / "xs.onnx") < ours.TOLERANCE
    assert (tmp_path / "xs.onnx").stat().st_size > 3.9 * archsearch.cost("litepose-xs").params  # norms are folded


def test_a_file_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("an older file")
    for found in (2e-4, float("nan"), float("inf")):
        with monkeypatch.context() as patch:
            patch.setattr(ours, "compare_onnx", lambda *_, found=found: found)
            patch.setattr(torch.onnx, "export", _fake_export)
            with pytest.raises(ValueError, match=r"net\.onnx: onnxruntime differs from torch by .* not kept"):
                ours.export_onnx(archsearch.build(BOTTOM_UP), (32, 64), path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("net.onnx", "an older file")]


def _fake_export(*_: Any, **__: Any) -> Any:
    class Program:
        class model:
            graph = ()

        @staticmethod
        def save(*_: Any, **__: Any) -> None: ...

    return Program()


def test_the_comparison_sees_wrong_weights_and_shapes(tmp_path: Path) -> None:
    net = archsearch.build(BOTTOM_UP).eval()
    path = tmp_path / "net.onnx"
    ours.export_onnx(net, (32, 64), path)
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        first, second = net(images)
    assert ours.compare_onnx(path, images, [first, second]) < 1e-5
    changed = second.clone()
    changed[0, 0, 0, 0] += second.abs().max() * 0.01
    assert ours.compare_onnx(path, images, [first, changed]) == pytest.approx(0.01, rel=0.02)
    changed[0, 0, 0, 0] = float("nan")
    assert not ours.compare_onnx(path, images, [first, changed]) <= 1
    assert ours.compare_onnx(path, images, [first]) == float("inf")


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = archsearch.build(BOTTOM_UP)
    for hw, batch in (((30, 64), 1), ((32, 64), 0), ((0, 64), 1)):
        with pytest.raises(ValueError, match=f"input {batch}x3x{hw[0]}x{hw[1]}: a batch from 1 and multiples of 8"):
            ours.export_onnx(net, hw, tmp_path / "net.onnx", batch=batch)
    monkeypatch.setattr(ours, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(InputError, match=r"needs onnxruntime: pip install 'archsearch\[onnx\]'"):
        ours.export_onnx(net, (32, 64), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
