"""Two gloo processes against one with the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from train import pair, tiny

from archsearch.files import InputError
from archsearch.jobs import run_jobs
from archsearch.train.loop import begun_with, train
from archsearch.train.processes import ALONE, Processes, group, joined, own_device, under_torchrun

Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The files and results of two processes that did all that is tested here."""
    folder = tmp_path_factory.mktemp("pair")
    jobs = [pair.Half(folder, Processes(rank, 2)) for rank in range(2)]
    return folder, run_jobs(pair.work, jobs, workers=2)


def close(a: Tensor, b: Tensor, within: float = 1e-5) -> bool:
    """Whether two tensors differ by a part of the larger one's norm at most."""
    return bool((a - b).norm() <= within * max(a.norm().item(), 1e-9))


def test_processes_know_and_tell_each_other(both: tuple[Path, list[Any]]) -> None:
    talks = [result["talk"] for result in both[1]]
    assert [talk["joined"] for talk in talks] == [(0, 2), (1, 2)]
    assert [talk["share"] for talk in talks] == [(0, 4), (4, 4)]
    for talk in talks:
        assert talk["any"] is True
        assert talk["none"] is False
        assert talk["told"] == "from 0"
        assert talk["bounds"] == (5, 7)
        assert talk["mean"] == [0.5, 4.0]


@pytest.mark.parametrize("name", ["norm", "narrow"])
def test_synchronised_normalisation_is_that_of_the_whole_batch(both: tuple[Path, list[Any]], name: str) -> None:
    """Against torch's own layer, for a layer's full width and for its leading channels."""
    one, two = (torch.load(both[0] / f"{name}{rank}.pt") for rank in range(2))
    x, grad = (pair.halves if name == "norm" else pair.narrow)(None)
    held = 8 if name == "norm" else 6
    used = x.shape[1]
    layer = torch.nn.BatchNorm2d(used)
    full = torch.linspace(0.5, 2, held)[:used], torch.linspace(-1, 1, held)[:used]
    with torch.no_grad():
        layer.weight.copy_(full[0])
        layer.bias.copy_(full[1])
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(grad)
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert torch.allclose(torch.cat((one["y"], two["y"])), y, atol=1e-5)
    assert torch.allclose(torch.cat((one["x"], two["x"])), x.grad, atol=1e-5)
    assert torch.allclose(one["weight"][:used] + two["weight"][:used], layer.weight.grad, atol=1e-4)
    assert torch.allclose(one["bias"][:used] + two["bias"][:used], layer.bias.grad, atol=1e-4)
    for key, expected in (("mean", layer.running_mean), ("var", layer.running_var)):
        assert torch.equal(one[key], two[key])
        assert expected is not None
        assert torch.allclose(one[key][:used], expected, rtol=1e-5, atol=1e-6)
    assert not one["mean"][used:].any()
    assert (one["var"][used:] == 1).all()


def test_gradients_of_two_processes_are_those_of_one_with_their_batch(both: tuple[Path, list[Any]]) -> None:
    expected = pair.gradients(True)  # in one process, where the layers are plain ones
    used = {name for name, grad in expected.items() if grad is not None}
    assert len(used) > 50
    for rank in range(2):
        found: Tensors = torch.load(both[0] / f"gradients-True-{rank}.pt")
        assert {name for name, grad in found.items() if grad is not None} == used
        wrong = [name for name in used if not close(found[name], expected[name])]  # type: ignore[arg-type]
        assert not wrong, [(name, found[name], expected[name]) for name in wrong[:2]]


def test_what_no_sub_net_used_stays_without_gradient(both: tuple[Path, list[Any]]) -> None:
    """Of the second block's transforms none is used where all random nets take the largest kernel there."""
    task = tiny.task(tiny.data(), tiny.settings(), **pair.chosen(True))
    kernels = {tiny.space().choices(arch).get("/stages/0/blocks/1/kernel") for arch in task.archs(2)} - {None}
    expected = pair.gradients(False)
    for kernel in (3, 5):
        grad = expected[f"stages.0.blocks.1.depthwise.conv.transforms.{kernel}"]
        assert (grad is None) == (min(kernels) > kernel)  # type: ignore[type-var, operator]


def test_without_synchronised_statistics_gradients_are_the_mean_of_the_halves(both: tuple[Path, list[Any]]) -> None:
    one, two = (torch.load(both[0] / f"gradients-False-{rank}.pt") for rank in range(2))
    for name, grad in one.items():
        assert (grad is None) == (two[name] is None)
        assert grad is None or torch.equal(grad, two[name])
    first, second = pair.gradients(False, slice(0, 4)), pair.gradients(False, slice(4, 8))
    for name, grad in one.items():
        if grad is not None:
            assert close(grad, (first[name] + second[name]) / 2), name  # type: ignore[operator]
    whole = pair.gradients(False)
    differ = [n for n, g in whole.items() if g is not None and not close(one[n], g, 1e-3)]
    assert differ, "each half is normalised by itself: not the whole batch's gradient"


def test_all_end_where_the_first_one_fails_alone(both: tuple[Path, list[Any]]) -> None:
    """An evaluation that fails on the way, or at the very end, or a checkpoint that cannot be written."""
    one, two = (result["failure"] for result in both[1])
    assert one[:2] == ["KeyError", "KeyError"]
    assert one[2] in ("FileExistsError", "NotADirectoryError")
    assert two == ["OtherFailed"] * 3


def test_a_stop_of_one_stops_all_and_they_report_one_loss(both: tuple[Path, list[Any]]) -> None:
    one, two = (result["stopped"] for result in both[1])
    assert one == two
    assert one[0] == "Stopped"
    assert len(one[1]) == 3
    assert begun_with(both[0] / "stopped") == 2


def test_processes_that_see_other_checkpoints_all_refuse_to_go_on(both: tuple[Path, list[Any]]) -> None:
    """As on two machines without a shared folder: only the first process writes checkpoints."""
    for rank, result in enumerate(both[1]):
        path = both[0] / f"apart{rank}" / "state.safetensors"
        words = (
            "some processes would go on at step 0, others at step 3: all machines need one shared folder for their runs"
        )
        assert result["apart"] == ("InputError", f"{path}: {words}")


def test_a_checkpoint_of_two_processes_does_not_go_on_in_one(both: tuple[Path, list[Any]]) -> None:
    settings = tiny.settings(images=6 * pair.BATCH)
    task = tiny.task(tiny.data(), settings, steps=6, random=0)
    with pytest.raises(InputError, match="began with 2 processes and cannot go on with 1: normalisation") as caught:
        train(tiny.net(), task, settings, seed=0, folder=both[0] / "stopped")
    assert str(both[0] / "stopped" / "state.safetensors") in str(caught.value)


def test_three_steps_of_two_processes_end_where_one_ends(both: tuple[Path, list[Any]], tmp_path: Path) -> None:
    expected = pair.weights(tmp_path)
    one, two = (torch.load(both[0] / f"weights{rank}.pt") for rank in range(2))
    for name, value in expected.items():
        assert torch.equal(one[name], two[name]), name
        assert close(one[name].double(), value.double()), name


def test_a_process_alone() -> None:
    assert joined() == ALONE
    value = torch.tensor([1.0])
    assert ALONE.mean(value) is value
    assert ALONE.any(True, pair.CPU)
    assert ALONE.told("x") == "x"
    assert ALONE.bounds(3, pair.CPU) == (3, 3)
    assert ALONE.share(7) == (0, 7)
    with group(pair.CPU, ALONE, Path("/nowhere")) as processes:
        assert processes == ALONE
    with pytest.raises(ValueError, match="batch 7 cannot be shared equally by 2 processes"):
        Processes(0, 2).share(7)


def test_torchrun_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert under_torchrun() is None
    monkeypatch.setenv("RANK", "3")
    assert under_torchrun() is None
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert under_torchrun() == Processes(3, 4)
    assert own_device(torch.device("cpu"), Processes(3, 4)) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(torch.device("cuda"), Processes(3, 4)) == torch.device("cuda", 1)
    assert own_device(torch.device("cuda:0"), Processes(3, 4)) == torch.device("cuda", 0)
