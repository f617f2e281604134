"""Importing the authors' checkpoints: their outputs, and what happens to files that do not fit."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets.fingerprint import assert_outputs, image, load, official_state
from safetensors.torch import save_file
from torch import Tensor

import archsearch
from archsearch.files import InputError
from archsearch.nets.heads import Block, BottomUp, Deconv, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.litepose import Block as Inverted
from archsearch.nets.litepose import Head, LitePose
from archsearch.nets.litepose import Stage as LiteStage
from archsearch.nets.official import import_official, read_checkpoint, weights
from archsearch.nets.official_names import FAMILIES

MODELS = {
    "litepose/search-S/crowd_pose": "litepose-s",
    "litepose/search-L/coco": "litepose-l",
    "higherhrnet/shrink1-w16/crowd_pose": "higherhrnet-w16-shrink1",
    "higherhrnet/shrink3-w18/crowd_pose": "higherhrnet-w18-shrink3",
    "higherhrnet-official/w32-512/coco": "higherhrnet-w32",
    "hrnet/w32-256x192": "hrnet-w32",
}
# Small networks with every kind of layer, for what does not depend on the size.
BASIC = (Block(),)
TOP_DOWN = HRNet(
    kind="hrnet",
    input_hw=(64, 64),
    widths=(2, 4, 6),
    stem=Stem(4, 2, BASIC),
    stages=(Stage(1, (BASIC, BASIC)), Stage(2, (BASIC, BASIC, ()))),
    head=TopDown(),
    joints=3,
)
BOTTOM_UP = replace(TOP_DOWN, stages=TOP_DOWN.stages[:1], head=BottomUp(deconvs=(Deconv(4, BASIC),)))
LITEPOSE = LitePose(
    "litepose", 32, 4, tuple(LiteStage(4, s, (Inverted(3, 1),) * 2) for s in (2, 2, 2, 1)), Head((4, 4, 4)), joints=3
)


def official(arch: Any, joints: int = 3) -> dict[str, Tensor]:
    """A state dict as the authors' network of an architecture has it, with random values."""
    net = archsearch.build(arch, joints=joints)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for ours, theirs in FAMILIES[type(arch)].layers(arch):
        for key, tensor in net.get_submodule(ours).state_dict().items():
            new = torch.rand(tensor.shape, generator=generator) + 0.5 if tensor.is_floating_point() else tensor + 7
            state[f"{theirs}.{key}"] = new
    return state


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_the_authors_outputs(model: str) -> None:
    figures = load("official")[model]
    net = archsearch.load_official(official_state(model), MODELS[model])
    assert net.joints == net.arch.joints == figures["joints"]
    assert net.training
    with torch.no_grad():
        assert_outputs(net.eval()(image(figures["input_hw"])), figures["outputs"], 1e-8)


@pytest.mark.parametrize("arch", [TOP_DOWN, BOTTOM_UP, LITEPOSE], ids=lambda arch: type(arch.head).__name__)
def test_every_layer_is_filled(arch: Any) -> None:
    state = official(arch, 5)
    imported = import_official(state, arch)
    assert (imported.unused, imported.untouched) == ((), ())
    assert imported.net.arch.joints == imported.net.joints == 5
    found = sorted(float(t.double().sum()) for t in imported.net.state_dict().values())
    assert found == sorted(float(t.double().sum()) for t in state.values())


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def mmpose(state: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    return {(head if name.startswith("final") else "backbone.") + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: prefixed(s, "module."),
        lambda s: prefixed(s, "1."),
        lambda s: prefixed(s, "module.1."),
        lambda s: {"epoch": 3, "state_dict": prefixed(s, "module."), "optimizer": {"state": {}}},
        lambda s: {"model": s},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"meta": {}, "state_dict": mmpose(s, "keypoint_head.")},
        lambda s: {"meta": {}, "state_dict": mmpose(s, "head.")},
    ],
    ids=["module", "1", "module.1", "training", "model", "nested", "mmpose0", "mmpose1"],
)
def test_wrappers_do_not_matter(wrap: Callable[[Any], Any]) -> None:
    state = official(TOP_DOWN)
    assert same(archsearch.load_official(wrap(state), TOP_DOWN), archsearch.load_official(state, TOP_DOWN))


def test_what_is_not_used_is_said() -> None:
    state = {**official(TOP_DOWN), **{f"classifier.{i}": torch.zeros(1) for i in range(6)}}
    with pytest.warns(UserWarning, match=r"not used of the checkpoint: classifier.0, .*classifier.3 and 2 more"):
        net = archsearch.load_official(state, TOP_DOWN)
    assert same(net, archsearch.load_official(official(TOP_DOWN), TOP_DOWN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert import_official(prefixed(state, "backbone."), TOP_DOWN).unused[0] == "backbone.classifier.0"


def test_a_backbone() -> None:
    """An ImageNet network has the same body, a classification head and exchanges that ours does not need."""
    state = {name: tensor for name, tensor in official(TOP_DOWN).items() if not name.startswith("final")}
    state["final_layer.0.weight"] = torch.zeros(8, 6, 1, 1)
    state["stage3.1.fuse_layers.1.0.0.0.weight"] = torch.zeros(4, 2, 3, 3)
    with pytest.raises(InputError, match=r"final_layer\.weight, the layer that gives the heatmaps"):
        import_official(state, TOP_DOWN)
    imported = import_official(
        state, replace(TOP_DOWN, head=BottomUp(deconvs=(Deconv(4),)), joints=17), backbone_only=True
    )
    assert imported.untouched == ("head.deconvs.0.bn", "head.deconvs.0.deconv", "head.finals.0", "head.finals.1")
    assert imported.unused == ("final_layer.0.weight", "stage3.1.fuse_layers.1.0.0.0.weight")
    assert imported.net.joints == 17
    norm = imported.net.head.deconvs[0].bn  # what the file does not fill is as a new network has it
    assert [float(t.double().sum()) for t in norm.state_dict().values()] == [4, 0, 0, 4, 0]
    for final in imported.net.head.finals:
        assert 0 < float(final.weight.detach().abs().max()) < final.weight[0].numel() ** -0.5
    body = archsearch.load_official(official(TOP_DOWN), TOP_DOWN).state_dict()
    assert all(torch.equal(t, body[n]) for n, t in imported.net.state_dict().items() if not n.startswith("head."))
    assert import_official(state, TOP_DOWN, joints=9, backbone_only=True).net.joints == 9


def test_files_without_batch_counts() -> None:
    state = {name: t for name, t in official(LITEPOSE).items() if not name.endswith("num_batches_tracked")}
    net = archsearch.load_official(state, LITEPOSE)
    assert same(net.eval(), net)
    assert int(net.stem.conv.bn.num_batches_tracked) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_becomes_single(dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in official(LITEPOSE).items()}
    net = archsearch.load_official(state, LITEPOSE)
    assert next(net.parameters()).dtype == (torch.float64 if dtype is torch.float64 else torch.float32)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {**s, "first.2.weight": torch.zeros(8, 32, 1, 1)},
            "first.2.weight: expected (4, 32, 1, 1), found (8, 32, 1, 1)",
        ),
        (
            lambda s: prefixed({**s, "first.2.weight": torch.zeros(8, 32, 1, 1)}, "backbone."),
            "backbone.first.2.weight: expected (4, 32, 1, 1), found (8, 32, 1, 1)",
        ),
        (lambda s: without(s, "first.3.running_var"), "first.3.running_var: expected (4,), found nothing"),
        (
            lambda s: {n: t for n, t in s.items() if not n.startswith("stage.3")},
            "stage.3.0.inv.0.weight: expected (4, 4, 1, 1), found nothing; .* and 26 more",
        ),
        (lambda s: without(s, "final_refined.1.conv.3.weight"), "final_refined.1.conv.3.weight, the layer that gives"),
        (lambda s: {**s, "final_refined.1.conv.3.weight": torch.zeros(3)}, "of shape (3,) gives no heatmaps"),
        (lambda s: {**s, "final_refined.1.conv.3.weight": torch.zeros(0, 4, 1, 1)}, "gives no heatmaps"),
        (lambda _: {}, "the checkpoint holds no tensors, only nothing"),
        (lambda _: {"epoch": 1, "lr": 2}, "the checkpoint holds no tensors, only epoch, lr"),
        (lambda s: list(s), "the checkpoint is a list, not a mapping"),
        (lambda _: None, "the checkpoint is a NoneType"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[Any], Any], message: str) -> None:
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(InputError, match=pattern) as caught:
        archsearch.load_official(change(official(LITEPOSE)), LITEPOSE)
    assert "\n" not in str(caught.value)


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(InputError, match=re.escape("final_layer.weight: expected (4, 2, 1, 1), found (3, 2, 1, 1)")):
        archsearch.load_official(official(TOP_DOWN), TOP_DOWN, joints=4)
    assert archsearch.load_official(official(TOP_DOWN), TOP_DOWN, joints=3).joints == 3


def test_a_layer_that_was_never_published(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [pair for pair in FAMILIES[LitePose].layers(LITEPOSE) if pair[0] != "stem.conv.bn"]
    monkeypatch.setitem(FAMILIES, LitePose, replace(FAMILIES[LitePose], layers=lambda _: iter(pairs)))
    with pytest.raises(InputError, match=r"no published checkpoint has the layers stem\.conv\.bn"):
        archsearch.load_official(official(LITEPOSE), LITEPOSE)


# ----------------------------------------------------------------------------------------------------------- files


def test_reading_files(tmp_path: Path) -> None:
    state = official(LITEPOSE)
    wanted = archsearch.load_official(state, LITEPOSE)
    torch.save({"state_dict": prefixed(state, "module."), "epoch": 3}, tmp_path / "new.pth.tar")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "weights.safetensors")
    for name in ("new.pth.tar", "old.pth", "weights.safetensors"):
        tensors = read_checkpoint(tmp_path / name)
        assert set(tensors) == set(state)
        assert same(archsearch.load_official(tensors, LITEPOSE), wanted)


def test_numpy_values_beside_the_weights(tmp_path: Path) -> None:
    """mmpose 1.x describes its data set with arrays."""
    meta = {"sigmas": np.linspace(0, 1, 17, dtype=np.float32), "ids": np.arange(3), "best": np.float64(0.7)}
    torch.save({"meta": meta, "state_dict": official(LITEPOSE)}, tmp_path / "epoch_210.pth")
    assert len(read_checkpoint(tmp_path / "epoch_210.pth")) == len(official(LITEPOSE))


class Payload:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": official(LITEPOSE), "config": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil.pth: holds Python objects \(\w+.system\), which are not") as caught:
        read_checkpoint(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_cannot_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(path)
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_checkpoint(path)
    path.rmdir()
    for content in (b"", b"abc", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(str(path))) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_input_errors(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever byte is wrong: the tensors or one clear line, never another exception."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"damaged{data.draw(st.sampled_from(['.pth', '.safetensors']))}"
    state = {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2)}
    if path.suffix == ".pth":
        torch.save(state, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    else:
        save_file(state, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        tensors = read_checkpoint(path)
    except InputError as error:
        message = str(error)
    else:
        message = f"{path}: {list(tensors)}"
        assert all(isinstance(tensor, Tensor) for tensor in tensors.values())
    assert message.startswith(str(path))


def test_tensors_keep_their_names() -> None:
    assert list(weights({"state_dict": {"module.1.a": torch.ones(1), "module.1.b": torch.ones(1)}})) == ["a", "b"]
    assert list(weights({"1.a": torch.ones(1), "b": torch.ones(1)})) == ["1.a", "b"]


def test_a_stray_entry_does_not_hide_a_prefix_and_no_entry_is_lost() -> None:
    tensor = torch.zeros(1)
    names = [f"module.layer{i}.weight" for i in range(20)]
    found = weights({**dict.fromkeys(names, tensor), "n_averaged": tensor})
    assert set(found) == {name.removeprefix("module.") for name in names} | {"n_averaged"}
    with pytest.raises(InputError, match=r"holds layer0\.weight with the prefix module\. and without it"):
        weights({**dict.fromkeys(names, tensor), "layer0.weight": tensor})


def test_weights_of_another_fusion_are_refused() -> None:
    arch = replace(archsearch.load_arch("litehrnet-18"), fusion="sum")
    with pytest.raises(InputError, match="fusion sum"):
        archsearch.load_official({"conv1.weight": torch.zeros(1)}, arch)
