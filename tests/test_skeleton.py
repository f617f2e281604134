from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.files import InputError
from archsearch.skeleton import COCO17, CROWDPOSE14, load_skeleton

HAND = """
name: two_fingers
joints: [wrist, left_tip, right_tip]
limbs: [[wrist, left_tip], [wrist, right_tip]]
sigmas: [0.05, 0.03, 0.03]
"""


def test_known_skeletons_have_the_published_constants() -> None:
    assert COCO17.joints[:3] == ("nose", "left_eye", "right_eye")
    assert COCO17.flip == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert COCO17.group_order == (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
    assert CROWDPOSE14.flip == (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13)
    assert CROWDPOSE14.sigmas == (
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107),
        *(0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    )
    assert CROWDPOSE14.group_order == (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13)


def test_a_skeleton_from_yaml_finds_its_mirror_pairs(tmp_path: Path) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text(HAND)
    hand = load_skeleton(path)
    assert hand.flip == (0, 2, 1)
    assert hand.limbs == ((0, 1), (0, 2))
    assert len(hand) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("limbs: [[wrist, elbow]]", "'elbow', which is not one of its joints"),
        ("sigmas: [0.05]", "3 positive sigmas needed"),
        ("sigmas: [0.05, 0.03, .nan]", r"sigmas is \[0.05, 0.03, nan\], a list of numbers is needed"),
        ("sigmas: [0.05, 0.03, 0]", "3 positive sigmas needed"),
        ("sigmas: wide", "sigmas is 'wide', a list of numbers is needed"),
        ("joints: 3", "joints is 3, a list of names is needed"),
        ("joints: [a, b, 3]", "a list of names is needed"),
        ("joints: [wrist, wrist, left_tip, right_tip]", "joint names are not unique"),
        ("limbs: [[wrist, left_tip, right_tip]]", "a list of pairs of names is needed"),
        ("flips: [[left_tip, right_tip], [wrist, left_tip]]", "flips pair 'wrist' or 'left_tip' twice"),
        ("flips: [[left_tip, thumb]]", "flips names 'thumb', which is not one of its joints"),
        ("group_order: [wrist]", "is not an order of 3 joints"),
        ("name: [a]", "name is .*, a name is needed"),
        ("colour: red", "'colour' is none of a skeleton's fields: name, joints"),
        ("sigmas :", "sigmas is None, a list of numbers is needed"),
    ],
)
def test_a_wrong_skeleton_is_refused_by_name(tmp_path: Path, change: str, words: str) -> None:
    path = tmp_path / "hand.yaml"
    key = change.split(":")[0]
    path.write_text("\n".join(line for line in HAND.splitlines() if not line.startswith(key)) + f"\n{change}\n")
    with pytest.raises(InputError, match=words) as caught:
        load_skeleton(path)
    assert "hand.yaml" in str(caught.value)


@pytest.mark.parametrize("field", ["name", "joints", "limbs", "sigmas"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text("\n".join(line for line in HAND.splitlines() if not line.startswith(field)))
    with pytest.raises(InputError, match=f"hand.yaml: {field} is missing"):
        load_skeleton(path)


def test_mirror_pairs_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text(HAND.replace("left_tip", "thumb").replace("right_tip", "little") + "flips: [[thumb, little]]\n")
    assert load_skeleton(path).flip == (0, 2, 1)
    path.write_text(HAND + "flips: []\n")
    assert load_skeleton(path).flip == (0, 1, 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(
        st.sampled_from(["name", "joints", "limbs", "sigmas", "flips", "group_order", "x"]),
        st.recursive(
            st.one_of(st.none(), st.integers(-1, 3), st.floats(-1, 1), st.sampled_from(["a", "b", ""])),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_anything_else_is_a_skeleton_or_one_line(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "odd.yaml"
    base = {"name": "two", "joints": ["a", "b"], "limbs": [["a", "b"]], "sigmas": [0.1, 0.1]}
    path.write_text(yaml.safe_dump(base | fields))
    try:
        skeleton = load_skeleton(path)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert len(skeleton.sigmas) == len(skeleton.joints) > 0
    assert "\n" not in message


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="coco17, crowdpose14, mpii16"):
        load_skeleton("coco18")
