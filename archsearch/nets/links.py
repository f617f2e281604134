"""What joins the branches of a multi-branch network: new branches between stages, the exchange after every module.

Shapes: N batch, C channels, H and W height and width of a branch.
"""

from __future__ import annotations

from torch import Tensor, nn

from archsearch.elastic import Parts
from archsearch.nets.blocks import ConvBN, Separable

LINKS = ("dense", "separable")  # one 3x3 convolution (HRNet), or depthwise 3x3 and 1x1 (Lite-HRNet, section 3.1)
FUSIONS = ("sum", "authors")


def _link(links: str, inputs: int, outputs: int, stride: int, act: str | None) -> nn.Module:
    if links == "separable":
        return Separable(inputs, outputs, stride, act=act)
    return ConvBN(inputs, outputs, 3, stride, act=act)


class Transition(nn.Module):
    """Between stages: new branches are made from the coarsest one by 3x3 convolutions of stride 2.

    ``keep``: the branches that exist pass unchanged; the stem's single output is brought to the first width instead.
    """

    def __init__(self, inputs: Parts, outputs: Parts, *, keep: bool, links: str = "dense") -> None:
        super().__init__()
        self.first = None if keep else _link(links, inputs[0], outputs[0], 1, "relu")
        rows = []
        for new in range(len(inputs), len(outputs)):
            rows.append(Down(inputs[-1], outputs[new], new - len(inputs) + 1, act="relu", links=links))
        self.new = nn.ModuleList(rows)

    def forward(self, xs: list[Tensor], widths: Parts) -> list[Tensor]:
        """Tensors of the branches before to those after; ``widths`` are the channels after."""
        ys = list(xs) if self.first is None else [self.first(xs[0], widths[0])]
        for chain, width in zip(self.new, widths[len(xs) :], strict=True):
            ys.append(chain(xs[-1], width))
        return ys


class Down(nn.Module):
    """3x3 convolutions of stride 2 in a row: all but the last keep the width and end in ReLU, the last in ``act``."""

    def __init__(self, inputs: int, outputs: int, steps: int, *, act: str | None, links: str = "dense") -> None:
        super().__init__()
        self.row = nn.ModuleList(_link(links, inputs, inputs, 2, "relu") for _ in range(steps - 1))
        self.last = _link(links, inputs, outputs, 2, act)

    def forward(self, x: Tensor, width: int) -> Tensor:
        """(N, C, H, W) to (N, width, H / 2^steps, W / 2^steps)."""
        for module in self.row:
            x = module(x, x.shape[1])
        return self.last(x, width)  # type: ignore[no-any-return]


class Exchange(nn.Module):
    """Every output is the sum of all branches: finer ones brought down by strided convolutions, coarser ones up.

    ``fusion`` says how they are summed: ``sum`` adds each branch once; ``authors`` does what the published code of
    Lite-HRNet does, which its published weights need: the finest branch is added twice everywhere, brought down anew
    each time, and what the coarser outputs take of it is already its own sum before the ReLU.
    """

    def __init__(self, widths: Parts, outputs: int, *, links: str = "dense", fusion: str = "sum") -> None:
        super().__init__()
        self.down = nn.ModuleDict()
        self.up = nn.ModuleDict()
        self.upsample = nn.ModuleDict()
        for i in range(outputs):
            for j, width in enumerate(widths):
                if j > i:
                    self.up[f"{j}_{i}"] = ConvBN(width, widths[i])
                    self.upsample[f"{j}_{i}"] = nn.Upsample(scale_factor=2.0 ** (j - i), mode="nearest")
                elif j < i:
                    self.down[f"{j}_{i}"] = Down(width, widths[i], i - j, act=None, links=links)
        self.twice = fusion == "authors"
        self.relu = nn.ReLU(inplace=not self.twice)
        self.outputs = outputs

    def forward(self, xs: list[Tensor], widths: Parts) -> list[Tensor]:
        """Tensors of all branches to the first ``outputs`` exchanged ones."""
        if len(xs) == 1:
            return xs
        xs, ys = list(xs), []
        for i in range(self.outputs):
            total = self._bring(xs[0], 0, i, widths[i])
            for j, x in enumerate(xs):
                if j > 0 or self.twice:
                    total = total + self._bring(x, j, i, widths[i])
            if i == 0 and self.twice:
                xs[0] = total
            ys.append(self.relu(total))
        return ys

    def _bring(self, x: Tensor, j: int, i: int, width: int) -> Tensor:
        if j == i:
            return x
        if j > i:
            return self.upsample[f"{j}_{i}"](self.up[f"{j}_{i}"](x, width))  # type: ignore[no-any-return]
        return self.down[f"{j}_{i}"](x, width)  # type: ignore[no-any-return]
