"""Views of an image at test time: a network's probabilities are averaged over them.

A view is the normalised image or its mirror image, in place or moved by one pixel of the network's
input. Zeros come in at the edge, as in training (`augment.warp`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.network_input import network_input, sum_pixels
from thyroid.recipe import InputConfig, Views

SHIFTS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
"""Displacements down and to the right, in pixels."""
NUMBER: Mapping[Views, int] = {"one": 1, "shifts": len(SHIFTS), "mirrored_shifts": 2 * len(SHIFTS)}
"""Number of views by the name of the choice."""


def views_of(x: Tensor, views: Views) -> Tensor:
    """Return all views of network inputs: (N, C, H, W) -> (V N, C, H, W), one view after another.

    The first view is the image as it is; `mirrored_shifts` begins with the views of `shifts`.
    """
    if views == "one":
        return x
    height, width = x.shape[2:]
    sides = (x, x.flip(3)) if views == "mirrored_shifts" else (x,)
    padded = [F.pad(side, (1, 1, 1, 1)) for side in sides]  # (N, C, H + 2, W + 2)
    return torch.cat(
        [
            side[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
            for side in padded
            for down, right in SHIFTS
        ]
    )


def mean_of_views(probabilities: Tensor, views: Views) -> Tensor:
    """Average the probabilities of `views_of`: (V N, K) -> (N, K)."""
    if views == "one":
        return probabilities
    return probabilities.view(NUMBER[views], -1, probabilities.shape[1]).mean(0)


class Viewed(nn.Module):
    """Maps counts to a network's probabilities, averaged over views: mean of softmax(logits)."""

    def __init__(self, network: nn.Module, config: InputConfig, views: Views) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.views = views

    def forward(self, counts: Tensor) -> Tensor:
        """(N, H, H) counts, H a multiple of the input size -> (N, K), rows summing to 1.

        The network sees `NUMBER[views]` times N images at once.
        """
        summed = sum_pixels(counts, self.config.size)  # (N, S, S)
        x = views_of(network_input(summed, self.config.normalisation), self.views)
        return mean_of_views(self.network(x).float().softmax(1), self.views)
