"""Candidates, ranking and conflict on a supernet that was never trained, in one process."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from experiments import made
from pydantic import ValidationError
from train import tiny

from archsearch.costs.macs import cost
from archsearch.experiments import candidates, conflict, rank
from archsearch.experiments import supernet as experiment
from archsearch.experiments import supernet_study as study_module
from archsearch.experiments.supernet import landmarks, run_supernet, train_shared
from archsearch.experiments.supernet_study import SupernetStudy, resolved
from archsearch.files import InputError, write_text
from archsearch.nets.zoo import load_space
from archsearch.report.rank import write_report as write_rank
from archsearch.report.supernet import write_report as write_supernet
from archsearch.runs import Run
from archsearch.space import fingerprint
from archsearch.train.checkpoint import load_tensors, save_tensors
from archsearch.train.processes import ALONE

QUIET: dict[str, Any] = {"on_event": lambda *_: None, "should_stop": lambda: False}


def oblong(input_hw: Any) -> Any:
    return {**load_space("embedded_hrnet_shrink").plain, "input_hw": input_hw}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.supernet(tmp_path_factory.mktemp("net") / "tiny" / "20260101-000000")


def estimate(run: Run, net: Run, archs: list[Any], **changes: Any) -> dict[str, Any] | None:
    study = made.study(**changes)
    return candidates.estimate_all(
        run, net.path / "supernet", archs, study.data, study.train, study.estimate, device="cpu", workers=2, **QUIET
    )


# ----------------------------------------------------------------------------------------------------------- candidates


def test_every_architecture_is_evaluated_once(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    run = Run(tmp_path)
    a, b, c = tiny.samples(3)
    found = estimate(run, finished, [a, b, a])
    assert found is not None
    assert set(found) == {fingerprint(a), fingerprint(b)}
    assert len(jobs.messages) == 2
    record = found[fingerprint(a)]
    assert record["macs"] == cost(a).macs
    assert record["params"] == cost(a).params
    assert tiny.space().build(record["choices"]) == a
    assert record["ap_low"] <= record["ap"] <= record["ap_high"]
    assert (record["images"], record["calibration_images"], record["device"]) == (6, 8, "cpu")
    assert len(record["ap_draws"]) == 10
    known = [ap for ap in record["ap_draws"] if ap is not None]
    assert np.quantile(known, [0.025, 0.975]) == pytest.approx([record["ap_low"], record["ap_high"]], abs=1e-4)
    more = estimate(run, finished, [b, c, a])
    assert more is not None
    assert len(jobs.messages) == 3
    assert more[fingerprint(a)] == record
    assert len(run.records("candidate")) == 3
    estimate(run, finished, [a, b, c])
    assert len(jobs.jobs) == 3  # two workers, then one, then none
    estimate(run, finished, [a], estimate={"calibration_images": 4, "bootstrap": 10})
    assert len(jobs.jobs) == 4  # calibrated in another way it is another figure


def test_a_supernet_is_known_by_its_weights(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """From wherever it is looked at; other weights at the same place are other figures, and so are other images."""
    net, run, archs = Run(tmp_path / "net"), Run(tmp_path), tiny.samples(1)
    shutil.copytree(finished.path / "supernet", net.path / "supernet")
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    estimate(run, net, archs)
    assert len(jobs.messages) == 1
    monkeypatch.chdir(tmp_path)
    estimate(run, Run(Path("net")), archs)
    estimate(run, finished, archs)
    assert len(jobs.messages) == 1
    for count, expected in ((4, 2), (4, 2), (3, 3)):
        estimate(run, net, archs, estimate={"calibration_images": 8, "bootstrap": 10, "val_images": count})
        assert len(jobs.messages) == expected
    path = net.path / "supernet" / "weights.safetensors"
    tensors, meta = load_tensors(path)
    save_tensors(path, {name: 2 * tensor for name, tensor in tensors.items()}, meta)
    found = estimate(run, net, archs)
    assert len(jobs.messages) == 4
    assert found is not None
    assert found[fingerprint(archs[0])] == run.records("candidate")[-1]


def test_records_without_a_digest_are_found_by_their_folder(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (arch,) = Run(tmp_path), tiny.samples(1)
    monkeypatch.setattr(candidates, "run_jobs", made.Inline(stop_after=0))
    older = {"fingerprint": fingerprint(arch), "ap": 0.5, "calibration_images": 8}
    run.record("candidate", **older, supernet="runs/elsewhere/supernet")
    assert estimate(run, finished, [arch]) is None
    run.record("candidate", **older, supernet=str(finished.path / "supernet"))
    found = estimate(run, finished, [arch])
    assert found is not None
    assert found[fingerprint(arch)]["ap"] == 0.5


def test_a_stopped_estimate_goes_on_where_it_was(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, archs = Run(tmp_path), tiny.samples(4)
    monkeypatch.setattr(candidates, "run_jobs", made.Inline(stop_after=1))
    assert estimate(run, finished, archs) is None
    before = run.records("candidate")
    assert len(before) == 1
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    found = estimate(run, finished, archs)
    assert found is not None
    assert len(found) == 4
    assert len(jobs.messages) == 3
    assert run.records("candidate")[0] == before[0]
    whole = estimate(Run(tmp_path / "whole"), finished, archs) if (tmp_path / "whole").mkdir() is None else None
    assert whole is not None
    for key, record in found.items():
        assert {k: v for k, v in record.items() if k != "seconds"} == {
            k: v for k, v in whole[key].items() if k != "seconds"
        }


def test_supernets_are_found_by_run_study_or_folder(finished: Run, tmp_path: Path) -> None:
    folder = finished.path / "supernet"
    for given in (finished.path.parent, finished.path, folder):
        assert candidates.supernet_folder(given) == folder
    assert candidates.supernet_study(folder)["kind"] == "supernet"
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: no supernet; `archsearch supernet STUDY` trains one")):
        candidates.supernet_folder(tmp_path)
    write_text(tmp_path / "run" / "study.yaml", "kind: supernet")
    with pytest.raises(InputError, match=r"no supernet \(its training has not ended\)"):
        candidates.supernet_folder(tmp_path / "run")
    with pytest.raises(InputError, match="its training has not ended"):  # killed between the weights and the record
        candidates.supernet_study(tmp_path / "run" / "supernet")
    with pytest.raises(InputError, match="not there; a supernet is used from the run's folder"):
        candidates.supernet_study(tmp_path / "elsewhere" / "supernet")
    write_text(tmp_path / "run" / "study.yaml", "kind: shrink")
    with pytest.raises(InputError, match="kind 'shrink' is not supernet"):
        candidates.supernet_study(tmp_path / "run" / "supernet")


def test_data_with_other_joints_are_refused(finished: Run) -> None:
    study = made.study(data={**tiny.STUDY["data"], "skeleton": "crowdpose14"})
    with pytest.raises(InputError, match="a supernet for 17 joints, the data have other ones"):
        candidates.estimator(finished.path / "supernet", study.data, study.train, study.estimate, torch.device("cpu"))


# ---------------------------------------------------------------------------------------------------------------- study


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {**tiny.LITEPOSE, "resolution": {"choice": [32, 64]}}}, "takes 64 px images, data.size_px draws 48"),
        ({"space": "no_such_space"}, "no_such_space is neither a file nor one of"),
        ({"space": 3}, "space 3 is not a name, a file or a mapping"),
        ({"space": {**tiny.LITEPOSE, "joints": {"choice": [14, 17]}}}, "one network has one number of joints"),
        ({"supernet": {"phases": [{"until": 1, "open": ["/width"]}]}}, "phase opens '/width': space has no such hole"),
        ({"subnets": -1}, "greater than or equal to 0"),
        ({"processes": 3}, "batch 8 cannot be shared equally by 3 processes"),
        ({"space": oblong([96, 64]), "supernet": {}}, r"has input_hw \[96, 64\]: bottom-up training takes squares"),
        ({"space": oblong({"choice": [[64, 64], [96, 64]]}), "supernet": {}}, r"has input_hw \[96, 64\]: bottom-up"),
        ({"supernet": {"size_weights": [1]}}, r"size_weights \(1.0,\): space has 2 input sizes"),
        (
            {"supernet": {"phases": [{"until": 0.5}, {"until": 1, "sort_channels": True}]}},
            "phases.1.sort_channels: an earlier phase opens /stem; sorting would change",
        ),
        ({"space": "lite_hrnet"}, "top-down: supernets are trained bottom-up"),
    ],
)
def test_studies_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        made.study(**changes)


@pytest.mark.parametrize("strategy", ["sandwich", "fair", "single_path"])
def test_a_resolved_study_is_the_same_study(strategy: str) -> None:
    """Processes and --resume read it back, and people repeat a run with it."""
    study = made.study(supernet={"strategy": strategy, "random": 6, "size_weights": [1, 3]})
    plain = yaml.safe_load(yaml.safe_dump(resolved(study)))
    again = SupernetStudy.model_validate(plain)
    assert resolved(again) == resolved(study)
    assert again.searched(17).plain == study.searched(17).plain
    assert SupernetStudy.model_validate(study.model_dump(mode="json")) == study


def test_the_landmarks_of_a_space() -> None:
    for name in ("embedded_hrnet_shrink", "embedded_lite_hrnet"):
        space = load_space(name)
        found = landmarks(space, 3)
        assert list(found) == ["smallest", "median", "largest", "random0", "random1", "random2"]
        assert all(arch in space for arch in found.values())
        macs = {key: cost(arch).macs for key, arch in found.items()}
        assert macs["smallest"] < macs["median"] < macs["largest"]
        assert all(macs["smallest"] <= value <= macs["largest"] for value in macs.values())
        assert landmarks(space, 3) == found
        assert landmarks(space, 5)["random2"] == found["random2"]


def test_a_study_trains_evaluates_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = made.Inline()
    monkeypatch.setattr(experiment, "run_jobs", jobs)
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    chosen = {**tiny.STUDY["estimate"], "val_images": 4}
    study = made.study(alone=True, train={**tiny.STUDY["train"], "images": 32}, estimate=chosen)
    run = Run(tmp_path)
    write_text(run.path / "study.yaml", yaml.safe_dump(resolved(study)))
    assert run_supernet(study, run, **QUIET)
    (trained,) = run.records("trained")
    assert (trained["images_seen"], trained["processes"]) == (32, 1)
    own = [r for r in run.records("evaluation") if r["config"] == "supernet"]
    evaluations = {(r["subnet"], r["images_seen"]) for r in own}
    assert evaluations == {(end, images) for end in ("smallest", "largest") for images in (16, 32)}
    assert [r["name"] for r in run.records("landmark")] == ["smallest", "median", "largest", "random0"]
    results = {r["config"]: r for r in run.records("result")}
    assert set(results) == {"smallest", "median", "largest"}
    assert {r["images_seen"] for r in results.values()} == {32}
    estimates = {r["fingerprint"]: r["ap"] for r in run.records("candidate")}
    for mark in run.records("landmark"):
        if mark["name"] in ("smallest", "largest"):  # the last evaluation along the way and the estimate are one figure
            ways = [r for r in own if r["subnet"] == mark["name"] and r["images_seen"] == 32]
            assert estimates[mark["fingerprint"]] == ways[0]["ap"]
    assert not (run.path / "checkpoints" / "supernet").exists()
    rows = write_supernet(run)
    assert rows[0]["sub-net"] == "smallest"
    before, count = run.metrics.read_bytes(), len(jobs.jobs)
    assert run_supernet(study, run, **QUIET)
    assert run.metrics.read_bytes() == before
    assert len(jobs.jobs) == count


@pytest.mark.parametrize(
    ("batch", "sync", "expected"),
    [
        (16, False, {1: 1, 2: 2, 3: 2, 20: 2}),  # eight images each
        (8, False, {1: 1, 20: 1}),
        (4, False, {20: 1}),
        (24, False, {2: 2, 3: 3, 20: 3}),
        (32, False, {3: 2, 8: 4, 64: 4}),
        (8, True, {1: 1, 3: 2, 6: 4, 8: 8, 20: 8}),  # normalisation sees the whole batch
    ],
)
def test_a_batch_is_shared_by_as_many_cores_as_leave_each_enough_images(
    batch: int, sync: bool, expected: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = made.Inline(stop_after=0)
    monkeypatch.setattr(experiment, "run_jobs", jobs)
    monkeypatch.setattr(jobs, "should_stop", lambda: True)
    train = {**tiny.STUDY["train"], "batch": batch}
    study = made.study(processes=None, train=train, supernet={"sync_batch_norm": sync})
    for cores, count in expected.items():
        monkeypatch.setattr(study_module, "cores", lambda cores=cores: cores)
        started: list[int] = []
        monkeypatch.setattr(experiment, "Member", lambda *args, started=started: started.append(args[2].count))
        assert not run_supernet(study, Run(tmp_path), **QUIET)
        assert started == [count] * count
        assert resolved(study)["processes"] == count


def test_a_run_that_moves_keeps_its_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "cores", lambda: 2)
    train = {**tiny.STUDY["train"], "batch": 32}
    study, run = made.study(processes=None, train=train), Run(tmp_path)
    write_text(run.path / "study.yaml", yaml.safe_dump(resolved(study)))
    monkeypatch.setattr(study_module, "cores", lambda: 20)
    assert resolved(study)["processes"] == 4
    assert study_module.checked(study, run, None).processes == 2
    monkeypatch.setattr(experiment, "run_jobs", made.Inline(stop_after=0))
    started: list[int] = []
    monkeypatch.setattr(experiment, "Member", lambda *args: started.append(args[2].count))
    assert not run_supernet(study, run, **QUIET)
    assert started == [2, 2]
    assert study_module.checked(study, run, 2).processes == 2  # torchrun
    with pytest.raises(InputError, match=r"study\.yaml: processes is 2, torchrun started 4$"):
        study_module.checked(study, run, 4)


def test_torchrun_says_how_many_processes_there_are() -> None:
    study = made.study(processes=None, train={**tiny.STUDY["train"], "batch": 16})
    assert study_module.checked(study, None, 4).processes == 4
    with pytest.raises(InputError, match=r"^processes is 2, torchrun started 4$"):
        study_module.checked(study.trained_by(2), None, 4)
    with pytest.raises(InputError, match=r"^batch 16 cannot be shared equally by 3 processes$"):
        study_module.checked(study, None, 3)
    with pytest.raises(InputError, match=r"^processes 16: of batch 16 each would normalise one image by itself"):
        study_module.checked(study, None, 16)


def test_older_runs_say_their_number_of_processes_at_their_end(tmp_path: Path) -> None:
    study, run = made.study(processes=None), Run(tmp_path)
    write_text(run.path / "study.yaml", yaml.safe_dump({**resolved(study), "processes": None}))
    run.record("trained", images_seen=64, processes=4)
    assert study_module.begun_processes(run) == 4
    assert study_module.checked(study, run, None).processes == 4


def test_first_weights_are_needed_only_to_begin(tmp_path: Path) -> None:
    """A folder that is gone stops a new run, not one that has a checkpoint nor the use of what was trained."""
    study, run = made.study(supernet={**tiny.STUDY["supernet"], "weights": "/no/such/model"}), Run(tmp_path)
    for begun in (None, run):
        with pytest.raises(InputError, match=r"^supernet.weights: /no/such/model: no such file"):
            study_module.checked(study, begun, None)
    whole = made.study()
    seen: list[int] = []

    def count(message: dict[str, Any]) -> None:
        seen.append(message["step"])

    cpu = torch.device("cpu")
    assert not train_shared(whole, run, ALONE, cpu, count, lambda: len(seen) >= 2)
    assert study_module.checked(study, run, None) == study
    assert train_shared(study, run, ALONE, cpu, count, lambda: False)
    assert run.records("trained")
    assert study_module.checked(study, run, None) == study


def test_a_training_goes_on_with_as_many_processes_as_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "run_jobs", made.Inline(stop_after=0))
    monkeypatch.setattr(study_module, "cores", lambda: 4)
    save_tensors(tmp_path / experiment.CHECKPOINTS / "state.safetensors", {}, {"processes": 2})
    started: list[int] = []
    monkeypatch.setattr(experiment, "Member", lambda *args: started.append(args[2].count))
    assert not run_supernet(made.study(processes=None), Run(tmp_path), **QUIET)
    assert started == [2, 2]


def test_stopping_at_any_step_and_going_on_gives_the_same_bits(tmp_path: Path) -> None:
    """Across the phase that sorts channels, with averaged weights."""
    study = made.study()
    wholes, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    for run in (wholes, parts):
        run.path.mkdir()
    assert train_shared(study, wholes, ALONE, torch.device("cpu"), lambda _: None, lambda: False)
    for stop_at in (2, 4, 5):
        seen = [0]

        def count(message: dict[str, Any], seen: list[int] = seen) -> None:
            seen[0] = message["step"]

        def stop(seen: list[int] = seen, stop_at: int = stop_at) -> bool:
            return seen[0] >= stop_at

        assert not train_shared(study, parts, ALONE, torch.device("cpu"), count, stop)
        assert not parts.records("trained")
    assert train_shared(study, parts, ALONE, torch.device("cpu"), lambda _: None, lambda: False)
    one, two = (load_tensors(run.path / "supernet" / "weights.safetensors")[0] for run in (wholes, parts))
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any("transforms" in name and one[name].any() for name in one)


# ------------------------------------------------------------------------------------------------- rank and conflict


def test_a_ranking_runs_resumes_and_reports(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        "kind": "rank", "name": "r", "supernet": str(finished.path), "architectures": 4, "macs_bins": 2,
        "train": {"preset": "fast", "images": 16, "checkpoint_s": 0}, "estimate": {"calibration_images": 8,
        "bootstrap": 10}, "device": "cpu", "workers": 1, "seeds": [0, 1],
    }  # fmt: skip
    study = rank.RankStudy.model_validate(fields)
    run = Run(tmp_path)
    write_text(run.path / "study.yaml", yaml.safe_dump(rank.resolved(study)))
    monkeypatch.setattr(candidates, "run_jobs", made.Inline())
    stopped = made.Inline(stop_after=5)
    monkeypatch.setattr(rank, "run_jobs", stopped)
    assert not rank.run_rank(study, run, **QUIET)
    done = len(run.records("result"))
    assert 0 < done < 8
    jobs = made.Inline()
    monkeypatch.setattr(rank, "run_jobs", jobs)
    assert rank.run_rank(study, run, **QUIET)
    assert len(jobs.jobs) == 8 - done
    assert len(run.records("candidate")) == 4
    assert len({(r["config"], r["seed"]) for r in run.records("result")}) == len(run.records("result")) == 8
    before = run.metrics.read_bytes()
    assert rank.run_rank(study, run, **QUIET)
    assert run.metrics.read_bytes() == before
    for line in before.decode().splitlines():
        json.loads(line, parse_constant=_refuse)
    write_rank(run)
    lines = [json.loads(line) for line in (run.path / "benchmark.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        arch = tiny.space().build(line["choices"])
        assert fingerprint(arch) == line["fingerprint"]
        assert cost(arch).macs == line["macs"]
        assert len(line["alone_aps"]) == 2
    assert (run.path / "report.html").exists()


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_conflict_is_computed_once_and_reported(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made.supernet(tmp_path / "20260101-000000")
    weights = (run.path / "supernet" / "weights.safetensors").read_bytes()
    arguments: dict[str, Any] = {"images": 4, "device": "cpu", "workers": 1, **QUIET}
    jobs = made.Inline()
    monkeypatch.setattr(conflict, "run_jobs", jobs)
    assert conflict.run_conflict(run, bases=1, **arguments)
    records = run.records("conflict")
    space = tiny.space()
    reached = {r["path"] for r in records}
    assert reached <= {hole.path for hole in space.holes}
    assert {"/resolution", "/stem", "/stages/0/blocks/0/kernel", "/stages/0/blocks/times"} <= reached
    kernels = [(r["a"], r["b"]) for r in records if r["path"] == "/stages/0/blocks/0/kernel"]
    assert kernels == [("3", "5"), ("3", "7"), ("5", "7")]
    assert all(r["cosine"] is None or -1.000001 <= r["cosine"] <= 1.000001 for r in records)
    assert conflict.run_conflict(run, bases=2, **arguments)
    assert [job.base for job in jobs.jobs] == [0, 1]
    assert [r for r in run.records("conflict") if r["base"] == 0] == records
    assert len(conflict.references(run)) == 2
    assert all(-1 <= value <= 1 for value in conflict.references(run))
    assert conflict.run_conflict(run, bases=2, **arguments)
    assert len(jobs.jobs) == 2
    stopped = made.Inline(stop_after=0)
    monkeypatch.setattr(conflict, "run_jobs", stopped)
    assert not conflict.run_conflict(run, bases=3, **arguments)
    assert (run.path / "supernet" / "weights.safetensors").read_bytes() == weights
    with pytest.raises(InputError, match=r"^images 13: the supernet learned from 24, so 12 at most"):
        conflict.run_conflict(run, bases=1, **{**arguments, "images": 13})
    assert {cell.property for cell in conflict.cells(run)} >= {"kernel", "width", "depth", "expand", "resolution"}
