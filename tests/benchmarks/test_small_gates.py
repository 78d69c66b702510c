"""The gates of a model of 42 images, of counts or of pictures: how many other pictures pass the
model's own gate, and both gates; and how many scintigrams of other centres are rejected.

`pytest tests/benchmarks/test_small_gates.py -m '' -o addopts=-s`; two minutes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

import thyroid
from tests.other_pictures import other_pictures
from thyroid.data.dataset import Dataset
from thyroid.data.scintigram import FULL_SCALE
from thyroid.model.model_folder import read_model
from thyroid.phantom.pictures import picture_of
from thyroid.phantom.write_files import write_phantom

Counts = npt.NDArray[np.uint16]


def scintigrams(
    folder: Path, kind: Literal["counts", "display"], preset: str, per_class: int, seed: int
) -> Dataset:
    few = {"images_per_class": per_class, "images_per_cross": 0, "seed": seed}
    if kind == "counts":
        write_phantom(folder, preset=preset, format="dataset", **few)
        return Dataset.open(folder)
    files = folder.with_name(f"{folder.name}-files")
    write_phantom(files, preset=preset, format="png", **few)
    return thyroid.import_files(files, folder)


def of_kind(counts: Counts, kind: Literal["counts", "display"]) -> Counts:
    """Return images (N, H, H) as a data set of this kind has them."""
    if kind == "counts":
        return counts
    pictures = [picture_of(image, None, key="") for image in counts]
    return np.stack(pictures).astype(np.uint16) * np.uint16(FULL_SCALE // 255)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["counts", "display"])
def test_a_second_gate_stops_what_a_small_model_does_not_know(
    kind: Literal["counts", "display"], tmp_path: Path
) -> None:
    data = scintigrams(tmp_path / "data", kind, "clinic7", 6, seed=41)
    elsewhere = scintigrams(tmp_path / "elsewhere", kind, "thyroid7-development", 100, seed=42)
    real = scintigrams(tmp_path / "counts", "counts", "thyroid7-development", 20, seed=43)
    pictures = other_pictures(real.counts, seed=5)
    others = {name: of_kind(images, kind) for name, images in pictures.items()}
    run = thyroid.train(
        data, tmp_path / "run", "small", {"training": "probe", "split.test": 0.0}, weights="phantom"
    )
    thyroid.export(run, tmp_path / "model")
    model = read_model(tmp_path / "model")
    print(f"\n{kind}: {model.card['gate']}")
    passed = {}
    for gates, used in (("own", dataclasses.replace(model, scintigrams=None)), ("both", model)):

        def share(images: Counts, used=used) -> float:
            counts = torch.from_numpy(np.asarray(images, dtype=np.float32))
            return float((used.answers(counts).distances <= 1).mean())

        passed[gates] = {name: share(each) for name, each in others.items()}
        each = sum(len(images) * passed[gates][name] for name, images in others.items())
        number = sum(map(len, others.values()))
        print(f"{gates}: scintigrams of other centres rejected {1 - share(elsewhere.counts):.3f}")
        print(f"  other pictures that pass: {each:.0f} of {number}")
        worst = sorted(passed[gates].items(), key=lambda item: -item[1])[:6]
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in worst))
    own, both = (np.mean(list(passed[gates].values())) for gates in ("own", "both"))
    assert both < own / 2
