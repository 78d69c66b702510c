"""The networks of a model, whose probabilities are averaged, and their common temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from thyroid.evaluate.temperature import LEAST
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.activations import activations
from thyroid.views import NUMBER, Viewed

BATCH = 64
"""Number of images, or views of images, that a network is given at a time."""


class Ensemble(nn.Module):
    """Maps counts to calibrated probabilities: softmax(log p / T) (Guo et al. 2017, eq. 9), with p
    the mean over networks and views. With merged classes, p is summed over the classes of each.
    """

    merging: Tensor | None
    """(C, K), as `Merging.matrix`; None: the model's classes are the networks'."""

    def __init__(
        self, members: Sequence[Viewed], temperature: float, merging: Tensor | None = None
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperature = temperature
        self.register_buffer("merging", merging)

    @property
    def viewed(self) -> list[Viewed]:
        """The networks, each with the transform of its input."""
        return [member for member in self.members if isinstance(member, Viewed)]

    @property
    def batch(self) -> int:
        """Number of images to give it at a time."""
        return max(BATCH // NUMBER[self.viewed[0].views], 1)

    def of_members(self, counts: Tensor) -> Tensor:
        """(N, H, H) counts, H a multiple of the input size -> (M, N, K), before calibration.

        K is the number of the model's classes.
        """
        p = torch.stack([member(counts) for member in self.members])  # (M, N, C)
        return p if self.merging is None else p @ self.merging

    def calibrated(self, p: Tensor) -> Tensor:
        """(M, N, K) -> (N, K), rows summing to 1."""
        return (p.mean(0).clamp_min(LEAST).log() / self.temperature).softmax(1)

    def forward(self, counts: Tensor) -> Tensor:
        """(N, H, H) counts, H a multiple of the input size -> (N, K), rows summing to 1."""
        return self.calibrated(self.of_members(counts))

    def features(self, counts: Tensor) -> list[Tensor]:
        """(N, H, H) counts -> each network's activations (N, D) of the image as it is."""
        found = []
        for member in self.viewed:
            x = network_input(
                sum_pixels(counts, member.config.size), member.config.normalisation
            )  # (N, 1, S, S)
            found.append(activations(member.network, x))
        return found

    def at(self, temperature: float) -> Ensemble:
        """The same networks at another temperature; at 1 the mean of their probabilities."""
        return Ensemble(self.viewed, temperature, self.merging).eval()

    def of_one_view(self) -> Ensemble:
        """The same networks, which see each image as it is."""
        members = [Viewed(member.network, member.config, "one") for member in self.viewed]
        return Ensemble(members, self.temperature, self.merging).eval()
