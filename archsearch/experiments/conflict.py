"""Where gradients fight: do sub-nets that differ in one choice pull their shared weights the same way?

For random architectures and each of their holes, the gradients of the loss at every option are compared on the weights
that both sub-nets use: a cosine of 1 means that they agree, 0 that they ignore each other, -1 that each undoes the
other's step (in the sense of Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, definition 1). Both
see the same images. What two batches of images alone make of it is the reference: the cosine of one architecture's
gradients on two disjoint sets of images.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archsearch.data.batches import Batch, make_batch
from archsearch.data.sources import load_data
from archsearch.elastic import Conv, centre, give
from archsearch.environment import choose_device, cores
from archsearch.experiments.candidates import FOLDER, supernet_folder, supernet_study
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError, cache_folder
from archsearch.jobs import Talk, on_own_gpu, run_jobs
from archsearch.nets.zoo import Arch, extract
from archsearch.pose.losses import Targets, bottom_up_loss
from archsearch.runs import Run
from archsearch.train.stored import load_supernet

OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class _Job:
    run: Path
    base: int  # the number of the random architecture, and its seed
    images: int
    device: str


def run_conflict(
    run: Run, *, bases: int, images: int, device: str, workers: int, on_event: OnEvent, should_stop: Callable[[], bool]
) -> bool:
    """Record (kind ``conflict``) the cosines of ``bases`` random architectures on ``images`` training images each.

    Those on record are not computed again. False where it was stopped. Raises ``InputError`` where the run has no
    supernet, or it learned from fewer than twice as many images: the reference takes as many others.
    """
    supernet_folder(run.path)
    study = SupernetStudy.model_validate(supernet_study(run.path / FOLDER))
    train_set, _ = load_data(study.data, cache=cache_folder(), workers=cores())
    if 2 * images > len(train_set):
        raise InputError(
            f"images {images}: the supernet learned from {len(train_set)}, so {len(train_set) // 2} at most: the "
            "reference takes as many others"
        )
    done = {record["base"] for record in run.records("conflict_base") if record["images"] == images}
    jobs = [_Job(run.path, base, images, device) for base in range(bases) if base not in done]
    count = bases - len(jobs)

    def on_message(_: int, message: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        on_event("architectures", {"stage": message["stage"], "step": count, "steps": bases})

    on_event("architectures", {"stage": "", "step": count, "steps": bases})
    results = run_jobs(
        _work, jobs, workers=workers, place=on_own_gpu, on_message=on_message, should_stop=should_stop
    )  # fmt: skip
    return all(results)


def _work(job: _Job, talk: Talk) -> bool:
    run = Run(job.run)
    study = SupernetStudy.model_validate(supernet_study(run.path / FOLDER))
    device = choose_device(job.device)
    supernet = load_supernet(run.path / FOLDER, device)
    train_set, _ = load_data(study.data, cache=cache_folder())
    space, net = supernet.space, supernet.net.train()
    base = space.sample(np.random.default_rng([job.base, 7]))
    chosen = space.choices(base)
    order = np.random.default_rng([job.base, 8]).permutation(len(train_set))
    count = job.images
    empty, used = copy.deepcopy(net), {}
    batches: dict[tuple[int, bool], list[Batch]] = {}

    def gradient(arch: Arch, others: bool = False) -> Gradient:
        """``others``: on as many images, none of which are the same."""
        key = (min(arch.input_hw), others)
        if key not in batches:
            indices = order[count : 2 * count] if others else order[:count]
            chunks = np.array_split(indices, math.ceil(count / 16))  # of equal sizes, for each counts the same
            batches[key] = [
                make_batch(
                    train_set, [int(i) for i in chunk], seed=job.base, step=k, size_px=key[0],
                    augmentation=study.train.augmentation, device=device,
                )
                for k, chunk in enumerate(chunks)
            ]  # fmt: skip
        if arch not in used:
            used[arch] = used_entries(empty, arch)
        return Gradient(_gradient(net, arch, batches[key], study), used[arch])

    own = gradient(base)
    reference = shared_cosine(own, gradient(base, others=True))
    found = []
    for hole in space.holes:
        if hole.path not in chosen:
            continue
        by_option = {str(chosen[hole.path]): own}
        for option in hole.options:
            if talk.should_stop():
                return False
            if option != chosen[hole.path]:
                arch = space.fill(_with(hole.path, option, chosen))
                by_option[str(option)] = gradient(arch)
        names = [str(option) for option in hole.options]
        for a, b in itertools.combinations(names, 2):
            cosine = shared_cosine(by_option[a], by_option[b])
            found.append({"path": hole.path, "a": a, "b": b, "cosine": cosine})
    for record in found:
        run.record("conflict", base=job.base, images=job.images, **record)
    run.record("conflict_base", base=job.base, images=job.images, reference=reference)
    talk.send({"stage": f"{len(found)} pairs"})
    return True


def _with(path: str, option: Any, chosen: dict[str, Any]) -> Callable[[str, tuple[Any, ...]], Any]:
    """Picks what was chosen, but ``option`` at ``path``; blocks that come in with a new depth take last options."""

    def pick(asked: str, options: tuple[Any, ...]) -> Any:
        if asked == path:
            return option
        return chosen.get(asked, options[-1])

    return pick


def _gradient(net: nn.Module, arch: Arch, batches: list[Batch], study: SupernetStudy) -> list[Tensor | None]:
    """The gradient of the loss at one architecture for every parameter; None for those that it does not use."""
    net.zero_grad(set_to_none=True)
    for batch in batches:
        targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, study.train.loss)
        outputs = net(batch.images_N3HW.contiguous(memory_format=torch.channels_last), arch)
        (bottom_up_loss(outputs, targets).total / len(batches)).backward()  # type: ignore[no-untyped-call]
    return [None if p.grad is None else p.grad.detach().clone() for p in net.parameters()]


@dataclass(frozen=True, eq=False)
class Gradient:
    """What one sub-net's loss wants of the shared weights."""

    values: list[Tensor | None]  # for each parameter of the supernet; None: no gradient
    used: list[Tensor]  # bool, which entries of it the sub-net uses


@torch.no_grad()
def used_entries(net: nn.Module, arch: Arch) -> list[Tensor]:
    """For each parameter of ``net`` which entries ``arch`` uses: bool, of its shape. ``net``'s weights are overwritten.

    Learned maps of kernels count as used: those that are not have no gradient.
    """
    for name, parameter in net.named_parameters():
        parameter.fill_(".transforms." in name)
    small = extract(net, arch)
    for parameter in small.parameters():
        parameter.fill_(1)
    give(small, net)
    kernels = {name: layer.kernel_size[0] for name, layer in small.named_modules() if isinstance(layer, Conv)}
    for name, layer in net.named_modules():
        if isinstance(layer, Conv) and layer.transforms is not None and name in kernels:
            widest = layer.kernel_size[0] - 2
            if kernels[name] < widest:  # reached by maps from the widest window that has one
                centre(layer.weight, widest).copy_(layer.weight.amax((2, 3), keepdim=True))
    return [parameter != 0 for parameter in net.parameters()]


def shared_cosine(a: Gradient, b: Gradient) -> float | None:
    """The cosine of two gradients over the entries that both sub-nets use; None where one of them is zero there."""
    dot = square_a = square_b = 0.0
    for left, right, used_a, used_b in zip(a.values, b.values, a.used, b.used, strict=True):
        if left is None or right is None:
            continue
        both = used_a & used_b
        x, y = left[both].double(), right[both].double()
        dot += float(x @ y)
        square_a += float(x @ x)
        square_b += float(y @ y)
    return dot / (square_a * square_b) ** 0.5 if square_a and square_b else None


@dataclass(frozen=True)
class Cell:
    """Conflict between two options of one property in one place of the network, over architectures and blocks."""

    property: str  # kernel, expand, width, depth, kind, resolution ...
    place: str  # input, stem, stage 2, stage 3 branch 1, head
    a: str
    b: str
    cosine: float  # mean
    low: float  # smallest
    count: int


def cells(run: Run) -> list[Cell]:
    """The records of a run, averaged over architectures and over the blocks of a branch.

    Of those with several numbers of images the newest; each pair of an architecture once, whatever was killed.
    """
    images = latest_images(run)
    pairs = {(r["base"], r["path"], r["a"], r["b"]): r for r in run.records("conflict") if r["images"] == images}
    grouped: dict[tuple[str, str, str, str], list[float]] = {}
    for record in pairs.values():
        if record["cosine"] is not None:
            grouped.setdefault((*place_of(record["path"]), record["a"], record["b"]), []).append(record["cosine"])
    return [Cell(*key, float(np.mean(values)), min(values), len(values)) for key, values in grouped.items()]


def references(run: Run) -> list[float]:
    """Of the newest records: cosines of one architecture's gradients on two disjoint sets of images."""
    images = latest_images(run)
    found = {r["base"]: r.get("reference") for r in run.records("conflict_base") if r["images"] == images}
    return [value for value in found.values() if value is not None]


def latest_images(run: Run) -> int | None:
    """The number of training images of the newest records; None where there are none."""
    bases = run.records("conflict_base")
    return bases[-1]["images"] if bases else None


def place_of(path: str) -> tuple[str, str]:
    """What a hole decides, and where: ``/stages/0/branches/1/times`` is the depth of stage 1, branch 2."""
    names = [part for part in path.split("/") if part and not part.isdigit()]
    prop = {"times": "depth", "input_hw": "resolution", "widths": "width", "filters": "width", "planes": "width"}.get(
        names[-1], names[-1]
    )
    if names[-1] == "stem":
        prop = "width"
    stage = re.match(r"/stages/(\d+)(?:/branches/(\d+))?", path)
    if stage:
        branch = f", branch {int(stage[2]) + 1}" if stage[2] is not None else ""
        return prop, f"stage {int(stage[1]) + 1}{branch}"
    if prop == "resolution":
        return prop, "input"
    return prop, {"widths": "branches"}.get(names[0], names[0])
