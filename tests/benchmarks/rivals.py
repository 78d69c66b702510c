"""A user's alternative, for comparison: torchvision's ImageFolder of PNG files, transforms.v2, a
DataLoader with workers, and a plain loop.

Network, batch size, optimiser, loss and learning rates are those of thyroid. The rest is as users
have it: float32, the default memory layout, torch's default number of threads, one 8-bit PNG file
per scintigram.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from thyroid import machine
from thyroid.data.dataset import Dataset
from thyroid.networks.build import build
from thyroid.recipe import AugmentationConfig, Recipe, ScheduleConfig

GREY_PER_ROOT = 40
"""Grey levels per unit of sqrt(counts / mean): 255 is 40 times an image's mean."""


def write_pngs(dataset: Dataset, rows: Sequence[int], folder: Path) -> Path:
    """One PNG of 8 bits per scintigram, FOLDER/CLASS/ROW.png, of sqrt(counts / mean)."""
    for label in dataset.info.classes:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for row in rows:
        counts = np.asarray(dataset.counts[row], dtype=np.float64)
        grey = np.sqrt(counts / max(counts.mean(), 1e-6)) * GREY_PER_ROOT
        label = dataset.info.classes[dataset.labels[row]]
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
        image.save(folder / label / f"{row:06d}.png")
    return folder


def transforms(size: int, change: AugmentationConfig | None) -> v2.Compose:
    """Transforms of a PNG to (1, size, size) float32 in units of sqrt(counts / mean)."""
    geometry: list[nn.Module] = []
    if change is not None:
        geometry = [
            v2.RandomAffine(
                degrees=change.rotation_deg,
                translate=(change.shift, change.shift),
                scale=(1 / (1 + change.zoom), 1 + change.zoom),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomHorizontalFlip(change.mirror),
        ]
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Grayscale(),
            v2.Resize((size, size)),
            *geometry,
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.0], [GREY_PER_ROOT / 255]),
        ]
    )


def loaders(pngs: Path, recipe: Recipe, workers: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of `pngs`/train, shuffled and augmented, and of `pngs`/validation."""
    size, batch = recipe.input.size, recipe.optimiser.batch_size
    keep: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    training = ImageFolder(str(pngs / "train"), transforms(size, recipe.augmentation))
    held_out = ImageFolder(str(pngs / "validation"), transforms(size, None))
    return (
        DataLoader(training, batch, shuffle=True, drop_last=True, **keep),
        DataLoader(held_out, batch, **keep),
    )


def rate_at(schedule: ScheduleConfig, steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at a step: warm-up, constant, linear decay."""
    warm, decay = schedule.warmup_epochs * steps, schedule.decay_epochs * steps
    end = schedule.epochs * steps

    def factor(step: int) -> float:
        rising = (step + 0.5) / warm if step < warm else 1.0
        falling = (end - step - 0.5) / decay if step >= end - decay and decay else 1.0
        return max(0.0, min(rising, falling))

    return factor


def optimiser_of(
    network: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its schedule."""
    config = recipe.optimiser
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate_at(recipe.schedule, steps))


def plain(pngs: Path, recipe: Recipe, workers: int) -> list[float]:
    """The plain loop; returns when each epoch ended, including its validation: seconds of
    `time.perf_counter`.
    """
    torch.manual_seed(0)
    training, held_out = loaders(pngs, recipe, workers)
    network = build(recipe.network, len(training.dataset.classes))  # type: ignore[attr-defined]
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.optimiser.label_smoothing)
    optimiser, scheduler = optimiser_of(network, recipe, len(training))
    ended: list[float] = []
    for _ in range(recipe.schedule.epochs):
        network.train()
        for x, labels in training:
            optimiser.zero_grad()
            loss = criterion(network(x), labels)
            loss.backward()
            optimiser.step()
            scheduler.step()
        network.eval()
        right = total = lost = 0.0
        with torch.no_grad():
            for x, labels in held_out:
                logits = network(x)
                lost += F.cross_entropy(logits, labels, reduction="sum").item()
                right += (logits.argmax(1) == labels).sum().item()
                total += len(labels)
        assert np.isfinite(lost / total)
        assert 0 <= right <= total
        ended.append(time.perf_counter())
    return ended


@contextmanager
def all_threads() -> Iterator[None]:
    """Torch's default number of threads: one per core."""
    before = torch.get_num_threads()
    torch.set_num_threads(machine.cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
