"""The blocks that multi-branch networks are made of.

A block keeps its width: the channels of what it is given are the channels it uses, so only kernels are passed.
Shapes: N batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from archsearch.elastic import BatchNorm, Conv, Parts


class ConvBN(nn.Module):
    """Convolution, batch normalisation and, where asked for, an activation; see :func:`activation`."""

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int | Sequence[int],
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        bias: bool = False,
        act: str | None = None,
        conv: type[Conv] = Conv,
    ) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, stride, depthwise=depthwise, bias=bias)
        self.bn = BatchNorm(outputs)
        self.act = activation(act)

    def forward(
        self, x: Tensor, outputs: int | Parts | None = None, kernel: int | None = None, parts: Parts | None = None
    ) -> Tensor:
        """(N, C, H, W) to (N, outputs, H / stride, W / stride); ``parts`` are those of the input's channels."""
        x = self.bn(self.conv(x, outputs, kernel, parts), outputs if isinstance(outputs, tuple) else None)
        return x if self.act is None else self.act(x)


def activation(name: str | None) -> nn.Module | None:
    """The module of an activation's name, None for None. Raises ``ValueError`` on an unknown name."""
    if name is None:
        return None
    if name == "sigmoid":
        return nn.Sigmoid()
    kinds = {"relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU}
    if name not in kinds:
        raise ValueError(f"activation {name} is not one of sigmoid, {', '.join(kinds)}")
    return kinds[name](inplace=True)


class Separable(nn.Module):
    """A depthwise 3x3 convolution, then a 1x1 one, each normalised; ``act`` after the second only."""

    def __init__(
        self, inputs: int | Sequence[int], outputs: int, stride: int = 1, *, kernel: int = 3, act: str | None = None
    ) -> None:
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, kernel, stride, depthwise=True)
        self.pointwise = ConvBN(inputs, outputs, act=act)

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """(N, C, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.pointwise(self.depthwise(x), outputs)  # type: ignore[no-any-return]


class Excitation(nn.Module):
    """Squeeze-and-excitation (CVPR 2018): a weight from 0 to 1 for each channel, from the averages of all of them."""

    def __init__(self, width: int, middle: int, act: str) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = Conv(width, middle, bias=True)
        self.act = activation(act)
        self.expand = Conv(middle, width, bias=True)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor, middle: int) -> Tensor:
        """(N, C, H, W) to the same shape, with ``middle`` channels between the two convolutions."""
        y = self.squeeze(self.pool(x), middle)
        y = y if self.act is None else self.act(y)
        return x * self.sigmoid(self.expand(y, int(x.shape[1])))  # type: ignore[no-any-return]


class Basic(nn.Module):
    """Residual block of two convolutions (ResNet, CVPR 2016, figure 5 left)."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv1 = Conv(width, width, kernel)
        self.bn1 = BatchNorm(width)
        self.conv2 = Conv(width, width, kernel)
        self.bn2 = BatchNorm(width)
        self.relu = nn.ReLU(inplace=True)
        self.relu6 = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor, kernel: int | None = None) -> Tensor:
        """(N, C, H, W) to the same shape, with the first C channels of the weights."""
        c = x.shape[1]
        y = self.relu(self.bn1(self.conv1(x, c, kernel)))
        y = self.bn2(self.conv2(y, c, kernel))
        y += x
        return self.relu(y)  # type: ignore[no-any-return]

    def plain(self, x: Tensor) -> Tensor:
        """What a branch without blocks computes, with the first half of this one; see :class:`Plain`."""
        return self.relu6(self.bn1(self.conv1(x, x.shape[1], 3)))  # type: ignore[no-any-return]


class Plain(nn.Module):
    """One 3x3 convolution with normalisation and ReLU6: a branch whose blocks were all taken away (LitePose, 3.2).

    In a supernet it shares the weights of the first residual block's first convolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv(width, width, 3)
        self.bn1 = BatchNorm(width)
        self.relu6 = nn.ReLU6(inplace=True)

    def plain(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.relu6(self.bn1(self.conv1(x, x.shape[1], 3)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """Residual block 1x1, kxk, 1x1 of ``planes``, ``planes`` and 4 ``planes`` (ResNet, figure 5 right).

    The first one of a row changes the width and projects its input; this follows from its place, not from widths.
    """

    def __init__(self, inputs: int, planes: int, kernel: int = 3, *, first: bool) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, planes)
        self.bn1 = BatchNorm(planes)
        self.conv2 = Conv(planes, planes, kernel)
        self.bn2 = BatchNorm(planes)
        self.conv3 = Conv(planes, 4 * planes)
        self.bn3 = BatchNorm(4 * planes)
        self.project = ConvBN(inputs, 4 * planes) if first else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, planes: int | None = None, kernel: int | None = None) -> Tensor:
        """(N, C, H, W) to (N, 4 planes, H, W)."""
        wide = None if planes is None else 4 * planes
        y = self.relu(self.bn1(self.conv1(x, planes)))
        y = self.relu(self.bn2(self.conv2(y, planes, kernel)))
        y = self.bn3(self.conv3(y, wide))
        y += x if self.project is None else self.project(x, wide)
        return self.relu(y)  # type: ignore[no-any-return]
