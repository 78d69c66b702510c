"""Checks of a data set before anything is trained on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from thyroid import progress
from thyroid.data.dataset import FLAGS, Dataset
from thyroid.data.likeness import Looks, pairs_alike
from thyroid.data.scintigram import image_id, is_saturated

Severity = Literal["error", "warning", "note"]

FEW_IMAGES = 5
LOW_COUNTS = 5_000  # a scintigram has 100,000 and more
CONFOUNDED_V = 0.3
CONFOUNDED_P = 0.001
CHUNK = 512  # images in memory at a time
MANY_IMAGES = 2000  # from this number on, checks take seconds
LEGEND_IMAGES = 256  # images searched for marks that do not change
LEGEND_SHARE = 0.6  # share of pictures that have the same mark in the same place
LEGEND_SPREAD = 0.02  # share of full scale by which the same mark may differ, as in JPEG
LEGEND_AREA = 0.002  # share of the picture
NAMED_FLAGS = (
    "view_unnamed", "detector_angle", "window_unnamed", "counts_doubtful", "counts_accumulated",
    "whole_body", "summed_dynamic", "other_examination", "colour",
    "white_is_zero", "light_background", "patient_by_study",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class QualityFlag:
    """A finding of a check."""

    kind: str
    severity: Severity
    """error: training refuses; warning: results may be wrong; note: good to know"""
    sentence: str
    image_ids: tuple[str, ...] = ()
    """Images concerned; for duplicates both originals and copies."""
    pairs: tuple[tuple[int, int], ...] = ()
    """For near duplicates: the rows of each pair of images."""


def check(dataset: Dataset) -> list[QualityFlag]:
    """Run all checks; errors come first. Reads each image once, a few hundred at a time."""
    if len(dataset) >= MANY_IMAGES:
        progress.say(f"checking {len(dataset):,} images")
    # on busy cores, several threads took minutes for small products that take milliseconds
    with threadpool_limits(1):
        scan = _Scan.of(dataset)
        found = [
            *_synthetic(dataset),
            *class_flags(dataset),
            *_patients(dataset),
            *_patients_alike(dataset),
            *_exact_duplicates(dataset, scan),
            *_near_duplicates(dataset, scan),
            *_image_values(dataset, scan),
            *_import_flags(dataset),
            *_marks(dataset),
            *_pixel_sizes(dataset),
            *_confounding(dataset),
        ]
    severities: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(found, key=lambda flag: severities.index(flag.severity))


def look_alikes(
    seen: Dataset,
    seen_rows: npt.NDArray[np.int64],
    tested: Dataset,
    tested_rows: npt.NDArray[np.int64],
) -> int:
    """Count the tested images that look like an image of `seen`, whether or not the patient is the
    same.

    Equal images and near duplicates count, as in `check`; `likeness` says which ones are found.
    """
    with threadpool_limits(1):
        looks, offset = _Scan.of(seen).looks, 0
        if tested is not seen:
            looks, offset = Looks.together([looks, _Scan.of(tested).looks]), len(seen)
        found = np.zeros(offset + len(tested), dtype=bool)
        for one, _ in pairs_alike(looks, offset + tested_rows, seen_rows):
            found[one] = True
        return int(found.sum())


def _synthetic(dataset: Dataset) -> Iterator[QualityFlag]:
    made = dataset.images["image_id"][dataset.images["source"] == "synthetic"]
    if len(made):
        yield QualityFlag(
            kind="synthetic",
            severity="error",
            sentence=f"{len(made)} of {len(dataset)} images were made by a generator: the run that "
            "made them trains on them, but results on them say nothing about patients; use the "
            "data set that the generator was trained on.",
            image_ids=tuple(made),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scan:
    """Results of one pass over the pixels."""

    total: npt.NDArray[np.int64]  # (N,)
    saturated: npt.NDArray[np.bool_]  # (N,)
    same: npt.NDArray[np.int64]  # (N,) one number for all copies of an image
    looks: Looks

    @classmethod
    def of(cls, dataset: Dataset) -> "_Scan":
        totals, saturated, hashes = [], [], []
        looks = Looks.blank(len(dataset), dataset.info.size)
        for start in range(0, len(dataset), CHUNK):
            images = np.asarray(dataset.counts[start : start + CHUNK])  # (n, H, W)
            totals.append(images.sum(axis=(1, 2), dtype=np.int64))
            saturated += [is_saturated(image) for image in images]
            hashes += [image_id(image) for image in images]
            looks.see(start, np.sqrt(images, dtype=np.float32))
        return cls(
            total=np.concatenate(totals),
            saturated=np.array(saturated),
            same=pd.factorize(np.array(hashes))[0].astype(np.int64),
            looks=looks,
        )


def _ids(dataset: Dataset, rows: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(dataset.images["image_id"][rows])


def _marks(dataset: Dataset) -> Iterator[QualityFlag]:
    """Find a legend, a colour bar or a frame: pixels whose grey is the same in most pictures, which
    never happens in anatomy. Black and white pixels are left out, because empty fields are black
    and saturated glands white.
    """
    if dataset.info.kind != "display" or len(dataset) < FEW_IMAGES:
        return
    rows = np.unique(np.linspace(0, len(dataset) - 1, LEGEND_IMAGES).astype(np.int64))
    images = dataset.counts[rows].astype(np.float32)  # (n, H, W)
    images /= max(float(images.max()), 1.0)
    middle = np.median(images, axis=0)
    same = (np.abs(images - middle) <= LEGEND_SPREAD).mean(axis=0) >= LEGEND_SHARE
    marks = same & (middle > 0.1) & (middle < 0.98)
    if marks.mean() < LEGEND_AREA:
        return
    down, across = (np.flatnonzero(marks.any(axis=axis)) for axis in (1, 0))
    size = dataset.info.size
    yield QualityFlag(
        kind="legend",
        severity="warning",
        sentence=f"Most pictures have the same marks in the same place, in {marks.mean():.1%} of "
        f"their pixels (rows {down[0] + 1} to {down[-1] + 1}, columns {across[0] + 1} to "
        f"{across[-1] + 1} of {size}): a legend, a colour bar or a frame. Crop them away before "
        "import; a network may take differences between devices for signs of disease.",
    )


def class_flags(dataset: Dataset) -> Iterator[QualityFlag]:
    """Find classes with too few patients or images. Reads no pixels."""
    labelled = dataset.images.groupby("label")
    images, patients = labelled.size(), labelled["patient_id"].nunique()
    if len(images) < 2:
        yield QualityFlag(
            kind="one_class",
            severity="error",
            sentence=f"All images have one label ({', '.join(map(repr, images.index))}); "
            "nothing can be learned from that; import images of at least two classes.",
        )
    for name in dataset.info.classes:
        count, people = int(images.get(name, 0)), int(patients.get(name, 0))
        rows = (dataset.images["label"] == name).to_numpy()
        if people == 1:
            yield QualityFlag(
                kind="one_patient",
                severity="error",
                sentence=f"Class {name!r} has one patient only and cannot be split by patient; "
                "check its spelling, add patients, tell them apart in labels.csv, or leave the "
                "class out.",
                image_ids=_ids(dataset, rows),
            )
        elif count < FEW_IMAGES:
            yield QualityFlag(
                kind="few_images",
                severity="warning",
                sentence=f"Class {name!r} is the label of {count} images only.",
                image_ids=_ids(dataset, rows),
            )


def _patients(dataset: Dataset) -> Iterator[QualityFlag]:
    by_patient = dataset.images.groupby("patient_id")
    checks: tuple[tuple[str, str, Severity, str], ...] = (
        ("label", "labels_of_a_patient", "warning", "images of more than one label"),
        ("centre", "centres_of_a_patient", "note", "images from more than one centre"),
    )
    for column, kind, severity, what in checks:
        several = by_patient[column].transform("nunique").to_numpy() > 1
        if several.any():
            number = dataset.images["patient_id"][several].nunique()
            yield QualityFlag(
                kind=kind,
                severity=severity,
                sentence=f"{number} patients have {what}; each stays in one part of a split.",
                image_ids=_ids(dataset, several),
            )


def _patients_alike(dataset: Dataset) -> Iterator[QualityFlag]:
    alike = like_others(dataset)
    if alike.any():
        yield QualityFlag(
            kind="patients_alike",
            severity="warning",
            sentence=f"The names of {len(set(dataset.patients[alike]))} patients differ from "
            "another patient's only by leading zeros or .0; if they are the same person, write the "
            "name in one way in labels.csv and import again.",
            image_ids=_ids(dataset, alike),
        )


def like_others(dataset: Dataset, others: Dataset | None = None) -> npt.NDArray[np.bool_]:
    """Return which images are of a patient whose name differs from another's only by zeros and
    ".0", (N,).

    With `others`, the other patient is one of that data set.
    """
    theirs = dataset if others is None else others
    of: dict[str, set[str]] = {}
    for like, patient in zip(theirs.patients_like, theirs.patients, strict=True):
        of.setdefault(like, set()).add(patient)
    own = zip(dataset.patients_like, dataset.patients, strict=True)
    return np.array([bool(of.get(like, set()) - {patient}) for like, patient in own], dtype=bool)


def _exact_duplicates(dataset: Dataset, scan: _Scan) -> Iterator[QualityFlag]:
    """Find equal images. Empty images do not identify a patient and have a check of their own."""
    columns = ["image_id", "patient_id", "findings"]
    images = pd.DataFrame({"same": scan.same}).join(dataset.images[columns])
    several = images.groupby("same")[columns].transform("nunique") > 1  # where copies differ
    copies = several["image_id"] & (scan.total > 0)
    strangers, disputed = copies & several["patient_id"], copies & several["findings"]
    checks: tuple[tuple[str, Severity, pd.Series[bool], str, str], ...] = (
        ("duplicates_across_patients", "error", strangers, "patient_id",
         "{} images are equal to an image of another patient ({}), so training and test data may "
         "share them; give copies the same patient in labels.csv, or remove them, and import "
         "again."),
        ("duplicates_with_other_findings", "warning", disputed, "findings",
         "{} images are equal to an image with other findings ({}), and one of the two is wrong; "
         "correct or remove it, and import again."),
        ("duplicates", "warning", copies & ~strangers & ~disputed, "image_id",
         "{} images are equal to another image of the same patient ({})."),
    )  # fmt: skip
    for kind, severity, rows, differ_in, sentence in checks:
        if rows.any():
            yield QualityFlag(
                kind=kind,
                severity=severity,
                sentence=sentence.format(int(rows.sum()), _examples(images[rows], differ_in)),
                image_ids=_ids(dataset, rows.to_numpy()),
            )


def _examples(copies: pd.DataFrame, differ_in: str) -> str:
    """Name two copies of each of the first three groups, by image and patient."""
    groups = copies["same"].unique()
    pairs = []
    for group in groups[:3]:
        pair = copies[copies["same"] == group].drop_duplicates(differ_in).head(2)
        named = zip(pair["image_id"], pair["patient_id"], strict=True)
        pairs.append(" and ".join(f"{image} of patient {patient}" for image, patient in named))
    return "; ".join(pairs) + ("; ..." if len(groups) > 3 else "")


def _near_duplicates(dataset: Dataset, scan: _Scan) -> Iterator[QualityFlag]:
    """Find images of different patients that look the same."""
    patient = pd.factorize(dataset.images["patient_id"])[0]
    involved = np.zeros(len(dataset), dtype=bool)
    pairs: list[tuple[int, int]] = []
    every = np.arange(len(dataset))
    for first, second in pairs_alike(scan.looks, every, every):
        found = (first < second) & (scan.same[first] != scan.same[second])
        found &= patient[first] != patient[second]
        involved[first[found]] = involved[second[found]] = True
        pairs += zip(first[found].tolist(), second[found].tolist(), strict=True)
    if pairs:
        yield QualityFlag(
            kind="near_duplicates",
            severity="warning",
            sentence=f"{len(pairs)} pairs of images of different patients look the same; if both "
            "images show one patient, name the same patient for both.",
            image_ids=_ids(dataset, involved),
            pairs=tuple(pairs),
        )


def _image_values(dataset: Dataset, scan: _Scan) -> Iterator[QualityFlag]:
    flagged = dataset.images["flags"].str.split(";").map(lambda flags: "saturated" in flags)
    low = (scan.total > 0) & (scan.total < LOW_COUNTS) & (dataset.info.kind == "counts")
    for kind, rows, sentence in (
        ("empty", scan.total == 0, "{} images are empty."),
        ("low_counts", low, f"{{}} images have fewer than {LOW_COUNTS:,} counts."),
        ("saturated", scan.saturated | flagged.to_numpy(dtype=bool),
         "{} images are saturated: many of their pixels share the highest value."),
    ):  # fmt: skip
        if rows.any():
            yield QualityFlag(
                kind=kind,
                severity="warning",
                sentence=sentence.format(int(rows.sum())),
                image_ids=_ids(dataset, rows),
            )


def _import_flags(dataset: Dataset) -> Iterator[QualityFlag]:
    flags = dataset.images["flags"].str.split(";")
    for name in NAMED_FLAGS:
        rows = flags.map(lambda names, name=name: name in names).to_numpy(dtype=bool)
        if rows.any():
            yield QualityFlag(
                kind=name,
                severity="warning",
                sentence=f"{int(rows.sum())} of {len(dataset)} images: {FLAGS[name]}.",
                image_ids=_ids(dataset, rows),
            )


def _pixel_sizes(dataset: Dataset) -> Iterator[QualityFlag]:
    expected = np.nan if dataset.info.pixel_mm is None else dataset.info.pixel_mm
    agrees = np.isclose(dataset.images["pixel_mm"], expected, rtol=1e-6, equal_nan=True)
    if not agrees.all():
        yield QualityFlag(
            kind="pixel_sizes",
            severity="error",
            sentence=f"{int((~agrees).sum())} images do not have the data set's pixel size "
            f"({dataset.info.pixel_mm} mm): counts and pictures, or grids, are mixed; "
            "import the original files together, to one pixel size.",
            image_ids=_ids(dataset, ~agrees),
        )


def _confounding(dataset: Dataset) -> Iterator[QualityFlag]:
    """Find labels that go with centres, by bias-corrected Cramer's V over patients.

    V^2 = max(0, chi^2/n - (r-1)(k-1)/(n-1)) / min(r'-1, k'-1), r' = r - (r-1)^2/(n-1) and k'
    likewise, for r labels, k centres and n patients (Bergsma 2013, J. Korean Stat. Soc.
    42:323-328).
    """
    people = dataset.images[["patient_id", "label", "centre"]].drop_duplicates()
    table = pd.crosstab(people["label"], people["centre"])
    r, k = table.shape
    n = len(people)
    if min(r, k) < 2 or n < 20:
        return
    from scipy.stats import chi2_contingency  # slow to import

    test = chi2_contingency(table, correction=False)
    phi2 = max(0.0, test.statistic / n - (r - 1) * (k - 1) / (n - 1))
    narrower = min(r - 1 - (r - 1) ** 2 / (n - 1), k - 1 - (k - 1) ** 2 / (n - 1))
    if narrower <= 0:  # as many centres as patients
        return
    v = float(np.sqrt(phi2 / narrower))
    if v >= CONFOUNDED_V and test.pvalue < CONFOUNDED_P:
        alone = [name for name in table.index if (table.loc[name] > 0).sum() == 1]
        seen = f" ({', '.join(map(repr, alone))} in one centre only)" if alone else ""
        yield QualityFlag(
            kind="confounded_centre",
            severity="warning",
            sentence=f"Labels are correlated with centres (Cramer's V {v:.2f}){seen}: a network "
            "may learn to recognise the centre; compare with a split that leaves a centre out.",
        )
