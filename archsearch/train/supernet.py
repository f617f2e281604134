"""Once-for-all training of a weight-sharing network: several sub-nets a step, one update.

Every sub-net of a step sees the same images at the same size, adds its gradients to those of the shared weights, and
the optimizer steps once (sandwich rule). The largest one's heatmaps are mixed into the targets of the others (in-place
distillation, Yu & Huang, ICCV 2019, section 3.2; BigNAS, ECCV 2020). Tags are not: a tag's value means nothing outside
of the network that gives it. Sizes are drawn per step, so a teacher's maps have its pupils' resolution and are never
resized.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data.batches import Batch
from archsearch.data.dataset import Dataset
from archsearch.data.transforms import Augmentation
from archsearch.elastic import Conv, give
from archsearch.files import InputError
from archsearch.nets.blocks import Basic, Bottleneck
from archsearch.nets.litepose import Inverted
from archsearch.nets.sorting import Orders, sort_channels
from archsearch.nets.zoo import Arch, build
from archsearch.pose.losses import LossParts, LossSettings, Targets, bottom_up_loss
from archsearch.space import Space
from archsearch.train.checkpoint import load_model, load_tensors
from archsearch.train.init import first_weights
from archsearch.train.pretrained import weights_file
from archsearch.train.settings import TrainSettings
from archsearch.train.subnets import SupernetSettings, subnets
from archsearch.train.sync_norm import synchronised
from archsearch.train.task import BottomUpTask, Place, run


@dataclass(frozen=True, eq=False)
class SupernetTask:
    """All architectures of a space learn to find all people of an image, at all of the space's input sizes."""

    dataset: Dataset
    space: Space[Arch]
    supernet: SupernetSettings
    augmentation: Augmentation
    loss: LossSettings
    seed: int
    steps: int

    def __len__(self) -> int:
        return len(self.dataset)

    def archs(self, step: int) -> list[Arch]:
        """The sub-nets of a step."""
        return subnets(self.space, self.supernet, seed=self.seed, step=step, steps=self.steps)

    def rearrange(self, net: nn.Module, step: int) -> Orders | None:
        """Sort the channels of ``net`` where a phase that asks for it begins with this step."""
        phase = self.supernet.starts(step, self.steps)
        return sort_channels(net) if phase is not None and phase.sort_channels else None

    def batch(self, indices: Sequence[int], place: Place, *, seed: int, step: int, first: int) -> Batch:
        """See :class:`archsearch.train.task.Task`."""
        size_px = min(self.archs(step)[0].input_hw)
        alone = BottomUpTask(self.dataset, size_px, self.augmentation, self.loss)
        return alone.batch(indices, place, seed=seed, step=step, first=first)

    def backward(self, net: nn.Module, batch: Batch, place: Place, step: int) -> LossParts:
        """See :class:`archsearch.train.task.Task`; the losses are means over the sub-nets, as they count."""
        targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, self.loss)
        teacher: list[Tensor] | None = None
        archs, settings = self.archs(step), self.supernet
        taught = settings.strategy == "sandwich" and settings.teacher_weight > 0
        counts = [1.0] * len(archs)
        if settings.strategy == "sandwich":
            counts[0] = settings.largest_weight
        losses = []
        for arch, count in zip(archs, counts, strict=True):
            outputs = run(net, place, batch.images_N3HW, arch)
            parts = bottom_up_loss(
                outputs,
                targets,
                teacher=teacher,
                teacher_weight=settings.teaches(step, self.steps),
                mean=place.processes.mean,
            )
            (parts.total * (count / sum(counts))).backward()  # type: ignore[no-untyped-call]
            losses.append(_detached(parts))
            if taught and teacher is None:
                teacher = [output.detach() for output in outputs]
        return _mean(losses, counts)


def _detached(parts: LossParts) -> LossParts:
    heatmaps = tuple(value.detach() for value in parts.heatmaps)
    return LossParts(parts.total.detach(), heatmaps, parts.pull.detach(), parts.push.detach())


def _mean(losses: list[LossParts], counts: list[float]) -> LossParts:
    def mean(values: list[Tensor]) -> Tensor:
        parts = torch.tensor(counts, dtype=values[0].dtype, device=values[0].device) / sum(counts)
        return torch.stack(values) @ parts

    maps = zip(*(parts.heatmaps for parts in losses), strict=False)
    return LossParts(
        mean([parts.total for parts in losses]),
        tuple(mean(list(values)) for values in maps),
        mean([parts.pull for parts in losses]),
        mean([parts.push for parts in losses]),
    )


# ---------------------------------------------------------------------------------------------------- first weights


def first_supernet(
    space: Space[Arch], joints: int, settings: TrainSettings, supernet: SupernetSettings, seed: int
) -> nn.Module:
    """The network of the space's largest architecture before training, from the seed and the settings alone.

    Raises ``InputError`` where ``supernet.weights`` is not a model of the space.
    """
    net = first_weights(space.largest(), joints, seed=seed, init=settings.init, tag_gain=settings.tag_gain)
    if supernet.zero_init:
        zero_residuals(net)
    if supernet.kernel_transforms:
        add_kernel_transforms(net, space)
    if supernet.weights is not None:
        take_model(net, space, supernet.weights)
    return synchronised(net) if supernet.sync_batch_norm else net


@torch.no_grad()
def zero_residuals(net: nn.Module) -> None:
    """Begin every residual as the identity: its last normalisation gets weight zero (Goyal et al., 2017, 5.1)."""
    for block in net.modules():
        if isinstance(block, Basic):
            block.bn2.weight.zero_()
        elif isinstance(block, Bottleneck):
            block.bn3.weight.zero_()
        elif isinstance(block, Inverted) and not block.first:
            block.project.bn.weight.zero_()


def add_kernel_transforms(net: nn.Module, space: Space[Arch]) -> None:
    """Give every convolution whose kernel is a hole of the space its learned transforms."""
    least = min((min(h.options) for h in space.holes if h.path.endswith("/kernel")), default=0)
    smaller = dict(build(space.smallest()).named_modules())
    for name, layer in net.named_modules():
        if not isinstance(layer, Conv):
            continue
        held = smaller.get(name)
        kernel = held.kernel_size[0] if isinstance(held, Conv) else least
        if 0 < kernel < layer.kernel_size[0]:
            layer.add_transforms(kernel)


def take_model(net: nn.Module, space: Space[Arch], folder: Path) -> None:
    """Write a trained model of the space into its slice of ``net``. Raises ``InputError`` where it is none."""
    without = load_tensors(weights_file(folder))[1].get("without")
    if without:
        raise InputError(
            f"{folder}: a backbone only, without {', '.join(without[:3])}: a supernet begins with a whole model of its "
            "space; train one from this backbone first"
        )
    model = load_model(folder)
    try:
        space.choices(dataclasses.replace(model.arch, joints=len(model.skeleton)))
    except ValueError as error:
        raise InputError(f"{folder}: not a model of {space.name}: {error}") from None
    give(model.net, net)


def of_joints(space: Space[Arch], joints: int) -> Space[Arch]:
    """The space with this number of joints."""
    plain: dict[str, Any] = {**space.plain, "joints": joints}
    return space if plain == space.plain else Space(space.kind, plain, space.name)
