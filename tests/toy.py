"""A data set that a small network learns in seconds: one bright spot, whose place is the class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from thyroid.data.dataset import Dataset, write_dataset
from thyroid.recipe import Recipe, override

CLASSES = ("left", "right", "below")


def write_toy(
    folder: Path,
    *,
    images: int = 90,
    size: int = 32,
    kind: Literal["counts", "display"] = "counts",
    seed: int = 0,
) -> Dataset:
    """`images` Poisson pictures, two of each patient, three classes, two centres."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []

    def matrices() -> Iterator[np.ndarray]:
        y, x = np.mgrid[:size, :size] * (32 / size)
        for i in range(images):
            label = (i // 2) % 3
            cy, cx = [(8, 8), (8, 24), (24, 16)][label]
            rate = 1 + 12 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 20)
            yield rng.poisson(rate).astype(np.uint16)

    counts = list(matrices())
    for i, matrix in enumerate(counts):
        name = CLASSES[(i // 2) % 3]
        rows.append(
            {
                "image_id": f"image-{i:03d}",
                "patient_id": f"patient-{i // 2:03d}",
                "centre": f"centre-{i // 2 % 2 + 1}",
                "label": name,
                "findings": name,
                "source": "phantom",
                "total_counts": int(matrix.sum()) if kind == "counts" else 0,
                "pixel_mm": 4.0 if kind == "counts" else None,
                "flags": "",
            }
        )
    return write_dataset(
        folder,
        name="toy",
        classes=CLASSES,
        size=size,
        pixel_mm=4.0 if kind == "counts" else None,
        kind=kind,
        source="test",
        licence="CC0-1.0",
        images=pd.DataFrame(rows),
        counts=counts,
    )


def toy_recipe(**changes: Any) -> Recipe:
    """A recipe of seconds: 4 channels, 4 epochs; `schedule__constant_epochs=2` changes fields."""
    few = {
        "input.size": 32,
        "network.width": 4,
        "optimiser.batch_size": 16,
        "schedule.warmup_epochs": 1,
        "schedule.constant_epochs": 2,
        "schedule.decay_epochs": 1,
        "schedule.segment_epochs": 1,
        "augmentation.mirror": 0.0,
        "execution.precision": "fp32",
        "execution.device": "cpu",
    }
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return override(Recipe(), few | dotted)
