"""The plot of MACs against latency."""

from __future__ import annotations

from typing import Any

import pytest

from archsearch.report.latency_map import latency_map
from archsearch.report.style import style


def record(runtime: str, by: str, name: str, macs: int, ms: float) -> dict[str, Any]:
    return {"runtime": runtime, by: name, "macs": macs, "median_ms": ms}


def test_every_point_is_in_sight_and_a_group_looks_the_same_in_every_panel() -> None:
    """The second runtime is a hundred times as fast: limits that were taken from the first would hide all of it."""
    networks = [record("torch-eager", "group", name, 10**9 * i, 100.0 * i) for i in (1, 2) for name in ("zoo", "a")]
    networks += [record("onnxruntime", "group", "zoo", 10**9 * i, 1.0 * i) for i in (1, 2)]
    blocks = [record(n["runtime"], "module", "Basic", n["macs"] // 100, n["median_ms"] / 100) for n in networks]
    with style():
        figure = latency_map(networks, blocks)
        figure.draw_without_rendering()
    assert len(figure.axes) == 4
    colors: dict[str, set[Any]] = {}
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_linestyle() == "None"]
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        assert points
        for line in points:
            assert all(left < x < right for x in line.get_xdata())
            assert all(low < y < high for y in line.get_ydata())
        legend = ax.get_legend()
        assert legend is not None
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            colors.setdefault(text.get_text().partition(":")[0], set()).add(handle.get_color())
    assert {name: len(found) for name, found in colors.items()} == {"zoo": 1, "a": 1, "Basic": 1}
    first, second = (ax.get_legend() for ax in figure.axes[:2])
    assert first is not None
    assert second is not None
    assert "10 GMACs/s" in first.get_texts()[0].get_text()
    assert "1000 GMACs/s" in second.get_texts()[0].get_text()
    assert figure.axes[0].get_title() == "networks, torch-eager: Kendall's tau 1.00"


def test_networks_alone() -> None:
    with style():
        assert len(latency_map([record("torch-eager", "group", "zoo", 5, 1.0)] * 2, []).axes) == 1


@pytest.mark.parametrize("span", [3, 5000])
def test_ticks_are_plain_numbers(span: int) -> None:
    with style():
        figure = latency_map([record("r", "group", "zoo", 10**6 * i, float(i)) for i in (1, span)], [])
        figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "1" in shown
    assert not any("$" in text for text in shown)
