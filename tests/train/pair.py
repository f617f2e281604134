"""Two processes that train together, for the tests: what each computes, written to files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train import tiny

from archsearch.data.batches import Batch
from archsearch.jobs import Talk
from archsearch.train.loop import Stopped, train
from archsearch.train.processes import Processes, group, joined
from archsearch.train.supernet import SupernetTask
from archsearch.train.sync_norm import SyncBatchNorm
from archsearch.train.task import Place

CPU = torch.device("cpu")
BATCH = 8


@dataclass(frozen=True)
class Half:
    """One of two processes."""

    folder: Path
    processes: Processes


def work(half: Half, talk: Talk) -> dict[str, Any]:
    with group(CPU, half.processes, half.folder / "meeting") as processes:
        rank = processes.rank
        found: dict[str, Any] = {"talk": conversation(processes)}
        torch.save(normalised(SyncBatchNorm((3, 5)), *halves(rank)), half.folder / f"norm{rank}.pt")
        torch.save(normalised(SyncBatchNorm(6), *narrow(rank)), half.folder / f"narrow{rank}.pt")
        for sync in (True, False):
            torch.save(gradients(sync), half.folder / f"gradients-{sync}-{rank}.pt")
        torch.save(weights(half.folder / "checkpoint"), half.folder / f"weights{rank}.pt")
        found["failure"] = [failure(half.folder / f"failure-{kind}", kind) for kind in ("evaluation", "last", "save")]
        found["stopped"] = stopped(half.folder / "stopped", rank)
        found["apart"] = apart(half.folder / f"apart{rank}", rank)
        return found


def failure(folder: Path, kind: str) -> str:
    """What this process raises where the first one cannot evaluate or write its checkpoint."""
    settings = tiny.settings(images=3 * BATCH, evaluations=1 if kind == "last" else 3, checkpoint_s=0)
    task = tiny.task(tiny.data(), settings, steps=3, random=0)
    if kind == "save":
        folder.write_text("a file where a folder should be")

    def on_evaluation(*_: Any) -> None:
        if kind != "save":
            raise KeyError("no evaluation")

    try:
        train(tiny.net(), task, settings, seed=0, folder=folder, on_evaluation=on_evaluation)
    except Exception as error:
        return type(error).__name__
    return "nothing"


def stopped(folder: Path, rank: int) -> tuple[str, list[float]]:
    """The second process is asked to stop after a step; the losses that this one reports."""
    losses: list[float] = []
    settings = tiny.settings(images=6 * BATCH, evaluations=1, checkpoint_s=99)
    task = tiny.task(tiny.data(), settings, steps=6, random=0)
    try:
        train(
            tiny.net(), task, settings, seed=0, folder=folder, on_step=lambda p: losses.append(p.loss),
            should_stop=lambda: rank == 1 and len(losses) >= 2,
        )  # fmt: skip
    except Stopped:
        return "Stopped", losses
    return "", losses


def apart(folder: Path, rank: int) -> tuple[str, str]:
    """Processes that stop and go on, each in its own folder: what this one raises, with its message."""
    ended, _ = stopped(folder, rank)
    assert ended == "Stopped"
    try:
        stopped(folder, rank)
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def conversation(processes: Processes) -> dict[str, Any]:
    return {
        "joined": (processes.rank, processes.count),
        "any": processes.any(processes.rank == 1, CPU),
        "none": processes.any(False, CPU),
        "told": processes.told(f"from {processes.rank}"),
        "bounds": processes.bounds(7 - 2 * processes.rank, CPU),
        "mean": processes.mean(torch.tensor([float(processes.rank), 4.0])).tolist(),
        "share": processes.share(BATCH),
    }


def whole_input(channels: int) -> tuple[Tensor, Tensor]:
    """Two images, whose channels have large and different means, and gradients."""
    g = torch.Generator().manual_seed(0)
    shift = torch.arange(channels)[None, :, None, None] * 10.0
    images = torch.randn(4, channels, 5, 3, generator=g) + shift * torch.tensor([1.0, 1, 3, 3])[:, None, None, None]
    return images, torch.randn(4, channels, 5, 3, generator=g)


def halves(rank: int | None) -> tuple[Tensor, Tensor]:
    part = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    x, grad = whole_input(8)
    return x[part], grad[part]


def narrow(rank: int | None) -> tuple[Tensor, Tensor]:
    part = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    x, grad = whole_input(4)
    return x[part], grad[part]


def normalised(bn: nn.BatchNorm2d, x: Tensor, grad: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        bn.weight.copy_(torch.linspace(0.5, 2, len(bn.weight)))
        bn.bias.copy_(torch.linspace(-1, 1, len(bn.bias)))
    x = x.clone().requires_grad_()
    y = bn.train()(x)
    y.backward(grad)
    assert x.grad is not None
    assert bn.weight.grad is not None
    assert bn.bias.grad is not None
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return {
        "y": y.detach(), "x": x.grad, "weight": bn.weight.grad, "bias": bn.bias.grad, "mean": bn.running_mean,
        "var": bn.running_var,
    }  # fmt: skip


def chosen(sync: bool) -> dict[str, Any]:
    return {"random": 2, "kernel_transforms": True, "sync_batch_norm": sync, "zero_init": False}


class Double(SupernetTask):
    """In double precision: gradients that cancel, as before a normalisation, are nothing but rounding otherwise."""

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> Batch:
        made = super().batch(indices, place, seed=seed, step=step, first=first)
        return dataclasses.replace(made, images_N3HW=made.images_N3HW.double())


def gradients(sync: bool, part: slice | None = None) -> dict[str, Tensor | None]:
    """The gradients of one step with this process's share of the batch, averaged; ``part``: of that one, alone."""
    processes = joined()
    loss = {"heatmap": "quality_focal" if sync else "mse"}  # the former's divisor counts people of the whole batch
    settings, net = tiny.settings(loss=loss), tiny.net(**chosen(sync)).double().train()
    task = Double(**vars(tiny.task(tiny.data(), settings, **chosen(sync))))
    place = Place(CPU, processes=processes)
    first, count = processes.share(BATCH)
    if part is not None:
        first, count = part.start, part.stop - part.start
    batch = task.batch(range(first, first + count), place, seed=0, step=2, first=first)
    task.backward(net, batch, place, 2)
    means = processes.average_gradients(net, torch.tensor([processes.rank, 4.0], dtype=torch.float64))
    assert means.tolist() == [0.5 if processes.count == 2 else 0.0, 4.0]
    return {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}


def weights(folder: Path) -> dict[str, Tensor]:
    """What three steps make of the parameters."""
    settings = tiny.settings(images=3 * BATCH, ema=0)
    task = Double(**vars(tiny.task(tiny.data(), settings, steps=3, **chosen(True))))
    net, _ = train(tiny.net(**chosen(True)).double(), task, settings, seed=0, folder=folder)
    return {name: value.clone() for name, value in net.state_dict().items()}
