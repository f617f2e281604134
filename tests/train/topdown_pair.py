"""Two processes that train a top-down network together, for the tests: what each computes, written to files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data.persons import PersonBatch, annotated_persons
from archsearch.data.scenes import scenes
from archsearch.jobs import Talk
from archsearch.skeleton import COCO17
from archsearch.train.loop import train
from archsearch.train.processes import Processes, group, joined
from archsearch.train.task import Place
from archsearch.train.topdown import TopDownSettings, TopDownTask

CPU = torch.device("cpu")
BATCH, STEPS = 8, 3
INPUT_HW = (64, 48)


@dataclass(frozen=True)
class Half:
    """One of two processes."""

    folder: Path
    processes: Processes


class Net(nn.Module):
    """Two convolutions without a normalisation: what a batch is divided into changes nothing but rounding."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, 17, 3, 1, 1)).double()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers(x)]


class Double(TopDownTask):
    """In double precision, so that what is left of rounding is below any difference that matters."""

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> PersonBatch:
        made = super().batch(indices, place, seed=seed, step=step, first=first)
        return dataclasses.replace(made, images_N3HW=made.images_N3HW.double())


def settings(preset: str) -> TopDownSettings:
    fields = {"preset": preset, "images": BATCH * STEPS, "batch": BATCH, "epochs": None, "checkpoint_s": 1e9, "ema": 0}
    return TopDownSettings.model_validate(fields)


def task(preset: str) -> Double:
    chosen, data = settings(preset), scenes(8, 64, 0, COCO17, "easy")
    crop = chosen.decode.crop(INPUT_HW)
    return Double(data, annotated_persons(data), crop, chosen.augmentation, chosen.loss)


def gradients(preset: str) -> dict[str, Tensor]:
    """The gradients of one step with this process's share of the batch, averaged."""
    processes, net = joined(), Net().train()
    place = Place(CPU, processes=processes)
    first, count = processes.share(BATCH)
    learned = task(preset)
    batch = learned.batch(range(first, first + count), place, seed=0, step=2, first=first)
    learned.backward(net, batch, place, 2)
    processes.average_gradients(net, torch.zeros(1, dtype=torch.float64))
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def weights(preset: str, folder: Path) -> dict[str, Tensor]:
    """What three steps make of the parameters."""
    net, _ = train(Net(), task(preset), settings(preset), seed=0, folder=folder)
    return {name: value.clone() for name, value in net.state_dict().items()}


def work(half: Half, talk: Talk) -> dict[str, Any]:
    with group(CPU, half.processes, half.folder / "meeting") as processes:
        for preset in ("fast", "official"):
            torch.save(gradients(preset), half.folder / f"gradients-{preset}-{processes.rank}.pt")
            torch.save(weights(preset, half.folder / preset), half.folder / f"weights-{preset}-{processes.rank}.pt")
        return {"count": processes.count}
