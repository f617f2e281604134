import re
from pathlib import Path

import pytest
import torch
from train import tiny

from archsearch.files import InputError, write_text
from archsearch.nets.zoo import build
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.skeleton import COCO17
from archsearch.train.checkpoint import load_tensors, save_model, save_tensors
from archsearch.train.stored import SPACE, Supernet, load_supernet, save_supernet
from archsearch.train.sync_norm import synchronised


@pytest.mark.parametrize("transforms", [False, True])
def test_a_supernet_comes_back_as_it_was(tmp_path: Path, transforms: bool) -> None:
    net = tiny.shaken(tiny.net(kernel_transforms=transforms)).eval()
    save_supernet(tmp_path, Supernet(net, tiny.space(), COCO17, FAST_DECODE))
    found = load_supernet(tmp_path)
    assert found.space.plain == tiny.space().plain
    assert found.space.name == "tiny"
    assert found.skeleton == COCO17
    assert found.decode == FAST_DECODE
    one, two = net.state_dict(), found.net.state_dict()
    assert set(one) == set(two)
    assert any("transforms" in name for name in two) == transforms
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not found.net.training
    for arch in tiny.samples(3):
        x = torch.randn(1, 3, *arch.input_hw)
        assert all(torch.equal(a, b) for a, b in zip(net(x, arch), found.net(x, arch), strict=True))


def test_synchronised_normalisation_is_stored_as_the_plain_one(tmp_path: Path) -> None:
    net = tiny.shaken(synchronised(tiny.net())).eval()
    save_supernet(tmp_path, Supernet(net, tiny.space(), COCO17, FAST_DECODE))
    two = load_supernet(tmp_path).net.state_dict()
    assert all(torch.equal(value, two[name]) for name, value in net.state_dict().items())


def test_what_is_no_supernet_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / SPACE}: no such file")):
        load_supernet(tmp_path)
    (arch,) = tiny.samples(1)
    save_model(tmp_path / "model", build(arch), arch, COCO17, FAST_DECODE)
    write_text(tmp_path / "model" / SPACE, "{kind: litepose}")
    with pytest.raises(InputError, match="not the weights of a supernet"):
        load_supernet(tmp_path / "model")
    folder = tmp_path / "net"
    save_supernet(folder, Supernet(tiny.net(), tiny.space(), COCO17, FAST_DECODE))
    text = (folder / SPACE).read_text()
    write_text(folder / SPACE, text.replace("joints: 17", "joints: 0"))
    with pytest.raises(InputError, match=re.escape(f"{folder / SPACE}: ")):
        load_supernet(folder)
    write_text(folder / SPACE, text.replace("width: 8", "width: 12", 1))
    with pytest.raises(InputError, match=r"weights.safetensors: does not fit .*space.yaml: ") as caught:
        load_supernet(folder)
    assert "\n" not in str(caught.value)
    write_text(folder / SPACE, text)
    tensors, meta = load_tensors(folder / "weights.safetensors")
    for changes, words in (
        ({"skeleton": None}, "None is not a mapping of the fields of Skeleton"),
        ({"skeleton": {**meta["skeleton"], "sigmas": [1]}}, "sigmas"),
        ({"decode": {"nms_kernel": 4}}, "nms_kernel 4 is not an odd number"),
        ({"decode": {"no_such": 1}}, "no_such"),
        ({"decode": 3}, "header is not a supernet's: decode: "),
    ):
        save_tensors(folder / "weights.safetensors", tensors, {**meta, **changes})
        with pytest.raises(InputError, match=words) as caught:
            load_supernet(folder)
        assert "\n" not in str(caught.value)
        assert str(folder / "weights.safetensors") in str(caught.value)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="no such file"):
        load_supernet(folder)
