from pathlib import Path

import pytest

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
        ("colour: red", "unexpected keyword argument 'colour'"),
    ],
)
def test_a_wrong_skeleton_is_refused_by_name(tmp_path: Path, change: str, words: str) -> None:
    path = tmp_path / "hand.yaml"
    key = change.split(":")[0]
    path.write_text("\n".join(line for line in HAND.splitlines() if not line.startswith(key)) + f"\n{change}\n")
    with pytest.raises(InputError, match=words) as caught:
        load_skeleton(path)
    assert "hand.yaml" in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="coco17, crowdpose14"):
        load_skeleton("coco18")
