"""What is searched: the parameters of a space, what its architectures cost, and what is wanted of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from archsearch.nets.zoo import Arch
from archsearch.search.afford import Costing
from archsearch.search.parameters import Parameters
from archsearch.search.pareto import Floats
from archsearch.space import Space


@dataclass(frozen=True, eq=False)
class Problem:
    """A search without its trials."""

    parameters: Parameters
    costing: Costing
    objectives: tuple[str, ...]  # ap, and costs by name

    @property
    def space(self) -> Space[Arch]:
        """The space that is searched."""
        return self.parameters.space

    @property
    def cost_names(self) -> tuple[str, ...]:
        """The objectives but AP."""
        return tuple(name for name in self.objectives if name != "ap")

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Optuna's direction of each objective: AP is wanted high, costs low."""
        return ["maximize" if name == "ap" else "minimize" for name in self.objectives]

    def costs(self, arch: Arch) -> list[float]:
        """The costs that are objectives, in their order."""
        found = self.costing(arch)
        return [found[name] for name in self.cost_names]

    def losses(self, trials: Sequence[FrozenTrial]) -> Floats:
        """(N, M) values of finished trials, less is better, AP first."""
        order = [self.objectives.index("ap"), *(i for i, name in enumerate(self.objectives) if name != "ap")]
        values = np.array([trial.values for trial in trials], dtype=float).reshape(len(trials), len(self.objectives))
        found: Floats = values[:, order] * np.array([-1.0] + [1.0] * (len(order) - 1))
        return found


def finished(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that have ended well, in their order."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]
