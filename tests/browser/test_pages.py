"""Reports and Pareto pages as people see them: wide and narrow, light and dark, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import chrome
from browser.chrome import Scheme
from report.records import make_run, share
from report.searches import finish_search, make_search
from report.test_rank_report import made as made_rank
from report.test_single_report import made as made_training
from report.test_supernet_report import made as made_supernet

from archsearch.report import rank, search, shrink, single, supernet
from archsearch.report.pareto.write import Request, write_pareto

pytestmark = pytest.mark.skipif(chrome.chromium() is None, reason="no chromium on this machine")
WIDTHS_PX = (1200, 400)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind, by name."""
    folder = tmp_path_factory.mktemp("pages")
    shrinking = make_run(folder / "shrink")
    share(shrinking)
    shrink.write_report(shrinking)
    single.write_report(made_training(folder / "training"))
    supernet.write_report(made_supernet(folder / "supernet", conflicts=True))
    rank.write_report(made_rank(folder / "ranking"))
    write_pareto(Request((), published="crowdpose"), folder / "papers")
    write_pareto(Request((shrinking,)), folder / "front")
    searches = tuple(make_search(folder / f"search{seed}", count=25, seed=seed) for seed in range(2))
    write_pareto(Request(searches), folder / "searches")
    hunt = make_search(folder / "hunt", device="cpu, predicted")
    finish_search(hunt)
    search.write_report(hunt)
    found = [*folder.glob("*/pareto.html"), *folder.glob("**/report.html")]
    return {f"{path.parent.name}/{path.name}": path for path in found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_work(pages: dict[str, Path], scheme: Scheme, tmp_path: Path) -> None:
    assert len(pages) == 8
    seen, console, pixels = chrome.look(pages, WIDTHS_PX, scheme, tmp_path)
    assert console == []
    for one in seen:
        where, facts = f"{one.page} at {one.width} px, {scheme}", one.facts
        assert facts["width"] == one.width
        assert facts["scroll_width"] <= one.width, f"{where}: wider than the screen"
        assert facts["images"], f"{where}: no image"
        assert all(facts["images"]), f"{where}: an image that cannot be shown"
        assert facts["title"], where
        assert facts["heading_px"] > 20, where
        assert facts["smallest_px"] >= 11, where
        assert _contrast(facts["paper"], facts["ink"]) > 10, where
        assert (_lightness(facts["paper"]) > 0.9) == (scheme == "light"), where
        assert all(facts["targets"]), f"{where}: a link that leads nowhere"
        if one.page.endswith("pareto.html"):
            assert len(facts["tips"]) >= 4, where
            assert all(before > 0 and hidden == 0 and after == before for before, hidden, after in facts["switches"])
        for tip in facts["tips"]:
            assert not tip["before"], f"{where}: shown without being asked for"
            assert tip["after"], f"{where}: not shown"
            assert re.search(r"AP \d.*\n.*MACs \d", tip["text"]), (where, tip)
            assert 0 <= tip["left"] < tip["right"] <= one.width, f"{where}: {tip} sticks out"
    for part in np.split(pixels, [WIDTHS_PX[0]], axis=1):
        paper = np.median(part[:, 0], axis=0)
        assert (paper.mean() > 240) if scheme == "light" else (paper.mean() < 40)
        inked = (np.abs(part.astype(int) - paper).max(axis=2) > 100).mean()
        assert 0.01 < inked < 0.5


def test_faults_would_be_seen(tmp_path: Path) -> None:
    """A page that is too wide, loads from elsewhere, complains and has a broken image is found out."""
    page = tmp_path / "bad.html"
    page.write_text(
        '<!DOCTYPE html><title>bad</title><meta http-equiv="Content-Security-Policy" content="script-src \'none\'">'
        '<h1>bad</h1><p style="width:500px">wide</p><img src="data:image/png;base64,AAAA" alt="broken">'
        "<script>0</script>"
    )
    (one,), console, pixels = chrome.look({"bad": page}, (400,), "light", tmp_path)
    assert one.facts["scroll_width"] > 400
    assert one.facts["images"] == [False]
    assert len(console) == 1
    assert pixels.shape == (900, 400, 3)


def _channels(color: str) -> list[float]:
    return [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]


def _lightness(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(color)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def _contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2.2): 1 to 21."""
    dark, light = sorted((_lightness(one), _lightness(other)))
    return (light + 0.05) / (dark + 0.05)
