"""Stages that sleep instead of training, and hold the resources they request, GPUs included."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.stub_predictions import write_stub_predictions
from thyroid import stage

EPOCH_S = 0.25


def install() -> None:
    """Replace the function of every kind of stage in this process."""
    for kind in list(stage.KINDS):
        slow = stage.Kind(version=0, function="tests.tuning.slow:fit", libraries=())
        stage.KINDS[kind] = slow  # type: ignore[index]


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Sleep for each epoch; every epoch has the same score."""
    (folder / "made.txt").touch()
    write_stub_predictions(config, inputs, folder, 0.5)
    first = getattr(config, "first_epoch", 0)
    for epoch in range(first, first + getattr(config, "epochs", 0)):
        time.sleep(EPOCH_S)
        yield {
            "seed": 0,
            "epoch": epoch + 1,
            "validation_macro_f1": 0.5,
            "validation_cross_recall": 0.5,
            "train_seconds": EPOCH_S,
        }
