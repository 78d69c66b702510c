"""Predictions of images on which the networks were not trained; recipes are compared by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thyroid import pipeline
from thyroid.evaluate.metrics import Ints
from thyroid.evaluate.pooled import Estimate, pooled_difference, pooled_macro_f1
from thyroid.recipe import Recipe
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import ARTIFACT, out_of_fold, read_predictions
from thyroid.runs.experiment import network_of
from thyroid.stage import Stage
from thyroid.storage.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Predictions of the validation parts of some folds, by networks of S seeds."""

    labels: Ints
    """(N,) index of the true class."""
    predicted: Ints
    """(S, N) index of the predicted class."""
    patients: np.ndarray
    """(N,)"""
    is_cross: np.ndarray
    """(N,) bool: the image shows several diseases."""
    classes: int
    folds: int
    """Number of folds into which the patients were divided; the predictions may cover fewer."""

    @property
    def macro_f1(self) -> Estimate:
        """Macro-F1 of all images together, mean over seeds, and its standard error."""
        return pooled_macro_f1(
            self.labels, self.predicted, self.patients, classes=self.classes, folds=self.folds
        )

    @property
    def cross_recall(self) -> float | None:
        """Share of the cross images that are recognised; None if there are no cross images."""
        if not self.is_cross.any():
            return None
        return float((self.predicted == self.labels)[:, self.is_cross].mean())

    def less(self, other: HeldOut) -> Estimate:
        """Return this macro-F1 minus another recipe's on the same images."""
        return pooled_difference(
            self.labels,
            self.predicted,
            other.predicted,
            self.patients,
            classes=self.classes,
            folds=self.folds,
        )


def validations(recipe: Recipe, dataset: str, networks: Sequence[Network]) -> list[Stage]:
    """Return the stages that predict each network's validation part."""
    return [
        pipeline.prediction(recipe.in_fold(fold), dataset, seed, "validation")
        for seed, fold in networks
    ]


def held_out(store: Store, stages: Sequence[Stage], classes: tuple[str, ...]) -> HeldOut | None:
    """Read the predictions of `validations`, the same folds of each seed; None if one is missing.

    Parameters
    ----------
    classes : names of the classes, in the data set's order
    """
    by_seed: dict[int, list[Stage]] = {}
    for stage in stages:
        by_seed.setdefault(network_of(stage).seed, []).append(stage)
    pooled = []
    for of_seed in by_seed.values():
        folders = [store.open(stage.key) for stage in of_seed]
        read = [read_predictions(f / ARTIFACT, classes) for f in folders if f is not None]
        if len(read) < len(folders):
            return None
        pooled.append(out_of_fold(read))
    first = pooled[0]
    return HeldOut(
        labels=first.labels,
        predicted=np.stack([predictions.probabilities.argmax(axis=1) for predictions in pooled]),
        patients=first.images["patient_id"].to_numpy(dtype=str),
        is_cross=first.is_cross,
        classes=len(classes),
        folds=stages[0].inputs["split"].config.folds or 1,
    )
