"""The command line as a user meets it: what it prints, and one clear line with exit code 2 on bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from archsearch.cli import main
from archsearch.costs.macs import cost
from archsearch.data.scenes import scenes, write_scenes
from archsearch.nets.zoo import as_arch, build
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.runs import Run
from archsearch.skeleton import COCO17
from archsearch.space import to_plain
from archsearch.train.checkpoint import save_model

ARCH = as_arch(
    {
        "kind": "hrnet",
        "input_hw": [64, 64],
        "widths": [4, 8],
        "stem": {"width": 4, "planes": 2, "blocks": [{"kernel": 3}]},
        "stages": [{"modules": 1, "branches": [[], []]}],
        "head": {"kind": "bottom_up", "deconvs": [{"width": 4, "blocks": []}]},
    }
)


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "archsearch", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def refused(*args: object, cwd: Path | None = None) -> str:
    """The one line that a refused command prints."""
    done = run(*args, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder, scenes(4, 64, 0, COCO17, "easy"))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build(ARCH, joints=17), ARCH, COCO17, FAST_DECODE)
    return folder


def test_every_command_explains_itself_with_an_example() -> None:
    top = run("--help")
    assert top.returncode == 0
    for command in (
        "data scenes",
        "data check",
        "profile",
        "models",
        "shrink",
        "train",
        "eval",
        "predict",
        "ceiling",
        "report",
        "supernet train",
        "supernet conflict",
        "rank",
        "pareto",
        "space show",
    ):
        done = run(*command.split(), "--help")
        assert done.returncode == 0
        assert "Example: archsearch" in done.stdout


def test_profile_prints_the_published_figures() -> None:
    done = run("profile", "higherhrnet-w18-shrink3", "--json")
    figures = json.loads(done.stdout)
    assert figures["params"] == 7_375_166
    assert figures["macs"]["true"] == 7_874_740_224
    assert (figures["input_hw"], figures["joints"]) == ([512, 512], 14)
    shown = run("profile", "higherhrnet-w18-shrink3", "--input", "256x512", "--joints", 17).stdout
    assert "parameters at 256x512, 17 joints" in " ".join(shown.split())
    assert "9.148 G" in run("profile", "higherhrnet-w18-shrink3").stdout


def test_scenes_are_written_as_coco(tmp_path: Path) -> None:
    done = run("data", "scenes", "out", "--images", 3, "--size", 64, "--skeleton", "crowdpose14", cwd=tmp_path)
    assert done.returncode == 0
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert len(annotations["images"]) == 3
    assert annotations["categories"][0]["keypoints"][-2:] == ["head", "neck"]


def test_a_model_is_evaluated_and_draws_what_it_finds(tmp_path: Path, data: Path, model: Path) -> None:
    options = ("--annotations", data / "annotations.json", "--images", data / "images", "--json")
    done = run("eval", model, *options, "--out", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert 0 <= json.loads(done.stdout)["ap"] <= 1
    assert isinstance(json.loads((tmp_path / "r.json").read_text()), list)
    done = run("predict", model, data / "images", "--out", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 4
    found = json.loads((tmp_path / "drawn" / "people.json").read_text())
    assert len(found["images"]) == 4
    assert found["joints"] == list(COCO17.joints)


def _break(data: Path, folder: Path, change: Any) -> Path:
    annotations = json.loads((data / "annotations.json").read_text())
    change(annotations)
    path = folder / "broken.json"
    path.write_text(json.dumps(annotations))
    return path


def _rename_image(a: dict[str, Any]) -> None:
    a["images"][0]["file_name"] = "lost.jpg"


def _drop_keypoints(a: dict[str, Any]) -> None:
    for annotation in a["annotations"]:
        del annotation["keypoints"]
    for category in a["categories"]:
        del category["keypoints"]


def _other_joints(a: dict[str, Any]) -> None:
    for annotation in a["annotations"]:
        annotation["keypoints"] = [1, 1, 2] * 21
    a["categories"][0]["keypoints"] = [f"finger{i}" for i in range(21)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_rename_image, ["lost.jpg", "no such file"]),
        (_drop_keypoints, ["broken.json", "keypoints"]),
        (_other_joints, ["broken.json", "21"]),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, data: Path, change: Any, words: list[str]) -> None:
    path = _break(data, tmp_path, change)
    line = refused("train", "overfit_photos", "--annotations", path, "--images", data / "images", cwd=tmp_path)
    assert all(word in line for word in words), line


def test_a_corrupt_jpeg_is_named(tmp_path: Path, data: Path, model: Path) -> None:
    photo = tmp_path / "broken.jpg"
    photo.write_bytes(next((data / "images").iterdir()).read_bytes()[:200])
    line = refused("predict", model, photo, cwd=tmp_path)
    assert "broken.jpg" in line


def test_a_corrupt_jpeg_stops_a_training_with_its_name(tmp_path: Path, data: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i, file in enumerate(sorted((data / "images").iterdir())):
        content = file.read_bytes()
        (images / file.name).write_bytes(content[:200] if i == 2 else content)
    options = ("--annotations", data / "annotations.json", "--images", images)
    line = refused("train", "overfit_photos", *options, cwd=tmp_path)
    assert "000000000003.jpg" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("protocol", ["bottom_up", "top_down"])
def test_a_training_has_a_page_of_its_own(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*args: object) -> str:
        """Standard output of a command that is carried out in this process, which is quicker."""
        monkeypatch.setattr(sys, "argv", ["archsearch", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        assert not done.value.code, err
        return out

    monkeypatch.chdir(tmp_path)
    head = {"kind": "top_down"} if protocol == "top_down" else to_plain(ARCH.head)
    study = {
        "kind": "train", "name": "tiny", "protocol": protocol, "arch": {**to_plain(ARCH), "head": head}, "threads": 1,
        "data": {"kind": "scenes", "size_px": 64, "train": 4, "val": 3}, "bootstrap": 10,
        "train": {"preset": "fast", "images": 8, "batch": 4},
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(json.dumps(study))
    out = called("train", "tiny.yaml")
    (folder,) = Path("runs/tiny").iterdir()
    assert f"{folder}/report.html" in out.splitlines()
    (priced,) = Run(folder).records("cost")
    assert (priced["config"], priced["macs"]) == ("tiny", cost(as_arch(priced["arch"])).macs)
    assert priced["arch"]["joints"] == 17
    page = (folder / "report.html").read_text()
    assert "archsearch train study.yaml" in page
    (folder / "report.html").unlink()
    called("train", folder / "study.yaml", "--resume")  # its own study, and nothing left to do
    assert (folder / "report.html").read_text() == page
    assert len(Run(folder).records("cost")) == 1
    (row,) = json.loads(called("report", folder, "--json"))
    assert row["macs"] == priced["macs"]
    assert (folder / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["shrink", "gradual_shrinkin"], "did you mean gradual_shrinking?"),
        (["shrink", "gradual_shrinking", "train.optimiser=adam"], "did you mean optimizer?"),
        (["shrink", "gradual_shrinking", "configurations.1.A=[[1],[9,9],[2,2,2],[2,2,2,2]]"], "A2[0] = 9 grows"),
        (["shrink", "gradual_shrinking", "--resume"], "no run to resume"),
        (["shrink", "gradual_shrinking_crowdpose", "device=cpu"], "crowdpose_trainval.json: not there (and 3 more)"),
        (["shrink", "gradual_shrinking", "device=cuda"], "device"),
        (["profile", "litepose-z"], "neither a file nor one of"),
        (["profile", "higherhrnet-w32", "--input", "500x500"], "500x500 is not a multiple of 32"),
        (["profile", "higherhrnet-w32", "--input", "big"], "--input big"),
        (["predict", "nowhere", "x.jpg"], "x.jpg: no such file"),
        (["data", "scenes", "o", "--level", "medium"], "medium"),
        (["data", "scenes", "o", "--images", "0"], "images 0"),
        (["report", "nowhere"], "not a run's folder"),
        (["train", "overfit_photos", "--images", "x"], "go together"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, args: list[str], words: str) -> None:
    import torch

    if "device=cuda" in args and torch.cuda.is_available():
        args = [*args[:-1], "device=tpu"]
    line = refused(*args, cwd=tmp_path)
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    study = tmp_path / "runs" / "gradual_shrinking" / "20260101-000000"
    study.mkdir(parents=True)
    (study / "study.yaml").write_text("kind: shrink\nname: other\n")
    line = refused("shrink", "gradual_shrinking", "--resume", cwd=tmp_path)
    assert "name was 'other', is 'gradual_shrinking'" in line


def test_the_picture_that_predict_draws_is_the_photo_with_more_on_it(tmp_path: Path, data: Path, model: Path) -> None:
    photo = sorted((data / "images").iterdir())[0]
    run("predict", model, photo, "--out", tmp_path)
    drawn, original = cv2.imread(str(tmp_path / (photo.stem + ".png"))), cv2.imread(str(photo))
    assert drawn.shape == original.shape
    assert np.mean(np.all(drawn == original, axis=2)) > 0.2
