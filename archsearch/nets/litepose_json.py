"""The JSON files that LitePose's authors describe architectures with (``mobile_configs/search-S.json``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archsearch.nets.litepose import Block, Head, LitePose, Stage
from archsearch.space import from_plain


@dataclass(frozen=True)
class _Stage:
    num_blocks: int
    stride: int
    channel: int
    block_setting: tuple[tuple[int, int], ...]  # (expand, kernel)

    def __post_init__(self) -> None:
        if self.num_blocks != len(self.block_setting):
            raise ValueError(f"num_blocks {self.num_blocks} with {len(self.block_setting)} items in block_setting")
        if self.num_blocks < 1 or self.channel < 1:
            raise ValueError(f"num_blocks {self.num_blocks} and channel {self.channel} must be positive")
        for expand, kernel in self.block_setting:
            if expand < 1 or kernel < 1 or kernel % 2 == 0:
                raise ValueError(f"block_setting [{expand}, {kernel}] is not a positive expansion and an odd kernel")


@dataclass(frozen=True)
class _File:
    img_size: int
    input_channel: int
    deconv_setting: tuple[int, ...]
    backbone_setting: tuple[_Stage, ...]

    def __post_init__(self) -> None:
        if len(self.deconv_setting) != len(self.backbone_setting) - 1:
            raise ValueError(
                f"deconv_setting {list(self.deconv_setting)} with {len(self.backbone_setting)} items in "
                "backbone_setting: one filter a stage is needed, but for the last"
            )
        if min(self.input_channel, *self.deconv_setting) < 1:
            raise ValueError(
                f"input_channel {self.input_channel} and deconv_setting {list(self.deconv_setting)} must be positive"
            )


def is_litepose_json(plain: Any) -> bool:
    """Whether the value of a file is one of these, right or wrong."""
    return isinstance(plain, dict) and "backbone_setting" in plain


def from_litepose_json(plain: Any, joints: int = 14) -> LitePose:
    """The architecture in the value of such a file, which does not say for how many ``joints`` it is.

    Raises ``ValueError`` with the path and the value where it is not well formed.
    """
    file: _File = from_plain(_File, plain)
    return LitePose(
        kind="litepose",
        resolution=file.img_size,
        stem=file.input_channel,
        stages=tuple(
            Stage(stage.channel, stage.stride, tuple(Block(kernel, expand) for expand, kernel in stage.block_setting))
            for stage in file.backbone_setting
        ),
        head=Head(file.deconv_setting),
        joints=joints,
    )
