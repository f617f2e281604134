"""Images a second of once-for-all training: sandwich steps of a supernet, or of its largest network alone, compiled.

Run: python benchmarks/bm_supernet_throughput.py [--size 256] [--batch 32] [--layout contiguous] [--bf16] [--compile]

A step is the whole of it: the largest, the smallest and two random sub-nets with distillation, one clipping, one AdamW;
the images are on the device already. With ``--compile`` it is a step of the largest network, extracted: once eager,
once compiled, since what is compiled is one architecture. Prints a line each, the median of the steps after a warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time

import torch
from torch import Tensor, nn

from archsearch.data.batches import Batch, make_batch
from archsearch.data.scenes import scenes
from archsearch.environment import choose_device
from archsearch.nets.zoo import Arch, build, extract, load_space
from archsearch.pose.losses import Targets, bottom_up_loss
from archsearch.skeleton import load_skeleton
from archsearch.train.loop import parameter_groups
from archsearch.train.settings import TrainSettings
from archsearch.train.subnets import SupernetSettings, subnets
from archsearch.train.supernet import of_joints

SETTINGS = TrainSettings.model_validate({"preset": "fast", "images": 1})
SANDWICH = SupernetSettings.model_validate({})
WARM_UP = 5  # steps that are not timed


def step(
    net: nn.Module, archs: list[Arch | None], batch: Batch, images: Tensor, optimizer: torch.optim.Optimizer, bf16: bool
) -> None:
    """One step of the optimizer; None in ``archs``: a stand-alone network."""
    optimizer.zero_grad(set_to_none=True)
    targets = Targets(batch.joints_NPJ3, batch.masks_NHW, batch.size_hw, SETTINGS.loss)
    teacher: list[Tensor] | None = None
    for arch in archs:
        with torch.autocast(images.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
            outputs = net(images) if arch is None else net(images, arch)
        loss = bottom_up_loss(outputs, targets, teacher=teacher, teacher_weight=SANDWICH.teacher_weight).total
        (loss / len(archs)).backward()  # type: ignore[no-untyped-call]
        teacher = teacher or [output.detach() for output in outputs]
    torch.nn.utils.clip_grad_norm_(net.parameters(), SETTINGS.clip_norm)
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="embedded_litepose")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--layout", choices=("channels_last", "contiguous"), default="channels_last")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device, skeleton = choose_device(options.device), load_skeleton("coco17")
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    space = of_joints(load_space(options.space), len(skeleton))
    data = scenes(options.batch, options.size, 0, skeleton, "easy")
    batch = make_batch(
        data, range(options.batch), seed=0, step=0, size_px=options.size, augmentation=SETTINGS.augmentation,
        device=device,
    )  # fmt: skip
    images = batch.images_N3HW.contiguous(memory_format=layout)
    largest = space.largest()
    shared = build(largest, joints=len(skeleton)).to(device=device, memory_format=layout)  # type: ignore[call-overload]
    variants: list[tuple[str, nn.Module]] = [("sandwich of four", shared)]
    if options.compile:
        alone = extract(shared, largest)
        variants = [("largest alone", alone), ("largest alone, compiled", torch.compile(alone))]  # type: ignore[list-item]
    for name, net in variants:
        groups = parameter_groups(net, SETTINGS.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=device.type == "cuda")
        net.train()
        times = []
        for number in range(WARM_UP + options.steps):
            archs: list[Arch | None] = [None]
            if not options.compile:
                archs = list(subnets(space, SANDWICH, seed=0, step=number, steps=10**6))
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            step(net, archs, batch, images, optimizer, options.bf16)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times[WARM_UP:])
        precision = "bfloat16" if options.bf16 else "float32"
        print(
            f"{options.space} at {options.size} px, batch {options.batch}, {options.layout}, {precision}, {name}: "
            f"{seconds * 1e3:.1f} ms a step, {options.batch / seconds:.0f} images a second",
            flush=True,
        )


if __name__ == "__main__":
    main()
