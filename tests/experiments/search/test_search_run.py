"""The search experiment on a table, a supernet and trainings of seconds: records, resuming, models, wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiments import made
from experiments.made import Inline
from report.pages import parse
from search import problems
from train import tiny

from archsearch.experiments import supernet as supernet_module
from archsearch.experiments.benchmark import every
from archsearch.experiments.search import latency as latency_module
from archsearch.experiments.search import packages
from archsearch.experiments.search import run as run_module
from archsearch.experiments.search.records import candidates, front_of
from archsearch.experiments.search.run import resolved, run_search
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.search.workers import check_new
from archsearch.files import InputError, read_jsonl
from archsearch.nets.zoo import load_arch
from archsearch.report.pareto.write import Request, chart_of
from archsearch.report.search import write_report
from archsearch.runs import Run, study_text
from archsearch.search.pareto import front
from archsearch.space import fingerprint
from archsearch.train.checkpoint import load_model

SMALL = {**tiny.LITEPOSE, "resolution": 32, "stem": {"choice": [4, 8]}}


class Restarting(Inline):
    """As ``run_jobs`` with restarts."""

    def __call__(self, function: Any, payloads: Any, *, workers: int, restarts: int = 0, **more: Any) -> list[Any]:  # type: ignore[override]
        return super().__call__(function, payloads, workers=workers, **more)


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> Restarting:
    jobs = Restarting()
    for module in (run_module, packages, supernet_module):
        monkeypatch.setattr(module, "run_jobs", jobs)
    return jobs


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tabular benchmark of a small space, as settings."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    found = problems.problem(problems.Space(problems.Arch, SMALL, "small"))
    lines = [json.dumps({"source": {"space": "small", "data": {"kind": "scenes", "level": "easy", "size_px": 48}}})]
    for arch in every(found.space):
        counted = found.costing.count(arch)
        row = {
            "fingerprint": fingerprint(arch), "choices": found.space.choices(arch),
            "supernet_ap": problems.ap(found, arch), "alone_ap": None, "macs": counted.macs, "params": counted.params,
        }  # fmt: skip
        lines.append(json.dumps(row))
    (folder / "small.jsonl").write_text("\n".join(lines) + "\n")
    return {"kind": "table", "space": str(folder / "small.yaml"), "file": str(folder / "small.jsonl")}


def study(score: dict[str, Any], **changes: Any) -> SearchStudy:
    fields = {"kind": "search", "name": "hunt", "score": score, "trials": 12, "workers": 1, "device": "cpu", **changes}
    return SearchStudy.model_validate(fields)


def started(path: Path, chosen: SearchStudy) -> Run:
    path.mkdir(parents=True, exist_ok=True)
    (path / "study.yaml").write_text(study_text(resolved(chosen)))
    return Run(path)


def go(chosen: SearchStudy, run: Run, storage: str | None = None) -> bool:
    return run_search(chosen, run, storage=storage, on_event=lambda *_: None, should_stop=lambda: False)


def test_a_search_of_a_table_finds_its_front(table: dict[str, Any], tmp_path: Path) -> None:
    chosen = study(table, trials=40, sampler={"kind": "assisted", "options": {"startup": 8}})
    run = started(tmp_path / "run", chosen)
    assert go(chosen, run)
    records = candidates(run)
    assert [r["trial"] for r in records] == list(range(40))
    assert {r["source"] for r in records} == {"benchmark"}
    rows = [json.loads(line) for line in Path(table["file"]).read_text().splitlines()[1:]]
    true = [row["supernet_ap"] for row, on in zip(
        rows, front([(r["supernet_ap"], r["macs"]) for r in rows], ("max", "min")), strict=True) if on]  # fmt: skip
    found = {r["ap"] for r in front_of(chosen, records)}
    assert len(found & set(true)) > 0.5 * len(true)
    (last,) = run.records("search")
    assert (last["trials"], last["given_up_early"]) == (40, 0)
    assert write_report(run)[0]["trial"]
    page = parse((run.path / "report.html").read_text())
    page.check()


def test_longer_and_stopped_searches_go_on(table: dict[str, Any], tmp_path: Path, inline: Restarting) -> None:
    chosen = study(table, sampler={"kind": "nsga2", "options": {"population_size": 4}})
    whole = started(tmp_path / "whole", chosen)
    assert go(chosen, whole)
    part = started(tmp_path / "part", chosen)
    inline.messages, inline.stop_after = [], 5
    assert not go(chosen, part)
    inline.stop_after = None
    assert 0 < len(candidates(part)) < 12
    assert go(chosen, part)
    names = [[r["fingerprint"] for r in sorted(candidates(run), key=lambda r: r["trial"])] for run in (whole, part)]
    assert names[0] == names[1]
    longer = study(table, trials=15, sampler={"kind": "nsga2", "options": {"population_size": 4}})
    assert go(longer, part)
    assert len(candidates(part)) == 15
    assert len(part.records("candidate")) == 15


def test_supernet_to_models(tmp_path: Path) -> None:
    """Everything on: a supernet, latency as an objective, rungs, budgets, fine-tuning, export, cards."""
    shared = made.supernet(tmp_path / "shared")
    score = {
        "kind": "supernet", "run": str(shared.path), "rungs": [0.5], "confidence": 0.6,
        "estimate": {"calibration_images": 8, "bootstrap": 20},
    }  # fmt: skip
    chosen = study(
        score, trials=6, objectives=["ap", "macs", "latency"],
        latency={"passes": 1, "networks": 1, "repeats": 2, "rounds": 6},
        budgets={"s": 1.2e6, "l": 1e9}, finetune={"images": 16, "batch": 8}, sampler={"kind": "random"},
    )  # fmt: skip
    run = started(tmp_path / "run", chosen)
    assert go(chosen, run)
    packages_made = run.records("package")
    assert {p["name"] for p in packages_made} == {"s", "l"}
    for package in packages_made:
        folder = run.path / package["folder"]
        model = load_model(folder)
        assert fingerprint(model.arch) == package["fingerprint"] == fingerprint(load_arch(folder / "arch.yaml"))
        assert package["macs"] <= package["budget"]
        assert package["onnx"]["relative_difference"] < 1e-4
        assert package["latency"]["median_ms"] > 0
        assert package["images_seen"] == 16
    on_front = front_of(chosen, candidates(run))
    assert {r["latency_is"] for r in on_front} == {"measured"}
    assert all(r["latency_predicted_ms"] > 0 for r in on_front)
    before = (run.path / "metrics.jsonl").read_text()
    assert go(chosen, run)  # nothing is left to do
    assert (run.path / "metrics.jsonl").read_text() == before
    rows = write_report(run)
    assert {row["model"] for row in rows} == {"s", "l"}
    drawn = [point.name for point in chart_of(Request((run,))).points if not point.shared]
    assert sorted(", ".join(drawn).split(", ")) == ["L", "S"]
    card = (run.path / "packages" / "s" / "README.md").read_text()
    for words in ("AP on embedded scenes", "ptflops 0.6", "latency, median of 2", "seed 0", "fine-tuned on 16 images"):
        assert words in card
    parse((run.path / "report.html").read_text()).check()


def test_candidates_trained_alone_are_kept_and_found_again(tmp_path: Path) -> None:
    score = {
        "kind": "alone", "space": str(_space(tmp_path)), "data": tiny.STUDY["data"],
        "train": {"preset": "fast", "images": 16, "batch": 8},
    }  # fmt: skip
    chosen = study(score, trials=3, sampler={"kind": "random"}, budgets={"only": 1e9}, export=False)
    run = started(tmp_path / "run", chosen)
    assert go(chosen, run)
    assert [r["source"] for r in candidates(run)] == ["alone"] * 3
    assert len(run.records("result")) == 3
    (package,) = run.records("package")
    assert not package["fine_tuned"]
    assert package["ap"] == max(r["ap"] for r in candidates(run))


def test_what_another_machine_trained_is_trained_again_for_its_model(tmp_path: Path) -> None:
    score = {
        "kind": "alone", "space": str(_space(tmp_path)), "data": tiny.STUDY["data"],
        "train": {"preset": "fast", "images": 16, "batch": 8},
    }  # fmt: skip
    chosen = study(score, trials=2, sampler={"kind": "random"}, export=False)
    run = started(tmp_path / "run", chosen)
    assert go(chosen, run)
    best = max(candidates(run), key=lambda r: r["ap"])
    shutil.rmtree(run.path / "models")
    kept = [r for r in read_jsonl(run.metrics) if r["kind"] != "result"]
    for record in kept:
        if record["kind"] == "candidate":
            record["ap"] = record["ap"] / 2 + 0.25  # another machine's arithmetic: the order stays
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in kept))
    assert go(study(score, trials=2, sampler={"kind": "random"}, export=False, budgets={"only": 1e9}), run)
    (package,) = run.records("package")
    assert (package["fingerprint"], package["ap"]) == (best["fingerprint"], best["ap"])
    assert load_model(run.path / package["folder"]).arch == load_arch(run.path / package["folder"] / "arch.yaml")


def test_other_budgets_trainings_and_exports_make_the_models_anew(tmp_path: Path) -> None:
    shared = made.supernet(tmp_path / "shared")
    score = {"kind": "supernet", "run": str(shared.path), "rungs": [], "estimate": {"calibration_images": 8}}
    common: dict[str, Any] = {"trials": 4, "sampler": {"kind": "random"}}
    short, long = ({"images": images, "batch": 8} for images in (8, 16))
    run = started(tmp_path / "run", study(score, **common))
    for budgets, finetune, export in (
        ({"s": 1e9}, short, False),
        ({"s": 9e8}, short, False),
        ({"s": 9e8, "same": 8e8}, long, False),
        ({"same": 8e8, "none": 10.0e5}, long, True),
    ):
        chosen = study(score, **common, budgets=budgets, finetune=finetune, export=export)
        assert go(chosen, run)
        (run.path / "study.yaml").write_text(study_text(resolved(chosen)))
    models = [r for r in run.records("package") if r["name"] != "none"]
    assert [(r["name"], r["budget"], r["images_seen"], r["onnx"] is not None) for r in models] == [
        ("s", 1e9, 8, False), ("s", 9e8, 8, False), ("s", 9e8, 16, False), ("same", 8e8, 16, False),
        ("same", 8e8, 16, True),
    ]  # fmt: skip
    assert len(run.records("result")) == 2 + len({r["fingerprint"] for r in run.records("package")}) - 1
    rows = write_report(run)
    assert "s" not in {row["model"] for row in rows}


def test_models_within_a_latency_are_measured_before_they_are_picked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fastest by the table turns out slow: the pick is made again, of measured ones only."""
    shared = made.supernet(tmp_path / "shared")
    score = {"kind": "supernet", "run": str(shared.path), "rungs": [], "estimate": {"calibration_images": 8}}
    chosen = study(
        score, trials=4, latency={"passes": 1, "networks": 1, "repeats": 2}, sampler={"kind": "random"},
        budgets={"quick": 1000.0}, budgets_of="latency", export=False,
    )  # fmt: skip
    slow: list[str] = []

    def measured(run: Run, settings: Any, archs: dict[str, Any]) -> dict[str, Any]:
        """The first that is measured takes seconds."""
        slow.extend(list(archs)[: 1 - len(slow)])
        plain = {"iqr_ms": 0.1, "device": "x", "runtime": "torch", "threads": 1, "batch": 1, "repeats": 2}
        return {name: {**plain, "median_ms": 5000.0 if name in slow else 2.0} for name in archs}

    monkeypatch.setattr(latency_module, "measured", measured)
    monkeypatch.setattr(packages, "measured", measured)
    monkeypatch.setattr(latency_module, "setting_text", lambda _: "x")
    monkeypatch.setattr(run_module, "measure_front", lambda *_: True)
    run = started(tmp_path / "run", chosen)
    assert go(chosen, run)
    (package,) = run.records("package")
    taken = next(r for r in candidates(run) if r["fingerprint"] == package["fingerprint"])
    assert package["fingerprint"] not in slow
    assert (taken["latency_is"], taken["latency_ms"]) == ("measured", 2.0)


def test_what_was_given_up_or_is_over_a_limit_is_on_no_front(table: dict[str, Any]) -> None:
    records: list[dict[str, Any]] = [
        {"trial": 0, "ap": 0.5, "costs": {"macs": 10.0}},
        {"trial": 1, "ap": 0.9, "costs": {"macs": 5.0}, "beaten_by": 0},
        {"trial": 2, "ap": 0.6, "costs": {"macs": 20.0}},
        {"trial": 3, "ap": 0.4, "costs": {"macs": 12.0}},
    ]
    assert [r["trial"] for r in front_of(study(table), records)] == [0, 2]
    assert [r["trial"] for r in front_of(study(table, constraints={"macs": 15.0}), records)] == [0]
    assert front_of(study(table, constraints={"macs": 1.0}), records) == []


def _space(folder: Path) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def test_what_is_wrong_is_one_line(table: dict[str, Any], tmp_path: Path) -> None:
    run = started(tmp_path / "run", study(table))
    with pytest.raises(InputError, match=r"constraints\.macs: 10 cannot be met in small, its cheapest .* has"):
        go(study(table, constraints={"macs": 10}), run)
    assert go(study(table), run)
    for changes, message in (
        ({"seed": 1}, "search hunt: it was begun with seed 0, here it is 1"),
        ({"sampler": {"kind": "random"}}, "begun with sampler"),
    ):
        with pytest.raises(InputError, match=message):
            go(study(table, **changes), run)
    other = {**table, "space": str(tmp_path / "other.yaml")}
    Path(other["space"]).write_text(yaml.safe_dump({**SMALL, "stem": 8}))
    with pytest.raises(InputError, match="begun with space 'small', here it is 'other'"):
        go(study(other), run)
    with pytest.raises(InputError, match="its trials are in the run's folder"):
        go(study(table), run, storage=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    with pytest.raises(InputError, match=r"sqlite:////no/such/folder/x\.db: there is no"):
        go(study(table), started(tmp_path / "new", study(table)), storage="sqlite:////no/such/folder/x.db")
    gone = started(tmp_path / "gone", study(table))
    assert go(study(table), gone)
    (gone.path / "search.db").unlink()
    with pytest.raises(InputError, match=r"there is no .*search\.db"):
        go(study(table, trials=14), gone)
    with pytest.raises(InputError, match="no candidates on record"):
        go(study(table, warm_start={"runs": [str(tmp_path)]}), started(tmp_path / "warm", study(table)))


def test_a_supernet_of_another_space_is_refused(tmp_path: Path) -> None:
    shared = made.supernet(tmp_path / "shared")
    score = {"kind": "supernet", "run": str(shared.path)}
    with pytest.raises(InputError, match=r"space embedded_litepose: AP would come from .* does not hold all of it"):
        go(study(score, space="embedded_litepose"), started(tmp_path / "a", study(score)))
    with pytest.raises(InputError, match="no supernet"):
        resolved(study({"kind": "supernet", "run": str(tmp_path / "nothing")}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["ap"]}, "ap and at least one cost"),
        ({"objectives": ["ap", "flops"]}, "cost 'flops' is not macs"),
        ({"objectives": ["ap", "latency"]}, "`latency: .device: cpu.` is missing"),
        ({"constraints": {"macs": 0}}, "macs 0 is not above 0"),
        ({"budgets": {"s": -1}}, "budgets.s: -1"),
        ({"budgets": {"../s": 1e9}}, "a name of letters and digits"),
        ({"budgets": {"s": 1e9}}, "a table has neither weights nor devices"),
        ({"score": {"kind": "supernet"}}, "give either run"),
        ({"score": {"kind": "supernet", "run": "x", "rungs": [0.5, 0.2]}}, "not rising parts"),
        ({"trials": 0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(**{"score": table, **changes})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("optuna.samplers.BruteForceSampler", "it cannot propose here: param_name mismatch"),
        ("optuna.samplers.CmaEsSampler", "it cannot propose here: "),
        ("nsga4", "'nsga4' is not one of"),
    ],
)
def test_a_sampler_that_cannot_be_used_is_refused_before_the_first_trial(
    table: dict[str, Any], kind: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        go(study(table, sampler={"kind": kind}), started(tmp_path, study(table)))
    assert not (tmp_path / "search.db").exists()
    with pytest.raises(InputError, match="grace_s 20 is less than three times beat_s 10"):
        go(study(table, grace_s=20), started(tmp_path / "b", study(table)))


def test_looking_for_a_search_makes_no_file(table: dict[str, Any], tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/new.db", f"journal:{tmp_path}/new"):
        check_new(study(table), url)
    assert not list(tmp_path.iterdir())
