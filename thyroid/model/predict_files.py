"""Applies a model to files: outcome, credible classes, or the reason why a file is unreadable.

The credible classes are a split conformal set (Sadinle et al. 2019): on images like those that the
model was calibrated on, the true class is among them as often as the model's level says. The
outcome is a class if only this one is credible, and `uncertain` if several or none are. An image is
`unlike_training` if it is farther from the training images, alone or relative to altered images,
than nearly all held-out images are, or if it is of a kind that no training image is of, such as a
coloured picture. Then no class is credible, whatever the probabilities.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from thyroid.data import folders
from thyroid.data.reader import read_scintigram
from thyroid.data.scintigram import StoredImage, UnusableFile, bring_to_grid, image_id
from thyroid.errors import InputError
from thyroid.model.ensemble import BATCH
from thyroid.model.model_folder import Model
from thyroid.network_input import sum_pixels

Floats = npt.NDArray[np.float64]

UNCERTAIN, UNLIKE, UNREADABLE = "uncertain", "unlike_training", "unreadable"
OUTCOMES = (UNCERTAIN, UNLIKE, UNREADABLE)
"""Outcomes beside the classes."""
FAR = "it is far from all training images"
ALTERED = "it looks like a scintigram that was turned, cut or put together, or like a pattern"
FOREIGN = "a network that was trained on simulated thyroid scintigrams finds it unlike them"
KINDS = {
    "colour": "it is coloured",
    "light_background": "it has a light background",
    "whole_body": "it was cut from a whole-body image",
    "other_examination": "its header names another examination",
}
"""Flags of images that get no class unless a training image has them, too."""
DOUBTFUL = frozenset(
    {
        *("saturated", "counts_doubtful", "counts_accumulated"),
        *("view_unnamed", "detector_angle", "window_unnamed", "summed_dynamic"),
    }
)
"""Flags of images whose class may be wrong for that reason."""
TRAINING = "training_image"
"""Flag of an image that the model was trained or calibrated on."""
MEASURES = ("agreement", "distance")
"""Columns of numbers beside the probabilities."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The prediction for one file."""

    file: str
    """Path as the user gave it, or below a folder that the user gave."""
    outcome: str
    """A class, UNCERTAIN, UNLIKE or UNREADABLE."""
    credible: tuple[str, ...] = ()
    """Credible classes, the most probable first."""
    probabilities: tuple[float, ...] = ()
    """Probabilities in the order of the model's classes; empty for an unreadable file. They mean
    nothing for an image that is unlike the training images."""
    agreement: float | None = None
    """Share of the networks that name the most probable class; None for an unreadable file, and
    for a model of one network."""
    distance: float | None = None
    """How unlike all training images it is: above 1, no class is credible. None for an unreadable
    file, or without a gate."""
    flags: tuple[str, ...] = ()
    """Keys of thyroid.data.dataset.FLAGS; few_counts or many_counts: fewer or more counts than any
    training image; and TRAINING."""
    reason: str = ""
    """The reason why the file is unreadable, or unlike all training images."""
    image: npt.NDArray[np.uint16] | None = None
    """Image on the model's grid, (size, size); None for an unreadable file."""


def files_below(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the sorted files of given folders without machine-made ones and
    tables of labels.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            names = folders.files_below(path).names
            found += [path / name for name in names if Path(name).name != folders.LABELS]
        else:
            found.append(path)
    return found


def predict(model: Model, files: Iterable[Path]) -> Iterator[Prediction]:
    """Yield the prediction for each file, in order; few files are in memory at a time."""
    remaining = iter(files)
    while some := list(itertools.islice(remaining, BATCH)):
        read = [_read(path, model) for path in some]
        matrices = [one.matrix for one in read if isinstance(one, StoredImage)]
        answers: Iterator[tuple[Floats, float, float, float, float]] = iter(())
        if matrices:
            counts = torch.from_numpy(np.stack(matrices).astype(np.float32))  # (n, H, H)
            p, agreement, unlike, foreign = model.answers(counts)
            answers = zip(p, agreement, *unlike, foreign, strict=True)
        for path, one in zip(some, read, strict=True):
            if isinstance(one, StoredImage):
                yield _prediction(model, path, one, *next(answers))
            else:
                yield Prediction(file=str(path), outcome=UNREADABLE, reason=one)


def _read(path: Path, model: Model) -> StoredImage | str:
    """Read a file onto the model's grid, or return the reason why this is impossible."""
    try:
        scintigram = read_scintigram(path)
        if scintigram.kind != model.kind:
            return (
                "it is a picture, whose pixel size and counts are unknown, and the model was "
                "trained on photon counts: give the NM DICOM file"
                if model.kind == "counts"
                else "it holds photon counts, and the model was trained on pictures: give the "
                "scintigram as PNG, saved as those were"
            )
        stored = bring_to_grid(scintigram, size=model.size, pixel_mm=model.pixel_mm or 1.0)
    except UnusableFile as unusable:
        return unusable.reason
    except InputError as error:
        return str(error)
    if stored.matrix.min() == stored.matrix.max():
        return "nothing of it lies in the model's field"
    return stored


def _prediction(
    model: Model,
    path: Path,
    image: StoredImage,
    p: Floats,
    agreement: float,
    distance: float,
    altered: float,
    foreign: float,
) -> Prediction:
    order = np.argsort(-p, kind="stable")
    (is_credible,) = model.credible(p[None])
    credible = tuple(model.classes[c] for c in order if is_credible[c])
    outcome = credible[0] if len(credible) == 1 else UNCERTAIN
    reason = (
        next(unknown_kinds(model, image.flags), "")
        or (FAR if distance > 1 else "")
        or (ALTERED if altered > 1 else "")
        or (FOREIGN if foreign > 1 else "")
    )
    if reason:
        outcome, credible = UNLIKE, ()
    return Prediction(
        file=str(path),
        outcome=outcome,
        credible=credible,
        probabilities=tuple(map(float, p)),
        agreement=float(agreement) if model.networks > 1 else None,
        distance=None if math.isnan(distance) else float(np.nanmax([distance, altered, foreign])),
        flags=(*image.flags, *_own_flags(model, image)),
        reason=reason,
        image=image.matrix,
    )


def unknown_kinds(model: Model, flags: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each kind of image, by its flags, that no training image is of."""
    if model.training_flags is not None:
        for flag, told in KINDS.items():
            if flag in flags and flag not in model.training_flags:
                yield f"{told}, unlike every training image"


def _own_flags(model: Model, image: StoredImage) -> Iterator[str]:
    if model.training_hashes is not None and image_id(image.matrix) in model.training_hashes:
        yield TRAINING
    if model.total_counts is not None:
        least, most = model.total_counts
        total = int(image.matrix.sum())
        if total < least:
            yield "few_counts"
        if total > most:
            yield "many_counts"


def heat_map(model: Model, prediction: Prediction) -> npt.NDArray[np.float32]:
    """Map how much log p of the most probable class falls when a region is covered, (S, S).

    Patches are an eighth of the image, the size of a nodule or a lobe's pole, and overlap by half.
    The networks see one view of the covered image: with more views, the map would be the same, and
    its time would grow with their number.
    """
    from thyroid.evaluate.occlusion import occlusion  # needs scipy, which is slow to import

    side = model.input.size
    counts = torch.from_numpy(np.asarray(prediction.image, dtype=np.float32))[None]  # (1, H, H)
    likeliest = torch.tensor([int(np.argmax(prediction.probabilities))])
    patch = max(side // 8, 2)

    summed = sum_pixels(counts, side)  # (1, S, S)
    one_view = dataclasses.replace(model, network=model.network.of_one_view())
    fall = occlusion(one_view.probabilities, summed, likeliest, patch=patch, stride=patch // 2)
    heat: npt.NDArray[np.float32] = fall[0].numpy().astype(np.float32)
    return heat


def table(model: Model, predictions: Iterable[Prediction]) -> str:
    """Format predictions as CSV: file, outcome, credible, agreement, distance, p_CLASS of each
    class, flags, reason.
    """
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    named = [f"p_{name}" for name in model.classes]
    out.writerow(["file", "outcome", "credible", *MEASURES, *named, "flags", "reason"])
    for one in predictions:
        numbers = [f"{p:.6g}" for p in one.probabilities] or [""] * len(named)
        credible, flags = ";".join(one.credible), ";".join(one.flags)
        measures = ["" if x is None else f"{x:.6g}" for x in (one.agreement, one.distance)]
        row = [one.file, one.outcome, credible, *measures, *numbers, flags, one.reason]
        out.writerow(row)
    return text.getvalue()


def line(model: Model, prediction: Prediction) -> str:
    """Format one prediction for a terminal."""
    file = prediction.file if prediction.file.isprintable() else ascii(prediction.file)
    if prediction.outcome == UNREADABLE:
        return f"{file}: unreadable: {prediction.reason}"
    if prediction.outcome == UNLIKE:
        return f"{file}: unlike all training images, no diagnosis: {prediction.reason}"
    of = dict(zip(model.classes, prediction.probabilities, strict=True))
    if prediction.outcome != UNCERTAIN:
        agreeing = ""
        if prediction.agreement is not None:
            agreeing = f", {prediction.agreement * model.networks:.0f} of {model.networks} networks"
        return f"{file}: {prediction.outcome} ({of[prediction.outcome]:.2f}{agreeing})"
    if prediction.credible:
        several = " or ".join(f"{name} ({of[name]:.2f})" for name in prediction.credible)
        return f"{file}: uncertain: {several}"
    likeliest = max(of, key=of.__getitem__)
    return f"{file}: uncertain: no class is credible, not even {likeliest} ({of[likeliest]:.2f})"
