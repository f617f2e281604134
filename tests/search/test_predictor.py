"""The ensemble learns what decides AP; its features tell every architecture apart."""

import numpy as np
import pytest
import torch
from scipy import stats
from search import problems
from torch import Tensor
from torch.nn import functional

from archsearch.nets.zoo import load_space
from archsearch.search.predictor import Features, Predictor


def test_it_ranks_architectures_that_it_never_saw() -> None:
    found = problems.problem(load_space("embedded_litepose"))
    rng = np.random.default_rng(0)
    archs = [found.space.sample(rng) for _ in range(120)]
    aps = [problems.ap(found, arch) for arch in archs]
    features_NF = Features(found)(archs, [found.costs(arch) for arch in archs])
    predictor = Predictor(features_NF[:60], aps[:60], seed=0)
    expected_KN = predictor(features_NF[60:])
    assert expected_KN.shape == (len(predictor), 60)
    tau = stats.kendalltau(expected_KN.mean(0), aps[60:]).statistic
    assert tau > 0.8
    assert abs(expected_KN.mean() - np.mean(aps[60:])) < 0.03
    again = Predictor(features_NF[:60], aps[:60], seed=0)
    assert torch.equal(torch.from_numpy(again(features_NF)), torch.from_numpy(predictor(features_NF)))


def test_members_disagree_more_far_from_what_was_seen() -> None:
    found = problems.problem(load_space("embedded_litepose"))
    rng = np.random.default_rng(1)
    archs = sorted((found.space.sample(rng) for _ in range(200)), key=lambda arch: found.costs(arch)[0])
    features_NF = Features(found)(archs, [found.costs(arch) for arch in archs])
    cheap = Predictor(features_NF[:50], [problems.ap(found, arch) for arch in archs[:50]], seed=0)
    spread_N = cheap(features_NF).std(0)
    assert spread_N[150:].mean() > 1.5 * spread_N[:50].mean()


def test_features_tell_kinds_depths_and_absence_apart() -> None:
    for name in ("embedded_lite_hrnet", "embedded_litepose"):
        found = problems.problem(load_space(name))
        rng = np.random.default_rng(2)
        archs = list({found.space.sample(rng): None for _ in range(60)})
        rows = Features(found)(archs, [[1.0]] * len(archs))  # costs would tell them apart by themselves
        assert len(torch.unique(rows, dim=0)) == len(archs)


def test_equal_aps_and_one_architecture_do_no_harm() -> None:
    found = problems.problem()
    rows = Features(found)([found.space.smallest(), found.space.largest()], [[1.0], [2.0]])
    assert np.isfinite(Predictor(rows, [0.3, 0.3], seed=0)(rows)).all()
    assert np.isfinite(Predictor(rows[:1], [0.3], seed=0)(rows)).all()


class ByAutograd(Predictor):
    """The same losses, left to autograd and torch's AdamW."""

    def _fit(self, x_NF: Tensor, y_N: Tensor, weight_KN: Tensor, draw: torch.Generator) -> None:
        learned = [self._linear_KF1, self._in_KFH, self._bias_K1H, self._out_KH1]
        for tensor in learned:
            tensor.requires_grad_()
        optimizer = torch.optim.AdamW(learned, lr=0.02, weight_decay=0.02)
        weight_KN = weight_KN / weight_KN.sum(1, keepdim=True)
        for a_P, b_P in torch.randint(len(y_N), (100, 2, 256), generator=draw):
            found_KN, _ = self._forward(x_NF)
            squared = (weight_KN * (found_KN - y_N) ** 2).sum()
            share_KP = weight_KN[:, a_P] * weight_KN[:, b_P] * len(y_N) ** 2 / 256
            apart_KP = torch.sign(y_N[a_P] - y_N[b_P]) * (found_KN[:, a_P] - found_KN[:, b_P])
            optimizer.zero_grad()
            (squared + 0.5 * (share_KP * functional.softplus(-2 * apart_KP)).sum()).backward()
            optimizer.step()
        for tensor in learned:
            tensor.requires_grad_(False)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_the_gradient_is_that_of_the_losses(count: int) -> None:
    draw = torch.Generator().manual_seed(count)
    rows_NF = torch.randn(count, 12, generator=draw)
    aps = (0.4 + 0.1 * torch.tanh(rows_NF[:, :4].sum(1)) + 0.02 * torch.randn(count, generator=draw)).tolist()
    fitted, expected = Predictor(rows_NF, aps, seed=1)(rows_NF), ByAutograd(rows_NF, aps, seed=1)(rows_NF)
    np.testing.assert_allclose(fitted, expected, atol=1e-5)
    untrained = Predictor.__new__(Predictor)
    untrained._fit = lambda *_: None  # type: ignore[method-assign]
    untrained.__init__(rows_NF, aps, seed=1)  # type: ignore[misc]
    assert np.abs(untrained(rows_NF) - expected).max() > 1e-3
