"""How long grouping takes, against a plain implementation that goes person by person.

    python benchmarks/bm_decode.py [--repeats 9] [--json FILE]

Both are timed in turn on the same maps, on one thread; the table shows medians. Maps are as a trained network gives
them: Gaussian peaks of varying height (15 % of the joints missing), tags that agree within a person and differ between
people, and noise on both. The plain implementation does what the published parsers do, one person at a time: a max-pool
over all maps, then for every person and joint one pass over a map to fill in what is missing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from archsearch.pose.decode import group
from archsearch.skeleton import COCO17

Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


def maps_of(rng: np.random.Generator, people: int, size: int, joints: int = 17, tag_maps: int = 1) -> Maps:
    """Heatmaps (J, size, size) and tags (J, size, size, T) of that many people."""
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    heatmaps = rng.uniform(0, 0.02, (joints, size, size)).astype(np.float32)
    tags = rng.normal(0, 0.3, (joints, size, size, tag_maps)).astype(np.float32)
    for person in range(people):
        corner, extent = rng.uniform(0, 0.7 * size, 2), rng.uniform(0.15, 0.3) * size
        for j in range(joints):
            if rng.random() < 0.15:
                continue
            x, y = corner + rng.uniform(0, extent, 2)
            squared = (xx - x) ** 2 + (yy - y) ** 2
            peak = rng.uniform(0.3, 0.95) * np.exp(-squared / 8)
            near = (peak > 0.02) & (peak > heatmaps[j])
            tags[j][near] = 2.0 * person + 2 + rng.normal(0, 0.1, (near.sum(), tag_maps))
            heatmaps[j] = np.maximum(heatmaps[j], peak)
    return heatmaps, tags


def plain_group(
    heatmaps: NDArray[np.float32],
    tags: NDArray[np.float32],
    order: tuple[int, ...] = COCO17.group_order,
    most: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
    kernel: int = 5,
    use_value: bool = True,
    ignore_too_much: bool = False,
) -> tuple[NDArray[np.float32], list[float]]:
    """The same grouping, written the obvious way: the baseline, and what the tests compare with."""
    joints, height, width, tag_maps = tags.shape
    maps = torch.from_numpy(heatmaps)
    peaks = maps * (torch.nn.functional.max_pool2d(maps[None], kernel, 1, kernel // 2)[0] == maps)
    values, cells = (t.numpy() for t in peaks.flatten(1).topk(min(most, height * width), dim=1))
    people: dict[float, NDArray[np.float64]] = {}
    person_tags: dict[float, list[NDArray[np.float32]]] = {}
    for j in order:
        found = [(v, c, tags[j].reshape(-1, tag_maps)[c]) for v, c in zip(values[j], cells[j], strict=True)]
        found = [f for f in found if float(f[0]) > threshold]
        if not found:
            continue
        keys = list(people)[:most]
        if keys and ignore_too_much and len(keys) == most:
            continue
        joins: dict[int, float] = {}
        if keys:
            means = np.array([np.mean(person_tags[k], axis=0) for k in keys])
            distance = np.array([[np.sqrt(np.sum((t.astype(float) - m) ** 2)) for m in means] for _, _, t in found])
            cost = np.round(distance) * 100 - np.array([[float(v)] for v, _, _ in found]) if use_value else distance
            square = np.full((len(found), max(len(keys), len(found))), 1e10)
            square[:, : len(keys)] = cost
            for pair in zip(*linear_sum_assignment(square), strict=True):
                at, column = int(pair[0]), int(pair[1])
                if column < len(keys) and distance[at, column] < tag_threshold:
                    joins[at] = keys[column]
        for row, (value, cell, tag) in enumerate(found):
            if row in joins:
                person_tags[joins[row]].append(tag)
            else:
                people.setdefault(float(tag[0]), np.zeros((joints, 3 + tag_maps)))
                person_tags[float(tag[0])] = [tag]
            people[joins.get(row, float(tag[0]))][j] = (cell % width, cell // width, value, *tag)

    def quarter(j: int, x: int, y: int) -> tuple[float, float]:
        h = heatmaps[j]
        right = h[y, min(x + 1, width - 1)] > h[y, max(x - 1, 0)]
        down = h[min(y + 1, height - 1), x] > h[max(y - 1, 0), x]
        return x + (0.75 if right else 0.25), y + (0.75 if down else 0.25)

    scores = []
    for person in people.values():
        scores.append(float(person[:, 2].mean()))
        mean = np.mean(person[person[:, 2] > 0, 3:].astype(np.float32), axis=0)
        for j in range(joints):
            value = heatmaps[j] - np.round(((tags[j] - mean) ** 2).sum(axis=2) ** 0.5)
            y, x = (int(i) for i in np.unravel_index(np.argmax(value), value.shape))
            if person[j, 2] > 0:
                person[j, :2] = quarter(j, int(person[j, 0]), int(person[j, 1]))
            elif heatmaps[j, y, x] > 0:
                person[j, :3] = (*quarter(j, x, y), heatmaps[j, y, x])
    return np.array(list(people.values()), np.float32).reshape(-1, joints, 3 + tag_maps), scores


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="rounds; each times both once (default 9)")
    parser.add_argument("--json", metavar="FILE", help="also write the medians in milliseconds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{platform.processor() or platform.machine()}, one thread, numpy {np.__version__}, opencv {cv2.__version__}")
    print("cells  people  found   plain ms  archsearch ms   times faster")
    rows = []
    for size in (128, 256):
        for people in (1, 5, 15, 30):
            heatmaps, tags = maps_of(np.random.default_rng(size + people), people, size)
            persons, _ = group(heatmaps, tags)
            times = [
                (seconds(plain_group, heatmaps, tags), seconds(group, heatmaps, tags)) for _ in range(options.repeats)
            ]
            plain, ours = (1e3 * statistics.median(t) for t in zip(*times, strict=True))
            print(f"{size:5d}  {people:6d}  {len(persons):5d}  {plain:9.1f}  {ours:13.2f}  {plain / ours:13.1f}")
            rows.append({"cells": size, "people": people, "plain_ms": plain, "archsearch_ms": ours})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
