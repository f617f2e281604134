"""How many scenes a second one core draws, at both levels and two sizes.

Run: python benchmarks/bm_scenes.py [--images 200] [--repeats 5]

Every image counts with its fastest repeat: whatever else the machine does only ever slows one down.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from archsearch.data.scenes import LEVELS, draw_scene
from archsearch.skeleton import COCO17


def images_per_s(level: str, size_px: int, images: int, repeats: int) -> float:
    """Images a second on one thread; of ``repeats`` drawings of an image the fastest counts."""
    best_s = [float("inf")] * images
    for _ in range(repeats):
        for i in range(images):
            start = time.perf_counter()
            draw_scene(np.random.default_rng(np.random.SeedSequence([0, i])), size_px, COCO17, LEVELS[level])
            best_s[i] = min(best_s[i], time.perf_counter() - start)
    return images / sum(best_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'level':8}{'size_px':>8}{'images/s':>10}")
    for level in LEVELS:
        for size_px in (96, 256):
            print(f"{level:8}{size_px:8}{images_per_s(level, size_px, options.images, options.repeats):10.0f}")


if __name__ == "__main__":
    main()
