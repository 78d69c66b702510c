"""SRGAN (Ledig et al. 2017), from counts to an activity: generator, discriminator, VGG-19 features.

The topology is as published but narrower: residual blocks (3x3 convolution, BN, PReLU, 3x3
convolution, BN), a skip over all of them, pixel shuffle. A second skip adds the bicubic
interpolation of the input to the output, so that the network learns only the difference.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.acquisition import mean_one, stabilised
from thyroid.errors import InputError
from thyroid.networks.pretrained import read_weights
from thyroid.networks.resnet import ResNet

RELU5_4 = 36
"""Number of layers of torchvision's VGG-19 up to the last activation before the last pooling."""
INNER_STAGES = 2
"""Stages of a ResNet that compute the features, which have a quarter of the side: still local."""


class ResidualBlock(nn.Module):
    """H(x) = x + F(x), with F two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.PReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        F_x: Tensor = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return x + F_x


class Upscaler(nn.Module):
    """SRResNet: maps low-resolution counts to activity at a higher resolution.

    Parameters
    ----------
    scale : 2 or 4
    width : channels of the residual blocks
    blocks : residual blocks
    """

    def __init__(self, scale: int, width: int, blocks: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(1, width, 9, 1, 4), nn.PReLU())
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        enlarge: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):  # x2 once or twice
            enlarge += [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU()]
        self.enlarge = nn.Sequential(*enlarge)
        self.tail = nn.Conv2d(width, 1, 3, 1, 1)
        nn.init.zeros_(self.tail.weight)  # untrained, the network is bicubic
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, counts: Tensor) -> Tensor:
        """Counts (N, s, s) float32 -> activity (N, S, S) float32, mean 1, not negative."""
        x = stabilised(counts).contiguous(memory_format=torch.channels_last)  # (N, 1, s, s)
        features = self.head(x)  # (N, C, s, s)
        features = features + self.bn(self.conv(self.blocks(features)))
        missing = self.tail(self.enlarge(features))  # (N, 1, S, S)
        # sqrt(activity) has the same noise everywhere
        amplitude = bicubic(counts, self.scale).sqrt() + missing.float().squeeze(1)
        return mean_one(amplitude.clamp_min(0).square())


class Discriminator(nn.Module):
    """Maps counts minus their bicubic expectation to one number, which is larger for real images.

    It has no batch normalisation. Within separate batches, normalisation removes the differences
    between real and generated images; within a joint batch, its statistics reveal which images are
    real, and the generator learns nothing.

    Parameters
    ----------
    width : channels of the first layer
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        planes = [1, *(width * 2**i for i in range(4))]
        # Each convolution halves the side and doubles the channels
        self.convs = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, 2, 1) for inputs, outputs in pairwise(planes)]
        )
        self.out = nn.Linear(planes[-1], 1)
        for conv in self.convs:  # torch's default initialisation shrinks the signal in every layer
            nn.init.kaiming_normal_(conv.weight, a=0.2)  # type: ignore[arg-type]  # a tensor

    def forward(self, counts: Tensor, low: Tensor) -> Tensor:
        """Counts (N, S, S) and low-resolution counts (N, s, s), float32 -> (N,)."""
        enlarged = bicubic(low, counts.shape[-1] // low.shape[-1])  # (N, S, S)
        x = anscombe_residual(counts, enlarged)  # (N, 1, S, S)
        x = x.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        score: Tensor = self.out(x.mean((2, 3)))
        return score.flatten()


class ClassifierFeatures(nn.Module):
    """Features of a trained thyroid classifier's inner stages."""

    def __init__(self, classifier: ResNet) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Network input (N, 1, S, S) -> (N, C, S', S')."""
        net = self.classifier
        x = net.maxpool(F.relu(net.bn1(net.conv1(x.contiguous(memory_format=torch.channels_last)))))
        for stage in net.stages[:INNER_STAGES]:
            x = getattr(net, stage)(x)
        return x


def vgg19() -> Any:
    """Return torchvision's VGG-19; the import takes a second, and the package has no types."""
    from torchvision import models

    return models.vgg19()


class Vgg19Features(nn.Module):
    """Features of Ledig 2017: relu5_4 of VGG-19 (Simonyan & Zisserman 2015).

    Parameters
    ----------
    weights : torchvision's state dictionary, as .pth or .safetensors

    Raises
    ------
    InputError
        When the file does not hold weights of VGG-19.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):  # 143 million parameters need no random start
            self.layers = vgg19().features[:RELU5_4]
        prefix = "features."
        try:
            state = {
                name.removeprefix(prefix): tensor
                for name, tensor in read_weights(weights).items()
                if name.startswith(prefix)
            }
            self.layers.load_state_dict(state, assign=True)
        except (ValueError, RuntimeError):
            raise InputError(
                f"{weights} does not hold the weights of VGG-19: give --vgg19 the file that "
                "torchvision offers as VGG19_Weights.IMAGENET1K_V1."
            ) from None
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Network input (N, 1, S, S) -> (N, 512, S / 16, S / 16)."""
        # 4, twice the amplitude of a bright gland, is mapped to white; grey in three channels
        x = ((x / 4).expand(-1, 3, -1, -1) - self.mean) / self.std
        features: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return features


def bicubic(counts: Tensor, scale: int) -> Tensor:
    """Estimate the activity by bicubic interpolation of the stabilised counts: the reference.

    Counts (N, s, s) float32 -> activity (N, S, S) float32, mean 1, not negative.
    """
    level = counts.mean((-2, -1), keepdim=True) + 0.375  # (N, 1, 1)
    amplitude = F.interpolate(stabilised(counts), scale_factor=scale, mode="bicubic").squeeze(1)
    # inverse of `stabilised`: a^2 level - 3/8
    return mean_one((amplitude.square() * level - 0.375).clamp_min(0))


def anscombe_residual(counts: Tensor, activity: Tensor) -> Tensor:
    """Compute counts minus expected counts in standard deviations (Anscombe 1948).

    2 (sqrt(counts + 3/8) - sqrt(expected + 3/8)). Patients differ much more than real and enlarged
    images do; the residual removes the patient, so that a discriminator sees the detail.

    Counts (N, S, S) float32, activity (N, S, S) float32 of mean 1 -> (N, 1, S, S) float32.
    """
    expected = activity * counts.mean((1, 2), keepdim=True)
    return 2 * ((counts + 0.375).sqrt() - (expected + 0.375).sqrt()).unsqueeze(1)
