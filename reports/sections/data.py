"""What a data set holds, counted: for the report's data section and for `thyroid inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reports.run import Run
from reports.scintigrams import contact_sheet
from thyroid.data.data_checks import check, look_alikes
from thyroid.data.dataset import Dataset

PARTS = ("train", "validation", "test")


def data_info(run: Run) -> dict[str, Any]:
    """The data of a run: what config.json recorded and, where the data set is there, its counts."""
    recorded = run.config["dataset"]
    names = (
        "name",
        "kind",
        "size",
        "pixel_mm",
        "source",
        "licence",
        "images",
        "patients",
        "digest",
    )
    info = {name: recorded.get(name) for name in names} | {
        "classes": list(run.classes),
        "test_set": _test_set(run.config.get("test_set"), recorded.get("patients_key")),
        "state": run.dataset_state,
        "total_counts": None,
        "look_alikes": _look_alikes(run),
    }
    return info if run.dataset is None else info | dataset_info(run.dataset, run.parts)


def _look_alikes(run: Run) -> int | None:
    """Images of the results that look the same as one of another patient that was trained on; None
    where the data are gone, or there are no results.
    """
    if run.dataset is None or run.part is None:
        return None
    part = run.dataset.images["image_id"].map(run.parts).to_numpy(dtype=object)
    if run.part == "test" and run.config.get("test_set"):
        if run.test_set is None:
            return None
        trained = np.flatnonzero(pd.notna(part))
        return look_alikes(run.dataset, trained, run.test_set, np.arange(len(run.test_set)))
    trained, tested = np.flatnonzero(part == "train"), np.flatnonzero(part == run.part)
    return look_alikes(run.dataset, trained, run.dataset, tested)


def _test_set(recorded: dict[str, Any] | None, key: str | None) -> dict[str, Any] | None:
    """The data set that is the test part; None where some patients of the same are.

    `others`: whether its patients are known to be others, as both data sets name them by one key:
    then a run with a patient of both was refused.
    """
    if recorded is None:
        return None
    names = ("name", "images", "patients", "digest")
    others = key is not None and key == recorded.get("patients_key")
    return {name: recorded.get(name) for name in names} | {"others": others}


def dataset_info(dataset: Dataset, parts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Everything countable about a data set.

    Parameters
    ----------
    parts
        image_id -> part. Where given, images are counted for each part, else together.

    Returns
    -------
    dict
        `columns` are the parts counted; each row of `classes_table`, `crosses` and `centres` has
        `name`, `images` (a number per column) and `total`.
    """
    images = dataset.images
    part = images["image_id"].map(parts) if parts else pd.Series("all", index=images.index)
    columns = [p for p in PARTS if (part == p).any()] if parts else ["all"]

    def rows(groups: pd.Series, names: list[str]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "images": [int(((groups == name) & (part == p)).sum()) for p in columns],
                "total": int((groups == name).sum()),
                "patients": int(images.loc[groups == name, "patient_id"].nunique()),
            }
            for name in names
        ]

    cross = dataset.is_cross
    findings = images["findings"].where(cross, "")
    named = images["centre"].replace("", None).dropna()
    info = dataset.info
    return {
        "name": info.name,
        "kind": info.kind,
        "size": info.size,
        "pixel_mm": info.pixel_mm,
        "source": info.source,
        "licence": info.licence,
        "classes": list(info.classes),
        "images": len(images),
        "patients": int(images["patient_id"].nunique()),
        "cross_images": int(cross.sum()),
        "columns": columns,
        "column_totals": [
            {
                "images": int((part == p).sum()),
                "patients": int(images.loc[part == p, "patient_id"].nunique()),
                "cross": int(((part == p) & cross).sum()),
            }
            for p in columns
        ],
        "classes_table": rows(images["label"], list(info.classes)),
        "crosses": rows(findings, sorted(set(findings) - {""})),
        "centres": rows(images["centre"], sorted(named.unique())),
        "sources": {
            str(k): int(v) for k, v in images["source"].value_counts().sort_index().items()
        },
        "simulated_images": _flagged(images, "simulated"),
        "unnamed_patients": _flagged(images, "patient_unnamed"),
        "quality": [
            {
                "kind": flag.kind,
                "severity": flag.severity,
                "sentence": flag.sentence,
                "images": len(flag.image_ids),
            }
            for flag in check(dataset)
        ],
        "total_counts": _spread(images["total_counts"]) if info.kind == "counts" else None,
    }


def training_sheet(run: Run, size: int | None = None) -> list[dict[str, Any]]:
    """A few training images per class and cross; none where the data are gone."""
    if run.dataset is None or not run.parts:
        return []
    part = run.dataset.images["image_id"].map(run.parts)
    return contact_sheet(run.dataset, (part == "train").to_numpy(), per_group=3, size=size)


def _flagged(images: pd.DataFrame, flag: str) -> int:
    """How many images carry a flag of the import."""
    return int(images["flags"].str.split(";").map(lambda flags: flag in flags).sum())


def centre_relation(info: Mapping[str, Any]) -> str:
    """How the centres of test images relate to those of training images.

    none (no centre is named) | one (a single centre) | other (no centre in common) |
    same (every test centre also gave training images) | mixed | unknown
    """
    if "centres" not in info or not {"train", "test"} <= set(info["columns"]):
        return "unknown"
    if {c["name"] for c in info["centres"]} == {"unknown"}:
        return "none"
    of = {
        p: {c["name"] for c in info["centres"] if c["images"][info["columns"].index(p)]}
        for p in ("train", "test")
    }
    if not of["train"] or not of["test"]:
        return "none"
    if len(of["train"] | of["test"]) == 1:
        return "one"
    if of["test"] <= of["train"]:
        return "same"
    return "mixed" if of["test"] & of["train"] else "other"


def _spread(values: pd.Series) -> dict[str, float]:
    low, median, high = np.percentile(values.to_numpy(), (0, 50, 100))
    return {"minimum": float(low), "median": float(median), "maximum": float(high)}
