"""What runs networks when they are measured, and the records that measurements leave."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import archsearch
from archsearch.costs.latency import measure, measure_bound
from archsearch.costs.machine import gpu_state, gpu_used
from archsearch.costs.records import measure_and_append, read_arch_list, settings_for
from archsearch.costs.runtimes import Bound, Setting, Shape, onnx_bytes, overwritten_bytes
from archsearch.files import InputError, read_jsonl
from archsearch.nets.lite_blocks import FULL, Shuffle
from archsearch.nets.zoo import load_arch
from archsearch.space import fingerprint


class Pair(nn.Module):
    """Takes a list, a number and a mapping; gives a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.dtypes: list[Any] = []

    def forward(self, xs: list[torch.Tensor], times: int, more: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        self.dtypes.append((xs[0].dtype, xs[0].is_contiguous(memory_format=torch.channels_last), self.training))
        return {0: self.conv(xs[0]) * times, 5: xs[1] + more[7]}


CALL = (([Shape((1, 2, 4, 4)), Shape((1, 1, 2, 2))], 3), {"more": {7: Shape((1, 1, 2, 2))}})


def test_a_bound_module_takes_its_tensors_in_order() -> None:
    pair, tensors = Pair(), [torch.randn(s) for s in ((1, 2, 4, 4), (1, 1, 2, 2), (1, 1, 2, 2))]
    bound = Bound(pair, CALL)
    assert bound.shapes() == [tuple(t.shape) for t in tensors]
    first, second = bound(*tensors)
    assert torch.equal(first, pair.conv(tensors[0]) * 3)
    assert torch.equal(second, tensors[1] + tensors[2])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype_and_memory_format_are_those_asked_for(dtype: str, channels_last: bool) -> None:
    pair = Pair()
    setting = Setting(dtype=dtype, channels_last=channels_last)
    found = measure_bound({"pair": Bound(pair, CALL)}, setting, warmup=4, repeats=3)["pair"]
    assert set(pair.dtypes) == {(getattr(torch, dtype), channels_last, False)}
    assert (found.dtype, found.channels_last, found.repeats) == (dtype, channels_last, 3)
    assert len(pair.dtypes) > 7  # a short one runs several times a sample


def test_onnxruntime_interleaves_channels_as_torch_does() -> None:
    """ONNX has no ``channel_shuffle``."""
    import onnxruntime

    bound, x = Bound(Shuffle(12, 3, FULL), ((Shape((2, 12, 6, 5)), 3, FULL), {})).eval(), torch.randn(2, 12, 6, 5)
    session = onnxruntime.InferenceSession(onnx_bytes(bound, (x,)), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(None, {"x0": x.numpy()})[0], bound(x)[0].numpy(), atol=1e-5)


def test_onnxruntime_computes_the_network_and_says_what_it_is() -> None:
    import onnxruntime

    net = archsearch.build("small-hrnet-w16").eval()
    bound = Bound(net, ((Shape((1, 3, 64, 32)),), {})).eval()
    x = torch.randn(1, 3, 64, 32)
    session = onnxruntime.InferenceSession(onnx_bytes(bound, (x,)), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(None, {"x0": x.numpy()})[0], net(x)[0].numpy(), atol=1e-5)
    found = measure({"net": net}, [(64, 32)], runtime="onnxruntime", repeats=2, warmup=1)["net"]
    assert (found.runtime, found.threads) == ("onnxruntime", 1)
    assert found.median_ms > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 0}, "^batch 0 is less than 1$"),
        ({"threads": -2}, "^threads -2 is less than 1$"),
        ({"runtime": "tflite"}, "runtime tflite is not one of torch-eager"),
        ({"dtype": "int8"}, "dtype int8 is not one of float32"),
        ({"runtime": "torch-graph"}, "torch-graph needs a CUDA GPU, the device is cpu"),
        ({"runtime": "onnxruntime", "dtype": "bfloat16"}, "onnxruntime runs on cpu in float32, not on cpu in bfloat16"),
        ({"device": "tpu"}, "device 'tpu' is not one of"),
    ],
)
def test_settings_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**fields)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: this machine or this build of torch"):
        settings_for("cuda")
    with pytest.raises(ValueError, match="device cuda:1: the environment variable CUDA_VISIBLE_DEVICES chooses"):
        settings_for("cuda:1")


def test_a_gpu_is_measured_eager_and_as_a_graph_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def names(**options: Any) -> list[str]:
        return [setting.runtime for setting in settings_for("cuda", **options)]

    assert names() == ["torch-eager", "torch-graph"]
    assert names(graph=True) == ["torch-graph"]
    assert names(graph=False) == ["torch-eager"]
    assert names(compiled=True) == ["torch-eager", "torch-compile", "torch-graph", "torch-compile-graph"]
    assert [setting.runtime for setting in settings_for("cpu", compiled=True)] == ["torch-eager", "torch-compile"]
    with pytest.raises(ValueError, match="--compile and --graph are torch's"):
        settings_for("onnxruntime", graph=True)


def test_records_are_appended_with_the_architecture_and_the_machine(tmp_path: Path) -> None:
    path, arch = tmp_path / "latency.jsonl", load_arch("small-hrnet-w16")
    for _ in range(2):
        measure_and_append(path, {"a": arch}, settings_for("cpu"), input_hw=(64, 32), warmup=0, repeats=2)
    first, second = read_jsonl(path)
    assert first["fingerprint"] == second["fingerprint"] == fingerprint(arch)
    assert archsearch.nets.zoo.as_arch(first["arch"]) == arch
    assert first["macs"] == archsearch.cost(arch, (64, 32)).macs
    assert (first["device_kind"], first["runtime"], first["input_hw"]) == ("cpu", "torch-eager", [64, 32])
    assert first["machine"]["cpu"] == first["device"]
    assert first["machine"]["packages"]["torch"] == torch.__version__
    with pytest.raises(ValueError, match="input 65x32 is not a multiple"):
        measure_and_append(path, {"a": arch}, settings_for("cpu"), input_hw=(65, 32))


def test_lists_of_architectures(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\nlitepose-xs\n\nhrnet-w32  # another\n")
    assert list(read_arch_list(path)) == ["litepose-xs", "hrnet-w32"]
    path.write_text("litepose-xs\nlitepose-zz\n")
    with pytest.raises(InputError, match=r"list.txt, line 2: litepose-zz is neither"):
        read_arch_list(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no architectures"):
        read_arch_list(path)


def test_a_gpu_forgets_what_it_was_given_before_a_sample() -> None:
    """Twice the cache, as an H100's of 50 MB; less where the memory is full."""
    assert overwritten_bytes(50 * 2**20, 70 * 2**30) == 100 * 2**20
    assert overwritten_bytes(50 * 2**20, 200 * 2**20) == 50 * 2**20
    assert overwritten_bytes(50 * 2**20, 0) == 0


def test_which_gpu_it_was_and_how_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"12-{index}"))
    found = gpu_used()
    assert (found["index"], found["uuid"]) == (1, "GPU-12-1")
    assert found["cudnn_allow_tf32"] is torch.backends.cudnn.allow_tf32
    assert found["cudnn_benchmark"] is torch.backends.cudnn.benchmark
    assert json.loads(json.dumps(found)) == found


def test_the_state_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'Some GPU, GPU-12ab, 0, 1.2, 1980, 2619, 1980, 96.5, 700.0, 31, 0'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    state = gpu_state()
    assert state is not None
    assert state[0]["uuid"] == "GPU-12ab"
    assert (state[0]["name"], state[0]["clocks.sm"], state[0]["power.draw"]) == ("Some GPU", "1980", "96.5")
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_state() is None
    assert json.dumps(state)
