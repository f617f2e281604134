"""Beginning a training with the weights of another."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import archsearch
from archsearch.experiments.single import TrainStudy, resolved
from archsearch.experiments.standalone import job_for, run_job
from archsearch.files import InputError
from archsearch.nets.heads import Block, BottomUp, Deconv
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.runs import start
from archsearch.settings import parse
from archsearch.skeleton import COCO17, CROWDPOSE14
from archsearch.space import to_plain
from archsearch.train.checkpoint import save_model, save_tensors
from archsearch.train.pretrained import take_weights

ONE = (Block(),)
ARCH = HRNet("hrnet", (64, 64), (4, 6), Stem(4, 2, ONE), (Stage(1, (ONE, ONE)),), BottomUp(deconvs=(Deconv(4),)))
FINALS = [f"head.finals.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")]
OF_JOINTS = [*FINALS, "head.deconvs.0.deconv.weight"]  # shapes that depend on the number of joints


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_model(tmp_path / "model", archsearch.build(ARCH, joints=14), ARCH, CROWDPOSE14, FAST_DECODE)
    return tmp_path / "model"


def test_what_fits_is_taken(model: Path) -> None:
    net = archsearch.build(ARCH)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    taken, total = take_weights(net, model)
    assert (total - taken, total) == (len(OF_JOINTS), len(before))
    theirs = archsearch.build(ARCH, joints=14)
    assert take_weights(theirs, model / "weights.safetensors") == (total, total)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name] if name in OF_JOINTS else theirs.state_dict()[name])


def test_of_a_trainings_state_the_average(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    state, average = (archsearch.build(ARCH).state_dict() for _ in range(2))
    net = archsearch.build(ARCH)
    for tree, wanted in (({"net": state, "ema": average}, average), ({"net": state}, state)):
        save_tensors(path, {**tree, "optimizer": {"0": {"step": torch.zeros(())}}}, {})
        assert take_weights(net, path) == (len(state), len(state))
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in net.state_dict().items())


def test_what_cannot_be_taken(model: Path, tmp_path: Path) -> None:
    net = archsearch.build(ARCH)
    path = tmp_path / "other.safetensors"
    save_tensors(path, {"conv1.weight": torch.zeros(2, 2)}, {})
    with pytest.raises(InputError, match=r"other\.safetensors: none of its 1 tensors has the name and shape"):
        take_weights(net, path)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/weights.safetensors: no such file")):
        take_weights(net, tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="not a safetensors file"):
        take_weights(net, path)


class Silent:
    def send(self, _: Any) -> None: ...

    def should_stop(self) -> bool:
        return False


def study(model: Path, **fields: Any) -> TrainStudy:
    plain = {
        "kind": "train",
        "name": "tiny",
        "arch": to_plain(ARCH),
        "data": {"kind": "scenes", "size_px": 64, "train": 2, "val": 2},
        "train": {"preset": "fast", "images": 2, "batch": 2, "lr": 1e-30, "weight_decay": 0, "ema": 0},
        "weights": str(model),
        **fields,
    }
    return parse(TrainStudy, plain, Path("tiny.yaml"))


def test_a_study_begins_with_them_and_says_so(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSEARCH_CACHE", str(tmp_path / "cache"))
    settings = study(model)
    assert resolved(settings)["weights"] == str(model)
    run = start("tiny", resolved(settings), tmp_path / "runs")
    arch = dataclasses.replace(ARCH, joints=len(COCO17))
    job = job_for(run, "tiny", 0, arch, settings.data, settings.train, "cpu", 10, (0, 1000), settings.weights)
    for _ in range(2):  # the second one resumes
        assert run_job(job, Silent()) is not None  # type: ignore[arg-type]
    total = len(archsearch.build(ARCH).state_dict())
    wanted = {"config": "tiny", "seed": 0, "source": str(model), "taken": total - len(OF_JOINTS), "tensors": total}
    assert run.records("weights") == [{"kind": "weights", **wanted}]
    trained, first = archsearch.build(ARCH), archsearch.build(ARCH)
    take_weights(trained, run.path / "models" / "tiny-s0")
    take_weights(first, model)
    assert torch.equal(trained.stem.conv1.conv.weight, first.stem.conv1.conv.weight)  # type: ignore[union-attr]


def test_a_study_with_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^tiny\.yaml: weights: .*/nowhere: no such file"):
        study(tmp_path / "nowhere")
