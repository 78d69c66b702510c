"""Numbers about a data set, for the report's section on data and for `thyroid inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from reports.run import Run
from reports.scintigrams import SheetGroup, contact_sheet
from thyroid.data.data_checks import check, like_others, look_alikes
from thyroid.data.dataset import Dataset
from thyroid.run_files.config_json import RecordedDataset

PARTS = ("train", "validation", "development", "test")
LEARNED_FROM = ("train", "development")
"""Parts from which networks learn; images of `development` are divided into folds."""

UNVERIFIED = (
    "view_unnamed", "detector_angle", "window_unnamed", "counts_doubtful", "counts_accumulated",
    "light_background", "other_examination",
)  # fmt: skip
"""Flags of images that may be something else than they seem."""


@dataclass(frozen=True, kw_only=True)
class CountedRow:
    name: str
    images: list[int]
    """A number for each of the columns."""
    total: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class QualityFlag:
    kind: str
    severity: str
    """error | warning | note | info"""
    sentence: str
    images: int


@dataclass(frozen=True, kw_only=True)
class CountedFold:
    fold: int
    images: int
    patients: int
    centres: list[str]
    """Names of the centres, if known."""


@dataclass(frozen=True, kw_only=True)
class SeparateTestSet:
    name: str
    images: int
    patients: int
    digest: str
    others: bool
    """True if it is known that no patient is in both data sets: both name patients by the same key,
    and a run with a common patient is refused."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set. If its folder is missing, only what the run recorded is known."""

    name: str
    kind: str
    """counts | display"""
    size: int
    """Side in pixels."""
    pixel_mm: float | None
    source: str
    licence: str
    classes: list[str]
    images: int
    patients: int
    digest: str
    test_set: SeparateTestSet | None = None
    """None if the test part consists of some of the data set's patients."""
    state: str = "open"
    """open | missing (no such folder) | changed (not the data of this run)"""
    look_alikes: int | None = None
    """Number of images of the results that look the same as a training image of another patient;
    None if the data are missing, or there are no results."""
    cross_images: int | None = None
    columns: list[str] = field(default_factory=list)
    """Parts that are counted separately; `all` if there are none."""
    column_totals: list[dict[str, int]] = field(default_factory=list)
    """images, patients and cross (images) of each column."""
    classes_table: list[CountedRow] = field(default_factory=list)
    crosses: list[CountedRow] = field(default_factory=list)
    centres: list[CountedRow] = field(default_factory=list)
    folds: list[CountedFold] = field(default_factory=list)
    """Empty with one split."""
    sources: dict[str, int] = field(default_factory=dict)
    """Number of images by source: import | phantom."""
    simulated_images: int = 0
    unnamed_patients: int = 0
    """Number of images whose patient is not named, even if their study is named."""
    patients_alike: int = 0
    """Number of patients whose name differs from that of another patient of the data or of the test
    set only in leading zeros or .0."""
    unverified_images: int = 0
    """Number of images that may not be anterior views in the photopeak, or may not be counts."""
    quality: list[QualityFlag] = field(default_factory=list)
    total_counts: dict[str, float] | None = None
    """minimum, median, maximum of the photon counts; None for display-scaled pictures."""


RECORDED = ("name", "kind", "size", "pixel_mm", "source", "licence", "images", "patients", "digest")


def data_info(run: Run) -> Data:
    """The data of a run: from config.json and, if it still exists, from the data set."""
    recorded, tested = run.config.dataset, run.config.test_set
    if run.dataset is None:
        known = {name: getattr(recorded, name) for name in RECORDED}
        info = Data(**known, classes=list(run.classes))
    else:
        info = dataset_info(run.dataset, run.parts)
        info = replace(info, folds=_folds(run.dataset, run.fold_of))
    return replace(
        info,
        patients_alike=info.patients_alike + _alike_in(run),
        test_set=None if tested is None else _test_set(tested, recorded.patients_key),
        state=run.dataset_state,
        look_alikes=_look_alikes(run),
    )


def _look_alikes(run: Run) -> int | None:
    if run.dataset is None or run.part is None:
        return None
    part = run.dataset.images["image_id"].map(run.parts).to_numpy(dtype=object)
    if run.part == "test" and run.config.test_set:
        if run.test_set is None:
            return None
        trained = np.flatnonzero(pd.notna(part))
        return look_alikes(run.dataset, trained, run.test_set, np.arange(len(run.test_set)))
    learned = np.isin(part.astype(str), LEARNED_FROM)
    if run.part == "test" or run.folds == 1:
        trained, tested = np.flatnonzero(learned), np.flatnonzero(part == run.part)
        return look_alikes(run.dataset, trained, run.dataset, tested)
    fold = run.dataset.images["image_id"].map(run.fold_of).to_numpy(dtype=float)
    return sum(
        look_alikes(
            run.dataset,
            np.flatnonzero(learned & (fold != held_out)),
            run.dataset,
            np.flatnonzero(learned & (fold == held_out)),
        )
        for held_out in range(run.folds)
    )


def _alike_in(run: Run) -> int:
    """Count the test set's patients who are named nearly like training patients."""
    if run.dataset is None or run.test_set is None:
        return 0
    return len(set(run.test_set.patients[like_others(run.test_set, run.dataset)]))


def _folds(dataset: Dataset, fold_of: Mapping[str, int]) -> list[CountedFold]:
    column = dataset.images["image_id"].map(fold_of)
    found = []
    for fold in sorted(set(fold_of.values())):
        own = dataset.images[column == fold]
        found.append(
            CountedFold(
                fold=fold,
                images=len(own),
                patients=int(own["patient_id"].nunique()),
                centres=sorted(set(own["centre"]) - {""}),
            )
        )
    return found


def _test_set(recorded: RecordedDataset, key: str | None) -> SeparateTestSet:
    return SeparateTestSet(
        name=recorded.name,
        images=recorded.images,
        patients=recorded.patients,
        digest=recorded.digest,
        others=key is not None and key == recorded.patients_key,
    )


def dataset_info(dataset: Dataset, parts: Mapping[str, str] | None = None) -> Data:
    """All numbers about a data set.

    Parameters
    ----------
    parts
        image_id -> part. If given, images are counted separately for each part.
    """
    images = dataset.images
    part = images["image_id"].map(parts) if parts else pd.Series("all", index=images.index)
    columns = [p for p in PARTS if (part == p).any()] if parts else ["all"]

    def rows(groups: pd.Series, names: list[str]) -> list[CountedRow]:
        return [
            CountedRow(
                name=name,
                images=[int(((groups == name) & (part == p)).sum()) for p in columns],
                total=int((groups == name).sum()),
                patients=int(images.loc[groups == name, "patient_id"].nunique()),
            )
            for name in names
        ]

    cross = dataset.is_cross
    findings = images["findings"].where(cross, "")
    named = images["centre"].replace("", None).dropna()
    info = dataset.info
    return Data(
        name=info.name,
        kind=info.kind,
        size=info.size,
        pixel_mm=info.pixel_mm,
        source=info.source,
        licence=info.licence,
        classes=list(info.classes),
        images=len(images),
        patients=int(images["patient_id"].nunique()),
        digest=dataset.digest,
        cross_images=int(cross.sum()),
        columns=columns,
        column_totals=[
            {
                "images": int((part == p).sum()),
                "patients": int(images.loc[part == p, "patient_id"].nunique()),
                "cross": int(((part == p) & cross).sum()),
            }
            for p in columns
        ],
        classes_table=rows(images["label"], list(info.classes)),
        crosses=rows(findings, sorted(set(findings) - {""})),
        centres=rows(images["centre"], sorted(named.unique())),
        sources={str(k): int(v) for k, v in images["source"].value_counts().sort_index().items()},
        simulated_images=_flagged(images, "simulated"),
        unnamed_patients=_flagged(images, "patient_unnamed", "patient_by_study"),
        patients_alike=len(set(dataset.patients[like_others(dataset)])),
        unverified_images=_flagged(images, *UNVERIFIED),
        quality=[
            QualityFlag(
                kind=flag.kind,
                severity=flag.severity,
                sentence=flag.sentence,
                images=len(flag.image_ids),
            )
            for flag in check(dataset)
        ],
        total_counts=_spread(images["total_counts"]) if info.kind == "counts" else None,
    )


def training_sheet(run: Run, size: int | None = None) -> list[SheetGroup]:
    """A few training images per class and cross; empty if the data are missing."""
    if run.dataset is None or not run.parts:
        return []
    part = run.dataset.images["image_id"].map(run.parts)
    return contact_sheet(run.dataset, part.isin(LEARNED_FROM).to_numpy(), per_group=3, size=size)


def _flagged(images: pd.DataFrame, *any_of: str) -> int:
    """Count the images that have at least one of these flags from the import."""
    return int(images["flags"].str.split(";").map(lambda flags: bool({*any_of} & {*flags})).sum())


def centre_relation(data: Data) -> str:
    """Name how the centres of test images relate to those of training images.

    none (no centre is named) | one (a single centre) | other (no centre in common) |
    same (every test centre also gave training images) | mixed | unknown
    """
    learned = next((part for part in LEARNED_FROM if part in data.columns), None)
    if learned is None or "test" not in data.columns:
        return "unknown"
    if {c.name for c in data.centres} == {"unknown"}:
        return "none"
    train, test = (
        {c.name for c in data.centres if c.images[data.columns.index(part)]}
        for part in (learned, "test")
    )
    if not train or not test:
        return "none"
    if len(train | test) == 1:
        return "one"
    if test <= train:
        return "same"
    return "mixed" if test & train else "other"


def _spread(values: pd.Series) -> dict[str, float]:
    low, median, high = np.percentile(values.to_numpy(), (0, 50, 100))
    return {"minimum": float(low), "median": float(median), "maximum": float(high)}
