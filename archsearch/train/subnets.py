"""Which sub-nets a step of once-for-all training runs.

Sources: the sandwich rule of Universally Slimmable Networks (Yu & Huang, ICCV 2019, section 3.1); progressive shrinking
of Once-for-All (Cai et al., ICLR 2020, section 3.3), which begins with the largest net alone; single path (Guo et al.,
ECCV 2020); strict fairness of FairNAS (Chu et al., ICCV 2021, section 3.2); a teacher that comes in slowly (the ramp-up
of Mean Teachers, Tarvainen & Valpola, NeurIPS 2017). BigNAS (Yu et al., ECCV 2020) gives the largest net its full input
size in every step; here the sub-nets of a step share one, and ``size_weights`` says how often each is drawn.
"""

from __future__ import annotations

import fnmatch
import itertools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from archsearch.holes import Hole
from archsearch.nets.zoo import Arch
from archsearch.settings import Settings
from archsearch.space import Space

NOT_WIDTHS = ("kernel", "times", "modules", "resolution", "input_hw")  # last words of paths of numbers that are none
RESOLUTIONS = ("/resolution", "/input_hw")  # holes that a step's sub-nets share, since they share its batch
_SUBNETS, _INPUT, _DECKS = 3, 4, 5  # keep the streams of random numbers apart from those of data.batches

Pick = Callable[[str, tuple[Any, ...]], Any]


class Phase(Settings):
    """A part of the training in which some holes are open; the closed ones stay at their largest option."""

    until: float = Field(1.0, gt=0, le=1)  # part of all steps at which it ends
    open: tuple[str, ...] = ("*",)  # shell patterns of paths: "*/kernel", "/stages/*/blocks/times", "/input_hw"
    sort_channels: bool = False  # before it begins, the most important channels become the leading ones


class SupernetSettings(Settings):
    """How the sub-nets of a step are drawn, and how they learn."""

    strategy: Literal["sandwich", "fair", "single_path"] = "sandwich"
    random: int = Field(2, ge=0)  # random sub-nets a step; sandwich: besides the largest and the smallest
    teacher_weight: float = Field(0.5, ge=0, le=1)  # of the largest net's heatmaps in the others' targets; a sandwich's
    teacher_ramp: float = Field(0.0, ge=0, le=1)  # part of all steps over which that weight rises evenly from 0
    largest_weight: float = Field(1.0, gt=0)  # of the largest net's loss in the step's mean, the others have 1; same
    size_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None  # how often, smallest size first; None: alike
    phases: tuple[Phase, ...] = Field((Phase(until=1.0),), min_length=1)  # progressive shrinking
    kernel_transforms: bool = False  # smaller kernels by learned maps of the centres of larger ones
    zero_init: bool = True  # the last normalisation of every residual begins at zero, so that blocks begin as identity
    sync_batch_norm: bool = False  # statistics of the whole batch where several processes share it
    weights: Path | None = None  # the folder of a trained or imported model of the space, to begin from

    @model_validator(mode="before")
    @classmethod
    def _has_teacher(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("strategy", "sandwich") != "sandwich":
            return {"teacher_weight": 0.0, **fields}
        return fields

    @model_validator(mode="after")
    def _is_consistent(self) -> SupernetSettings:
        if self.strategy != "sandwich" and self.teacher_weight:
            raise ValueError(f"teacher_weight {self.teacher_weight}: only a sandwich has a teacher, its largest net")
        if self.strategy != "sandwich" and self.largest_weight != 1:
            raise ValueError(f"largest_weight {self.largest_weight}: only a sandwich always runs its largest net")
        if self.size_weights is not None and not sum(self.size_weights) > 0:
            raise ValueError(f"size_weights {self.size_weights}: at least one must be positive")
        if self.strategy != "sandwich" and self.random < 1:
            raise ValueError(f"random {self.random}: {self.strategy} runs nothing but random sub-nets")
        ends = [phase.until for phase in self.phases]
        if ends[-1] != 1 or any(a >= b for a, b in itertools.pairwise(ends)):
            raise ValueError(f"phases end at {ends}: parts of the training that rise to 1 are needed")
        return self

    def teaches(self, step: int, steps: int) -> float:
        """The weight of the teacher's heatmaps in step ``step`` (from 0) of ``steps``."""
        ramp = self.teacher_ramp * steps
        return self.teacher_weight * min(1.0, (step + 1) / ramp if ramp else 1.0)

    def phase(self, step: int, steps: int) -> int:
        """The number of the phase that step ``step`` (from 0) of ``steps`` belongs to."""
        return next(i for i, phase in enumerate(self.phases) if step < phase.until * steps or phase.until == 1)

    def starts(self, step: int, steps: int) -> Phase | None:
        """The phase that begins with this step, if one does."""
        number = self.phase(step, steps)
        return self.phases[number] if step == 0 or self.phase(step - 1, steps) != number else None


def check_settings(space: Space[Arch], settings: SupernetSettings) -> None:
    """Raises ``ValueError`` where the settings speak of what the space does not have, or cannot be kept in it."""
    paths = [hole.path for hole in space.holes]
    patterns = [pattern for phase in settings.phases for pattern in phase.open]
    for pattern in patterns:
        if not fnmatch.filter(paths, pattern):
            raise ValueError(f"phase opens {pattern!r}: {space.name} has no such hole, as {paths[0]} is one")
    _check_sorting(space, settings)
    sizes: tuple[Any, ...] = next((hole.options for hole in space.holes if hole.path in RESOLUTIONS), (None,))
    if settings.size_weights is not None and len(settings.size_weights) != len(sizes):
        raise ValueError(f"size_weights {settings.size_weights}: {space.name} has {len(sizes)} input sizes")


def _check_sorting(space: Space[Arch], settings: SupernetSettings) -> None:
    """Raises ``ValueError`` where channels are sorted after narrower nets were trained, which take the leading ones."""
    widths = [hole.path for hole in space.holes if _is_width(hole)]
    opened: str | None = None
    for number, phase in enumerate(settings.phases):
        if phase.sort_channels and opened is not None:
            raise ValueError(
                f"phases.{number}.sort_channels: an earlier phase opens {opened}; sorting would change what the "
                "narrower nets have learned, so sort before widths are open"
            )
        opened = opened or next((path for path in widths if _opens(phase.open, path)), None)


def _is_width(hole: Hole) -> bool:
    """Whether a hole decides on a number of channels."""
    option = hole.options[0]
    return hole.path.rpartition("/")[2] not in NOT_WIDTHS and not isinstance(option, bool | str)


def _opens(patterns: tuple[str, ...], path: str) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def subnets(space: Space[Arch], settings: SupernetSettings, *, seed: int, step: int, steps: int) -> list[Arch]:
    """The sub-nets of a step, from (seed, step) alone; of a sandwich the first is the largest.

    A sandwich runs none of them twice: while all holes are closed it is the largest alone.
    All take inputs of one size, drawn for the step: its images are cut and its targets built at that size.
    """
    patterns = settings.phases[settings.phase(step, steps)].open
    rng = np.random.default_rng([seed, _SUBNETS, step])
    shared: dict[str, Any] = {}
    size_rng = np.random.default_rng([seed, _INPUT, step])

    def with_closed(inner: Pick) -> Pick:
        def pick(path: str, options: tuple[Any, ...]) -> Any:
            if not _opens(patterns, path):
                return extreme(options, largest=True)
            if path in RESOLUTIONS:
                return shared.setdefault(path, _size(options, settings.size_weights, size_rng))
            return inner(path, options)

        return pick

    def uniform(_: str, options: tuple[Any, ...]) -> Any:
        return options[int(rng.integers(len(options)))]

    def end(largest: bool) -> Pick:
        def pick(path: str, options: tuple[Any, ...]) -> Any:
            return uniform(path, options) if isinstance(options[0], str) else extreme(options, largest=largest)

        return pick

    picks: list[Pick] = [uniform] * (1 if settings.strategy == "single_path" else settings.random)
    if settings.strategy == "fair":
        decks = _Decks(seed, step, settings.random)
        picks = [decks.of(i) for i in range(settings.random)]
    elif settings.strategy == "sandwich":
        picks = [end(largest=True), end(largest=False), *picks]
    drawn = [space.fill(with_closed(pick)) for pick in picks]
    return list(dict.fromkeys(drawn)) if settings.strategy == "sandwich" else drawn


def _size(options: tuple[Any, ...], weights: tuple[float, ...] | None, rng: np.random.Generator) -> Any:
    """A random input size, as often as its weight says."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    parts = np.array(weights) / sum(weights)
    return sorted(options)[int(rng.choice(len(options), p=parts))]


def extreme(options: tuple[Any, ...], *, largest: bool) -> Any:
    """The largest or smallest option of a hole; of named alternatives the first."""
    if isinstance(options[0], str):
        return options[0]
    return max(options) if largest else min(options)


class _Decks:
    """Options of every hole dealt from shuffled decks that hold each of them once.

    Sub-net i of step s takes card s * random + i of the hole's own row of decks. So in every deck all options are used
    equally often, whatever ``random`` is, and in every step too where it is a multiple of their number.
    """

    def __init__(self, seed: int, step: int, players: int) -> None:
        self._seed, self._first = seed, step * players
        self._decks: dict[tuple[str, int], NDArray[np.int64]] = {}

    def of(self, player: int) -> Pick:
        def pick(path: str, options: tuple[Any, ...]) -> Any:
            deck, card = divmod(self._first + player, len(options))
            if (path, deck) not in self._decks:
                rng = np.random.default_rng([self._seed, _DECKS, deck, zlib.crc32(path.encode())])
                self._decks[path, deck] = rng.permutation(len(options))
            return options[int(self._decks[path, deck][card])]

        return pick
