"""LeNet-5 (LeCun et al. 1998), with ReLU and max pooling, without batch normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.networks.registry import classifier


class LeNet5(nn.Module):
    """Two 5x5 convolutions with pooling and three linear layers; published for 32x32 pixels."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 5)
        self.conv2 = nn.Conv2d(width, 16, 5)
        self.pool = nn.AdaptiveMaxPool2d(5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> logits (N, classes); H and W at least 16."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.pool(F.relu(self.conv2(x)))  # (N, 16, 5, 5)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        return self.fc(x)  # type: ignore[no-any-return]  # nn.Module is untyped


@classifier("LeNet-5", published=True)
def lenet5(classes: int, width: int | None = None) -> LeNet5:
    """LeNet-5; `width` is the number of the first convolution's channels, 6 if None."""
    return LeNet5(classes, width or 6)
