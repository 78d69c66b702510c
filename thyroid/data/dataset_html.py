"""A data set as a notebook shows it: counts by class, centres, a scintigram of each class."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image


def dataset_html(dataset: Any) -> str:  # a Dataset, whose module imports this one
    """HTML of a data set's name, kind, classes and centres; names are escaped."""
    info, images = dataset.info, dataset.images
    classes = pd.DataFrame(
        {
            "images": [int((images["label"] == name).sum()) for name in info.classes],
            "of these crosses": [
                int((dataset.is_cross & (images["label"] == name)).sum()) for name in info.classes
            ],
            "patients": [
                images.loc[images["label"] == name, "patient_id"].nunique() for name in info.classes
            ],
        },
        index=list(info.classes),
    )
    what = "images with counts" if info.kind == "counts" else "pictures"
    centres = ", ".join(sorted(filter(None, images["centre"].unique())))
    about = (
        f"{len(dataset)} {what} of {images['patient_id'].nunique()} patients, "
        f"{info.size} x {info.size} pixels; centres: {centres or 'not named'}"
    )
    return (
        f"<p><b>{html.escape(info.name)}</b>: {html.escape(about)}</p>{classes.to_html()}"
        f'<img alt="the first image of each class" src="{_one_of_each(dataset)}">'
    )


def _one_of_each(dataset: Any) -> str:
    """Data URI of the first image of each class, side by side in inverted grey."""
    _, rows = np.unique(dataset.labels, return_index=True)
    shown = dataset.counts[rows].astype(np.float64)  # (C, H, H)
    upper = np.maximum(np.percentile(shown, 99.7, axis=(1, 2), keepdims=True), 1.0)
    strip = np.concatenate(255 - 255 * np.minimum(shown / upper, 1.0), axis=1)  # (H, C * H)
    file = io.BytesIO()
    Image.fromarray(strip.astype(np.uint8)).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
