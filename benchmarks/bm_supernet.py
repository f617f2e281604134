"""A training step of a supernet at one architecture against the same step of the stand-alone network.

Run: python benchmarks/bm_supernet.py [SPACE ...] [--subnets 8] [--rounds 30] [--batch 8] [--size PX]

Both take the same images with the same weights (the loss is checked to be equal, bit for bit) and do a whole step:
gradients to none, forward in training mode, loss, backward, clipping and AdamW. One thread, channels_last, seconds of
the processor. The two run by turns, in an order that alternates; shown are medians and the median of the ratio within
each turn with its 95 % interval (bootstrap). The last column leaves clipping and AdamW out: they go over the supernet's
whole weights, once for all sub-nets of a training step. ``--size`` replaces the input size of every architecture.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn

from archsearch.costs.fast import CostModel
from archsearch.data.batches import Batch, make_batch
from archsearch.data.scenes import scenes
from archsearch.environment import cpu_name
from archsearch.nets.zoo import Arch, build, extract, load_space
from archsearch.pose.losses import Targets, bottom_up_loss
from archsearch.skeleton import load_skeleton
from archsearch.train.loop import parameter_groups
from archsearch.train.settings import TrainSettings
from archsearch.train.subnets import extreme
from archsearch.train.supernet import of_joints

SUBNETS = 4  # of a step, as embedded_supernet has it
SETTINGS = TrainSettings.model_validate({"preset": "fast", "images": 1})


class Step:
    """One network with its optimizer; ``arch``: what a supernet is run at, None for a stand-alone network."""

    def __init__(self, net: nn.Module, arch: Arch | None) -> None:
        self.net, self.arch = net.train(), arch
        # A learning rate of zero: all work is done and the weights of both stay equal.
        self.optimizer = torch.optim.AdamW(parameter_groups(net, SETTINGS.weight_decay), lr=0.0)

    def __call__(self, batch: Batch) -> Tensor:
        loss = self.gradients(batch)
        self.update()
        return loss

    def gradients(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        images = batch.images_N3HW.contiguous(memory_format=torch.channels_last)
        outputs = self.net(images) if self.arch is None else self.net(images, self.arch)
        targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, SETTINGS.loss)
        loss = bottom_up_loss(outputs, targets).total
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), SETTINGS.clip_norm)
        self.optimizer.step()


def compared(shared: Step, alone: Step, batch: Batch, rounds: int) -> np.ndarray:
    """(rounds, 2, 2) seconds of the processor: the supernet's step, the stand-alone network's; gradients, update."""
    steps = (shared, alone)
    assert torch.equal(shared(batch), alone(batch)), "the two do not compute the same"
    times = np.zeros((rounds, 2, 2))
    for turn in range(-2, rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.process_time()
            steps[which].gradients(batch)
            between = time.process_time()
            steps[which].update()
            if turn >= 0:
                times[turn, which] = between - start, time.process_time() - between
    return times


def interval(ratios: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    medians = np.median(ratios[rng.integers(len(ratios), size=(2000, len(ratios)))], 1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="*", default=["embedded_litepose", "embedded_hrnet_shrink"])
    parser.add_argument("--subnets", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_name()}, torch {torch.__version__}, batch {options.batch}, {options.rounds} rounds")
    heads = f"{'sub-net':40}{'MMACs':>8}{'shared ms':>11}{'alone ms':>10}{'ratio':>8}"
    print(f"{heads}   95 %             no update   of four")
    for name in options.spaces:
        skeleton = load_skeleton("coco17")
        space = of_joints(load_space(name), len(skeleton))
        net = build(space.largest(), joints=len(skeleton)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        costs, rng = CostModel(space), np.random.default_rng(0)
        archs = {"largest": space.fill(lambda _, options: extreme(options, largest=True))}
        archs |= {f"random {k}": space.sample(rng) for k in range(options.subnets)}
        medians: list[float] = []
        bare: list[float] = []
        shares: list[float] = []
        for label, arch in archs.items():
            size_px = options.size or min(arch.input_hw)
            data = scenes(options.batch, size_px, 0, skeleton, "easy")
            batch = make_batch(
                data, range(options.batch), seed=0, step=0, size_px=size_px, augmentation=SETTINGS.augmentation
            )
            alone = extract(net, arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            times = compared(Step(net, arch), Step(alone, None), batch, options.rounds)
            whole, passes = times.sum(2), times[:, :, 0]
            ratios = whole[:, 0] / whole[:, 1]
            low, high = interval(ratios)
            ours, theirs = np.median(whole, 0) * 1e3
            medians.append(float(np.median(ratios)))
            bare.append(float(np.median(passes[:, 0] / passes[:, 1])))
            share = passes[:, 0] + times[:, 0, 1] / SUBNETS
            shares.append(float(np.median(share / whole[:, 1])))
            macs = costs(arch, (size_px, size_px)).macs / 1e6
            line = f"{name + ' ' + label:40}{macs:8.1f}{ours:11.1f}{theirs:10.1f}{medians[-1]:8.3f}"
            print(f"{line}   {low:.3f} to {high:.3f}{bare[-1]:10.3f}{shares[-1]:10.3f}", flush=True)
        if options.subnets:
            for text, found in (("step", medians), ("without the update", bare), ("as one of four", shares)):
                middle = statistics.median(found[1:])
                print(f"{name}, {text}: largest {found[0]:.3f}, random ones {middle:.3f}, at most {max(found[1:]):.3f}")


if __name__ == "__main__":
    main()
