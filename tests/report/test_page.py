"""The page: valid, escaped, and complete in itself."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from report.pages import Parsed, parse

from archsearch.report.page import (
    Column,
    Picture,
    Section,
    code,
    data_uri,
    definitions,
    details,
    page,
    paragraph,
    table,
)

NASTY = '<b onclick="x">&\'</b>'


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    stem = tmp_path / "v1.2 plot"
    Path(f"{stem}.svg").write_text("<svg/>")
    Path(f"{stem}.png").write_bytes(b"\x89PNG" + bytes(100))
    return Picture(stem, f"shows {NASTY}", f"caption {NASTY}", wide=True)


def whole(picture: Picture) -> Parsed:
    columns = (Column(NASTY, NASTY, numeric=False), Column("n"))
    html = (
        paragraph(NASTY)
        + table(columns, [(NASTY, f"1\n{NASTY}"), ("b", "2")], NASTY)
        + definitions({NASTY: NASTY})
        + details(NASTY, code(NASTY))
    )
    return parse(page(NASTY, NASTY, NASTY, [Section(NASTY, html, (picture,)), Section("more")], kicker=NASTY))


def test_every_text_is_escaped(picture: Picture) -> None:
    parsed = whole(picture)
    assert "b" not in parsed.tags
    assert not any("onclick" in name for _, attributes in parsed.elements for name in attributes)
    assert parsed.text("title") == NASTY
    assert parsed.text("h1") == NASTY
    assert parsed.text("dd") == NASTY
    assert parsed.text("small") == NASTY
    images = [attributes for tag, attributes in parsed.elements if tag == "img"]
    assert [image["alt"] for image in images] == [f"shows {NASTY}"]


def test_structure(picture: Picture) -> None:
    parsed = whole(picture)
    parsed.check()
    assert parsed.tags.count("h1") == parsed.tags.count("main") == parsed.tags.count("title") == 1
    assert parsed.tags.count("section") == parsed.tags.count("h2") == 2
    assert [a["href"] for tag, a in parsed.elements if tag == "a"] == ["#s0", "#s1"]
    metas = [attributes for tag, attributes in parsed.elements if tag == "meta"]
    assert any("width=device-width" in str(m.get("content")) for m in metas)
    assert any("default-src 'none'" in str(m.get("content")) for m in metas)


def test_the_smaller_file_is_embedded(picture: Picture) -> None:
    kind, _, content = data_uri(picture.stem).partition(";base64,")
    assert (kind, base64.b64decode(content)) == ("data:image/svg+xml", b"<svg/>")
    Path(f"{picture.stem}.svg").write_text("<svg/>" * 100)
    assert data_uri(picture.stem).startswith("data:image/png;base64,")


def test_percent_signs_stay_with_their_number() -> None:
    assert paragraph("95 % of <all>") == "<p>95&nbsp;% of &lt;all&gt;</p>\n"


def test_light_and_dark_have_the_same_colours_to_set(picture: Picture) -> None:
    css = page("t", "", "a", [])
    light, dark = (part.split("}")[0] for part in css.split(":root {")[1:3])
    names = [{entry.split(":")[0].strip() for entry in part.split(";") if entry.strip()} for part in (light, dark)]
    assert names[0] == names[1]
    assert "prefers-color-scheme: dark" in css
