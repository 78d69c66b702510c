"""The oracle stage: freshly simulated scintigrams, as a pool of synthetic ones.

Only data of the simulator have an oracle. It shows what a generator without any fault would give:
new patients of the same population, at the centres of the training part.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from thyroid.data.dataset import Dataset, write_dataset
from thyroid.data.splits import LeakError, Split
from thyroid.errors import InputError
from thyroid.network_input import sum_pixels
from thyroid.phantom.presets import Preset, preset_of
from thyroid.phantom.simulator import Address
from thyroid.phantom.write_files import stored_images
from thyroid.stage_config import OracleConfig
from thyroid.stages import split
from thyroid.stages.compute import seed_of
from thyroid.stages.synthesise import DATASET, SUMMARY, VERDICTS, combinations


def fit(config: OracleConfig, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Write what the synthesis stage writes, with true labels as the label filter's verdicts.

    Every training part, seed and pool has other simulated patients.

    Yields
    ------
    dict
        Per combination of findings: findings, made, dropped (none).

    Raises
    ------
    InputError
        When the data were not simulated, or the simulator does not know a combination of findings.
    LeakError
        When a simulated patient or image is one of the data set's.
    """
    torch.set_num_threads(config.execution.threads)
    dataset, parts = split.open_split(inputs)
    preset = at_its_centres(simulator_of(dataset), dataset, parts)
    wanted = combinations(dataset, parts.train, config.synthesis.crosses)
    require_known(preset, wanted)
    each = {
        findings: config.synthesis.images_per_cross
        if len(findings) > 1
        else config.synthesis.images_per_class
        for findings in wanted
    }
    addresses = [Address(findings=f, number=i) for f, n in each.items() for i in range(n)]
    if not addresses:
        raise InputError("synthesis.images_per_class is 0: an oracle needs images.")
    pixel_mm = dataset.info.pixel_mm
    assert pixel_mm is not None  # the simulator's data are counts
    seed = seed_of(config.seed, "oracle", f"pool {config.pool}", split.digest_of(dataset, parts))
    rows, matrices = [], []
    for row, matrix in stored_images(
        preset, addresses, seed=seed, size=dataset.info.size, pixel_mm=pixel_mm
    ):
        summed = sum_pixels(torch.from_numpy(matrix.astype(np.float32))[None], config.size)[0]
        matrices.append(summed.numpy().clip(0, 65535).astype(np.uint16))
        rows.append(row | {"pixel_mm": pixel_mm * dataset.info.size / config.size})
    table = pd.DataFrame(rows)
    _require_others(table, dataset)
    write_dataset(
        folder / DATASET,
        name=f"simulated images beside {dataset.info.name}",
        classes=dataset.info.classes,
        size=config.size,
        pixel_mm=pixel_mm * dataset.info.size / config.size,
        kind="counts",
        source="synthetic",
        licence=dataset.info.licence,
        images=table,
        counts=matrices,
    )
    labels = [dataset.info.classes.index(label) for label in table["label"]]
    np.save(folder / VERDICTS, np.eye(len(dataset.info.classes), dtype=np.float32)[labels])
    lines = [{"findings": ";".join(f), "made": n, "dropped": 0} for f, n in each.items() if n]
    (folder / SUMMARY).write_text(json.dumps({"combinations": lines}, indent=2))
    split.mark_trained_on(dataset, parts, folder)
    for line in lines:
        yield {"seed": config.seed, **line}


def simulator_of(dataset: Dataset) -> Preset:
    """Return the preset of a simulated data set.

    Raises
    ------
    InputError
        When it was not simulated.
    """
    preset = preset_of(dataset.info.source)
    if preset is None:
        raise InputError(
            f"{dataset.folder} was not made by `thyroid phantom`: only simulated data have an "
            "oracle, so name other generators."
        )
    return preset


def require_known(preset: Preset, wanted: Sequence[tuple[str, ...]]) -> None:
    """Require that the simulator knows all combinations of findings.

    Raises
    ------
    InputError
        When it does not know one.
    """
    for findings in wanted:
        if findings not in preset.findings:
            raise InputError(
                f"The simulator's {preset.name} knows no {'+'.join(findings)}: change "
                "synthesis.crosses, or leave the oracle out."
            )


def at_its_centres(preset: Preset, dataset: Dataset, parts: Split) -> Preset:
    """Return the preset with the centres of the training part alone."""
    names = set(dataset.images["centre"].iloc[parts.train])
    return dataclasses.replace(
        preset, centres=tuple(centre for centre in preset.centres if centre.name in names)
    )


def _require_others(simulated: pd.DataFrame, dataset: Dataset) -> None:
    """Require that no patient and no image is one of the data set's, whatever its part."""
    for column in ("patient_id", "image_id"):
        same = set(simulated[column]) & set(dataset.images[column])
        if same:
            raise LeakError(f"the oracle has {column} {min(same)} of the data set")
