"""DCGAN (Radford, Metz & Chintala 2015), conditional on the findings.

The published topology: strided and transposed 4x4 convolutions, batch normalisation, ReLU in the
generator, LeakyReLU in the discriminator, tanh. The condition is the multi-hot vector of findings,
so that findings compose: conditional batch normalisation in the generator (de Vries 2017), a
projection in the discriminator (Miyato & Koyama 2018). With one class there is no condition, which
is the published, unconditional form.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from thyroid.acquisition import mean_one


def channels(size: int, width: int) -> list[int]:
    """Return the channels of layers of 4, 8, ..., size / 2 pixels: they double as sides halve."""
    layers: list[int] = []
    side = size // 2
    while side >= 4:
        layers.insert(0, min(width * size // (2 * side), 8 * width))
        side //= 2
    return layers


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with gains and biases that depend on the findings: (1 + W y) x + V y.

    W and V start small and are not normalised: with normalisation, a generator learned to ignore
    the label and made good images with wrong labels.
    """

    def __init__(self, planes: int, findings: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(planes)
        self.condition = nn.Linear(findings, 2 * planes, bias=False) if findings > 1 else None
        if self.condition is not None:
            nn.init.normal_(self.condition.weight, std=0.02)

    def forward(self, x: Tensor, findings: Tensor) -> Tensor:
        """(N, C, H, W), (N, findings) -> (N, C, H, W)."""
        x = self.bn(x)
        if self.condition is None:
            return x
        gain, bias = self.condition(findings)[:, :, None, None].chunk(2, 1)  # (N, C, 1, 1)
        return torch.addcmul(x + bias, x, gain)


class Generator(nn.Module):
    """Maps latent numbers and findings to an amplitude in [-1, 1].

    Parameters
    ----------
    latent : random numbers per image
    findings : classes of the condition; 1: no condition
    size : side of the images, 4 times a power of 2
    width : channels before the last layer
    """

    def __init__(self, latent: int, findings: int, size: int, width: int) -> None:
        super().__init__()
        planes = channels(size, width)
        # 1x1 -> 4x4, then each layer doubles the side
        self.convs = nn.ModuleList([nn.ConvTranspose2d(latent, planes[0], 4, 1, 0, bias=False)])
        for inputs, outputs in pairwise(planes):
            self.convs.append(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False))
        self.bns = nn.ModuleList([ConditionalBatchNorm(plane, findings) for plane in planes])
        self.out = nn.ConvTranspose2d(planes[-1], 1, 4, 2, 1)
        self.apply(_initialise)

    def forward(self, z: Tensor, findings: Tensor) -> Tensor:
        """(N, latent), (N, findings) multi-hot -> (N, 1, size, size) in [-1, 1]."""
        x = z[:, :, None, None]
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = F.relu(bn(conv(x), findings))
        return torch.tanh(self.out(x))


class Discriminator(nn.Module):
    """Maps an image and its findings to one number, which is larger for real images.

    Parameters
    ----------
    findings, size, width : as in the generator
    normalisation : `spectral` (Miyato 2018) or `batch`, as published
    """

    def __init__(self, findings: int, size: int, width: int, normalisation: str) -> None:
        super().__init__()
        planes = channels(size, width)[::-1]
        spectral = normalisation == "spectral"
        self.convs = nn.ModuleList()
        self.bns = nn.ModuleList()
        for i, (inputs, outputs) in enumerate(pairwise([1, *planes])):
            normalised = not spectral and i > 0  # published: none on the first layer
            conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not normalised)
            self.convs.append(conv)
            self.bns.append(nn.BatchNorm2d(outputs) if normalised else nn.Identity())
        self.out = nn.Conv2d(planes[-1], 1, 4, 1, 0)
        self.condition = nn.Linear(findings, planes[-1], bias=False) if findings > 1 else None
        self.apply(_initialise)
        if spectral:
            for layer in [*self.convs, self.out]:
                spectral_norm(layer)

    def forward(self, x: Tensor, findings: Tensor, groups: int = 1) -> Tensor:
        """(N, 1, size, size), (N, findings) multi-hot -> (N,).

        Batch statistics are computed within each of `groups` equal groups.
        """
        if groups > 1:
            chunks = zip(x.chunk(groups), findings.chunk(groups), strict=True)
            return torch.cat([self(*chunk) for chunk in chunks])
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = F.leaky_relu(bn(conv(x)), 0.2)
        score: Tensor = self.out(x).flatten()  # (N,)
        if self.condition is not None:
            # <V y, phi(x)>, small at first and not normalised (see ConditionalBatchNorm)
            score = score + (self.condition(findings) * x.sum((2, 3))).sum(1)
        return score


def activity(amplitude: Tensor) -> Tensor:
    """Convert a generator's output a to activity: ((a + 1) / 2)^2 over its mean.

    (N, 1, H, W) in [-1, 1] -> (N, H, W) float32, mean 1, not negative. The output is an amplitude
    because the square root of counts has the same noise everywhere. Its scale is arbitrary: only
    each pixel's share of the counts matters.
    """
    return mean_one(((amplitude.float().squeeze(1) + 1) / 2).square())


def _initialise(module: nn.Module) -> None:
    """Initialise as Radford 2015: weights from N(0, 0.02), gains from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
