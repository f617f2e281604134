"""Reports as one HTML file that needs nothing else: no network, no scripts, figures inside, light and dark.

A page is data: :class:`Section` holds finished HTML (made by :func:`paragraph`, :func:`table`, ..., which escape what
they are given) and :class:`Picture` files that :func:`page` embeds.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A figure that was saved as PNG and SVG."""

    stem: Path  # without .png and .svg
    alt: str  # what it shows, for those who do not see it
    caption: str
    wide: bool = False  # as wide as the page; on small screens it scrolls in its own frame


@dataclass(frozen=True)
class Section:
    """A part of a page: HTML first, then figures."""

    title: str
    html: str = ""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    unit: str = ""
    numeric: bool = True


def page(title: str, question: str, answer: str, sections: Sequence[Section], *, kicker: str = "") -> str:
    """A whole page. ``title``, ``question``, ``answer`` and ``kicker``, the line above the title, are plain text."""
    links = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections))
    body = "\n".join(_section(i, section) for i, section in enumerate(sections))
    lead = f'<p class="kicker">{escape(kicker)}</p>\n' if kicker else ""
    asked = f'<p class="question">{escape(question)}</p>\n' if question else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header>
{lead}<h1>{escape(title)}</h1>
{asked}<div class="answer"><p>{_text(answer)}</p></div>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{_text(text)}</p>\n"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Plain cells as a table whose first column names the rows; it scrolls in its own frame where it is too wide.

    What follows a line break in a cell is shown small below.
    """
    heads = ""
    for column in columns:
        unit = f" <small>{escape(column.unit)}</small>" if column.unit else ""
        heads += f'<th scope="col"{_number(column)}>{escape(column.name)}{unit}</th>'
    lines = []
    for row in rows:
        cells = [f"<td{_number(column)}>{_cell(cell)}</td>" for column, cell in zip(columns, row, strict=True)]
        cells[0] = f'<th scope="row">{_cell(row[0])}</th>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table></div>\n"
        f'<p class="note">{_text(caption)}</p>\n'
    )


def definitions(values: Mapping[str, str]) -> str:
    """Names and what they stand for."""
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
    return f"<dl>{pairs}</dl>\n"


def code(text: str) -> str:
    """Text as it is typed or written in a file."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>\n'


def details(summary: str, html: str) -> str:
    """HTML that is folded away behind a plain summary."""
    return f"<details><summary>{escape(summary)}</summary>\n{html}</details>\n"


def data_uri(stem: Path) -> str:
    """The smaller one of a figure's two files, as an address that contains it."""
    kinds = {"image/svg+xml": stem.with_name(f"{stem.name}.svg"), "image/png": stem.with_name(f"{stem.name}.png")}
    kind = min(kinds, key=lambda name: kinds[name].stat().st_size)
    return f"data:{kind};base64,{base64.b64encode(kinds[kind].read_bytes()).decode('ascii')}"


def _section(index: int, section: Section) -> str:
    figures = "".join(_figure(picture) for picture in section.pictures)
    grid = f'<div class="figures">{figures}</div>\n' if figures else ""
    heading = f'<h2 id="h{index}">{escape(section.title)}</h2>'
    return f'<section id="s{index}" aria-labelledby="h{index}">{heading}\n{section.html}{grid}</section>'


def _figure(picture: Picture) -> str:
    alt, caption = escape(picture.alt, quote=True), _text(picture.caption)
    kind = ' class="wide"' if picture.wide else ""
    image = f'<img src="{data_uri(picture.stem)}" alt="{alt}">'
    card = f'<div class="card" role="region" tabindex="0" aria-label="{alt}">{image}</div>' if picture.wide else (
        f'<div class="card">{image}</div>'
    )  # fmt: skip
    return f"<figure{kind}>{card}<figcaption>{caption}</figcaption></figure>\n"


def _text(text: str) -> str:
    """Running text; a number stays with its percent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _cell(text: str) -> str:
    first, *others = map(escape, text.split("\n"))
    return first + "".join(f"<small>{other}</small>" for other in others)


def _number(column: Column) -> str:
    return ' class="n"' if column.numeric else ""


_CSS = """
:root { --ink: #1a1a1a; --soft: #5a5a5a; --line: #dcdcdc; --paper: #ffffff; --wash: #f5f6f7; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a9adb2; --line: #3a3e43; --paper: #16181b; --wash: #1f2226; --accent: #6cb8e6; }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 0.8rem; padding-top: 0.8rem; border-top: 1px solid var(--line); font-size: 1.2rem; }
p { margin: 0 0 0.8rem; max-width: 46rem; overflow-wrap: break-word; }
a { color: var(--accent); }
small { color: var(--soft); font-weight: normal; font-size: 0.85em; }
.kicker { margin: 0 0 0.3rem; color: var(--soft); font-size: 0.85rem; }
.question { margin: 0.5rem 0 1rem; color: var(--soft); font-size: 1.1rem; }
.answer { padding: 0.9rem 1.1rem; border-left: 4px solid var(--accent); background: var(--wash); }
.answer p { margin: 0; max-width: 58rem; font-size: 1.05rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; margin: 1rem 0 0; padding: 0; list-style: none;
  font-size: 0.9rem; }
.scroll, .card, pre { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap;
  vertical-align: top; }
thead th { vertical-align: bottom; }
thead th { border-bottom: 1.5px solid var(--soft); }
th small, td small { display: block; }
tbody th { font-weight: 600; }
.n { text-align: right; }
.note, figcaption { margin-top: 0.5rem; color: var(--soft); font-size: 0.85rem; max-width: 46rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.6rem 1.4rem;
  align-items: start; margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
.card { padding: 0.7rem; border: 1px solid var(--line); border-radius: 6px; background: #ffffff; }
.card img { display: block; width: 100%; max-width: 34rem; height: auto; margin: 0 auto; }
.wide .card img { min-width: 44rem; max-width: none; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: 0.5rem 1.4rem;
  margin: 0; font-size: 0.9rem; }
dt { color: var(--soft); font-size: 0.8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0.5rem 0 0.8rem; padding: 0.7rem 0.9rem; background: var(--wash); border: 1px solid var(--line);
  border-radius: 6px; font: 0.83rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; margin: 0.6rem 0; }
@media (max-width: 40rem) { tbody th { white-space: normal; min-width: 7rem; } }
@media print { nav { display: none; } .card { border: 0; padding: 0; } section { break-inside: avoid; } }
"""
