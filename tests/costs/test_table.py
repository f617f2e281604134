"""Tables of block latencies: what they hold, how they go on, whom they refuse, and how well sums predict."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import archsearch
from archsearch.cli import app
from archsearch.costs import latency, passes
from archsearch.costs.agreement import Correction, fit, interval, kendall, mape, spearman
from archsearch.costs.blocks import at_resolution, distinct, draw, runnable
from archsearch.costs.fast import CostModel
from archsearch.costs.judge import judge
from archsearch.costs.passes import Plan, make_table
from archsearch.costs.runtimes import Bound, Runner, Setting
from archsearch.costs.table import Table, predict
from archsearch.costs.visits import Visits
from archsearch.files import InputError, locked, read_jsonl
from archsearch.nets.zoo import Arch, load_arch
from archsearch.space import Space, to_plain

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
QUICK = Plan(passes=2, warmup=1, repeats=2, extra_passes=0, calibration=4, held_out=5)
ENTRIES = 36 + 4 + 5  # blocks at one resolution, networks


def test_agreement_by_hand() -> None:
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert mape([11, 18], [10, 20]) == pytest.approx(0.1)
    assert interval(kendall, range(9), range(9)) == pytest.approx((1, 1))
    assert np.isnan(interval(kendall, [1.0], [1.0])).all()


def test_corrections_do_not_follow_a_few_disturbed_networks() -> None:
    sums = np.arange(1.0, 13.0)
    assert fit([], []) == Correction()
    assert fit([2, 4, 8], [3, 6, 40]) == Correction(1.5)
    disturbed = np.where(sums == 5, 3.0, 1.0)
    found = fit(sums.tolist(), (disturbed * 1.2 * sums).tolist())
    assert (found.scale, found.offset_ms) == (pytest.approx(1.2), pytest.approx(0))
    found = fit(sums.tolist(), (disturbed * (2 * sums + 7)).tolist())
    assert (found.scale, found.offset_ms) == (pytest.approx(2, rel=0.05), pytest.approx(7, rel=0.1))
    assert fit([3.0] * 9, [6.0] * 9) == Correction(2)
    assert Correction(1, -5)(3) == 0


def test_an_offset_has_to_earn_its_place() -> None:
    """Noise alone gives Theil-Sen's line an offset; left-out networks are predicted better without it."""
    rng, offsets = np.random.default_rng(3), []
    for _ in range(20):
        sums = rng.uniform(20, 30, 12)
        offsets.append(fit(sums.tolist(), (sums * rng.normal(1, 0.05, 12)).tolist()).offset_ms)
    assert offsets.count(0.0) >= 12


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


def test_every_pass_visits_everything_in_an_order_of_its_own(made: Path) -> None:
    records = read_jsonl(made)
    orders = [[r["id"] for r in records if r["kind"] == "visit" and r["pass"] == turn] for turn in range(3)]
    names = [r["id"] for r in records if r["kind"] in ("block", "network")]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(names)
    assert len(names) == ENTRIES
    assert len({tuple(orders[0]), tuple(orders[1]), tuple(names)}) == 3
    assert orders[2] == []
    visits = [r for r in records if r["kind"] == "visit"]
    assert all(len(r["ms"]) == 2 and len(r["anchor_ms"]) == 4 and min(r["ms"] + r["anchor_ms"]) > 0 for r in visits)


def test_a_stopped_table_goes_on(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    lines = made.read_text().splitlines(keepends=True)
    kept = 1 + ENTRIES + 20
    path.write_text("".join(lines[:kept]) + lines[kept][:30])  # killed while it wrote a line
    assert not make_table(path, SPACE, Setting(), QUICK, [32], should_stop=lambda: True)
    asked: list[None] = []
    assert not make_table(path, SPACE, Setting(), QUICK, [32], should_stop=lambda: bool(asked) or asked.append(None))  # type: ignore[func-returns-value]
    visited = [(r["pass"], r["id"]) for r in read_jsonl(path) if r["kind"] == "visit"]
    assert len(visited) == 20 + passes.TOGETHER
    assert make_table(path, SPACE, Setting(), QUICK, [32])
    records = read_jsonl(path)
    visited = [(r["pass"], r["id"]) for r in records if r["kind"] == "visit"]
    assert len(visited) == len(set(visited)) == 2 * ENTRIES
    assert sum(r["kind"] in ("block", "network") for r in records) == ENTRIES
    assert judge(Table(path, SPACE, Setting()))["held_out_networks"] == 5


def test_another_resolution_is_added_to_a_table(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(made.read_bytes())
    assert make_table(path, SPACE, Setting(), Plan(1, 0, 1, 1, 0, 1, 1), [64])
    assert predict(Table(path, SPACE), at_resolution(SPACE, 64).smallest()) > 0
    assert path.read_bytes().startswith(made.read_bytes())


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
    for use in (lambda p: Table(p, SPACE), lambda p: make_table(p, SPACE, Setting(), QUICK)):
        with pytest.raises(InputError, match="not a latency table"):
            use(tmp_path / "x.jsonl")
    with pytest.raises(InputError, match=r"absent.jsonl: no such file"):
        Table(tmp_path / "absent.jsonl", SPACE)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"empty.jsonl: not a latency table"):
        Table(tmp_path / "empty.jsonl", SPACE)
    (tmp_path / "x.jsonl").write_text("a text\n")
    with pytest.raises(InputError, match="is not empty and holds no latency table"):
        make_table(tmp_path / "x.jsonl", SPACE, Setting(), QUICK)
    assert (tmp_path / "x.jsonl").read_text() == "a text\n"


def test_a_table_of_the_older_kind_is_refused(made: Path, tmp_path: Path) -> None:
    head = json.loads(made.read_text().splitlines()[0])
    del head["version"]
    (tmp_path / "old.jsonl").write_text(json.dumps(head) + "\n" + json.dumps({"kind": "block", "key": "k"}) + "\n")
    with pytest.raises(InputError, match=r"old.jsonl: a latency table of version 1, this is version 2; measure it"):
        Table(tmp_path / "old.jsonl", SPACE)


def test_a_table_of_another_version_of_torch_is_used_and_told(made: Path, tmp_path: Path) -> None:
    head, rest = made.read_text().split("\n", 1)
    assert json.loads(head)["torch"] == metadata.version("torch")
    path = tmp_path / "older.jsonl"
    path.write_text(json.dumps({**json.loads(head), "torch": "2.0.1"}) + "\n" + rest)
    for use in (lambda: Table(path, SPACE, Setting()), lambda: make_table(path, SPACE, Setting(), QUICK, [32])):
        with pytest.warns(UserWarning, match=r"older.jsonl: a table begun with torch 2.0.1, this is "):
            use()
    assert Table(path, SPACE).head["torch"] == "2.0.1"  # who only reads predictions need not know


def test_lines_that_two_processes_wrote_count_once(made: Path, tmp_path: Path) -> None:
    head, rest = made.read_text().split("\n", 1)
    path = tmp_path / "twice.jsonl"
    path.write_text(head + "\n" + rest + rest)
    found, expected = (judge(Table(p, SPACE)) for p in (path, made))
    assert found["calibration_networks"] == 4
    assert {**found, "table": ""} == {**expected, "table": ""}


def test_only_one_process_measures_a_table(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(made.read_bytes())
    with locked(path, "mine"), pytest.raises(InputError, match="another process measures this table"):
        make_table(path, SPACE, Setting(), QUICK, [64])
    assert path.read_bytes() == made.read_bytes()
    assert judge(Table(path, SPACE))["held_out_networks"] == 5


def test_a_table_is_not_begun_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, a file is needed"):
        make_table(tmp_path, SPACE, Setting(), QUICK, [32])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/t.jsonl: its folder cannot be made"):
        make_table(tmp_path / "file" / "t.jsonl", SPACE, Setting(), QUICK, [32])


def test_a_network_of_another_space_is_refused(made: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    network = next(line for line in lines if line["kind"] == "network")
    network["arch"] = to_plain(load_arch("litepose-xs"))
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=f"network {network['id']}: arch is not of the space small"):
        Table(path, SPACE)


def visit(name: str, turn: int, ms: list[float], anchor_ms: list[float]) -> dict[str, Any]:
    return {"kind": "visit", "id": name, "pass": turn, "ms": ms, "anchor_ms": anchor_ms}


def test_visits_by_hand() -> None:
    """The anchor takes 10 ms in its median state. A machine twice as slow changes nothing; nor does one bad visit."""
    visits = Visits(
        [
            visit("a", 0, [20, 21, 19], [10, 10]),
            visit("a", 1, [40, 40, 90], [20, 20]),
            visit("a", 2, [20, 20, 20], [10, 10]),
            visit("a", 3, [70, 80, 90], [10, 10]),
            visit("b", 0, [5, 5, 5], [10, 10]),
        ]
    )
    assert visits.latency_ms("a") == pytest.approx(20)
    assert visits.halves_ms("a") == (pytest.approx(20), pytest.approx(50))
    assert visits.uncertainty("a", before=3) == 0
    # Ratios 2, 2, 2, 8: the quartiles are 2 and 3.5, the middle half is 2 and 2.
    assert visits.uncertainty("a") == pytest.approx(1.1 * 0.74 * 1.5 / 2 / 2)
    assert visits.uncertainty("b") == visits.uncertainty("c") == float("inf")
    assert np.isnan(visits.halves_ms("b")).all()
    assert "b" in visits
    assert "c" not in visits
    assert visits.has("a", 3)
    assert not visits.has("a", 4)


def faked(monkeypatch: pytest.MonkeyPatch, speed: Any) -> None:
    """Bursts that take what ``speed(work)`` says, where work is a module's parameters and an entry is known by it."""

    def prepared(bound: Bound, _: Setting) -> Runner:
        work = sum(p.numel() for p in bound.parameters()) / 1e3
        return lambda turn, calls: speed(work)

    monkeypatch.setattr(latency, "prepare", prepared)


def test_a_drifting_machine_does_not_change_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that slows down all the time, by more than half in the end; a network takes what its blocks take."""
    for name, drift in (("calm", 0.0), ("drifting", 0.00125)):
        clock = [0]

        def speed(work: float, drift: float = drift, clock: list[int] = clock) -> float:
            clock[0] += 1
            return work * (1 + drift * clock[0])

        faked(monkeypatch, speed)
        assert make_table(tmp_path / name, SPACE, Setting(), Plan(2, 1, 2, 0.05, 0, 8, 12), [32])
    calm, drifting = (judge(Table(tmp_path / name, SPACE)) for name in ("calm", "drifting"))
    assert calm["mape"] == pytest.approx(0, abs=1e-3)
    assert calm["kendall"] == pytest.approx(1, abs=0.01)
    assert drifting["mape"] < 0.01
    assert drifting["kendall"] > 0.97


def test_only_what_is_noisy_is_visited_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One stem is disturbed in every second run, all else is calm; and a stop in an extra pass changes nothing."""
    stem = runnable(distinct(at_resolution(SPACE, 32), CostModel(SPACE))[0])
    noisy = sum(p.numel() for p in stem.parameters()) / 1e3
    count = [0]

    def speed(work: float) -> float:
        count[0] += work == noisy
        return work * (1 + (work == noisy) * (count[0] % 3))

    faked(monkeypatch, speed)
    path = tmp_path / "table.jsonl"
    assert make_table(path, SPACE, Setting(), Plan(4, 0, 1, 0.05, 2, 2, 2), [32])
    extra = [r for r in read_jsonl(path) if r["kind"] == "visit" and r["pass"] >= 4]
    modules = {r["id"]: r["module"] for r in read_jsonl(path) if r["kind"] == "block"}
    assert {modules[r["id"]] for r in extra} == {"StemNet"}
    assert [r["pass"] for r in extra] == [4, 5]
    before = path.read_bytes()
    assert make_table(path, SPACE, Setting(), Plan(4, 0, 1, 0.05, 2, 2, 2), [32])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"passes": 0}, "passes 0 is less than 1"), ({"held_out": 0}, "held_out 0"), ({"noise": 0.0}, "noise 0.0 is not")],
)
def test_plans_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**fields)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    Path("a.yaml").write_text(archsearch.nets.zoo.arch_yaml(at_resolution(SPACE, 32).smallest()))
    options = ["--resolution", "32", "--passes", "2", "--repeats", "1", "--calibration", "4", "--held-out", "4"]
    options += ["--extra-passes", "0"]
    done = CliRunner().invoke(app, ["latency", "table", "small.yaml", "--out", "t.jsonl", "--json", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["held_out_networks"] == 4
    done = CliRunner().invoke(app, ["latency", "predict", "t.jsonl", "small.yaml", "a.yaml", "--json"])
    (row,) = json.loads(done.stdout)
    assert row["predicted_ms"] >= 0
    assert [row[name] for name in ("runtime", "threads", "batch", "dtype")] == ["torch-eager", 1, 1, "float32"]
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
