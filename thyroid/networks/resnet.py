"""Residual networks (He et al. 2016), with the module names of torchvision's, one grey channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """H(x) = relu(F(x) + shortcut(x)), with F two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, planes, H / stride, W / stride)."""
        F_x = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(F_x + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """H(x) = relu(F(x) + shortcut(x)), with F a 1x1, a 3x3 (strided) and a 1x1 convolution."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4 * planes, H / stride, W / stride)."""
        F_x = F.relu(self.bn1(self.conv1(x)))
        F_x = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(F_x)))))
        return F.relu(F_x + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, four stages that halve the picture and double the channels, mean, linear head.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
    depths : blocks per stage
    classes : number of logits
    width : channels of the first stage
    small_stem : a 3x3 convolution of stride 1 instead of 7x7 of stride 2 and pooling, so that
        nodules of a few pixels survive in small pictures
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        classes: int,
        width: int,
        *,
        small_stem: bool = False,
    ) -> None:
        super().__init__()
        if small_stem:
            self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(1, width, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for i, depth in enumerate(depths):
            planes = width * 2**i
            blocks: list[nn.Module] = []
            for j in range(depth):
                stride = 2 if j == 0 and (i > 0 or small_stem) else 1
                blocks.append(block(inputs, planes, stride))
                inputs = planes * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages = tuple(f"layer{i + 1}" for i in range(len(depths)))
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> logits (N, classes)."""
        return self.fc(self.features(x))  # type: ignore[no-any-return]  # nn.Module is untyped

    def features(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N, channels of the last stage), what the head sees."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x.mean((2, 3))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Identity where shapes agree (None), else a strided 1x1 projection."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def resnet18(classes: int, width: int | None = None) -> ResNet:
    """ResNet-18; equals torchvision's at width 64."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, width or 64)


def resnet34(classes: int, width: int | None = None) -> ResNet:
    """ResNet-34; equals torchvision's at width 64."""
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, width or 64)


def resnet50(classes: int, width: int | None = None) -> ResNet:
    """ResNet-50; equals torchvision's at width 64."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, width or 64)


def resnet_small(classes: int, width: int | None = None) -> ResNet:
    """A ResNet-10 for two CPU cores: one block per stage, a 3x3 stem, width 24."""
    return ResNet(BasicBlock, (1, 1, 1, 1), classes, width or 24, small_stem=True)
