"""Who is on a front, and how surely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report.records import make_run
from report.searches import make_search

from archsearch.files import InputError
from archsearch.report.pareto.axis import parse_axis
from archsearch.report.pareto.chart import SENSES, draw_ap, make_chart
from archsearch.report.pareto.records import points_of
from archsearch.report.tables import Difference
from archsearch.search.pareto import front


def test_fronts_are_those_of_their_groups(tmp_path: Path) -> None:
    runs = [make_search(tmp_path / name, count=30, seed=seed) for seed, name in enumerate("ab")]
    points = points_of(runs, "ap")
    values = np.array([[p.macs["true"], p.ap] for p in points])
    apart = make_chart(points, parse_axis("macs"), "AP")
    expected = np.concatenate([front(values[:30], SENSES), front(values[30:], SENSES)])
    assert np.array_equal(apart.on_front, expected)
    together = make_chart(points, parse_axis("macs"), "AP", together=True)
    assert np.array_equal(together.on_front, front(values, SENSES))
    assert apart.probability.min() >= 0
    assert (apart.probability[apart.on_front] > 0).all()
    for part in apart.fronts:
        known = ~np.isnan(part.low)
        assert (part.low[known] <= part.middle[known]).all()
        assert (np.diff(part.middle[known]) >= -1e-12).all()


def test_paired_differences_move_points_together(tmp_path: Path) -> None:
    """Two nets that differ by 0.010 +- 0.002 on the same images are told apart, though their intervals overlap."""
    run = make_run(tmp_path / "run", names=("baseline", "shrink1"))
    alone, _ = draw_ap(points_of([run], "ap"), 4000, np.random.default_rng(0))
    assert (alone[:, 1] < alone[:, 0]).mean() > 0.1
    run.record("comparison", config="shrink1", against="baseline", seed=0, difference=0.015, low=0.011, high=0.019)
    points = points_of([run], "ap")
    assert points[1].difference == Difference("baseline", 0.015, 0.011, 0.019)
    paired, own = draw_ap(points, 4000, np.random.default_rng(0))
    moved = paired[:, 1] - paired[:, 0]
    assert moved.mean() == pytest.approx(points[1].ap - points[0].ap, abs=1e-3)
    assert np.quantile(moved, [0.025, 0.975]) == pytest.approx([0.011, 0.019], abs=5e-4)
    assert own[:, 1].std() < 0.4 * own[:, 0].std()


def test_samples_of_shared_images_are_taken_together(tmp_path: Path) -> None:
    run = make_search(tmp_path / "run", count=2)
    common = np.random.default_rng(0).normal(0, 0.02, 500)
    for k, record in enumerate(run.records("candidate")):
        run.record(**{**record, "ap": 0.4 + k / 100, "ap_draws": (0.4 + k / 100 + common).tolist()})
    drawn, _ = draw_ap(points_of([run], "ap"), 300, np.random.default_rng(0))
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(0.01)
    assert drawn[:, 0].std() == pytest.approx(0.02, rel=0.2)


def test_a_candidate_that_was_given_up_does_not_keep_others_from_sharing_images(tmp_path: Path) -> None:
    """It has no samples of its own; and a sample in which nobody was to be found says nothing."""
    run = make_search(tmp_path / "run", count=3)
    common = np.random.default_rng(0).normal(0, 0.02, 200)
    common[7] = np.nan
    for k, record in enumerate(run.records("candidate")[:2]):
        run.record(**{**record, "ap": 0.4 + k / 100, "ap_draws": (0.4 + k / 100 + common).tolist()})
    drawn, _ = draw_ap(points_of([run], "ap"), 300, np.random.default_rng(0))
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(0.01)
    assert np.isfinite(drawn).all()
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1]) < 0.2


@pytest.mark.parametrize("text", ["macs:flops", "macs:", "latency", "latency:", "speed", "params:x"])
def test_axes_that_are_not_there(text: str) -> None:
    with pytest.raises(InputError, match=f"--x {text}: .*one of"):
        parse_axis(text)
