"""The ensemble learns what decides AP; its features tell every architecture apart."""

import numpy as np
import torch
from scipy import stats
from search import problems

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
