"""Shrinking by sharing: configurations taken from a supernet that was never trained."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiments import made

from archsearch.experiments import candidates
from archsearch.experiments.shrink import ShrinkStudy, resolved
from archsearch.experiments.shrink_shared import check_supernet, run_shared
from archsearch.files import InputError, write_text
from archsearch.runs import Run
from archsearch.space import fingerprint

DATA = {"kind": "scenes", "size_px": 64, "train": 12, "val": 4}
BLOCK = {"kernel": 3}
BASE: dict[str, Any] = {
    "kind": "hrnet",
    "input_hw": [64, 64],
    "widths": [4, 8],
    "stem": {"width": 8, "planes": 2, "blocks": [BLOCK]},
    "stages": [{"modules": 1, "branches": [[BLOCK], [BLOCK]]}],
    "head": {"kind": "bottom_up", "deconvs": [{"width": 4, "blocks": []}]},
    "joints": 17,
}
SPACE: dict[str, Any] = {
    **BASE,
    "widths": {"choice": [[4, 8], [6, 12]]},
    "stem": {**BASE["stem"], "planes": {"choice": [2, 3]}},
    "stages": [{"modules": 1, "branches": [{"repeat": BLOCK, "times": [0, 1]}, {"repeat": BLOCK, "times": [1, 2]}]}],
}
STUDY: dict[str, Any] = {
    "kind": "shrink",
    "name": "shared",
    "data": DATA,
    "base": BASE,
    "configurations": [
        {"name": "base", "width": 4, "A": [[1], [1, 1]]},
        {"name": "shrunk", "width": 6, "A": [[1], [0, 1]]},
    ],
    "train": {"preset": "fast", "images": 16},
    "bootstrap": 10,
    "device": "cpu",
}
QUIET: dict[str, Any] = {"on_event": lambda *_: None, "should_stop": lambda: False}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.supernet(tmp_path_factory.mktemp("net") / "20260101-000000", supernet_study())


def supernet_study(**changes: Any) -> Any:
    chosen = {"space": SPACE, "data": DATA, "supernet": {}, "estimate": {"calibration_images": 4, "bootstrap": 10}}
    return made.study(**{**chosen, **changes})


def study(**changes: Any) -> ShrinkStudy:
    return ShrinkStudy.model_validate({**copy.deepcopy(STUDY), **changes})


def test_every_configuration_is_estimated_once(net: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    write_text(run.path / "study.yaml", yaml.safe_dump(resolved(study())))
    monkeypatch.setattr(candidates, "run_jobs", made.Inline(stop_after=1))
    assert not run_shared(study(), run, net.path, **QUIET)
    assert run.records("shared") == []
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    assert run_shared(study(), run, net.path, **QUIET)
    assert len(jobs.messages) == 1  # the other one was on record
    archs = study().architectures(17)
    estimates = {record["fingerprint"]: record for record in run.records("candidate")}
    for record in run.records("shared"):
        arch = archs[record["config"]]
        assert record["fingerprint"] == fingerprint(arch)
        assert record["ap"] == estimates[fingerprint(arch)]["ap"]
        assert record["supernet_images"] == 64
    assert [record["config"] for record in run.records("shared")] == ["base", "shrunk"]
    before = run.metrics.read_bytes()
    assert run_shared(study(), run, net.path, **QUIET)
    assert run.metrics.read_bytes() == before


def test_a_run_does_not_mix_two_supernets(net: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "run_jobs", made.Inline())
    run = Run(tmp_path / "run")
    run.path.mkdir()
    assert run_shared(study(), run, net.path, **QUIET)
    other = made.supernet(tmp_path / "20260102-000000", supernet_study(), seed=1)
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join(line for line in lines if '"candidate"' in line))  # stopped before the last records
    jobs = made.Inline()
    monkeypatch.setattr(candidates, "run_jobs", jobs)
    assert run_shared(study(), run, other.path, **QUIET)
    assert len(jobs.messages) == 2
    run.metrics.unlink()
    assert run_shared(study(), run, net.path, **QUIET)
    with pytest.raises(InputError, match=re.escape(f"its estimates are from {net.path / 'supernet'}, not from")):
        run_shared(study(), run, other.path, **QUIET)


def test_what_the_supernet_does_not_hold_is_refused(net: Run, tmp_path: Path) -> None:
    wide = study(configurations=[*STUDY["configurations"], {"name": "wide", "width": 8, "A": [[1], [0, 1]]}])
    with pytest.raises(InputError, match=r"configuration wide is not in its space: .*") as caught:
        check_supernet(wide, net.path)
    assert "\n" not in str(caught.value)
    other = study(data={**DATA, "seed": 5})
    with pytest.raises(InputError, match="trained on other data than shared: its AP could not be compared"):
        check_supernet(other, net.path)
    with pytest.raises(InputError, match="no supernet"):
        check_supernet(study(), tmp_path)
