"""How a network is trained: one line a setting, with its unit, and the two presets.

``official`` is what the authors of HigherHRNet and LitePose do; it is for real data and a GPU. ``fast`` learns the
embedded scenes in minutes on a processor, where the official settings learn nothing in that time.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from archsearch.data import transforms
from archsearch.data.transforms import Augmentation
from archsearch.pose import losses
from archsearch.pose.bottomup import FAST_DECODE, OFFICIAL_DECODE, DecodeSettings
from archsearch.pose.losses import LossSettings
from archsearch.settings import Settings
from archsearch.train.init import Init


class LoopSettings(Settings):
    """What the training loop reads, whatever is learned."""

    epochs: float | None = Field(None, gt=0)  # passes over the training images; or
    images: int | None = Field(None, gt=0)  # training samples in all
    batch: int = Field(gt=0)  # samples a step
    optimizer: Literal["adam", "adamw"]
    lr: float = Field(gt=0)  # highest learning rate
    weight_decay: float = Field(ge=0)  # not on one-dimensional parameters
    schedule: Literal["cosine", "steps"]
    warmup: float = Field(ge=0, lt=1)  # part of all steps over which lr rises from 0
    milestones: tuple[float, ...] = ()  # parts of all steps after which a "steps" schedule divides lr by 10
    clip_norm: float = Field(ge=0)  # bound of the gradient's norm, 0 for none
    ema: float = Field(ge=0, lt=1)  # decay of the averaged weights, 0 for none
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, on a GPU
    evaluations: int = Field(1, gt=0)  # evaluations along the way, evenly spaced, the last one at the end
    checkpoint_s: float = Field(20.0, ge=0)  # seconds between checkpoints
    init: Init = "torch"  # distribution of the first weights

    @model_validator(mode="after")
    def _one_length(self) -> LoopSettings:
        if (self.epochs is None) == (self.images is None):
            raise ValueError("give the length of training as either epochs or images")
        if self.schedule == "steps" and not all(0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones {self.milestones} are not parts of the training between 0 and 1")
        return self

    def steps(self, dataset_size: int) -> int:
        """The number of steps with a training set of ``dataset_size`` images."""
        images = self.images if self.images is not None else round((self.epochs or 0) * dataset_size)
        return max(1, round(images / self.batch))


class TrainSettings(LoopSettings):
    """One bottom-up training. ``preset`` gives every field that is not written out."""

    preset: Literal["official", "fast"] = "fast"
    tag_gain: float = Field(0.0, ge=0)  # spread of the first tags, see train.init; 0 leaves them to init
    loss: LossSettings
    augmentation: Augmentation
    decode: DecodeSettings

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, fields: Any) -> Any:
        return filled(fields, PRESETS)


def filled(fields: Any, presets: dict[str, dict[str, Any]]) -> Any:
    """Settings as they were given, with what their preset has for those that are not written out."""
    if not isinstance(fields, dict):
        return fields
    name = fields.get("preset", "fast")
    known = isinstance(name, str) and name in presets
    return merged(presets[name if known else "fast"], fields)  # so that a wrong name is the only fault


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, mappings merged at every depth."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def _plain(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


PRESETS: dict[str, dict[str, Any]] = {
    # HigherHRNet: Adam 1e-3, 300 epochs, divided by 10 after 200 and 260, no warm-up, no weight decay.
    "official": {
        "batch": 16,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "steps",
        "warmup": 0.0,
        "milestones": (200 / 300, 260 / 300),
        "clip_norm": 0.0,
        "ema": 0.0,
        "init": "official",
        "loss": _plain(losses.OFFICIAL),
        "augmentation": _plain(transforms.OFFICIAL),
        "decode": _plain(OFFICIAL_DECODE),
    },
    "fast": {
        "batch": 8,
        "optimizer": "adamw",
        "lr": 2e-2,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "ema": 0.995,
        "tag_gain": 1.0,
        "loss": _plain(losses.FAST),
        "augmentation": _plain(transforms.FAST),
        "decode": _plain(FAST_DECODE),
    },
}
