"""Images of a data set that a network trained on simulated scintigrams finds unlike scintigrams."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from thyroid.data.dataset import Dataset
from thyroid.model.scintigram_gate import AT_ONCE, FIELD_MM, scintigram_gate

MOST = 2000
"""Images that are looked at, evenly spread over larger data sets; a thousand take some seconds."""


NOT_LOOKED = (
    "it was not checked whether the images are thyroid scintigrams: the network that could tell "
    f"knows fields of about {FIELD_MM:.0f} mm, and sizes that are a multiple of its input's"
)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Result of the check."""

    images: int
    """Number of images that were looked at."""
    doubtful: tuple[str, ...]
    """image_id of those that are unlike simulated scintigrams."""


def doubtful_images(dataset: Dataset) -> Looked | None:
    """Find images that are unlike simulated scintigrams; None if `scintigram_gate` cannot tell.

    On average they include one in a hundred simulated scintigrams, or fewer.
    """
    info = dataset.info
    gate = scintigram_gate(info.kind, info.size, info.pixel_mm)
    if gate is None:
        return None
    number = len(dataset.images)
    rows = np.unique(np.linspace(0, number - 1, min(number, MOST)).round().astype(np.int64))
    doubtful: list[str] = []
    for some in np.array_split(rows, math.ceil(len(rows) / AT_ONCE)):
        unlike = gate.measure(torch.from_numpy(dataset.counts[some].astype(np.float32))) > 1
        doubtful += dataset.images["image_id"].iloc[some[unlike]].tolist()
    return Looked(images=len(rows), doubtful=tuple(doubtful))
