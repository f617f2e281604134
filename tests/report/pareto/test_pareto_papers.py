"""Models of papers: every network counts what its paper prints, and the conventions that axes know."""

from __future__ import annotations

import pytest

from archsearch.costs.macs import CONVENTIONS
from archsearch.files import InputError
from archsearch.report.pareto.axis import parse_axis
from archsearch.report.pareto.chart import make_chart
from archsearch.report.pareto.papers import published_points, unprinted
from archsearch.report.pareto.words import caption
from archsearch.report.pareto.write import Request, chart_of
from archsearch.report.published import DATASETS, published, true_cost, unit
from archsearch.space import fingerprint


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_every_network_counts_what_its_paper_prints(dataset: str) -> None:
    """In the paper's own convention, to the printed digit or 1 %; the one that no counter reproduces says so."""
    known = 0
    for model in published(dataset):
        price = true_cost(model)
        if price is None:
            assert "does not have" in model.note
            continue
        known += 1
        name, times = unit(model.convention)
        counted = price.macs_by_convention[model.convention] / (times if name == "G" else 1)
        half_digit = 0.5 * 10.0 ** -len(model.macs.partition(".")[2])
        near = abs(counted - float(model.macs)) <= max(1.001 * half_digit, 0.01 * float(model.macs))
        assert near or "no counter" in model.note, (model.model, counted, model.macs)
        if model.params_m:
            assert price.params / 1e6 == pytest.approx(float(model.params_m), abs=0.1), model.model
        assert model.source
    assert known >= 16


def test_the_shrinking_study_is_there_in_the_true_convention() -> None:
    chart = make_chart(published_points("crowdpose", "ap"), parse_axis("macs"), "AP", percent=True)
    found = {
        p.published.label: (round(x, 3), round(y, 1), p.published.printed_macs)
        for p, x, y in zip(chart.points, chart.x, chart.y, strict=True)
        if p.published is not None and p.series == "Gradual shrinking"
    }
    assert found == {
        "baseline": (11.219, 50.4, "12.50 G"),
        "Shrink1": (8.878, 51.0, "10.12 G"),
        "Shrink2": (8.735, 51.8, "10.02 G"),
        "Shrink3": (7.875, 53.0, "9.15 G"),
    }
    assert chart.left_out == ()
    assert chart.logarithmic


def test_what_cannot_be_converted_is_left_out_with_the_reason() -> None:
    points = published_points("coco", "ap")
    true = make_chart(points, parse_axis("macs"), "AP", percent=True)
    ((name, reason),) = true.left_out
    assert name == "OpenPose Lightweight"
    assert "prints 9.0 G in ptflops_0_6 only" in reason
    own = make_chart(points, parse_axis("macs:ptflops_0_6"), "AP", percent=True)
    assert own.left_out == ()
    assert own.x[[p.series == "OpenPose" for p in own.points]] == pytest.approx([9.0])
    assert [part.name for part in own.fronts] == ["published models, top-down", "published models, bottom-up"]
    assert {p.protocol for p in own.points if p.series in ("HRNet", "Lite-HRNet")} == {"top-down"}


@pytest.mark.parametrize("field", ["ap50", "ap75"])
def test_every_model_without_the_figure_is_left_out_by_name(field: str) -> None:
    drawn, missing = published_points("crowdpose", field), unprinted("crowdpose", field)
    assert [p.name for p in drawn] == ["HigherHRNet W48"]
    assert len(drawn) + len(missing) == len(published("crowdpose")) == 16
    name = field.upper()
    assert missing[0] == ("HigherHRNet W24", f"LitePose README (CVPR 2022) prints no {name}")
    assert unprinted("crowdpose", "ap") == []
    chart = chart_of(Request((), published="crowdpose", y=field))
    assert list(chart.left_out) == missing
    words = caption(chart)
    assert (
        "HigherHRNet W24, EfficientHRNet H1, LitePose XS, LitePose S, LitePose M and LitePose L are left out: "
        f"LitePose README (CVPR 2022) prints no {name}."
    ) in words
    assert f"are left out: LitePose slides p.10 prints no {name}." in words


def test_published_latency_is_of_one_device() -> None:
    points = published_points("crowdpose", "ap")
    chart = make_chart(points, parse_axis("latency:jetson"), "AP", percent=True)
    assert sorted(chart.x) == [22, 97, 144, 283, 330]
    assert ("LitePose L", "not measured there") in chart.left_out
    with pytest.raises(InputError, match=r"--x latency:H100: is none of: Jetson Nano"):
        make_chart(points, parse_axis("latency:H100"), "AP", percent=True)


def test_every_convention_is_an_axis() -> None:
    points = published_points("crowdpose", "ap")
    assert set(points[0].macs) == set(CONVENTIONS)
    for convention in CONVENTIONS:
        assert convention.split("_")[0] in make_chart(points, parse_axis(f"macs:{convention}"), "AP").x_label


def test_fingerprints_of_points_are_those_of_their_architectures() -> None:
    for point in published_points("crowdpose", "ap"):
        assert point.arch is not None
        assert point.fingerprint == fingerprint(point.arch)
        assert point.arch.joints == 14
