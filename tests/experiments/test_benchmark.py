"""Tables of a whole small space: the shipped one, and one made from a supernet that was never trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import made
from train import tiny

from archsearch.costs.agreement import kendall
from archsearch.costs.fast import CostModel
from archsearch.experiments import benchmark, candidates
from archsearch.experiments.benchmark import every, run_table, source
from archsearch.experiments.candidates import EstimateSettings
from archsearch.experiments.rank import read_benchmark
from archsearch.experiments.search.scores import TableScore, score_for, space_of, table_data
from archsearch.files import InputError, resources
from archsearch.nets.zoo import Arch, load_space
from archsearch.runs import Run
from archsearch.space import Space, fingerprint

QUIET: dict[str, Any] = {"on_event": lambda *_: None, "should_stop": lambda: False}
SMALL = {**tiny.LITEPOSE, "stem": 4, "stages": [
    {"width": 8, "stride": 2, "blocks": {"repeat": {"kernel": 3, "expand": 1}, "times": [1, 2]}},
    *tiny.LITEPOSE["stages"][1:],
], "head": {"filters": [8, 4]}}  # fmt: skip


def small(**changes: Any) -> Space[Arch]:
    return Space(Arch, {**SMALL, **changes}, "small")


@pytest.fixture(scope="module")
def shipped() -> Path:
    return resources("search_spaces") / "embedded_table.jsonl"


def test_the_shipped_table_has_every_architecture_once(shipped: Path) -> None:
    space, rows = load_space("embedded_table"), read_benchmark(shipped)
    costs = CostModel(space)
    assert len(rows) == space.size == 768
    seen = set()
    for row in rows:
        arch = space.build(row["choices"])
        assert set(row["choices"]) == {hole.path for hole in space.holes}
        assert fingerprint(arch) == row["fingerprint"]
        assert (costs(arch).macs, costs(arch).params) == (row["macs"], row["params"])
        seen.add(fingerprint(arch))
    assert len(seen) == 768
    assert [row["macs"] for row in rows] == sorted(row["macs"] for row in rows)


def test_the_shipped_table_says_where_it_comes_from_and_is_no_noise(shipped: Path) -> None:
    origin = json.loads(shipped.read_text().splitlines()[0])["source"]
    assert origin["data"]["kind"] == "scenes"
    assert origin["supernet"]["study"] == "embedded_supernet"
    assert "/" not in str(origin["supernet"]["run"])
    rows = read_benchmark(shipped)
    aps = np.array([row["supernet_ap"] for row in rows])
    assert np.corrcoef(aps, np.log([row["macs"] for row in rows]))[0, 1] > 0.5
    assert np.ptp(aps) > 0.1
    assert {row["alone_ap"] for row in rows} == {None}


def test_every_architecture_of_the_shipped_table_is_in_the_supernets_space() -> None:
    large = load_space("embedded_litepose")
    assert all(arch in large for arch in every(load_space("embedded_table")))


# ----------------------------------------------------------------------------------- supernet and stand-alone training


@pytest.fixture(scope="module")
def ranked() -> Path:
    """The shipped architectures that were also trained alone."""
    return resources("search_spaces") / "embedded_rank.jsonl"


def test_the_shipped_ranking_is_of_the_space_and_by_the_shipped_supernet(ranked: Path, shipped: Path) -> None:
    space, rows = load_space("embedded_litepose"), read_benchmark(ranked)
    costs = CostModel(space)
    assert len({row["fingerprint"] for row in rows}) == 16
    for row in rows:
        arch = space.build(row["choices"])
        assert fingerprint(arch) == row["fingerprint"]
        assert (costs(arch).macs, costs(arch).params) == (row["macs"], row["params"])
        assert len(row["alone_aps"]) == 2
        assert row["alone_ap"] == pytest.approx(np.mean(row["alone_aps"]))
    origin, table = (json.loads(path.read_text().splitlines()[0])["source"] for path in (ranked, shipped))
    assert (origin["data"], origin["supernet"]) == (table["data"], table["supernet"])
    assert (origin["alone"]["images_seen"], origin["alone"]["seeds"]) == (9600, [0, 1])


def test_the_shipped_ranking_has_the_published_figures(ranked: Path) -> None:
    """Those of the shipped supernet in docs/results/2026-11-22-supernet.md."""
    rows = read_benchmark(ranked)
    alone = [row["alone_ap"] for row in rows]
    assert kendall([row["supernet_ap"] for row in rows], alone) == pytest.approx(0.70, abs=5e-3)
    assert kendall([row["macs"] for row in rows], alone) == pytest.approx(0.80, abs=5e-3)
    assert kendall(*zip(*(row["alone_aps"] for row in rows), strict=True)) == pytest.approx(0.82, abs=5e-3)


def test_a_search_takes_stand_alone_ap_from_the_shipped_ranking(ranked: Path, tmp_path: Path) -> None:
    settings = TableScore(kind="table", space="embedded_litepose", file=ranked, column="alone_ap")
    where: dict[str, Any] = {"supernet": None, "trained": None, "run": Run(tmp_path), "device": "cpu"}
    score = score_for(settings, **where, cost_names=("macs",), should_stop=lambda: False)
    space = space_of(settings, None)
    for row in read_benchmark(ranked):
        assert score(space.build(row["choices"]), {}, ())["ap"] == row["alone_ap"]
    assert table_data(settings)["kind"] == "scenes"
    with pytest.raises(ValueError, match="no alone_ap of architecture"):
        score(space.largest(), {}, ())


# ------------------------------------------------------------------------------------------------------ making a table


def test_all_architectures_of_a_space_are_gone_through() -> None:
    assert len(every(small())) == small().size == 4
    assert len({fingerprint(arch) for arch in every(tiny.space(resolution=32))}) == tiny.space(resolution=32).size
    with pytest.raises(InputError, match=r"embedded_litepose: .* architectures, a table has 50,000 at most"):
        every(load_space("embedded_litepose"))


def test_a_table_is_made_goes_on_and_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, run = made.supernet(tmp_path / "net" / "20260101-000000"), Run(tmp_path)
    estimate = EstimateSettings.model_validate({"calibration_images": 4, "bootstrap": 10})
    where: dict[str, Any] = {"device": "cpu", "workers": 1, **QUIET}
    monkeypatch.setattr(candidates, "run_jobs", made.Inline(stop_after=1))
    assert run_table(small(), net.path, estimate, run, **where) is None
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    rows = run_table(small(), net.path, estimate, run, **where)
    assert rows is not None
    assert len(jobs.messages) == 3
    assert {fingerprint(small().build(row["choices"])) for row in rows} == {r["fingerprint"] for r in rows}
    assert [row["macs"] for row in rows] == sorted(row["macs"] for row in rows)
    assert {(row["alone_ap"], tuple(row["alone_aps"])) for row in rows} == {(None, ())}
    origin = source(small(), net.path, estimate)
    assert origin["estimate"]["calibration_images"] == 4
    assert origin["supernet"]["run"] == "20260101-000000"
    assert str(tmp_path) not in json.dumps(origin)


def test_a_space_that_the_supernet_does_not_hold_is_refused(tmp_path: Path) -> None:
    net = made.supernet(tmp_path / "20260101-000000")
    estimate = EstimateSettings.model_validate({"calibration_images": 4, "bootstrap": 10})
    with pytest.raises(InputError, match=r"small: not within the supernet's space: .*/stem") as caught:
        run_table(small(stem=6), net.path, estimate, Run(tmp_path), device="cpu", workers=1, **QUIET)
    assert "\n" not in str(caught.value)


def test_a_table_of_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MOST", 3)
    with pytest.raises(InputError, match="small: 4 architectures, a table has 3 at most"):
        every(small())
