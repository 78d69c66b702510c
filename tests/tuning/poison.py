"""Classifiers that cannot be trained, each in its own way: what ails one is its weight decay.

Imports no torch: every process of a search has it.
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
"""Bytes that one asks for which is too large."""


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """The classifier's own, which a poisoned one is in its first segment."""
    from thyroid.stages import train_classifier

    ailment = config.optimiser.weight_decay if config.first_epoch else None
    if ailment == RAISES:
        raise KeyError("poison")
    if ailment == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if ailment == TOO_LARGE:
        flood = []
        for _ in range(60):
            flood.append(b"x" * (FLOOD // 60))
            time.sleep(0.05)
        raise AssertionError("there was room enough")
    for metrics in train_classifier.fit(config, inputs, folder):
        if ailment == NO_NUMBER:
            metrics["validation_macro_f1"] = float("nan")
        yield metrics


def install() -> None:
    """Put it in the classifier's place, in this process; keys stay as they are."""
    own = stage.KINDS["classifier"]
    kind = stage.Kind(version=own.version, function="tests.tuning.poison:fit")
    stage.KINDS["classifier"] = kind  # type: ignore[index]
