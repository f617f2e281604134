from pathlib import Path

import pytest
import torch

from archsearch.files import InputError, write_text
from archsearch.nets.zoo import arch_yaml, as_arch, build
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.skeleton import CROWDPOSE14
from archsearch.train.checkpoint import load_model, load_tensors, save_model, save_tensors

ARCH = as_arch("higherhrnet-w18-shrink3")


def test_trees_of_tensors_come_back_with_their_values(tmp_path: Path) -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    save_tensors(tmp_path / "t.safetensors", {"a": {"b": x, "c": torch.tensor(3)}}, {"step": 7})
    tree, meta = load_tensors(tmp_path / "t.safetensors")
    assert meta == {"step": 7}
    assert torch.equal(tree["a"]["b"], x)
    assert tree["a"]["c"] == 3


def test_a_model_comes_back_whole(tmp_path: Path) -> None:
    net = build(ARCH, joints=14).eval()
    save_model(tmp_path, net, ARCH, CROWDPOSE14, FAST_DECODE)
    model = load_model(tmp_path)
    assert (model.arch, model.skeleton, model.decode) == (ARCH, CROWDPOSE14, FAST_DECODE)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(net(x), model.net(x), strict=True))
    assert not model.net.training


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_files_that_are_not_weights_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors"):
        load_tensors(path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path, build(ARCH, joints=14), ARCH, CROWDPOSE14, FAST_DECODE)
    write_text(tmp_path / "arch.yaml", arch_yaml(as_arch("higherhrnet-w16-shrink1")))
    with pytest.raises(InputError, match="does not fit") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_training_state_is_not_a_model(tmp_path: Path) -> None:
    write_text(tmp_path / "arch.yaml", arch_yaml(ARCH))
    save_tensors(tmp_path / "weights.safetensors", {"x": torch.zeros(1)}, {"step": 1})
    with pytest.raises(InputError, match="header has no skeleton"):
        load_model(tmp_path)
