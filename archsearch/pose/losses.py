"""The bottom-up loss: heatmaps at every resolution, and tags that say which joints belong together.

Shapes: N images; P people (padded); J joints; h, w of a map in cells; H, W of the network input in pixels.
Sources: associative embedding (Newell, Huang, Deng, NeurIPS 2017); HigherHRNet (CVPR 2020) and LitePose (CVPR 2022)
for the official settings; quality focal loss (Li et al., NeurIPS 2020, eq. 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from archsearch.data.targets import Style, heatmaps, mask_at, tag_positions


@dataclass(frozen=True)
class LossSettings:
    """What is compared with what, and how much it counts. Raises ``ValueError`` on what is no loss."""

    heatmap: Literal["mse", "quality_focal"]  # quality focal: the network's heatmaps are logits
    sigmas: tuple[float, ...]  # of the Gaussians in cells, coarsest map first; the last one serves all further maps
    style: Style  # how a joint falls on a map, see targets.joint_cells
    heatmap_weight: float = 1.0  # of each resolution's heatmaps
    pull_weight: float = 1e-3  # tags of one person toward their mean
    push_weight: float = 1e-3  # means of different people apart
    beta: float = 2.0  # the exponent of quality focal loss
    logit_shift: float = 0.0  # added to the heatmaps: the logit of how rare a joint is, where training begins
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (a study's misspelt key is an error)

    def __post_init__(self) -> None:
        if self.heatmap not in ("mse", "quality_focal"):
            raise ValueError(f"heatmap loss {self.heatmap!r} is not one of ('mse', 'quality_focal')")
        if not self.sigmas or not all(sigma > 0 for sigma in self.sigmas):
            raise ValueError(f"sigmas {self.sigmas}: at least one, all positive")
        if not min(self.heatmap_weight, self.pull_weight, self.push_weight) >= 0 or not math.isfinite(self.logit_shift):
            raise ValueError(
                f"weights {self.heatmap_weight}, {self.pull_weight}, {self.push_weight} must be from 0 and "
                f"logit_shift {self.logit_shift} finite"
            )
        if self.beta < 1:
            raise ValueError(f"beta {self.beta} is below 1: its gradient has no bound where the answer is right")


OFFICIAL = LossSettings("mse", sigmas=(2.0,), style="official")  # HigherHRNet, LitePose: for real data
# A strong pull at a high learning rate first makes all tags equal, where exp(-d^2) has no slope to push them apart, and
# keeps them there for most of a short training; a weak one lets people part within a hundred steps.
FAST = LossSettings(
    "quality_focal", sigmas=(1.0, 1.5), style="aligned", pull_weight=0.05, push_weight=0.3, logit_shift=-4.0
)


@dataclass(frozen=True, eq=False)
class LossParts:
    """Scalars, means over the batch: the weighted sum, and its parts without their weights."""

    total: Tensor
    heatmaps: tuple[Tensor, ...]  # one for each resolution, coarsest first
    pull: Tensor
    push: Tensor


def heatmap_mse(pred_NJHW: Tensor, target_NJHW: Tensor, mask_NHW: Tensor | None = None) -> Tensor:
    """Squared error times mask, the mean over images, joints and cells, masked ones included (official)."""
    error = (pred_NJHW - target_NJHW).square()
    return error.mean() if mask_NHW is None else (error * mask_NHW[:, None]).mean()


def heatmap_quality_focal(
    logits_NJHW: Tensor,
    target_NJHW: Tensor,
    mask_NHW: Tensor | None = None,
    *,
    beta: float = 2.0,
    labels_NJHW: Tensor | None = None,
    mean: Callable[[Tensor], Tensor] = lambda value: value,
) -> Tensor:
    """|target - sigmoid(logit)|^beta times binary cross entropy, summed over what the mask leaves, over sum(labels).

    ``labels_NJHW``: the annotated heatmaps where targets are mixed with a teacher's, None for the targets. Their sum,
    which grows with the number of people, counts as at least 1; ``mean`` averages it over the processes that share a
    batch. Gradients flow to the logits, not to the target, and once: there is no second derivative.
    """
    mask_N1HW = None if mask_NHW is None else mask_NHW[:, None]
    labels = target_NJHW if labels_NJHW is None else labels_NJHW
    positives = labels.sum() if mask_N1HW is None else (labels * mask_N1HW).sum()
    loss: Tensor = _QualityFocalSum.apply(logits_NJHW, target_NJHW, mask_N1HW, beta)  # type: ignore[no-untyped-call]
    return loss / mean(positives).clamp(min=1)


class _QualityFocalSum(torch.autograd.Function):
    """The sum over all cells, with its gradient by hand: half the time and a fraction of autograd's memory.

    With p = sigmoid(z), d = t - p and entropy e = softplus(z) - t z: dp/dz = p (1 - p), de/dz = -d, hence
    d(|d|^beta e)/dz = -beta sign(d) |d|^(beta - 1) p (1 - p) e - |d|^beta d.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, mask: Tensor | None, beta: float) -> Tensor:
        probability = logits.sigmoid()
        entropy = F.softplus(logits).addcmul_(target, logits, value=-1)
        gap = target - probability
        if beta == 2:
            lower, power = gap, gap.square()
        else:
            lower = gap.abs().pow_(beta - 1)
            power = lower * gap.abs()
            lower.mul_(gap.sign())
        if mask is not None:
            entropy.mul_(mask)
        gradient = probability.addcmul_(probability, probability, value=-1).mul_(entropy).mul_(lower).mul_(-beta)
        total = entropy.mul_(power).sum()
        if mask is not None:
            power.mul_(mask)
        ctx.save_for_backward(gradient.addcmul_(power, gap, value=-1))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None, None, None


def tag_loss(tags_NJM: Tensor, index_NPJ: Tensor, valid_NPJ: Tensor) -> tuple[Tensor, Tensor]:
    """Pull and push (N,), of any number of people. ``tags_NJM``: flat maps (or maps, N, J, h, w); M = h w.

    pull: mean over an image's people of the mean squared deviation of a person's tags from their mean m.
    push: half the sum over ordered pairs of people of exp(-(m_i - m_j)^2), over n (n - 1).
    A person counts from one valid joint on; without people both are 0, with one person push is.
    """
    tags_NPJ = tags_NJM.flatten(2).gather(2, index_NPJ.transpose(1, 2)).transpose(1, 2)
    weight_NPJ = valid_NPJ.to(tags_NPJ.dtype)
    joints_NP = weight_NPJ.sum(2).clamp(min=1)
    person_NP = valid_NPJ.any(2).to(tags_NPJ.dtype)
    people_N = person_NP.sum(1)

    mean_NP = (tags_NPJ * weight_NPJ).sum(2) / joints_NP
    deviation_NP = ((tags_NPJ - mean_NP[:, :, None]).square() * weight_NPJ).sum(2) / joints_NP
    pull_N = deviation_NP.sum(1) / people_N.clamp(min=1)

    near_NPP = torch.exp(-(mean_NP[:, :, None] - mean_NP[:, None, :]).square())
    pairs_NPP = (person_NP[:, :, None] * person_NP[:, None, :]).triu(1)
    push_N = (near_NPP * pairs_NPP).sum((1, 2)) / (people_N * (people_N - 1)).clamp(min=1)
    return pull_N, push_N


class Targets:
    """What a batch's outputs are compared with: built for each resolution of maps when first asked for, then kept.

    ``joints_NPJ3`` and ``mask_NHW`` are in pixels of the network input of ``size_px`` (or height, width).
    """

    def __init__(
        self,
        joints_NPJ3: Tensor,
        mask_NHW: Tensor | None,
        size_px: int | tuple[int, int],
        settings: LossSettings,
    ) -> None:
        self.joints_NPJ3, self.mask_NHW, self.settings = joints_NPJ3, mask_NHW, settings
        self.size_hw = (size_px, size_px) if isinstance(size_px, int) else size_px
        self._maps: dict[tuple[float, int, int], tuple[Tensor, Tensor | None]] = {}
        self._tags: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    @property
    def joints(self) -> int:
        """The number of joints of the skeleton."""
        return int(self.joints_NPJ3.shape[2])

    def maps(self, index: int, map_hw: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Heatmaps (N, J, h, w) of output ``index``, and where they count: bool (N, h, w), None for everywhere."""
        sigmas = self.settings.sigmas
        sigma = sigmas[min(index, len(sigmas) - 1)]
        key = (sigma, *map_hw)
        if key not in self._maps:
            target = heatmaps(self.joints_NPJ3, self.size_hw, map_hw, sigma=sigma, style=self.settings.style)
            self._maps[key] = target, None if self.mask_NHW is None else mask_at(self.mask_NHW, map_hw)
        return self._maps[key]

    def tags(self, map_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """See :func:`archsearch.data.targets.tag_positions`."""
        if map_hw not in self._tags:
            self._tags[map_hw] = tag_positions(self.joints_NPJ3, self.size_hw, map_hw, style=self.settings.style)
        return self._tags[map_hw]


def bottom_up_loss(
    outputs: Sequence[Tensor],
    targets: Targets,
    *,
    teacher: Sequence[Tensor] | None = None,
    teacher_weight: float = 0.0,
    mean: Callable[[Tensor], Tensor] = lambda value: value,
) -> LossParts:
    """The loss of a bottom-up network's ``outputs``: (N, 2 J, h, w) with J heatmaps and J tag maps, then (N, J, h, w).

    ``teacher``: outputs of a better network at the same resolutions, whose heatmaps, mixed into the targets by
    ``teacher_weight`` (0 to 1), are learned too; tags are never taken from it, since their values mean nothing beyond
    one network. ``mean``: see :func:`heatmap_quality_focal`. Computed in float32 under autocast. Raises ``ValueError``
    where an output does not have the skeleton's number of maps.
    """
    joints, settings = targets.joints, targets.settings
    losses = []
    for i, output in enumerate(outputs):
        expected = 2 * joints if i == 0 else joints
        if output.shape[1] != expected:
            raise ValueError(f"output {i} has {output.shape[1]} maps; {joints} joints need {expected}")
        # Networks answer in channels-last order, targets are not: mixing them takes twice as long.
        pred = (_at_least_float32(output[:, :joints]) + settings.logit_shift).contiguous()
        target, mask = targets.maps(i, (int(output.shape[2]), int(output.shape[3])))
        target = target.to(pred.dtype)
        aim = target if teacher is None else torch.lerp(target, _answer(teacher[i], joints, settings), teacher_weight)
        if settings.heatmap == "mse":
            losses.append(heatmap_mse(pred, aim, mask))
        else:
            losses.append(heatmap_quality_focal(pred, aim, mask, beta=settings.beta, labels_NJHW=target, mean=mean))

    first = outputs[0]
    index_NPJ, valid_NPJ = targets.tags((int(first.shape[2]), int(first.shape[3])))
    pull_N, push_N = tag_loss(_at_least_float32(first[:, joints:]), index_NPJ, valid_NPJ)
    pull, push = pull_N.mean(), push_N.mean()
    total = settings.heatmap_weight * torch.stack(losses).sum()
    total = total + settings.pull_weight * pull + settings.push_weight * push
    return LossParts(total, tuple(losses), pull, push)


def _answer(output: Tensor, joints: int, settings: LossSettings) -> Tensor:
    """A teacher's heatmaps as targets, without gradient."""
    maps = (_at_least_float32(output.detach()[:, :joints]) + settings.logit_shift).contiguous()
    return maps.sigmoid() if settings.heatmap == "quality_focal" else maps


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
