"""Stages that take their time and hold what they are given, GPUs that are none included."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from thyroid import stage
from thyroid.recipe import to_json

EPOCH_S = 0.25


def install() -> None:
    """Put it in the place of every kind of stage, in this process."""
    for kind in list(stage.KINDS):
        slow = stage.Kind(version=0, function="tests.distribute.slow:fit", libraries=())
        stage.KINDS[kind] = slow  # type: ignore[index]


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """The value follows from the configuration."""
    text = json.dumps(to_json(config), sort_keys=True)
    value = int(sha256(text.encode()).hexdigest()[:8], 16) / 16**8
    (folder / "made.txt").write_text(text)
    first = getattr(config, "first_epoch", 0)
    for epoch in range(first, first + getattr(config, "epochs", 0)):
        time.sleep(EPOCH_S)
        yield {
            "seed": 0,
            "epoch": epoch + 1,
            "validation_macro_f1": value,
            "validation_cross_recall": value,
            "train_seconds": EPOCH_S,
        }
