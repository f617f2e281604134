"""The table of known architectures, and the page that it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

import archsearch
from archsearch.files import InputError
from archsearch.report import models as table
from archsearch.report.models import BEGIN, END, PRINTED, models_table, paper, put_table

TABLE = models_table()
PAGE = Path(__file__).parents[2] / "README.md"


def test_the_page_is_up_to_date() -> None:
    """If this fails: archsearch models --into README.md"""
    assert f"{BEGIN}\n{TABLE}{END}" in PAGE.read_text()


def test_the_table() -> None:
    lines = TABLE.splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == archsearch.models()
    assert {line.count("|") for line in lines} == {9}
    row = next(line for line in lines if "`litepose-s`" in line)
    assert row == (
        "| `litepose-s` | LitePose, CVPR 2022 | 448x448 | 14 | 2,731,240 | 3.614 G | 4.981 G `ptflops_0_6` | 5.0 G |"
    )


@pytest.mark.parametrize("name", PRINTED)
def test_our_count_rounds_to_what_is_printed(name: str) -> None:
    """In the paper's own convention, to the paper's last digit."""
    printed, unit = PRINTED[name].split()
    value = archsearch.cost(name).macs_by_convention[paper(name).convention]
    if unit == "G":
        value /= 1e9
    if name == "small-hrnet-w16":  # printed in Gi beside others in Mi
        value /= 1024
    digits = len(printed.partition(".")[2])
    assert f"{value:.{digits}f}" == printed


def test_papers() -> None:
    assert paper("higherhrnet-w16").title.startswith("HigherHRNet")
    assert "shrinking" in paper("higherhrnet-w16-shrink1").title
    with pytest.raises(ValueError, match="no paper is on record for mynet"):
        paper("mynet")


def test_the_table_goes_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "models_table", lambda: "a table\n")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_table(page)
    assert page.read_text() == f"before\n{BEGIN}\na table\n{END}\nafter\n"
    page.write_text(f"{END} {BEGIN}")
    with pytest.raises(InputError, match=r"page\.md: no <!-- models:begin --> and"):
        put_table(page)
    assert page.read_text() == f"{END} {BEGIN}"
