import dataclasses
import fnmatch
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from train import tiny

from archsearch.files import resources
from archsearch.nets.zoo import Arch, is_bottom_up, load_space
from archsearch.space import Space
from archsearch.train.subnets import SupernetSettings, check_settings, extreme, subnets

SHIPPED = sorted(path.stem for path in resources("search_spaces").glob("*.yaml"))


def drawn(step: int, seed: int = 0, steps: int = 100, space: Space[Arch] | None = None, **changes: Any) -> list[Arch]:
    settings = SupernetSettings.model_validate(changes)
    return subnets(space or tiny.space(), settings, seed=seed, step=step, steps=steps)


def test_a_step_follows_from_the_seed_and_its_number_alone() -> None:
    forward = [drawn(step) for step in range(8)]
    backward = [drawn(step) for step in reversed(range(8))]
    assert forward == backward[::-1]
    assert drawn(3, seed=1) != drawn(3, seed=0)
    assert len({tuple(map(str, archs)) for archs in forward}) == 8


@pytest.mark.parametrize("name", SHIPPED)
def test_of_every_shipped_space_a_sandwich_has_its_ends_and_one_input_size(name: str) -> None:
    space = load_space(name)
    assert is_bottom_up(space.largest()) or name == "lite_hrnet" or "lite_hrnet" in name
    sizes = set()
    for step in range(6):
        largest, smallest, *random = drawn(step, random=3, space=space)
        assert len(random) == 3
        assert len({arch.input_hw for arch in (largest, smallest, *random)}) == 1
        sizes.add(largest.input_hw)
        options = {hole.path: hole.options for hole in space.holes}
        for arch, top in ((largest, True), (smallest, False)):
            for path, value in space.choices(arch).items():
                if path not in ("/resolution", "/input_hw") and not isinstance(value, str):
                    assert value == extreme(options[path], largest=top), path
    offered = next((h.options for h in space.holes if h.path in ("/resolution", "/input_hw")), ())
    assert len(sizes) >= min(2, len(offered))


def test_named_alternatives_are_drawn_in_the_ends_too() -> None:
    space = load_space("embedded_lite_hrnet")
    holes = [hole for hole in space.holes if isinstance(hole.options[0], str)]
    assert holes
    for hole in holes:
        for place in (0, 1):
            seen = {space.choices(drawn(step, space=space)[place])[hole.path] for step in range(20)}
            assert seen == set(hole.options)


def test_closed_holes_stay_at_their_largest() -> None:
    phases = [{"until": 0.2, "open": []}, {"until": 0.6, "open": ["*/kernel", "/resolution"]}, {"until": 1.0}]
    space = tiny.space()
    options = {hole.path: hole.options for hole in space.holes}
    seen: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for step in range(50):
        number = 0 if step < 10 else 1 if step < 30 else 2
        for arch in drawn(step, steps=50, phases=phases, random=3):
            for path, value in space.choices(arch).items():
                if value != max(options[path]):
                    seen[number].add(path)
    assert seen[0] == set()
    assert seen[1] == {p for p in options if fnmatch.fnmatch(p, "*/kernel") or p == "/resolution"}
    assert seen[2] == set(options)


def test_phases_begin_where_the_one_before_ends() -> None:
    settings = SupernetSettings.model_validate({"phases": [{"until": 0.25}, {"until": 0.5}, {"until": 1.0}]})
    assert [settings.phase(step, 8) for step in range(8)] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [settings.starts(step, 8) is not None for step in range(8)] == [True, False] * 3 + [False] * 2
    thirds = SupernetSettings.model_validate({"phases": [{"until": 1 / 3}, {"until": 1.0}]})
    assert [thirds.phase(step, 7) for step in range(7)] == [0, 0, 0, 1, 1, 1, 1]  # steps below 7/3


@pytest.mark.parametrize("random", [6, 12])
def test_fair_uses_every_option_equally_often(random: int) -> None:
    space = tiny.space()
    always = [h for h in space.holes if "/blocks/1/" not in h.path and h.path != "/resolution"]
    assert {len(h.options) for h in always} == {2, 3}
    different = set()
    for step in range(5):
        archs = drawn(step, strategy="fair", random=random)
        different.add(str(archs))
        assert len(archs) == random
        assert len({arch.input_hw for arch in archs}) == 1
        for hole in always:
            counts = Counter(space.choices(arch)[hole.path] for arch in archs)
            assert counts == dict.fromkeys(hole.options, random // len(hole.options)), hole.path
    assert len(different) == 5


@pytest.mark.parametrize("random", [1, 4, 5])
def test_any_fair_number_uses_every_option_once_in_every_deck(random: int) -> None:
    """Over the steps, each of which follows from its own number alone, the last one first."""
    space, steps = tiny.space(), 12
    always = [h for h in space.holes if "/blocks/1/" not in h.path and h.path != "/resolution"]
    dealt = {step: drawn(step, strategy="fair", random=random) for step in reversed(range(steps))}
    archs = [arch for step in range(steps) for arch in dealt[step]]
    for hole in always:
        row = [space.choices(arch)[hole.path] for arch in archs]
        n = len(hole.options)
        decks = [tuple(row[start : start + n]) for start in range(0, len(row) - n + 1, n)]
        assert {frozenset(deck) for deck in decks} == {frozenset(hole.options)}, hole.path
        assert len(set(decks)) > 1, "shuffled"


def test_every_hole_and_every_seed_has_its_own_decks() -> None:
    space = tiny.space()
    dealt = [drawn(step, strategy="fair", random=6) for step in range(10)]
    pairs = {(space.choices(a)["/stem"], space.choices(a)["/stages/0/width"]) for archs in dealt for a in archs}
    assert len(pairs) == 4
    assert drawn(0, strategy="fair", random=6) != drawn(0, seed=1, strategy="fair", random=6)


def test_a_single_path_is_one_net_drawn_evenly() -> None:
    paths = [drawn(step, strategy="single_path") for step in range(300)]
    assert all(len(archs) == 1 for archs in paths)
    counts = Counter(tiny.space().choices(archs[0])["/stages/0/blocks/0/kernel"] for archs in paths)
    assert all(70 < counts[kernel] < 130 for kernel in (3, 5, 7))


def test_only_a_sandwich_has_a_teacher() -> None:
    assert SupernetSettings.model_validate({}).teacher_weight > 0
    for strategy in ("fair", "single_path"):
        settings = SupernetSettings.model_validate({"strategy": strategy})
        assert settings.teacher_weight == 0
        # Settings go to other processes and into study.yaml written out, and are read back.
        assert SupernetSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": "fair", "teacher_weight": 0.5}, "teacher_weight 0.5: only a sandwich has a teacher"),
        ({"strategy": "single_path", "random": 0}, "random 0: single_path runs nothing but random"),
        ({"phases": [{"until": 0.5}]}, r"phases end at \[0.5\]: parts of the training that rise to 1"),
        ({"phases": [{"until": 0.5}, {"until": 0.5}, {"until": 1.0}]}, r"phases end at \[0.5, 0.5, 1.0\]"),
        ({"phases": []}, "at least 1 item"),
        ({"random": -1}, "greater than or equal to 0"),
        ({"strategy": "fair", "largest_weight": 2}, "largest_weight 2.0: only a sandwich always runs its largest net"),
        ({"largest_weight": 0}, "greater than 0"),
        ({"size_weights": [0, 0]}, r"size_weights \(0.0, 0.0\): at least one must be positive"),
        ({"size_weights": [-1, 2]}, "greater than or equal to 0"),
        ({"teacher_ramp": 1.5}, "less than or equal to 1"),
        ({"teacher_weight": 1.5}, "less than or equal to 1"),
        ({"strategy": "all"}, "'sandwich', 'fair' or 'single_path'"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SupernetSettings.model_validate(changes)


def test_a_pattern_that_opens_nothing_is_refused() -> None:
    settings = SupernetSettings.model_validate({"phases": [{"until": 1.0, "open": ["*/kernel", "*/kernels"]}]})
    with pytest.raises(ValueError, match=r"phase opens '\*/kernels': tiny has no such hole, as /resolution is one"):
        check_settings(tiny.space(), settings)
    check_settings(tiny.space(), SupernetSettings.model_validate({}))


def phases(*opened: list[str], sort: int = 1) -> dict[str, Any]:
    ends = [(number + 1) / len(opened) for number in range(len(opened))]
    made = [{"until": end, "open": patterns} for end, patterns in zip(ends, opened, strict=True)]
    made[sort]["sort_channels"] = True
    return {"phases": made}


@pytest.mark.parametrize("path", ["/stem", "/stages/0/width", "/stages/0/blocks/0/expand", "/head/filters/1"])
def test_channels_are_not_sorted_after_widths_were_open(path: str) -> None:
    for settings in (phases([path], ["*"]), phases([], [path], ["*/kernel"], sort=2)):
        with pytest.raises(ValueError, match=r"sort_channels: an earlier phase opens") as caught:
            check_settings(tiny.space(), SupernetSettings.model_validate(settings))
        assert f"opens {path};" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_channels_are_sorted_before_widths_are_open_or_as_they_open() -> None:
    narrow = ["*/kernel", "/resolution", "*/times"]
    for settings in (phases(narrow, ["*"]), phases([], narrow, sort=0), phases([], narrow, ["*"], sort=2)):
        check_settings(tiny.space(), SupernetSettings.model_validate(settings))


@pytest.mark.parametrize("name", SHIPPED)
def test_which_holes_of_shipped_spaces_are_widths(name: str) -> None:
    space = load_space(name)
    words = {"width", "planes", "expand", "stem", "widths", "filters"}
    for hole in space.holes:
        settings = SupernetSettings.model_validate(phases([hole.path], ["*"]))
        last = [word for word in hole.path.split("/") if not word.isdigit()][-1]
        if last in words:
            with pytest.raises(ValueError, match="sort_channels"):
                check_settings(space, settings)
        else:
            check_settings(space, settings)


def test_input_sizes_are_drawn_as_often_as_their_weights_say() -> None:
    weights = {"size_weights": [1, 3], "random": 0}
    check_settings(tiny.space(), SupernetSettings.model_validate(weights))
    sizes = Counter(drawn(step, steps=400, **weights)[0].input_hw[0] for step in range(400))
    assert 70 < sizes[32] < 130
    assert sizes[32] + sizes[48] == 400
    assert {drawn(step, size_weights=[0, 1])[0].input_hw for step in range(20)} == {(48, 48)}
    backward = tiny.space(resolution={"choice": [48, 32]})
    same = [drawn(step, steps=400, space=backward, **weights)[0].input_hw[0] for step in range(400)]
    assert Counter(same) == sizes, "smallest first, however the space lists them"
    with pytest.raises(ValueError, match=r"size_weights \(1.0, 2.0, 3.0\): tiny has 2 input sizes"):
        check_settings(tiny.space(), SupernetSettings.model_validate({"size_weights": [1, 2, 3]}))


def test_a_teacher_comes_in_evenly() -> None:
    ramped = SupernetSettings.model_validate({"teacher_weight": 0.5, "teacher_ramp": 0.4})
    weights = [ramped.teaches(step, 10) for step in range(10)]
    assert weights == pytest.approx([0.125, 0.25, 0.375] + 7 * [0.5])
    assert {SupernetSettings.model_validate({}).teaches(step, 10) for step in range(10)} == {0.5}


def test_settings_survive_a_file(tmp_path: Path) -> None:
    settings = SupernetSettings.model_validate(tiny.STUDY["supernet"])
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert SupernetSettings.model_validate(yaml.safe_load((tmp_path / "s.yaml").read_text())) == settings


def test_a_space_may_have_one_architecture() -> None:
    plain = {**tiny.LITEPOSE, "stages": tiny.LITEPOSE["stages"][1:], "resolution": 32, "stem": 4, "head": {}}
    plain["stages"] = [{**plain["stages"][0]}, {**plain["stages"][0]}, plain["stages"][1]]
    space = Space(Arch, {**plain, "head": {"filters": [8, 8]}}, "one")
    assert space.size == 1
    assert {str(dataclasses.asdict(arch)) for arch in drawn(0, space=space)} == {
        str(dataclasses.asdict(space.largest()))
    }
