"""Classifiers that cannot be trained; their weight decay selects how they fail.

Imports no torch, as every process of a search imports this module.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thyroid import stage

RAISES, KILLED, TOO_LARGE, NO_NUMBER = 0.01, 0.02, 0.03, 0.04

FLOOD = 6_000_000_000
"""Bytes that the classifier TOO_LARGE allocates."""


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Train the classifier, but fail after the first segment if its weight decay is poisonous."""
    from thyroid.stages import train_classifier

    poison = config.optimiser.weight_decay if config.first_epoch else None
    if poison == RAISES:
        raise KeyError("poison")
    if poison == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if poison == TOO_LARGE:
        flood = []
        for _ in range(60):
            flood.append(b"x" * (FLOOD // 60))
            time.sleep(0.05)
        raise AssertionError("there was room enough")
    for metrics in train_classifier.fit(config, inputs, folder):
        if poison == NO_NUMBER:
            metrics["validation_macro_f1"] = float("nan")
        yield metrics


def install() -> None:
    """Replace the classifier's function in this process; keys do not change."""
    own = stage.KINDS["classifier"]
    kind = stage.Kind(version=own.version, function="tests.tuning.poison:fit")
    stage.KINDS["classifier"] = kind  # type: ignore[index]
