"""Runs of ``archsearch supernet`` that were never trained, and jobs that run where they are asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from train import tiny

from archsearch.experiments.candidates import FOLDER
from archsearch.experiments.supernet_study import SupernetStudy, resolved
from archsearch.files import write_json, write_text
from archsearch.pose.bottomup import FAST_DECODE
from archsearch.runs import Run
from archsearch.skeleton import COCO17
from archsearch.train.stored import Supernet, save_supernet
from archsearch.train.supernet import first_supernet

Fields = dict[str, Any]


def study(**changes: Any) -> SupernetStudy:
    return SupernetStudy.model_validate({**copy.deepcopy(tiny.STUDY), **changes})


def supernet(path: Path, chosen: SupernetStudy | None = None, *, seed: int = 0) -> Run:
    """A finished run with random weights, from the seed."""
    chosen = chosen or study()
    write_text(path / "study.yaml", yaml.safe_dump(resolved(chosen), sort_keys=False))
    write_json(path / "environment.json", {"python": "3.12", "packages": {"torch": "2.13"}})
    space = chosen.searched(17)
    net = tiny.shaken(first_supernet(space, 17, chosen.train, chosen.supernet, 0), seed).eval()
    save_supernet(path / FOLDER, Supernet(net, space, COCO17, FAST_DECODE))
    run = Run(path)
    run.record("trained", images_seen=64, train_s=1.5, processes=1, device="cpu", space_size=str(space.size))
    return run


class Inline:
    """``run_jobs`` without processes; counts the jobs. ``stop_after``: messages after which all are asked to stop."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.jobs: list[Any] = []
        self.messages: list[Any] = []
        self.stop_after = stop_after

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.messages) >= self.stop_after

    def __call__(
        self,
        function: Callable[[Any, Any], Any],
        payloads: Sequence[Any],
        *,
        workers: int,
        place: Callable[[Any, int], Any] = lambda payload, _: payload,
        on_message: Callable[[int, Any], None] = lambda _, __: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Any]:
        results: list[Any] = []
        for index, payload in enumerate(payloads):
            if self.should_stop() or should_stop():
                results.append(None)
                continue
            self.jobs.append(payload)
            results.append(function(place(payload, index % workers), _Talk(self, index, on_message)))
        return results


class _Talk:
    def __init__(self, jobs: Inline, index: int, on_message: Callable[[int, Any], None]) -> None:
        self._jobs, self._index, self._on_message = jobs, index, on_message

    def send(self, message: Any) -> None:
        self._jobs.messages.append(message)
        self._on_message(self._index, message)

    def should_stop(self) -> bool:
        return self._jobs.should_stop()
