"""The weights stage: keeps a user's weights file in the store, by its content."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thyroid.files import cannot_write
from thyroid.stage_config import WeightsConfig

FILE = "weights"


def fit(
    config: WeightsConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Copy the file, so that every machine that shares the store has it."""
    with cannot_write(folder):
        shutil.copyfile(inputs["dataset"], folder / FILE)
    yield {"bytes": (folder / FILE).stat().st_size}
