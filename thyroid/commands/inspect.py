"""`thyroid inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from thyroid.commands.options import DatasetPath, require_page


def inspect(
    dataset: DatasetPath, *, out: Path | None = None, lang: Literal["en", "zh"] = "en"
) -> None:
    """Show what a data set holds and what is doubtful about it.

    Args:
        dataset: folder of the data set.
        out: the page to write; default: DATASET.html beside the folder.
        lang: language of the page, English or Chinese.
    """
    from reports.inspect_page import inspection_lines, write_inspection
    from thyroid.data.dataset import Dataset
    from thyroid.model.doubtful_images import NOT_LOOKED, doubtful_images

    opened = Dataset.open(dataset)
    page = out or dataset.with_name(f"{dataset.absolute().name}.html")
    require_page(page)
    looked = doubtful_images(opened)
    doubtful = () if looked is None else looked.doubtful
    for line in inspection_lines(opened, len(doubtful)):
        print(line)
    if looked is None:
        print(f"note: {NOT_LOOKED}")
    print(f"page: {write_inspection(opened, page, lang, doubtful)}")
