from pathlib import Path

import pytest

from archsearch.experiments.rank import RankStudy
from archsearch.experiments.search.study import SearchStudy
from archsearch.experiments.shrink import ShrinkStudy
from archsearch.experiments.single import parse_study
from archsearch.experiments.supernet_study import SupernetStudy
from archsearch.files import InputError
from archsearch.pose.losses import FAST
from archsearch.settings import find_study, parse, read_study, studies
from archsearch.train.settings import TrainSettings


def _shrink(*overrides: str) -> ShrinkStudy:
    path = find_study("gradual_shrinking")
    return parse(ShrinkStudy, read_study(path, overrides), path)


def test_every_shipped_study_can_be_read() -> None:
    kinds = {"shrink": ShrinkStudy, "supernet": SupernetStudy, "rank": RankStudy, "search": SearchStudy}
    assert {"gradual_shrinking", "gradual_shrinking_crowdpose", "gradual_shrinking_scenes256"} <= set(studies())
    for name in studies():
        fields = read_study(find_study(name))
        path = find_study(name)
        study = parse_study(fields, path) if fields["kind"] == "train" else parse(kinds[fields["kind"]], fields, path)
        assert study.name == name  # type: ignore[attr-defined]


def test_a_preset_fills_what_is_not_written_out() -> None:
    study = _shrink("train.lr=0.5", "train.loss.beta=1.5")
    assert study.train.lr == 0.5
    assert study.train.loss.beta == 1.5
    assert study.train.loss.sigmas == FAST.sigmas
    assert study.train.augmentation.rotation_deg == 20
    official = TrainSettings.model_validate({"preset": "official", "epochs": 300})
    assert (official.optimizer, official.lr, official.loss.heatmap) == ("adam", 1e-3, "mse")
    assert official.steps(1600) == 300 * 100


def test_settings_go_to_plain_values_and_back() -> None:
    study = _shrink()
    assert ShrinkStudy.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.optimiser=adam", "train.optimiser: unknown key; did you mean optimizer?"),
        ("trian=1", "trian: unknown key; did you mean train?"),
        ("train.loss.sigma=[1]", r"train.loss.sigma: unknown key; did you mean sigmas?"),
        ("train.lr=.inf", "train.lr: input should be a finite number"),
        ("train.preset=[1]", "train.preset: input should be 'official' or 'fast'"),
        ("train.decode.nms_kernel=4", "train.decode: nms_kernel 4 is not an odd number"),
        ("train.loss.pull_weight=-1", "weights 1.0, -1.0, 0.3 must be from 0"),
        ("seeds=[-1]", "seeds.0: input should be greater than or equal to 0"),
        ("name=../up", "name: string should match pattern"),
        ("train.lr=-1", r"train.lr: input should be greater than 0 \(given -1\)"),
        ("train.epochs=3", "either epochs or images"),
        ("data.level=medium", r"data.scenes.level: .*'easy' or 'hard' \(given 'medium'\)"),
        ("configurations.2.A=[[1],[4,4],[4,4,4],[4,4,4,4]]", r"shrink2: A2\[0\] = 4 grows from 3 in shrink1"),
        ("configurations.2.width=8", "shrink2: width 8 falls from 12 in shrink1"),
        ("configurations.1.A=[[1],[2,2]]", r"shrink1: A has stages of \[1, 2\] branches"),
        ("configurations.1.name=baseline", "share a name"),
        ("data.size_px=128", "base takes 96x96 images, data.size_px draws 128"),
        ("base=litepose-s", "not of the HRNet family"),
        ("seeds=[0,0]", "repeat"),
        ("height_edges_px=[10,5]", "do not rise"),
    ],
)
def test_a_fault_is_one_line_with_field_and_value(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        _shrink(override)
    assert "gradual_shrinking.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_must_be_assignments(tmp_path: Path) -> None:
    path = find_study("gradual_shrinking")
    with pytest.raises(InputError, match="not of the form key=value"):
        read_study(path, ["train.lr"])
    with pytest.raises(InputError, match="there is no field"):
        read_study(path, ["name.x=1"])
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="a study is a mapping"):
        read_study(tmp_path / "list.yaml")


def test_an_unknown_study_suggests_a_known_one() -> None:
    with pytest.raises(InputError, match=r"did you mean gradual_shrinking\?"):
        find_study("gradual_shrinkin")
