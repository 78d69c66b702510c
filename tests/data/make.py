"""Small data sets, files and imports for the tests of this folder."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from thyroid.data.dataset import Dataset, DatasetInfo, write_dataset
from thyroid.data.import_summary import ImportSummary
from thyroid.data.importer import import_folder
from thyroid.data.scintigram import image_id

RNG = np.random.default_rng(11)


def some_counts(mean: float = 20.0, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    return RNG.poisson(mean, shape).astype(np.uint16)


def save_picture(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 255, (24, 24)).astype(np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(path)
    return path


def save_table(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def import_small(source: Path, target: Path, **options) -> ImportSummary:
    return import_folder(source, target, size=16, pixel_mm=4.0, **options)


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
    """A data set for code that does not read files, with one pixel per image."""
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
