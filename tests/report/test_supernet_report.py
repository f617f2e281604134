"""The page of a supernet, from made-up records."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml
from report.pages import parse

from archsearch.files import InputError, write_json, write_text
from archsearch.report import style
from archsearch.report.supernet import answer, subnets, subnets_figure, training_figure, write_report
from archsearch.runs import Run

DATA = {"kind": "scenes", "skeleton": "coco17", "level": "easy", "size_px": 96, "train": 100, "val": 20, "seed": 0}
FIGURES = {  # AP, MACs, AP alone
    "smallest": (0.182, 3_100_000, 0.221),
    "median": (0.243, 7_500_000, 0.235),
    "largest": (0.291, 16_200_000, 0.312),
    "random0": (0.203, 5_000_000, None),
}


def made(path: Path, *, alone: bool = True, conflicts: bool = False) -> Run:
    study = {"kind": "supernet", "name": "one_for_all", "question": "Does <sharing> cost?", "data": DATA}
    write_text(path / "study.yaml", yaml.safe_dump(study))
    write_json(path / "environment.json", {"python": "3.12.1", "packages": {"torch": "2.13.0"}})
    run = Run(path)
    for k in range(1, 21):
        at = {"config": "supernet", "seed": 0, "step": 100 * k, "images_seen": 800 * k, "train_s": 10.0 * k}
        run.record("step", **at, loss=1.0 / k)
        if k % 10 == 0:
            for name, ap in (("smallest", 0.09 * k / 10), ("largest", 0.145 * k / 10)):
                run.record("evaluation", **at, subnet=name, loss=1.0 / k, ap=ap)
    run.record("trained", images_seen=16_000, train_s=200.0, processes=2, device="cpu", space_size="123")
    for name, (ap, macs, ap_alone) in FIGURES.items():
        run.record("candidate", fingerprint=f"f-{name}", arch={}, choices={}, ap=ap, ap_low=ap - 0.02,
                   ap_high=ap + 0.03, macs=macs, params=macs // 100)  # fmt: skip
        run.record("landmark", name=name, fingerprint=f"f-{name}")
        if alone and ap_alone is not None:
            run.record("evaluation", config=name, seed=0, step=2000, images_seen=16_000, loss=0.1, ap=ap_alone)
            run.record("result", config=name, seed=0, ap=ap_alone, ap_low=ap_alone - 0.02, ap_high=ap_alone + 0.02)
    for block, cosine in enumerate((0.8, -0.35) if conflicts else ()):
        run.record("conflict", base=0, images=16, path=f"/stages/{block}/blocks/0/kernel", a="3", b="5", cosine=cosine)
    if conflicts:
        run.record("conflict_base", base=0, images=16, reference=0.61)
    return run


def test_the_page_has_the_figures(tmp_path: Path) -> None:
    run = made(tmp_path, conflicts=True)
    rows = write_report(run)
    assert [row["sub-net"] for row in rows] == ["smallest", "random0", "median", "largest"]
    assert rows[0] == {
        "sub-net": "smallest", "AP": "0.182 [0.162, 0.212]", "AP alone": "0.221", "MACs": "3.10 M", "params": "0.031 M",
    }  # fmt: skip
    assert rows[1]["AP alone"] == "–"
    text = (run.path / "report.html").read_text()
    page = parse(text)
    page.check()
    assert page.text("h1") == "One for all"
    assert "Does &lt;sharing&gt; cost?" in text
    cells = [value.strip() for tag, value in page.texts if tag in ("td", "th")]
    for value in ("smallest", "0.182", "16.20", "0.162", "-0.039", "+0.008"):
        assert any(value in cell.replace("−", "-") for cell in cells), value
    for words in ("16,000 images", "2 processes on cpu", "AP on embedded scenes", "embedded scenes, easy, 96 px",
                  "archsearch supernet study.yaml", "Where gradients fight", "-0.35",
                  "two disjoint sets of 16 images have a mean cosine of 0.61"):  # fmt: skip
        assert words in text.replace("−", "-"), words
    assert page.tags.count("img") == 3
    assert {p.name for p in (run.path / "plots").iterdir()} == {
        f"{stem}.{kind}" for stem in ("subnets", "training", "conflict") for kind in ("png", "svg")
    }


def test_the_answer_in_words(tmp_path: Path) -> None:
    text = answer(subnets(made(tmp_path / "a")), "AP")
    assert "smallest 0.182 (alone 0.221), median 0.243 (alone 0.235), largest 0.291 (alone 0.312)." in text
    assert "On average 0.017 below the same architectures trained alone" in text  # (-.039 + .008 - .021) / 3
    text = answer(subnets(made(tmp_path / "b", alone=False)), "AP")
    assert text.endswith("smallest 0.182, median 0.243, largest 0.291.")


def test_a_page_without_stand_alone_results_or_conflicts(tmp_path: Path) -> None:
    run = made(tmp_path, alone=False)
    write_report(run)
    text = (run.path / "report.html").read_text()
    parse(text).check()
    assert "Where gradients fight" not in text
    assert "Open squares" not in text


def test_nothing_evaluated_is_one_clear_line(tmp_path: Path) -> None:
    write_text(tmp_path / "study.yaml", yaml.safe_dump({"kind": "supernet", "name": "x", "data": DATA}))
    with pytest.raises(InputError, match="no evaluated sub-net on record; go on with: archsearch supernet --resume"):
        write_report(Run(tmp_path))
    assert not (tmp_path / "report.html").exists()


def test_plots_show_every_sub_net_and_the_way_there(tmp_path: Path) -> None:
    run = made(tmp_path)
    with style.style():
        figure = subnets_figure(subnets(run), "AP")
        (ax,) = figure.axes
        points = {
            (round(float(x), 3), round(float(y), 3))
            for line in ax.lines
            if line.get_marker() in ("o", "s")
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        assert {(macs / 1e6, ap) for ap, macs, _ in FIGURES.values()} <= points
        assert {(macs / 1e6, alone) for _, macs, alone in FIGURES.values() if alone} <= points
        assert {text.get_text() for text in ax.texts} >= {"smallest", "median", "largest"}
        way = training_figure(run, "AP")
        above, below = way.axes
        assert [list(line.get_ydata()) for line in above.lines] == [[0.145, 0.29], [0.09, 0.18]]
        assert len(below.lines[0].get_xdata()) == 20
    plt.close("all")
