"""The two ways to find people, as experiments see them: what is learned, how it is evaluated, what a model keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from archsearch.data.dataset import Dataset
from archsearch.data.detections import detected_persons
from archsearch.data.persons import Persons, annotated_persons, annotation_ids
from archsearch.files import InputError
from archsearch.nets.zoo import Arch, is_bottom_up
from archsearch.pose import bottomup, topdown
from archsearch.pose.evaluate import Evaluation, Scores
from archsearch.pose.pckh import PckhScores, evaluate_pckh
from archsearch.train.init import first_weights
from archsearch.train.settings import LoopSettings, TrainSettings
from archsearch.train.task import BottomUpTask, Task
from archsearch.train.topdown import TopDownSettings, TopDownTask

Protocols = Literal["bottom_up", "top_down"]
OnResults = Callable[[list[dict[str, Any]]], None]  # is given all results of an image


class Method(Protocol):
    """A way to train and evaluate one architecture."""

    @property
    def settings(self) -> LoopSettings:
        """Of the training loop."""

    @property
    def decode(self) -> bottomup.DecodeSettings | topdown.TopDownDecode:
        """What a trained model keeps to be used."""

    def first_weights(self, joints: int, seed: int) -> nn.Module:
        """The network before training."""

    def task(self, dataset: Dataset) -> Task:
        """What is learned from a data set. Raises ``InputError`` where there is nothing to learn from."""

    def results(
        self,
        net: nn.Module,
        dataset: Dataset,
        device: torch.device,
        on_part: Callable[[int], None],
        on_results: OnResults = lambda _: None,
    ) -> list[dict[str, Any]]:
        """COCO results of a network on a data set; ``on_part`` is called along the way, ``on_results`` is given all
        results of an image while the network goes on."""


@dataclass(frozen=True)
class BottomUp:
    """All people of an image at once. Raises ``ValueError`` where the network cannot take the input of a scale."""

    arch: Arch
    settings: TrainSettings

    def __post_init__(self) -> None:
        bottomup.check_scales(self.decode, self.size_px, self.arch)

    @property
    def decode(self) -> bottomup.DecodeSettings:
        """See :class:`Method`."""
        return self.settings.decode

    @property
    def size_px(self) -> int:
        """The side of the network's input."""
        return min(self.arch.input_hw)

    def first_weights(self, joints: int, seed: int) -> nn.Module:
        """See :class:`Method`."""
        settings = self.settings
        return first_weights(self.arch, joints, seed=seed, init=settings.init, tag_gain=settings.tag_gain)

    def task(self, dataset: Dataset) -> BottomUpTask:
        """See :class:`Method`."""
        return BottomUpTask(dataset, self.size_px, self.settings.augmentation, self.settings.loss)

    def results(
        self,
        net: nn.Module,
        dataset: Dataset,
        device: torch.device,
        on_part: Callable[[int], None],
        on_results: OnResults = lambda _: None,
    ) -> list[dict[str, Any]]:
        """See :class:`Method`."""
        return bottomup.predict(
            net,
            dataset,
            self.decode,
            size_px=self.size_px,
            device=device,
            workers=helpers(device),
            on_image=on_part,
            on_results=on_results,
        )


@dataclass(frozen=True)
class TopDown:
    """One person in each box."""

    arch: Arch
    settings: TopDownSettings
    detections: Path | None = None  # boxes to evaluate in; None: the annotated ones

    @property
    def decode(self) -> topdown.TopDownDecode:
        """See :class:`Method`."""
        return self.settings.decode

    def first_weights(self, joints: int, seed: int) -> nn.Module:
        """See :class:`Method`."""
        return first_weights(self.arch, joints, seed=seed, init=self.settings.init)

    def task(self, dataset: Dataset) -> TopDownTask:
        """See :class:`Method`."""
        persons = annotated_persons(dataset)
        if not len(persons):
            raise InputError(f"{dataset.name}: no annotated person has joints and a box, nothing to learn from")
        crop = self.decode.crop(self.arch.input_hw)
        return TopDownTask(dataset, persons, crop, self.settings.augmentation, self.settings.loss)

    def results(
        self,
        net: nn.Module,
        dataset: Dataset,
        device: torch.device,
        on_part: Callable[[int], None],
        on_results: OnResults = lambda _: None,
    ) -> list[dict[str, Any]]:
        """See :class:`Method`."""
        return find_in_boxes(
            net, dataset, self.decode, self.arch.input_hw, boxes_for(dataset, self.detections), device, on_part,
            on_results,
        )  # fmt: skip


def boxes_for(dataset: Dataset, detections: Path | None) -> Persons:
    """A detector's boxes, or without a file of them the annotated ones. Raises ``InputError`` on a wrong file."""
    return annotated_persons(dataset) if detections is None else detected_persons(dataset, detections)


def find_in_boxes(
    net: nn.Module,
    dataset: Dataset,
    decode: topdown.TopDownDecode,
    input_hw: tuple[int, int],
    persons: Persons,
    device: torch.device,
    on_part: Callable[[int], None],
    on_results: OnResults = lambda _: None,
) -> list[dict[str, Any]]:
    """COCO results of a top-down network in boxes.

    Where PCKh is to be told of annotated boxes, as on MPII, everybody has one result, with an ``annotation_id``.
    """
    if has_head_sizes(dataset) and persons.annotated:
        joints_KJ3 = topdown.find_joints(
            net, dataset, persons, decode, input_hw=input_hw, device=device, workers=helpers(device), on_person=on_part
        )
        results = topdown.results_of_all(dataset, persons, joints_KJ3, decode, annotation_ids(dataset, persons))
        on_results(results)
        return results
    return topdown.predict(
        net, dataset, persons, decode, input_hw=input_hw, device=device, workers=helpers(device), on_person=on_part,
        on_results=on_results,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What a network found in a data set's images, and how good that is."""

    results: list[dict[str, Any]]  # COCO's format
    scores: Scores
    pckh: PckhScores | None  # of a data set with head sizes


def evaluated(dataset: Dataset, find: Callable[[OnResults], list[dict[str, Any]]]) -> Evaluated:
    """What ``find`` finds, with its scores by OKS, and by PCKh where the data set has head sizes: where an evaluator is
    chosen.

    ``find`` gives each image's results, as it finds them, to the function that it gets: they are matched with the
    annotated people while the network goes on.
    """
    evaluation = Evaluation(dataset.annotations, dataset.skeleton)
    results = find(evaluation.add)
    by_heads = has_head_sizes(dataset)
    pckh = evaluate_pckh(dataset.annotations, results, dataset.skeleton) if by_heads else None
    return Evaluated(results, evaluation.scores(), pckh)


def has_head_sizes(dataset: Dataset) -> bool:
    """Whether the data set is to be evaluated by PCKh, too."""
    return any("head_px" in annotation for annotation in dataset.annotations["annotations"])


def method_for(
    protocol: Protocols, arch: Arch, settings: dict[str, Any], detections: Path | None = None
) -> BottomUp | TopDown:
    """The way that a study's ``protocol`` names, with its settings of training as plain values."""
    if protocol == "bottom_up":
        return BottomUp(arch, TrainSettings.model_validate(settings))
    return TopDown(arch, TopDownSettings.model_validate(settings), detections)


def check_head(protocol: Protocols, arch: Arch) -> None:
    """Raise ``ValueError`` where an architecture's head is not one for a protocol."""
    if is_bottom_up(arch) != (protocol == "bottom_up"):
        other = "top_down" if protocol == "bottom_up" else "bottom_up"
        raise ValueError(f"protocol {protocol}: the architecture has a {other} head")


def helpers(device: torch.device) -> int:
    """Threads that read and that group beside the network's."""
    return 1 if device.type == "cpu" else 8
