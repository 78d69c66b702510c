"""A data set that a small network learns in seconds: the position of a bright spot is the class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from thyroid.data.dataset import Dataset, write_dataset
from thyroid.execution.in_process import in_process, opened
from thyroid.files import sha256_of
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import Recipe, override
from thyroid.stage import EpochMetrics, Stage
from thyroid.storage.store import Store

CLASSES = ("left", "right", "below")
PLACES = {"left": (8, 8), "right": (8, 24), "below": (24, 16)}
CROSSES = ("left;right", "right;below")
PRECISION = os.environ.get("TOY_PRECISION", "fp32")
"""Precision of trainings; `tests.processors` tries another."""


def write_toy(
    folder: Path,
    *,
    images: int = 90,
    crosses: int = 0,
    size: int = 32,
    kind: Literal["counts", "display"] = "counts",
    seed: int = 0,
) -> Dataset:
    """`images` Poisson pictures of one spot, then `crosses` pictures of two spots; three classes.
    Each patient has two images, and patients belong to two centres in turn.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    shown = [CLASSES[i // 2 % 3] for i in range(images)]
    shown += [CROSSES[i // 2 % 2] for i in range(crosses)]

    def matrices() -> Iterator[np.ndarray]:
        y, x = np.mgrid[:size, :size] * (32 / size)
        for findings in shown:
            rate = np.ones((size, size))
            for name in findings.split(";"):
                cy, cx = PLACES[name]
                rate += 12 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 20)
            yield rng.poisson(rate).astype(np.uint16)

    counts = list(matrices())
    for i, (matrix, findings) in enumerate(zip(counts, shown, strict=True)):
        rows.append(
            {
                "image_id": f"image-{i:03d}",
                "patient_id": f"patient-{i // 2:03d}",
                "centre": f"centre-{i // 2 % 2 + 1}",
                "label": findings.split(";")[0],
                "findings": findings,
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


def write_small_phantom(
    folder: Path, images_per_class: int, images_per_cross: int, *, seed: int = 0, size: int = 32
) -> Path:
    """Simulated scintigrams of `thyroid7`, the whole field in few pixels; returns the folder."""
    write_phantom(
        folder,
        preset="thyroid7",
        images_per_class=images_per_class,
        images_per_cross=images_per_cross,
        format="dataset",
        seed=seed,
        size=size,
        pixel_mm=256 / size,
    )
    return folder


def toy_recipe(**changes: Any) -> Recipe:
    """A recipe that trains for seconds, with 4 channels and 4 epochs; `schedule__constant_epochs=2`
    changes a field.
    """
    few = {
        "input.size": 32,
        "network.width": 4,
        "network.layout": "channels_last",  # a choice by measurement could vary
        "optimiser.batch_size": 16,
        "schedule.warmup_epochs": 1,
        "schedule.constant_epochs": 2,
        "schedule.decay_epochs": 1,
        "schedule.segment_epochs": 1,
        "augmentation.mirror": 0.0,
        "execution.precision": PRECISION,
        "execution.device": "cpu",
    }
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return override(Recipe(), few | dotted)


def toy_generators(**changes: Any) -> Recipe:
    """The toy recipe with synthetic images, half of each batch, from generators that train for
    seconds.
    """
    tiny = {
        "mixing__synthetic_share": 0.5,
        "mixing__final_share": 0.5,
        "dcgan__latent": 8,
        "dcgan__width": 4,
        "dcgan__batch_size": 16,
        "dcgan__epochs": 2,
        "dcgan__steps_per_epoch": 3,
        "dcgan__segment_epochs": 1,
        "flow__width": 8,
        "flow__batch_size": 8,
        "flow__epochs": 2,
        "flow__steps_per_epoch": 3,
        "flow__segment_epochs": 1,
        "flow__sampling_steps": 2,
        "srgan__width": 4,
        "srgan__blocks": 1,
        "srgan__batch_size": 16,
        "srgan__pixel_epochs": 1,
        "srgan__adversarial_epochs": 1,
        "srgan__steps_per_epoch": 2,
        "synthesis__images_per_class": 8,
        "synthesis__images_per_cross": 6,
        "synthesis__rejection": 1.0,
        "label_filter__warmup_epochs": 1,
        "label_filter__constant_epochs": 1,
        "label_filter__decay_epochs": 0,
        "label_filter__segment_epochs": 1,
    }
    return toy_recipe(**tiny | changes)


def made(
    stage: Stage, dataset: Path, root: Path, *weights: Path
) -> tuple[Path, list[EpochMetrics]]:
    """The stage's artifact, made in the store `root`, and the metrics of its kind of stages;
    `weights` are files of weights that the stage needs.
    """
    store, files = Store(root), where(dataset) | {sha256_of(file): file for file in weights}
    metrics = [m for m in in_process(store, files)([stage]) if m["stage"] == stage.kind]
    return opened(stage, store), metrics


def without_times(metrics: list[EpochMetrics]) -> list[dict[str, Any]]:
    """The parts of an artifact that do not depend on where and when it is made."""
    timed = ("train_seconds", "images_per_second", "reused")
    return [{k: v for k, v in m.items() if k not in timed} for m in metrics]


def where(dataset: Path) -> dict[str, Path]:
    """The data set's folder by its digest, as a runner needs it."""
    return {Dataset.open(dataset).digest: dataset}


def like(dataset: Dataset, folder: Path, **changes: Any) -> Dataset:
    """Write the data set again, with other images, counts or properties."""
    names = ("name", "classes", "size", "pixel_mm", "kind", "source", "licence")
    same = {name: getattr(dataset.info, name) for name in names}
    same |= {"images": dataset.images, "counts": dataset.counts}
    return write_dataset(folder, **same | changes)


def with_other_pixels(dataset: Dataset, rows: np.ndarray, folder: Path) -> Dataset:
    """The data set with 7 in every pixel of some images, which changes results that use them."""
    counts = np.array(dataset.counts)
    counts[rows] = 7
    return like(dataset, folder, counts=counts)
