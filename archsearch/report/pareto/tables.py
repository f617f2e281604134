"""The points of a chart as rows, for ``pareto.csv`` and ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from archsearch.report.pareto.architectures import file_name
from archsearch.report.pareto.axis import macs_in
from archsearch.report.pareto.chart import Chart

Row = dict[str, Any]


def rows_of(chart: Chart, linked: Sequence[int] = ()) -> list[Row]:
    """A row a point, the cheapest first; ``cost`` is what the axis shows, in its ``unit``. None: not known."""
    rows = []
    for i in np.argsort(chart.x, kind="stable").tolist():
        point = chart.points[i]
        own = point.low < point.high
        rows.append(
            {
                "name": point.name,
                "series": point.series,
                "ap": round(point.ap, 6),
                "ap_low": point.low if own else None,
                "ap_high": point.high if own else None,
                "cost": float(f"{chart.x[i]:.10g}"),
                "unit": chart.x_unit,
                "cost_of": chart.x_label,
                "spread": float(2 * chart.x_spread[i]) or None,
                "on_front": bool(chart.on_front[i]),
                "probability": round(float(chart.probability[i]), 4),
                "settles_ap": round(float(chart.settles[i, 1]), 4),
                "settles_cost": round(float(chart.settles[i, 0]), 4),
                "macs_true": macs_in(point, "true"),
                "params": point.params,
                "fingerprint": point.fingerprint or None,
                "arch": f"archs/{file_name(chart, i)}" if i in linked else None,
                "source": point.published.source if point.published else None,
            }
        )
    return rows
