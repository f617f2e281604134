"""Tables of block latencies: what they hold, how they go on, whom they refuse, and how well sums predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import archsearch
from archsearch.cli import app
from archsearch.costs import table as tables
from archsearch.costs.agreement import Correction, fit, kendall, mape, spearman
from archsearch.costs.blocks import at_resolution, distinct, runnable
from archsearch.costs.fast import CostModel
from archsearch.costs.latency import Latency
from archsearch.costs.runtimes import Setting
from archsearch.costs.table import Plan, Table, draw, judge, make_table, predict
from archsearch.files import InputError, read_jsonl
from archsearch.nets.zoo import Arch, load_arch
from archsearch.space import Space

SMALL = {
    "kind": "litepose",
    "resolution": {"choice": [32, 64]},
    "stem": {"choice": [4, 8]},
    "stages": [
        {"width": {"choice": [4, 8]}, "stride": 2 - i // 3, "blocks": {"repeat": {"kernel": 3}, "times": 2}}
        for i in range(4)
    ],
    "head": {"filters": [4, 4, 4]},
}
SPACE: Space[Arch] = Space(Arch, SMALL, "small")
QUICK = Plan(repeats=3, warmup=1, tries=1, calibration=4, held_out=5, network_repeats=2)


def test_agreement_by_hand() -> None:
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert mape([11, 18], [10, 20]) == pytest.approx(0.1)
    assert fit([1, 2, 3, 4], [2 + 1, 4 + 1, 6 + 1, 8 + 1]) == Correction(pytest.approx(2), pytest.approx(1))
    assert fit([2.0], [3.0]) == Correction(pytest.approx(1.5))
    assert fit([], []) == Correction()
    assert Correction(1, -5)(3) == 0


def test_distinct_blocks_by_counting() -> None:
    """At one resolution: 2 stems; in a stage 2 x 2 first blocks and 2 others, which the last two stages share, as they
    are of one resolution; a head of 4 + 2 + 2 doublings (raw by refined, the filters are fixed) and 2 + 2 outputs."""
    space = at_resolution(SPACE, 32)
    units = distinct(space, CostModel(space))
    count: dict[str, int] = {}
    for unit in units:
        count[unit.module] = count.get(unit.module, 0) + 1
    assert count == {"StemNet": 2, "Inverted": 4 * 6 - 2, "Doubling": 4 + 2 + 2, "Output": 2 + 2}
    with pytest.raises(ValueError, match=r"resolution 48 is not one of \[32, 64\] in small"):
        at_resolution(SPACE, 48)


@pytest.mark.parametrize("name", ["litepose-xs", "hrnet-w32", "litehrnet-18", "efficienthrnet-h4"])
def test_every_block_runs_alone(name: str) -> None:
    arch = load_arch(name)
    model = CostModel(arch)
    seen: set[str] = set()
    for number in model.units_of(arch, (64, 64)):
        unit = model.units[number]
        if unit.module in seen:
            continue
        seen.add(unit.module)
        import torch

        bound = runnable(unit, batch=2).eval()
        with torch.no_grad():
            outputs = bound(*(torch.randn(shape) for shape in bound.shapes()))
        assert all(output.shape[0] == 2 and torch.isfinite(output).all() for output in outputs)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.jsonl"
    assert make_table(path, SPACE, Setting(), QUICK, [32])
    return path


def test_a_table_predicts_every_architecture_of_its_part(made: Path) -> None:
    table = Table(made, SPACE, Setting())
    for arch in draw([at_resolution(SPACE, 32)], 20):
        assert predict(table, arch) == pytest.approx(table.correction(table.sum_ms(arch))) != 0
    found = judge(table)
    assert (found["calibration_networks"], found["held_out_networks"]) == (4, 5)
    assert json.loads(json.dumps(found))["blocks"] == 2 + 22 + 8 + 4
    with pytest.raises(InputError, match="block not measured: StemNet"):
        predict(table, at_resolution(SPACE, 64).smallest())


def test_a_finished_table_is_not_measured_again(made: Path) -> None:
    before = made.read_bytes()
    assert make_table(made, SPACE, Setting(), QUICK, [32])
    assert made.read_bytes() == before


def test_a_stopped_table_goes_on(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.jsonl"
    lines = made.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:20]) + lines[20][:30])  # killed while it wrote a line
    measured: list[int] = []
    real = tables._measured
    monkeypatch.setattr(tables, "_measured", lambda units, *rest: measured.append(len(units)) or real(units, *rest))
    assert not make_table(path, SPACE, Setting(), QUICK, [32], should_stop=lambda: True)
    assert make_table(path, SPACE, Setting(), QUICK, [32])
    assert sum(measured) == 36 - 19
    keys = [r["key"] for r in read_jsonl(path) if r["kind"] == "block"]
    assert len(keys) == len(set(keys)) == 36


@pytest.mark.parametrize(
    ("space", "setting", "words"),
    [
        (Space(Arch, {**SMALL, "stem": 4}, "other"), Setting(), ["space small", "space other"]),
        (Space(Arch, {**SMALL, "stem": 4}, "small"), Setting(), ["space_fingerprint"]),
        (SPACE, Setting(runtime="onnxruntime"), ["runtime torch-eager", "runtime onnxruntime"]),
        (SPACE, Setting(threads=2), ["threads 1", "threads 2"]),
        (SPACE, Setting(batch=4), ["batch 1", "batch 4"]),
    ],
)
def test_a_table_of_something_else_is_refused_with_both_names(
    made: Path, space: Space[Arch], setting: Setting, words: list[str]
) -> None:
    for use in (lambda: Table(made, space, setting), lambda: make_table(made, space, setting, QUICK)):
        with pytest.raises(InputError) as raised:
            use()
        assert all(word in str(raised.value) for word in words)


def test_a_table_of_another_device_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.costs.runtimes.device_name", lambda _: "Another CPU")
    with pytest.raises(InputError, match="not of device Another CPU"):
        Table(made, SPACE, Setting())
    assert Table(made, SPACE).head["device"]  # who only reads predictions may be anywhere


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"kind": "latency"}\n')
    with pytest.raises(InputError, match="not a latency table"):
        Table(tmp_path / "x.jsonl", SPACE)


def test_noisy_blocks_are_measured_again_and_the_calmest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    space = at_resolution(SPACE, 32)
    unit = distinct(space, CostModel(space))[0]
    spreads = iter([0.5, 0.2, 0.3, 0.4])

    def noisy(bound: dict[str, Any], *_: Any, **__: Any) -> dict[str, Latency]:
        spread = next(spreads)
        return {key: Latency(1 + spread, (1 + spread) * spread, 2, 3, "cpu", "torch-eager", 1, 1) for key in bound}

    monkeypatch.setattr(tables, "measure_bound", noisy)
    (record,) = tables._measured([unit], Setting(), Plan(noise=0.1, tries=3))
    assert (record["median_ms"], record["try"]) == (1.2, 2)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    Path("a.yaml").write_text(archsearch.nets.zoo.arch_yaml(at_resolution(SPACE, 32).smallest()))
    options = ["--resolution", "32", "--repeats", "2", "--calibration", "4", "--held-out", "4", "--noise", "9"]
    done = CliRunner().invoke(app, ["latency", "table", "small.yaml", "--out", "t.jsonl", "--json", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["held_out_networks"] == 4
    done = CliRunner().invoke(app, ["latency", "predict", "t.jsonl", "small.yaml", "a.yaml", "--json"])
    assert json.loads(done.stdout)[0]["predicted_ms"] >= 0
    done = CliRunner().invoke(app, ["latency", "predict", "t.jsonl", "small.yaml", "litepose-xs"])
    assert "litepose-xs is not an architecture of the space small" in str(done.exception)
    done = CliRunner().invoke(app, ["latency", "measure", "a.yaml", "--repeats", "2", "--json"])
    assert json.loads(done.stdout)[0]["name"] == "a.yaml"
    assert len(read_jsonl("latency.jsonl")) == 1
    done = CliRunner().invoke(app, ["latency", "measure"])
    assert "no architecture to measure" in str(done.exception)
    names = ["--zoo", "a.yaml", "--zoo", "small-hrnet-w16", "--space", "small.yaml", "--samples", "4"]
    for _ in range(2):
        done = CliRunner().invoke(
            app, ["latency", "map", *names, "--blocks-of", "a.yaml", "--repeats", "2", "--out", "map", "--json"]
        )
        assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["group"] for row in found["networks"]] == ["zoo", "small.yaml"]
    assert {row["module"] for row in found["blocks"]} == {"StemNet", "Inverted", "Doubling", "Output"}
    assert len([r for r in read_jsonl("map/latency.jsonl") if r["kind"] == "latency"]) == 6
    assert Path("map/latency_map.png").stat().st_size > 10_000
    assert Path("map/latency_map.svg").exists()
