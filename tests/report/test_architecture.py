"""Drawings of architectures: what is there, what was removed, and what cannot be drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from report.records import ARCHS, shrinking_arch

from archsearch.nets.efficient_hrnet import EfficientHRNet
from archsearch.nets.heads import Block, TopDown
from archsearch.nets.hrnet import HRNet, Stage, Stem
from archsearch.nets.litepose import Block as Inverted
from archsearch.nets.litepose import Head, LitePose
from archsearch.nets.litepose import Stage as LiteStage
from archsearch.nets.zoo import Arch, load_arch, models
from archsearch.report import style
from archsearch.report.architecture import architectures_figure, depths_text, describe, draw_architecture
from archsearch.report.boxes import GHOST, RAW

LITEPOSE = LitePose(
    "litepose",
    256,
    16,
    (
        LiteStage(16, 2, (Inverted(7, 6),) * 3),
        LiteStage(32, 2, (Inverted(5, 6),) * 2),
        LiteStage(48, 1, (Inverted(),) * 2),
    ),
    Head((16, 24)),
)


def draw(arch: Arch, reference: Arch | None = None):  # type: ignore[no-untyped-def]
    with style.style():
        ax = style.new_figure(6, 2).add_subplot()
        return draw_architecture(ax, arch, reference), ax


@pytest.mark.parametrize("name", list(ARCHS))
def test_ghosts_are_the_removed_blocks(name: str) -> None:
    arch, full = ARCHS[name], ARCHS["baseline"]
    drawn, ax = draw(arch, full)
    assert drawn.blocks == arch.blocks
    assert drawn.ghosts == full.blocks - arch.blocks
    outline = to_rgba(style.VERMILLION)
    dashed = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_edgecolor() == outline]
    assert len(dashed) == drawn.ghosts
    assert (GHOST in drawn.kinds) == (drawn.ghosts > 0)
    empty = sum(depth == 0 for stage in arch.depths for depth in stage)
    assert ("plain" in drawn.kinds) == (empty > 0)


def test_modules_that_are_gone_are_ghosts() -> None:
    depths = ((2,), (1, 1), (1, 1, 1))
    full, less = (shrinking_arch(16, depths, modules) for modules in ((1, 3), (1, 1)))
    assert draw(less, full)[0].ghosts == full.blocks - less.blocks == 6
    assert draw(full, less)[0].ghosts == 0


def test_kernels_other_than_three_are_written() -> None:
    arch = shrinking_arch(16, ((1,), (2, 1)), (1,))
    stage = dataclasses.replace(arch.stages[0], branches=((Block(5), Block(3)), (Block(7),)))
    _, ax = draw(dataclasses.replace(arch, stages=(stage,)))
    assert {"5", "7"} < {text.get_text() for text in ax.texts}
    assert "3" not in {text.get_text() for text in ax.texts}


@pytest.mark.parametrize("features", ["finest", "concat", "iterative"])
@pytest.mark.parametrize("kind", ["basic", "shuffle", "weighting"])
def test_every_member_of_the_family_is_drawn(features: str, kind: str) -> None:
    stages = tuple(Stage(2, ((Block(),) * 2,) * count, kind) for count in (2, 3))
    stem = Stem(32, 32, (), "lite")
    head = TopDown(features=features)  # type: ignore[arg-type]
    drawn, ax = draw(HRNet("hrnet", (256, 192), (40, 80, 160), stem, stages, head))
    assert drawn.blocks == 2 * 2 * 5
    assert kind in drawn.kinds
    texts = {text.get_text() for text in ax.texts}
    assert {"1/2", "1/4, 40 ch", "1/16, 160 ch", "stage 3, 2 modules", "heatmaps"} < texts


def test_litepose_is_drawn_with_its_fusion() -> None:
    more = dataclasses.replace(
        LITEPOSE, stages=tuple(dataclasses.replace(s, blocks=(*s.blocks, Inverted())) for s in LITEPOSE.stages)
    )
    drawn, ax = draw(LITEPOSE, more)
    assert (drawn.blocks, drawn.ghosts) == (7, 3)
    assert RAW in drawn.kinds
    assert [text.get_text() for text in ax.texts].count("7") == 5
    plain = dataclasses.replace(LITEPOSE, head=Head((16, 24), fusion=False))
    assert RAW not in draw(plain)[0].kinds


def test_efficient_hrnet_is_drawn_with_its_backbone() -> None:
    arch = load_arch("efficienthrnet-h1")
    assert isinstance(arch, EfficientHRNet)
    drawn, ax = draw(arch)
    assert (drawn.blocks, drawn.ghosts) == (arch.blocks, 0)
    assert "backbone" in {text.get_text() for text in ax.texts}
    less = dataclasses.replace(arch, rows=tuple(dataclasses.replace(r, blocks=r.blocks[:1]) for r in arch.rows))
    assert draw(less, arch)[0].ghosts == arch.blocks - less.blocks


@pytest.mark.parametrize("name", models())
def test_every_known_architecture_is_drawn_whole(name: str) -> None:
    arch = load_arch(name)
    drawn, ax = draw(arch)
    assert (drawn.blocks, drawn.ghosts) == (arch.blocks, 0)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for patch in ax.patches:
        assert isinstance(patch, Rectangle)
        assert left <= patch.get_x() < patch.get_x() + patch.get_width() <= right
        assert low <= patch.get_y() < patch.get_y() + patch.get_height() <= high


def test_a_mixture_of_kinds_and_kernels_is_drawn() -> None:
    stages = (
        Stage(1, ((Block(),), (Block(5),)), "basic"),
        Stage(2, ((), (Block(7),), (Block(9),) * 2), "shuffle"),
        Stage(1, ((Block(),), (Block(5),), (Block(7),) * 2), "weighting"),
    )
    head = TopDown(features="concat", pyramid=(32, 48, 64))
    drawn, ax = draw(HRNet("hrnet", (256, 192), (40, 80, 160), Stem(32, 32, (Block(),)), stages, head))
    assert drawn.blocks == 1 + 2 + 2 * 3 + 4
    assert {"bottleneck", "basic", "shuffle", "weighting", "plain", "mix", "conv"} == drawn.kinds
    texts = [text.get_text() for text in ax.texts]
    assert {"5", "7", "9", "32", "48", "64", "280"} < set(texts)
    assert texts.count("heatmaps") == 3


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(
        ValueError, match="dict is not one of the families that can be drawn: HRNet, EfficientHRNet, LitePose"
    ):
        draw({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reference is a LitePose, the architecture a HRNet"):
        draw(ARCHS["baseline"], LITEPOSE)
    with pytest.raises(ValueError, match=r"stages of \(2, 3\) branches, the architecture of \(2, 3, 4\)"):
        draw(ARCHS["baseline"], shrinking_arch(16, ((1,), (1, 1), (1, 1, 1)), (1, 1)))
    with pytest.raises(ValueError, match="no architectures"):
        architectures_figure({})


def test_texts_of_a_figure() -> None:
    with style.style():
        figure = architectures_figure({**ARCHS, "litepose": LITEPOSE, "$odd_": LITEPOSE}, {"shrink1": "a note"})
        figure.draw_without_rendering()
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "A = <1|1,2|1,1,2|0,1,1,2>, width 16, 12 of 19 blocks; a note" in texts
    assert "256 px, widths 16, 32, 48, 7 blocks" in texts
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [*ARCHS, "litepose", r"\$odd_"]


@pytest.mark.parametrize(
    "names", [("higherhrnet-w16-baseline", "higherhrnet-w18-shrink3"), ("litepose-s", "efficienthrnet-h1")]
)
def test_published_architectures_fit_their_figure(names: tuple[str, ...], tmp_path: Path) -> None:
    with style.style():
        figure = architectures_figure({name: load_arch(name) for name in names})
        figure.draw_without_rendering()
        edge = figure.bbox
        for ax in figure.axes:
            for text in (*ax.texts, ax.title):
                box = text.get_window_extent()
                inside = box.x0 > edge.x0 and box.x1 < edge.x1 and box.y0 > edge.y0 and box.y1 < edge.y1
                assert inside or not text.get_text(), text.get_text()


def test_one_line() -> None:
    assert depths_text(ARCHS["shrink3"]) == "<1|0,2|0,0,2|0,0,0,2>"
    assert describe(ARCHS["shrink3"]) == "A = <1|0,2|0,0,2|0,0,0,2>, width 18, 7 blocks"
