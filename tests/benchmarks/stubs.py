"""Stages that sleep, so that the rest of a search's time is its own overhead."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.stub_predictions import write_stub_predictions
from thyroid import stage
from thyroid.configuration import to_json

SECONDS = 0.01


def install(function: str = "tests.benchmarks.stubs:fit") -> None:
    """Replace every kind of stage by the stub in this process."""
    for kind in list(stage.KINDS):
        stub = stage.Kind(version=0, function=function, libraries=())
        stage.KINDS[kind] = stub  # type: ignore[index]


def fit(config: Any, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Sleep; the score depends on the configuration."""
    time.sleep(SECONDS)
    text = json.dumps(to_json(config), sort_keys=True)
    luck = _share(text)
    (folder / "made.txt").write_text(text)
    if "model" in inputs:
        recognised = _share((inputs["model"] / "made.txt").read_text())
        write_stub_predictions(config, inputs, folder, recognised)
    epoch = getattr(config, "first_epoch", 0) + getattr(config, "epochs", 0)
    yield {
        "seed": 0,
        "epoch": epoch,
        "validation_macro_f1": luck,
        "validation_cross_recall": luck,
        "train_seconds": SECONDS,
    }


def _share(text: str) -> float:
    return int(sha256(text.encode()).hexdigest()[:8], 16) / 16**8
