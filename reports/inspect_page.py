"""`thyroid inspect`: numbers and images of a data set, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from reports.page import plain_name, write_page
from reports.scintigrams import contact_sheet, named_sheet
from reports.sections.data import Data, QualityFlag, dataset_info
from thyroid.data.data_checks import NAMED_FLAGS
from thyroid.data.dataset import FLAGS, Dataset

DOUBTFUL = "looks like no thyroid scintigram to a network of simulated ones"


def inspection_lines(dataset: Dataset, doubtful: int = 0) -> list[str]:
    """The results of the inspection as plain text, for a terminal or a pipe.

    Parameters
    ----------
    doubtful : number of images that look like something else
    """
    data = _inspected(dataset, doubtful)
    scale = f"{data.pixel_mm:g} mm" if data.kind == "counts" else "unknown size"
    lines = [
        f"{data.name}: {data.images:,} images of {data.patients:,} patients, "
        f"{data.kind}, {data.size} x {data.size} pixels of {scale}"
    ]
    if data.simulated_images:
        lines.append(f"simulated: {data.simulated_images:,} images, by what their files say")
    if data.total_counts:
        spread = data.total_counts
        lines.append(
            f"counts per image: median {spread['median']:,.0f} "
            f"({spread['minimum']:,.0f} to {spread['maximum']:,.0f})"
        )
    tables = {"class": data.classes_table, "cross": data.crosses, "centre": data.centres}
    for heading, rows in tables.items():
        if rows:
            width = max(len(heading), *(len(plain_name(row.name)) for row in rows))
            lines += ["", f"{heading:<{width}}  images  patients"]
            lines += [
                f"{plain_name(row.name):<{width}}  {row.total:>6,}  {row.patients:>8,}"
                for row in rows
            ]
    found = [f"  {q.severity}: {q.sentence}" for q in data.quality]
    return [*lines, "", "quality", *(found or ["  nothing found"])]


def _inspected(dataset: Dataset, doubtful: int) -> Data:
    """Return the numbers of a data set, with a warning if images look like something else."""
    info = dataset_info(dataset)
    if doubtful:
        told = (
            "a network that was trained on simulated scintigrams finds no thyroid scintigram in "
            f"{doubtful} of {len(dataset)} images: the page shows up to six"
        )
        warning = QualityFlag(
            kind="no_scintigram", severity="warning", sentence=told, images=doubtful
        )
        info.quality.append(warning)
    return info


def write_inspection(
    dataset: Dataset, out: str | Path, lang: str = "en", doubtful: Collection[str] = ()
) -> Path:
    """Write the page, with sheets of each class, cross and flag, and its numbers as JSON beside it.

    Parameters
    ----------
    doubtful : image_id of images that look like something else; a sheet shows them too

    Raises
    ------
    InputError
        When the page cannot be written.
    """
    info = {"format_version": 1, "data": _inspected(dataset, len(doubtful))}
    sheet = contact_sheet(dataset, per_group=6)
    flags = dataset.images["flags"].str.split(";")
    noted = {DOUBTFUL: dataset.images["image_id"].isin(doubtful).to_numpy(dtype=bool)} | {
        f"{name}: {FLAGS[name]}": flags.map(lambda own, n=name: n in own).to_numpy(dtype=bool)
        for name in NAMED_FLAGS
    }
    flagged = named_sheet(dataset, noted, per_group=6)
    return write_page("inspection.html", info, Path(out), lang, sheet=sheet, flagged=flagged)
