"""Whether evaluation is a pipeline: reading, the network, grouping and matching side by side.

    python benchmarks/bm_eval.py [--images 128] [--network_ms 12] [--rounds 3] [--json FILE]

The network is a stand-in for one on an accelerator: it gives the perfect maps of hard scenes at 512 px after a pause of
so many milliseconds an image, in which the processor is free. The parts are timed one after the other, then the whole
as ``archsearch eval`` runs it: a pipeline takes as long as its slowest part (with one core, as the parts on the
processor together), without one it would take the sum. Scenes are JPEGs on disk; maps are grouped at half of the
input's resolution, without the flip test.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from archsearch.data.batches import eval_batch
from archsearch.data.coco import load_coco
from archsearch.data.dataset import Dataset
from archsearch.data.scenes import scenes, write_scenes
from archsearch.data.transforms import resize_matrix
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE, infer, people_of, predict
from archsearch.pose.ceiling import perfect_outputs
from archsearch.pose.evaluate import Evaluation, results_of
from archsearch.skeleton import COCO17

SIZE_PX, BATCH = 512, 16
DECODE = dataclasses.replace(FAST_DECODE, flip=False, activation="none", logit_shift=0.0)


class Accelerator(nn.Module):
    """Gives recorded outputs, a batch after the other, after a pause."""

    def __init__(self, outputs: list[list[Tensor]], seconds: float) -> None:
        super().__init__()
        self.outputs, self.seconds, self.calls = outputs, seconds, 0

    def forward(self, x: Tensor) -> list[Tensor]:
        time.sleep(self.seconds * len(x))
        self.calls += 1
        return self.outputs[(self.calls - 1) % len(self.outputs)]


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--network_ms", type=float, default=12.0, help="an image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count = max(1, given.images // BATCH) * BATCH
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), scenes(count, SIZE_PX, 0, COCO17, "hard"))
        data: Dataset = load_coco(Path(folder) / "annotations.json", Path(folder) / "images")
        chunks = [range(start, start + BATCH) for start in range(0, count, BATCH)]
        batches = [eval_batch(data, chunk, SIZE_PX) for chunk in chunks]
        outputs = [perfect_outputs(batch, losses.FAST, DECODE, (2,)) for batch in batches]
        at_once = Accelerator(outputs, 0.0)
        maps = [infer(at_once, batch.images_N3HW, COCO17, DECODE) for batch in batches]
        images = [
            (h.numpy(), t.numpy()) for hs, ts in maps for h, t in zip(*(m.float() for m in (hs, ts)), strict=True)
        ]
        matrix = resize_matrix(SIZE_PX, SIZE_PX, SIZE_PX)

        def grouped() -> list[list[dict[str, Any]]]:
            people = (people_of(h, t, matrix, (SIZE_PX, SIZE_PX), COCO17, DECODE) for h, t in images)
            return [results_of(info.id, *found) for info, found in zip(data.images, people, strict=True)]

        results = grouped()

        def matched(evaluation: Evaluation) -> None:
            for own in results:
                evaluation.add(own)

        def whole() -> None:
            evaluation = Evaluation(data.annotations, COCO17)
            net = Accelerator(outputs, given.network_ms / 1000)
            predict(net, data, DECODE, size_px=SIZE_PX, batch=BATCH, on_results=evaluation.add)
            evaluation.scores()

        evaluation = Evaluation(data.annotations, COCO17)
        matched(evaluation)
        parts: dict[str, Callable[[], Any]] = {
            "read and warp": lambda: [eval_batch(data, chunk, SIZE_PX) for chunk in chunks],
            "the network's pause and its maps' merging": lambda: [
                infer(Accelerator(outputs, given.network_ms / 1000), batch.images_N3HW, COCO17, DECODE)
                for batch in batches
            ],
            "group": grouped,
            "match": lambda: matched(Evaluation(data.annotations, COCO17)),
            "count": evaluation.scores,
        }
        alone: dict[str, list[float]] = {name: [] for name in [*parts, "the whole"]}
        for _ in range(given.rounds):
            for name, part in {**parts, "the whole": whole}.items():
                alone[name].append(1000 * seconds(part) / count)
    found = {name: statistics.median(values) for name, values in alone.items()}
    found["sum of the parts"] = sum(found[name] for name in parts)
    print(f"{count} images, {len(data.annotations['annotations'])} people; batches of {BATCH}\n")
    print("| | ms an image |\n|---|--:|")
    for name, value in found.items():
        print(f"| {name} | {value:.2f} |")
    if given.json is not None:
        given.json.write_text(json.dumps({"images": count, "ms_an_image": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
