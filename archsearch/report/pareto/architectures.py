"""The architectures of a chart's points: as files, and on the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from archsearch.nets.zoo import arch_yaml
from archsearch.report.architecture import describe
from archsearch.report.pareto.chart import Chart

LINKED = 100  # points up to which every architecture is on the page; beyond, those that may be on the front
LIKELY = 0.1  # probability of being on the front from which on a point counts as one that may be


def shown_architectures(chart: Chart) -> list[int]:
    """The points whose architecture is written out: all, or of very many those that may be on a front."""
    known = [i for i, p in enumerate(chart.points) if p.arch is not None]
    if len(known) <= LINKED:
        return known
    return [i for i in known if chart.on_front[i] or chart.probability[i] >= LIKELY]


def architectures_html(chart: Chart, linked: Sequence[int]) -> str:
    """The architectures as text, each in its own fold, and as files to keep."""
    parts = []
    for i in linked:
        point = chart.points[i]
        assert point.arch is not None
        text = arch_yaml(point.arch)
        data = base64.b64encode(text.encode()).decode("ascii")
        parts.append(
            f"<details><summary>{escape(point.name)} · {point.fingerprint}</summary>\n"
            f'<div id="arch-{i}"><p>{escape(describe(point.arch))}. '
            f'<a download="{file_name(chart, i)}" href="data:text/yaml;base64,{data}">{file_name(chart, i)}</a></p>\n'
            f'<pre tabindex="0"><code>{escape(text)}</code></pre></div></details>\n'
        )
    return "".join(parts)


def file_name(chart: Chart, i: int) -> str:
    """What an architecture's file is called: its point's name and fingerprint."""
    point = chart.points[i]
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in point.name.lower())
    return f"{'-'.join(part for part in plain.split('-') if part)}-{point.fingerprint}.yaml"
