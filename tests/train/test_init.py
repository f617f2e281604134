import math

import pytest
import torch

from archsearch.nets.zoo import as_arch
from archsearch.train.init import OFFICIAL_STD, first_weights


@pytest.mark.parametrize("name", ["higherhrnet-w18-shrink3", "litepose-xs", "efficienthrnet-h4"])
def test_only_the_rows_that_make_tags_are_spread(name: str) -> None:
    arch = as_arch(name)
    plain, spread = (first_weights(arch, 14, seed=0, tag_gain=gain) for gain in (0.0, 2.0))
    layers = spread.head.tag_layers()  # type: ignore[union-attr, operator]
    assert layers
    changed = [n for n, p in plain.named_parameters() if not torch.equal(p, spread.get_parameter(n))]
    assert len(changed) == len(layers)
    for name_, before in ((n, plain.get_parameter(n)) for n in changed):
        after = spread.get_parameter(name_)
        assert after.shape[0] == 28
        assert torch.equal(after[:14], before[:14])  # heatmaps
        assert after[14:].std().item() == pytest.approx(2 / math.sqrt(after[0].numel()), rel=0.25)


def test_top_down_networks_have_no_tags() -> None:
    arch = as_arch("litehrnet-18")
    plain, asked = (first_weights(arch, 17, seed=0, tag_gain=gain).state_dict() for gain in (0.0, 2.0))
    assert all(torch.equal(asked[name], tensor) for name, tensor in plain.items())


def test_a_seed_gives_the_same_weights_and_leaves_torchs_own_random_state_alone() -> None:
    arch = as_arch("litepose-xs")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (first_weights(arch, 14, seed=seed, tag_gain=1.0) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_official_distribution() -> None:
    net = first_weights(as_arch("higherhrnet-w18-shrink3"), 14, seed=0, init="official")
    weights = torch.cat([p.flatten() for p in net.parameters() if p.ndim == 4])
    assert weights.std().item() == pytest.approx(OFFICIAL_STD, rel=0.01)
