"""The synthesis stage: a data set of synthetic scintigrams, for training only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from thyroid.data.dataset import Dataset, write_dataset
from thyroid.errors import Diverged, InputError, StorageError
from thyroid.networks.srgan import bicubic
from thyroid.stage_config import SynthesisStageConfig
from thyroid.stages import split, train_dcgan
from thyroid.stages import train_generator as other
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import chunks, detected
from thyroid.stages.predict_part import probabilities
from thyroid.stages.train_srgan import load_upscaler, upscale

DATASET, SUMMARY, VERDICTS = "dataset", "synthesis.json", "verdicts.npy"


def fit(
    config: SynthesisStageConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write `dataset/`, an ordinary data set of the training part's kind, and synthesis.json.

    Each combination of findings, and each pool, has its own stream of random numbers, so that its
    images do not depend on what else is made. Total counts are those of real training images with
    the same findings, or of the same primary finding where the combination was never seen.

    Yields
    ------
    dict
        Per combination of findings: findings, made, dropped (by the label filter).

    Raises
    ------
    InputError
        When `synthesis.crosses` names a class that the data do not have, or one class twice.
    LeakError
        When a generator or the label filter has seen other images than this split's training part.
    Diverged
        When the label filter drops every image.
    """
    on = start(config.execution)
    dataset, parts = split.open_split(inputs)
    if "dcgan" in inputs:
        draw = train_dcgan.sampler(inputs["dcgan"], on)
    else:
        draw = other.sampler(inputs["generator"], config.drawing, on)
    enlarge = load_upscaler(inputs["srgan"], on) if "srgan" in inputs else None
    label_filter, _, filter_input = load_model(inputs["label_filter"], on)

    # Counts are summed over a block of pixels, but a picture's full scale stays full scale
    scale = (config.size / dataset.info.size) ** 2 if dataset.info.kind == "display" else 1.0
    rows: list[dict[str, Any]] = []
    matrices: list[npt.NDArray[np.uint16]] = []
    verdicts: list[Tensor] = []
    summary = []
    wanted = combinations(dataset, parts.train, config.synthesis.crosses)
    for findings in wanted:
        cross = len(findings) > 1
        n = config.synthesis.images_per_cross if cross else config.synthesis.images_per_class
        if not n:
            continue
        place = ("synthesis",) if not config.pool else ("synthesis", f"pool {config.pool}")
        own = on.generator(config.seed, *place, ";".join(findings))
        totals = _totals(dataset, parts.train, findings, n, own)
        condition = _multi_hot(dataset.info.classes, findings).to(on.device).expand(n, -1)
        counts = _scintigrams(
            draw, enlarge, condition, totals, config.size, dataset.info.kind, on, own
        )  # (n, S, S)

        # Drop images of which the filter predicts another class with enough probability
        p = probabilities(label_filter, counts, filter_input.normalisation, on)  # (n, C)
        label = dataset.info.classes.index(findings[0])
        confidence, named = p.max(1)
        refused = (named != label) & (confidence >= config.synthesis.rejection)
        if config.synthesis.rejection >= 1:
            refused = torch.zeros_like(refused)
        for matrix in (counts * scale).cpu()[~refused].numpy():
            matrices.append(matrix.clip(0, 65535).round().astype(np.uint16))
            rows.append(_row(len(rows), findings, matrices[-1], dataset, config.size))
        verdicts.append(p[~refused])
        line = {"findings": ";".join(findings), "made": n, "dropped": int(refused.sum())}
        summary.append(line)
        yield {"seed": config.seed, **line}

    if not rows:
        raise Diverged(
            "No synthetic image is left: raise synthesis.images_per_class or synthesis.rejection, "
            "or train the generator for longer."
        )
    write_dataset(
        folder / DATASET,
        name=f"synthetic images after {dataset.info.name}",
        classes=dataset.info.classes,
        size=config.size,
        pixel_mm=_pixel_mm(dataset, config.size),
        kind=dataset.info.kind,
        source="synthetic",
        licence=dataset.info.licence,
        images=pd.DataFrame(rows),
        counts=matrices,
    )
    np.save(folder / VERDICTS, torch.cat(verdicts).numpy())  # (M, C) float32
    (folder / SUMMARY).write_text(json.dumps({"combinations": summary}, indent=2))
    split.mark_trained_on(dataset, parts, folder)


def load(folder: Path) -> tuple[Dataset, Tensor]:
    """Load the synthetic data set in `folder`, and the label filter's probabilities (M, C) float32.

    Raises
    ------
    StorageError
        When one of its files has another format.
    """
    try:
        verdicts = torch.from_numpy(np.load(folder / VERDICTS, allow_pickle=False))
    except (ValueError, EOFError, TypeError):  # TypeError: several arrays
        raise StorageError(
            f"{folder / VERDICTS} is no NPY file: remove {folder} and run the same command again."
        ) from None
    return Dataset.open(folder / DATASET, verify=False), verdicts


def write_examples(folder: Path, out: Path, each: int) -> None:
    """Write the first `each` images of every combination of findings as a data set of their own."""
    made = Dataset.open(folder / DATASET, verify=False)
    chosen = made.images.groupby("findings", sort=False).head(each)
    about = {f.name: getattr(made.info, f.name) for f in dataclasses.fields(made.info)}
    for derived in ("sha256", "format_version"):
        del about[derived]
    write_dataset(out, **about, images=chosen, counts=made.counts[chosen.index.to_numpy()])


def combinations(
    dataset: Dataset, rows: npt.NDArray[np.int64], crosses: str
) -> list[tuple[str, ...]]:
    """The findings of the images to make: each class alone, then the crosses that are asked for.

    Raises
    ------
    InputError
        When a cross names an unknown class, or one class twice.
    """
    seen = sorted({tuple(text.split(";")) for text in dataset.images["findings"].iloc[rows]})
    single: list[tuple[str, ...]] = [
        (name,) for name in dataset.info.classes if any(name in s for s in seen)
    ]
    if crosses == "none":
        return single
    if crosses == "seen":
        return single + [findings for findings in seen if len(findings) > 1]
    words = [word.strip() for word in crosses.split(",")]
    asked = [findings for findings in seen if len(findings) > 1] if "seen" in words else []
    asked += [tuple(p.strip() for p in word.split("+")) for word in words if word != "seen"]
    for findings in asked:
        unknown = [name for name in findings if (name,) not in single]
        if unknown or len(set(findings)) != len(findings) or len(findings) < 2:
            raise InputError(
                f"synthesis.crosses names '{'+'.join(findings)}', but a cross is two or more of "
                f"{', '.join(name for name, *_ in single)}."
            )
    return single + list(dict.fromkeys(asked))


def _scintigrams(
    draw: train_dcgan.Draw,
    enlarge: nn.Module | None,
    condition: Tensor,
    totals: Tensor,
    size: int,
    kind: str,
    on: Compute,
    own: torch.Generator,
) -> Tensor:
    """Counts (n, S, S): generator, then SRGAN (or bicubic) from its counts, then counts again."""
    counts = detected(draw(condition, own), totals, kind, own)  # (n, s, s)
    scale = size // counts.shape[-1]
    if scale == 1:
        return counts
    larger = bicubic(counts, scale) if enlarge is None else upscale(enlarge, counts, on)
    return detected(larger, totals, kind, own)


def _totals(
    dataset: Dataset,
    train: npt.NDArray[np.int64],
    findings: tuple[str, ...],
    n: int,
    own: torch.Generator,
) -> Tensor:
    """Total counts (n,) float32, drawn from real training images."""
    images = dataset.images.iloc[train]
    like = train[(images["findings"] == ";".join(findings)).to_numpy()]
    if not len(like):
        like = train[(images["label"] == findings[0]).to_numpy()]
    if not len(like):  # a class that is only ever a second finding
        like = train
    real = np.concatenate(
        [dataset.counts[like[some]].sum((1, 2), dtype=np.float64) for some in chunks(len(like))]
    )
    drawn = torch.randint(len(like), (n,), generator=own, device=own.device)
    return torch.from_numpy(real).float().to(own.device)[drawn]


def _multi_hot(classes: tuple[str, ...], findings: tuple[str, ...]) -> Tensor:
    """(1, C) float32."""
    return torch.tensor([[float(name in findings) for name in classes]])


def _pixel_mm(dataset: Dataset, size: int) -> float | None:
    pixel = dataset.info.pixel_mm
    return None if pixel is None else pixel * dataset.info.size / size


def _row(
    number: int,
    findings: tuple[str, ...],
    matrix: npt.NDArray[np.uint16],
    dataset: Dataset,
    size: int,
) -> dict[str, Any]:
    return {
        "image_id": f"synthetic-{number:06d}",
        "patient_id": f"synthetic-{number:06d}",
        "centre": "synthetic",
        "label": findings[0],
        "findings": ";".join(findings),
        "source": "synthetic",
        "total_counts": int(matrix.sum(dtype=np.int64)) if dataset.info.kind == "counts" else 0,
        "pixel_mm": _pixel_mm(dataset, size),
        "flags": "",
    }
