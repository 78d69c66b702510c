"""A sample sheet: many small pictures in one, in the inverted grey of clinics."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from thyroid.files import cannot_write


def write_sheet(activities: Tensor, columns: int, path: Path) -> None:
    """Write pictures (N, S, S) of the square root of each activity, relative to its own maximum."""
    amplitude = activities.float().cpu().clamp_min(0).sqrt()
    grey = 255 - 255 * amplitude / amplitude.amax((1, 2), keepdim=True).clamp_min(1e-6)
    n, side, _ = grey.shape
    framed = torch.full((-(-n // columns) * columns, side + 1, side + 1), 128.0)
    framed[:n, :side, :side] = grey
    rows = framed.view(-1, columns, side + 1, side + 1).transpose(1, 2)  # (R, S, columns, S)
    picture = rows.reshape(-1, columns * (side + 1)).to(torch.uint8).numpy()
    with cannot_write(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
