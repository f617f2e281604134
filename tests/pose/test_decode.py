"""Grouping: recorded answers of the published parser, a plain implementation, and hand-made maps."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import REFERENCE, needs_reference

from archsearch.pose import decode
from archsearch.pose.decode import group
from archsearch.pose.ensemble import to_image

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "data" / "grouping.npz"


def _benchmark() -> ModuleType:
    """With the plain implementation; testing against it also shows that the benchmark compares like with like."""
    spec = importlib.util.spec_from_file_location("bm_decode", ROOT / "benchmarks" / "bm_decode.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bm_decode = _benchmark()


def equals_one_of(persons, scores, answers) -> bool:
    return any(
        len(persons) == len(p)
        and np.allclose(persons[..., :2], p[..., :2], rtol=0, atol=1e-4)
        and np.allclose(persons[..., 2:], p[..., 2:], rtol=1e-6, atol=1e-6)
        and np.allclose(scores, s, rtol=0, atol=1e-6)
        for p, s in answers
    )


def check_recorded(data: Mapping[str, Any], case: str = "") -> None:
    """Our answer is that of HigherHRNet's own parser; where equal costs leave a choice, one of three solvers'."""
    parameters = json.loads(str(data[f"{case}params"]))
    persons, scores = group(
        data[f"{case}heatmaps"],
        data[f"{case}tags"],
        order=parameters["joint_order"],
        max_people=parameters["max_num_people"],
        detection_threshold=parameters["detection_threshold"],
        tag_threshold=parameters["tag_threshold"],
        use_detection_value=parameters["use_detection_val"],
        ignore_too_much=parameters["ignore_too_much"],
        nms_kernel=parameters["nms_kernel"],
        subpixel="quarter" if parameters["adjust"] else "none",
        refine=parameters["refine"],
    )
    answers = [
        (data[f"{case}persons{s}"].reshape(-1, *persons.shape[1:]), data[f"{case}scores{s}"].reshape(-1))
        for s in (("", "_munkres3", "_scipy") if parameters["tie_sensitive"] else ("",))
    ]
    assert equals_one_of(persons, scores, answers)


@pytest.mark.parametrize("case", ["00", "02", "04", "05", "07", "08", "11", "14", "18", "20"])
def test_equals_recorded_answers(case):
    """Nobody, one to fifteen people, crowds, two tags a joint, noisy tags, oblong maps, and weak peaks in noise."""
    with np.load(RECORDED) as data:
        check_recorded(data, f"{case}_")


@needs_reference
@pytest.mark.parametrize("case", ["01", "09"])
def test_equals_recorded_answers_in_noise(case):
    """Noise does not compress: these two are 2 MB each. Nobody, and five people."""
    with np.load(REFERENCE / "grouping" / f"case{case}.npz") as data:
        check_recorded(data)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    joints=st.sampled_from([1, 3, 14, 17]),
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    tag_maps=st.integers(1, 3),
    most=st.sampled_from([1, 2, 4, 30]),
    threshold=st.sampled_from([0.02, 0.1, 0.6]),
    tag_threshold=st.sampled_from([0.3, 1.0, 2.5]),
    kernel=st.sampled_from([1, 3, 5, 7]),
    use_value=st.booleans(),
    ignore=st.booleans(),
)
def test_equals_plain_implementation(
    seed, joints, height, width, tag_maps, most, threshold, tag_threshold, kernel, use_value, ignore
):
    """Noise with many people, tags on a grid: they collide, and their rounded distances tie."""
    rng = np.random.default_rng(seed)
    # distinct values: the order of equal peaks is a choice, and the plain one leaves it to torch
    cells = joints * height * width
    heatmaps = (rng.permutation(cells).reshape(joints, height, width) / cells).astype(np.float32) ** 3
    tags = (rng.integers(0, 24, (joints, height, width, tag_maps)) / 4).astype(np.float32)
    order = tuple(int(j) for j in rng.permutation(joints))
    expected = bm_decode.plain_group(
        heatmaps, tags, order, most, threshold, tag_threshold, kernel, use_value=use_value, ignore_too_much=ignore
    )
    persons, scores = group(
        heatmaps,
        tags,
        order=order,
        max_people=most,
        detection_threshold=threshold,
        tag_threshold=tag_threshold,
        nms_kernel=kernel,
        use_detection_value=use_value,
        ignore_too_much=ignore,
    )
    np.testing.assert_array_equal(persons, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("people", "tag_maps"), [(3, 1), (30, 1), (5, 2)])
def test_equals_plain_implementation_on_network_like_maps(people, tag_maps):
    heatmaps, tags = bm_decode.maps_of(np.random.default_rng(people), people, 96, tag_maps=tag_maps)
    persons, scores = group(heatmaps, tags)
    expected = bm_decode.plain_group(heatmaps, tags)
    np.testing.assert_array_equal(persons, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=1e-6)
    assert len(persons) >= people


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    tag_maps=st.integers(1, 3),
    people=st.integers(1, 4),
    block=st.sampled_from([1, 7, 64, 1 << 15]),
    constant=st.booleans(),
)
def test_best_cells_are_the_first_best(seed, height, width, tag_maps, people, block, constant):
    """Coarse values make ties everywhere; halves make distances round half to even."""
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, 3, (height, width)).astype(np.float32) / 2
    tags = rng.integers(-4, 5, (height, width, tag_maps)).astype(np.float32) / 2
    if constant:
        heatmap[:], tags[:] = 0, 1
    means = rng.integers(-4, 5, (people, tag_maps)).astype(np.float32) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_BLOCK", block)
        y, x = decode._best_cells(heatmap, tags, means)
    for k, mean in enumerate(means):
        value = heatmap - np.round(np.sqrt(((tags - mean) ** 2).sum(axis=2)))
        assert (y[k], x[k]) == np.unravel_index(np.argmax(value), value.shape)


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), kernel=st.sampled_from([1, 3, 5]), limit=st.integers(1, 40))
def test_peaks_keep_plateaus_and_prefer_the_first(seed, kernel, limit):
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, 4, (9, 11)).astype(np.float32) / 4
    reach = kernel // 2
    padded = np.pad(heatmap, reach, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))
    is_peak = (windows.max(axis=(2, 3)) == heatmap) & (heatmap > 0.25)
    cells = np.flatnonzero(is_peak)
    expected = sorted(cells, key=lambda c: (-heatmap.reshape(-1)[c], c))[:limit]
    assert decode._peaks(heatmap[None], limit, 0.25, kernel)[0].tolist() == expected


def test_threshold_is_compared_in_double_precision():
    heatmap = np.zeros((1, 8, 8), np.float32)
    heatmap[0, 3, 4] = np.float32(0.1)  # 0.100000001490...
    tags = np.zeros((1, 8, 8, 1), np.float32)
    assert len(group(heatmap, tags, detection_threshold=0.1)[0]) == 1
    assert len(group(heatmap, tags, detection_threshold=float(np.float32(0.1)))[0]) == 0


def two_people():
    heatmaps, tags = np.zeros((3, 32, 48), np.float32), np.zeros((3, 32, 48, 1), np.float32)
    for (x, y), tag, joints in (((10, 8), 1.0, (0, 1, 2)), ((30, 20), 5.0, (0, 1))):
        for j in joints:
            heatmaps[j, y + j, x] = 0.9 - 0.1 * j
            tags[j, y + j, x] = tag
    return heatmaps, tags


def test_two_people_by_hand():
    persons, scores = group(*two_people(), subpixel="none", refine=False)
    assert persons.shape == (2, 3, 4)
    np.testing.assert_allclose(persons[0], [[10.5, 8.5, 0.9, 1], [10.5, 9.5, 0.8, 1], [10.5, 10.5, 0.7, 1]], rtol=1e-6)
    np.testing.assert_allclose(persons[1], [[30.5, 20.5, 0.9, 5], [30.5, 21.5, 0.8, 5], [0, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.8, 1.7 / 3], rtol=1e-6)


def test_missing_joint_is_filled_where_tags_fit():
    heatmaps, tags = two_people()
    heatmaps[2, 25, 31], tags[2, 25, 31] = 0.06, 5.3  # below the detection threshold, tag close by
    persons, scores = group(heatmaps, tags)
    np.testing.assert_allclose(persons[1, 2], [31.25, 25.25, 0.06, 0], rtol=1e-6)  # a lone cell: toward lower indices
    np.testing.assert_allclose(scores[1], 1.7 / 3, rtol=1e-6)  # as before filling
    heatmaps[2, 25, 31] = 0  # now the other person's joint is the only thing above nothing, 4 tags away
    assert not group(heatmaps, tags)[0][1, 2].any()


def test_a_tag_that_opens_two_people_opens_one():
    """As in the released parser, which keys people by the opening joint's first tag."""
    heatmaps, tags = two_people()
    tags[0, 20, 30] = tags[0, 8, 10]
    persons, _ = group(heatmaps, tags, subpixel="none", refine=False)
    assert persons[0, 0, :2].tolist() == [30.5, 20.5]  # the weaker peak comes last and stays


def test_a_persons_mean_tag_is_numpys_to_the_last_bit():
    """Of eight tags and more NumPy's sum differs from adding one by one; costs and thresholds notice."""
    rng = np.random.default_rng(0)
    order = range(10)
    while True:
        own = rng.uniform(3, 3.4, 10).astype(np.float32)
        own[9] = 3.9
        one_by_one = np.float32(0)
        for tag in own[:9]:
            one_by_one += tag
        mean = np.mean(list(own[:9, None]), axis=0)
        if mean[0] != one_by_one / np.float32(9):
            break
    heatmaps, tags = np.zeros((10, 8, 8), np.float32), np.zeros((10, 8, 8, 1), np.float32)
    heatmaps[:, 4, 4], tags[:, 4, 4, 0] = 0.8, own
    distance = float(np.float64(own[9]) - mean[0])
    assert 0.5 < distance < 1
    assert len(group(heatmaps, tags, order=order, tag_threshold=float(np.nextafter(distance, 1)))[0]) == 1
    assert len(group(heatmaps, tags, order=order, tag_threshold=distance)[0]) == 2


def test_default_order_is_the_published_one():
    """Also for CrowdPose's 14 joints, where the released parser reads the first 14 of COCO's order."""
    heatmaps, tags = bm_decode.maps_of(np.random.default_rng(2), 12, 64, joints=14)
    ours = group(heatmaps, tags)[0]
    expected = group(heatmaps, tags, order=[0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13])[0]
    np.testing.assert_array_equal(ours, expected)
    for joints in (1, 17, 20):
        assert group(np.zeros((joints, 8, 8)), np.zeros((joints, 8, 8, 1)))[0].shape == (0, joints, 4)


def test_quarter_goes_toward_the_higher_neighbour():
    heatmaps = np.zeros((1, 8, 8), np.float32)
    heatmaps[0, 4, 3:6] = 0.2, 0.8, 0.3
    heatmaps[0, 3:6, 4] = 0.4, 0.8, 0.3
    persons, _ = group(heatmaps, np.zeros((1, 8, 8, 1), np.float32))
    assert persons[0, 0, :2].tolist() == [4.75, 4.25]


@settings(deadline=None, max_examples=40)
@given(x=st.floats(8, 55), y=st.floats(8, 55), stride=st.sampled_from([2, 4]), sigma=st.floats(1, 2))
def test_log_quadratic_recovers_a_gaussian(x, y, stride, sigma):
    """Targets around (x + 0.5) / stride - 0.5, as the aligned convention has them, come back as x."""
    cells = np.arange(64 // stride)
    cx, cy = (x + 0.5) / stride - 0.5, (y + 0.5) / stride - 0.5
    target = np.exp(-((cells[None, :] - cx) ** 2 + (cells[:, None] - cy) ** 2) / (2 * sigma**2)).astype(np.float32)
    tags = np.zeros((1, *target.shape, 1), np.float32)
    persons, _ = group(target[None], tags, subpixel="log_quadratic")
    np.testing.assert_allclose(to_image(persons, stride, "aligned")[0, 0, :2], [x, y], atol=0.01)


@pytest.mark.parametrize("subpixel", ["quarter", "log_quadratic", "none"])
def test_peaks_in_corners_and_plateaus(subpixel):
    heatmaps = np.zeros((2, 6, 6), np.float32)
    heatmaps[0, 0, 0] = heatmaps[0, 5, 5] = 0.9
    heatmaps[1] = 0.5  # a plateau: every cell is a peak
    tags = np.zeros((2, 6, 6, 1), np.float32)
    tags[0, 5, 5] = 9
    persons, _ = group(heatmaps, tags, subpixel=subpixel)
    assert persons.shape[1:] == (2, 4)
    assert np.isfinite(persons).all()
    assert ((persons[..., :2] >= 0) & (persons[..., :2] <= 6)).all()


@pytest.mark.parametrize("tag_maps", [1, 2])
def test_nobody(tag_maps):
    persons, scores = group(np.zeros((14, 16, 24), np.float32), np.zeros((14, 16, 24, tag_maps), np.float32))
    assert persons.shape == (0, 14, 3 + tag_maps)
    assert scores.shape == (0,)


def test_takes_tensors_and_lists_and_leaves_them_alone():
    heatmaps, tags = two_people()
    before = heatmaps.copy(), tags.copy()
    expected = group(heatmaps, tags)
    for h, t in (
        (torch.from_numpy(heatmaps).requires_grad_(), torch.from_numpy(tags).permute(0, 2, 1, 3).permute(0, 2, 1, 3)),
        (heatmaps.astype(np.float64), tags.tolist()),
    ):
        persons, scores = group(h, t)
        np.testing.assert_array_equal(persons, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
    assert (heatmaps == before[0]).all()
    assert (tags == before[1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": (0, 1, 1)}, r"order \(0, 1, 1\) is not an order of 3 joints"),
        ({"max_people": 0}, "max_people 0"),
        ({"nms_kernel": 4}, "nms_kernel 4"),
        ({"detection_threshold": -0.1}, "detection_threshold -0.1"),
        ({"subpixel": "half"}, "subpixel 'half'"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        group(*two_people(), **change)


def test_refuses_maps_that_do_not_fit():
    heatmaps, tags = two_people()
    with pytest.raises(ValueError, match=r"\(3, 32, 48\) do not go with tags of shape \(2, 32, 48, 1\)"):
        group(heatmaps, tags[:2])
    with pytest.raises(ValueError, match=r"tags of shape \(3, 32, 48\): 4 axes"):
        group(heatmaps, tags[..., 0])
    for bad in (np.nan, np.inf):
        broken = heatmaps.copy()
        broken[1, 2, 3] = bad
        with pytest.raises(ValueError, match=rf"heatmaps hold {bad} at \(1, 2, 3\)"):
            group(broken, tags)
    huge = np.full_like(tags, 1e30)  # finite, though its square is not
    assert group(heatmaps, huge, refine=False)[0].shape[1:] == (3, 4)
