"""What AP an architecture will have, learned from the ones that were evaluated: a small ensemble.

Every member is a linear model with a small hidden layer beside it, fitted to its own bootstrap sample with two losses:
squared error, which keeps AP in its place, and a logistic loss on pairs, which gets the order right (as in Xu et al.,
ReNAS, CVPR 2021). Members that disagree show where nothing is known yet.

Shapes: N architectures, F features, K members, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archsearch.holes import magnitude
from archsearch.nets.zoo import Arch
from archsearch.search.pareto import Floats
from archsearch.search.problem import Problem

STEPS = 100
PAIRS = 256  # drawn for every step
PAIRWISE = 0.5  # weight of the loss on pairs
RATE, DECAY = 0.02, 0.02  # AdamW's learning rate and weight decay


class Features:
    """Architectures as vectors: each hole's option by its rank, whether it is reached, and the logarithms of costs.

    Alternatives with names have one feature each.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._codes: dict[str, dict[Any, list[float]]] = {}
        for path in problem.parameters.distributions:
            options = problem.parameters.options[path]
            self._codes[path] = {_key(option): code for option, code in zip(options, _codes(options), strict=True)}
        self._absent = {path: [0.0] * len(next(iter(codes.values()))) for path, codes in self._codes.items()}

    def __call__(self, archs: Sequence[Arch], costs: Sequence[Sequence[float]]) -> Tensor:
        """(N, F), float32. A hole that is not reached is 0 in all of its features. ``costs``: as ``Problem.costs``."""
        rows = []
        for arch, counted in zip(archs, costs, strict=True):
            chosen = self._problem.space.choices(arch)
            row: list[float] = []
            for path, codes in self._codes.items():
                row += codes[_key(chosen[path])] if path in chosen else self._absent[path]
            row += np.log(np.maximum(counted, 1e-9)).tolist()
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float32)


def _codes(options: tuple[Any, ...]) -> list[list[float]]:
    if all(isinstance(option, str) for option in options):
        return [[1.0, *(float(i == k) for k in range(len(options)))] for i in range(len(options))]
    rising = sorted(range(len(options)), key=lambda i: magnitude(options[i]))
    return [[1.0, 2.0 * rising.index(i) / (len(options) - 1) - 1.0] for i in range(len(options))]


def _key(option: Any) -> Any:
    return repr(option) if isinstance(option, dict | list | tuple) else option


class Predictor:
    """An ensemble fitted to ``aps`` of architectures with ``features_NF``. The seed decides everything."""

    def __init__(
        self, features_NF: Tensor, aps: Sequence[float], seed: int, members: int = 6, hidden: int = 16
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        target_N = torch.tensor(aps, dtype=torch.float32)
        self._mean, self._scale = target_N.mean(), target_N.std(correction=0).clamp_min(1e-4)
        self._centre_F, self._spread_F = features_NF.mean(0), features_NF.std(0, correction=0)
        self._spread_F = torch.where(self._spread_F < 1e-6, torch.ones_like(self._spread_F), self._spread_F)
        x_NF, y_N = self._scaled(features_NF), (target_N - self._mean) / self._scale
        count, width = x_NF.shape
        weight_KN = torch.poisson(torch.ones(members, count), generator=draw) + 1e-3
        self._linear_KF1 = _ridge(x_NF, y_N, weight_KN)
        self._in_KFH = torch.randn(members, width, hidden, generator=draw) / width**0.5
        self._bias_K1H = torch.randn(members, 1, hidden, generator=draw)
        self._out_KH1 = torch.zeros(members, hidden, 1)
        self._fit(x_NF, y_N, weight_KN, draw)

    def __len__(self) -> int:
        """The number of members."""
        return len(self._out_KH1)

    def _fit(self, x_NF: Tensor, y_N: Tensor, weight_KN: Tensor, draw: torch.Generator) -> None:
        """AdamW on both losses, with the gradient written out: autograd and an optimizer object take thrice as long."""
        learned = [self._linear_KF1, self._in_KFH, self._bias_K1H, self._out_KH1]
        values = torch.cat([tensor.flatten() for tensor in learned])
        gradient, mean, square = torch.zeros(3, len(values)).unbind()
        sizes = [tensor.numel() for tensor in learned]
        self._linear_KF1, self._in_KFH, self._bias_K1H, self._out_KH1 = (
            part.view_as(tensor) for part, tensor in zip(torch.split(values, sizes), learned, strict=True)
        )
        linear_KF1, in_KFH, bias_K1H, out_KH1 = (
            part.view_as(tensor) for part, tensor in zip(torch.split(gradient, sizes), learned, strict=True)
        )
        weight_KN = weight_KN / weight_KN.sum(1, keepdim=True)
        x_FN, count = x_NF.T.contiguous(), len(y_N)
        a_SP, b_SP = torch.randint(count, (STEPS, 2, PAIRS), generator=draw).unbind(1)
        sign_SP = -2 * torch.sign(y_N[a_SP] - y_N[b_SP])
        share_SKP = (PAIRWISE * count**2 / PAIRS * weight_KN[:, a_SP] * weight_KN[:, b_SP] * sign_SP).transpose(0, 1)
        pairs = zip(a_SP, b_SP, sign_SP, share_SKP, strict=True)
        for step, (a_P, b_P, sign_P, share_KP) in enumerate(pairs, 1):
            found_KN, hidden_KNH = self._forward(x_NF)
            slope_KN = 2 * weight_KN * (found_KN - y_N)  # of the loss, by what is found
            pair_KP = share_KP * torch.sigmoid(sign_P * (found_KN[:, a_P] - found_KN[:, b_P]))
            slope_KN.index_add_(1, a_P, pair_KP).index_add_(1, b_P, pair_KP, alpha=-1)
            inner_KNH = slope_KN[:, :, None] * self._out_KH1.mT * (1 - hidden_KNH**2)
            torch.matmul(x_FN, slope_KN[:, :, None], out=linear_KF1)
            torch.matmul(x_FN, inner_KNH, out=in_KFH)
            torch.sum(inner_KNH, 1, keepdim=True, out=bias_K1H)
            torch.matmul(hidden_KNH.mT, slope_KN[:, :, None], out=out_KH1)
            values.mul_(1 - RATE * DECAY)
            mean.lerp_(gradient, 1 - 0.9)
            square.lerp_(gradient**2, 1 - 0.999)
            spread = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
            values.addcdiv_(mean, spread, value=-RATE / (1 - 0.9**step))

    def _scaled(self, features_NF: Tensor) -> Tensor:
        return (features_NF - self._centre_F) / self._spread_F

    def _forward(self, x_NF: Tensor) -> tuple[Tensor, Tensor]:
        """(K, N) what each member finds, and (K, N, H) its hidden layer."""
        hidden_KNH = torch.tanh(x_NF @ self._in_KFH + self._bias_K1H)
        return (x_NF @ self._linear_KF1 + hidden_KNH @ self._out_KH1).squeeze(2), hidden_KNH

    def __call__(self, features_NF: Tensor) -> Floats:
        """(K, N) AP as each member expects it."""
        found_KN = self._forward(self._scaled(features_NF))[0] * self._scale + self._mean
        return found_KN.numpy().astype(np.float64)


def _ridge(x_NF: Tensor, y_N: Tensor, weight_KN: Tensor) -> Tensor:
    """(K, F, 1) weighted ridge regressions: where the fit begins."""
    root_KN1 = weight_KN.sqrt()[:, :, None]
    a_KNF = root_KN1 * x_NF
    gram_KFF = a_KNF.transpose(1, 2) @ a_KNF + 3.0 * torch.eye(x_NF.shape[1])
    found: Tensor = torch.linalg.solve(gram_KFF, a_KNF.transpose(1, 2) @ (root_KN1 * y_N[None, :, None]))
    return found
