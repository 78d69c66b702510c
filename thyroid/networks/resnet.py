"""Residual networks (He et al. 2016) with torchvision's module names and one grey channel.

The improved residual block (Wang & Zhang 2020) adds a cross-feature term, H(x) = F(x) + x + x_i,
by which features of several diseases reach every block without changing F and x. The publication
leaves open how x_i is computed. Here it is the image, or another source, scaled to the block's
resolution, projected to its channels, and multiplied by a gain per channel that starts at zero:
with zero gains, the network equals the plain one bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.errors import InputError
from thyroid.networks.deterministic import adaptive_avg_pool2d
from thyroid.networks.registry import classifier

CROSS_FEATURES = ("none", "input", "stem", "context")
"""Sources of x_i: none, the image, the stem's output, the spatial mean of the block's shortcut."""


BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Halving = Literal["no", "stride", "pool"]
"""Downsampling of a block: none; strides in F and the shortcut, as published; or max pooling before
both, which keeps small structures."""


class CrossFeature(nn.Module):
    """x_i = gain * projection(BN(source)), with one 1x1 convolution and a gain per channel.

    The source is normalised before the projection because it has fewer channels, and batch
    normalisation is the most expensive step on a CPU.

    Parameters
    ----------
    inputs : channels of the source
    planes : channels of the block's output
    """

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs, affine=False)
        self.conv = nn.Conv2d(inputs, planes, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(planes))

    def forward(self, source: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, planes, H, W)."""
        # The gain multiplies the kernel, which is smaller than the feature maps
        return F.conv2d(self.bn(source), self.gain.view(-1, 1, 1, 1) * self.conv.weight)


class Block(nn.Module):
    """H(x) = relu(F(x) + shortcut(x) + x_i); subclasses define F."""

    expansion: int
    downsample: nn.Module | None

    def __init__(self, halving: Halving) -> None:
        super().__init__()
        self.scale = 1 if halving == "no" else 2
        self.stride = 2 if halving == "stride" else 1
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if halving == "pool" else nn.Identity()
        self.cross: CrossFeature | None = None

    def residual(self, x: Tensor) -> Tensor:
        """Compute F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, expansion * planes, H / scale, W / scale).

        `source` is the source of x_i, with the output's height and width; None: the spatial mean of
        the shortcut.
        """
        x = self.pool(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        H_x = self.residual(x) + shortcut
        if self.cross is not None:
            context = shortcut.mean((2, 3), keepdim=True) if source is None else source
            H_x = H_x + self.cross(context)
        return F.relu(H_x)


class BasicBlock(Block):
    """F is two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, halving: Halving) -> None:
        super().__init__(halving)
        self.conv1 = nn.Conv2d(inputs, planes, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, self.stride)

    def residual(self, x: Tensor) -> Tensor:
        """(N, C, H, W) after pooling -> (N, planes, H / stride, W / stride)."""
        F_x: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F_x


class Bottleneck(Block):
    """F is a 1x1, a 3x3 (strided) and a 1x1 convolution."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, halving: Halving) -> None:
        super().__init__(halving)
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, self.stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, self.stride)

    def residual(self, x: Tensor) -> Tensor:
        """(N, C, H, W) after pooling -> (N, 4 * planes, H / stride, W / stride)."""
        narrow = F.relu(self.bn1(self.conv1(x)))
        F_x: Tensor = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(narrow)))))
        return F_x


class ResNet(nn.Module):
    """Stem, four stages, linear head; stages 2 to 4 halve the image and double the channels.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
    depths : blocks per stage
    classes : number of logits
    width : channels of the first stage
    pooled : for small images, in which a nodule has a few pixels: a 3x3 stem of stride 2 instead of
        a 7x7 one and pooling, max pooling instead of strides between stages, and a head that gets
        each channel's maximum besides its mean
    cross_feature : source of x_i, one of `CROSS_FEATURES`; its parameters are drawn last, so that
        all others do not depend on it
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        classes: int,
        width: int,
        *,
        pooled: bool = False,
        cross_feature: str = "none",
    ) -> None:
        super().__init__()
        self.pooled = pooled
        if pooled:
            self.conv1 = nn.Conv2d(1, width, 3, 2, 1, bias=False)
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
                halving: Halving = "no" if i == 0 or j > 0 else "pool" if pooled else "stride"
                blocks.append(block(inputs, planes, halving))
                inputs = planes * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages = tuple(f"layer{i + 1}" for i in range(len(depths)))
        self.fc = nn.Linear(2 * inputs if pooled else inputs, classes)
        for module in self.modules():
            # On the meta device, drawing weights would only import the compiler, which takes a
            # second
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.cross_feature = cross_feature
        if cross_feature != "none":
            self._add_cross_features(width)

    def _add_cross_features(self, width: int) -> None:
        for stage in self.stages:
            for block in getattr(self, stage):
                planes = block.expansion * block.conv1.out_channels
                channels = {"input": 1, "stem": width, "context": planes}[self.cross_feature]
                block.cross = CrossFeature(channels, planes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> logits (N, classes)."""
        return self.fc(self.features(x))  # type: ignore[no-any-return]  # nn.Module is untyped

    def features(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> the head's input: channel means (N, C), and if `pooled` also maxima
        (N, 2 C).
        """
        image = x
        x = stem = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        source = {"input": image, "stem": stem}.get(self.cross_feature)
        for stage in self.stages:
            for block in getattr(self, stage):
                if source is not None:
                    size = (-(-x.shape[2] // block.scale), -(-x.shape[3] // block.scale))
                    source = adaptive_avg_pool2d(source, size)
                x = block(x, source)
        mean = x.mean((2, 3))
        return torch.cat([mean, x.amax((2, 3))], 1) if self.pooled else mean


def freeze(network: nn.Module, trainable: str) -> None:
    """Freeze all parameters but the trainable ones.

    Parameters
    ----------
    trainable : "all"; "last_stages", the last two of a residual network, its head and x_i; or
        "head", head and x_i

    Raises
    ------
    InputError
        When a network that is not residual is to be frozen.
    """
    if trainable == "all":
        return
    if not isinstance(network, ResNet):
        raise InputError(
            f"cross.trainable '{trainable}' needs a residual network: choose all, or a residual "
            "network."
        )
    kept = ("fc", *(network.stages[-2:] if trainable == "last_stages" else ()))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in kept or ".cross." in name)


def train_mode(network: nn.Module, statistics: Literal["learned", "kept"] = "learned") -> None:
    """Switch to training mode, except frozen batch normalisation, which keeps its statistics.

    With `kept`, all batch normalisation keeps them, but that of x_i, which is never pretrained.
    """
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, BATCH_NORMALISATION):
            own = list(module.parameters(recurse=False))
            frozen = bool(own) and not own[0].requires_grad
            if frozen or (statistics == "kept" and ".cross." not in name):
                module.eval()


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Return a strided 1x1 projection, or None (identity) if shapes agree."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


@classifier("ResNet-18", small=False, published=True)
def resnet18(classes: int, width: int | None = None, cross_feature: str = "none") -> ResNet:
    """ResNet-18; equals torchvision's at width 64 without x_i or with zero gains."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, width or 64, cross_feature=cross_feature)


@classifier("ResNet-34", small=False, published=True)
def resnet34(classes: int, width: int | None = None, cross_feature: str = "none") -> ResNet:
    """ResNet-34; equals torchvision's under the same conditions."""
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, width or 64, cross_feature=cross_feature)


@classifier("ResNet-50", small=False, published=True)
def resnet50(classes: int, width: int | None = None, cross_feature: str = "none") -> ResNet:
    """ResNet-50; equals torchvision's under the same conditions."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, width or 64, cross_feature=cross_feature)


@classifier("ResNet-10, small")
def resnet_small(classes: int, width: int | None = None, cross_feature: str = "none") -> ResNet:
    """ResNet-10 for two CPU cores and images of 64 pixels: one block per stage, pooled."""
    return ResNet(
        BasicBlock,
        (1, 1, 1, 1),
        classes,
        width or 32,
        pooled=True,
        cross_feature=cross_feature,
    )
