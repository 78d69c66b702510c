"""Small data sets and files for the tests of this folder."""

from pathlib import Path

import numpy as np
import pandas as pd

from thyroid.data.dataset import Dataset, DatasetInfo, write_dataset
from thyroid.data.scintigram import image_id


def images_table(rows: list[tuple[str, str, str]], counts: np.ndarray) -> pd.DataFrame:
    """images.csv of one image per (patient, centre, findings)."""
    return pd.DataFrame(
        {
            "image_id": [f"{image_id(matrix)}-{i}" for i, matrix in enumerate(counts)],
            "patient_id": [row[0] for row in rows],
            "centre": [row[1] for row in rows],
            "label": [row[2].split(";")[0] for row in rows],
            "findings": [row[2] for row in rows],
            "source": "import",
            "total_counts": [int(matrix.sum()) for matrix in counts],
            "pixel_mm": 2.0,
            "flags": "",
        }
    )


def dataset_in_memory(rows: list[tuple[str, str, str]], classes: tuple[str, ...]) -> Dataset:
    """For what never looks at files: one pixel per image."""
    counts = np.ones((len(rows), 1, 1), np.uint16)
    info = DatasetInfo(
        name="memory", classes=classes, size=1, pixel_mm=2.0, kind="counts",
        source="test", licence="none", sha256="",
    )  # fmt: skip
    return Dataset(folder=Path(), info=info, images=images_table(rows, counts), counts=counts)


def small_dataset(
    folder: Path,
    rows: list[tuple[str, str, str]],
    *,
    size: int = 8,
    counts: np.ndarray | None = None,
    classes: tuple[str, ...] | None = None,
    **info,
) -> Dataset:
    """A data set with one image per (patient, centre, findings)."""
    if counts is None:
        rng = np.random.default_rng(len(rows))
        counts = rng.poisson(50, (len(rows), size, size)).astype(np.uint16)
    every = sorted({name for _, _, findings in rows for name in findings.split(";")})
    images = images_table(rows, counts)
    settings = {
        "name": "small",
        "classes": classes or every,
        "size": counts.shape[1],
        "pixel_mm": 2.0,
        "kind": "counts",
        "source": "test",
        "licence": "none",
    }
    return write_dataset(folder, images=images, counts=iter(counts), **(settings | info))
