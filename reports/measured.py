"""The predictions from which a report's metrics are computed, and the metrics' intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.estimates import LEVEL
from thyroid.evaluate.bootstrap import Interval, bootstrap
from thyroid.evaluate.metrics import Floats, Ints
from thyroid.evaluate.training_luck import overlap
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import Predictions

Metrics = Callable[[Floats, Floats], dict[str, Floats]]
"""Computes values (..., B) by name from probabilities (N, C) and weights (N, B)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One recipe's predictions of N images of C classes.

    With K folds, the test images' predictions are those of the ensemble of all networks; images
    outside of the test part are predicted out of fold.
    """

    labels: Ints
    """(N,)"""
    patients: npt.NDArray[np.str_]
    """(N,)"""
    is_cross: npt.NDArray[np.bool_]
    """(N,)"""
    stated: Floats
    """(S, N, C) if metrics are means over S seeds, (1, N, C) for an ensemble."""
    networks: Floats | None
    """(K, S, N, C), of the ensemble's members; None without an ensemble, or if they are not
    known."""
    folds: int
    """K if images are predicted out of fold, otherwise 1."""
    seeds: list[int]
    """Seeds of `networks`; if there are none, of `stated`."""

    @property
    def named(self) -> Ints:
        """Most probable classes, (S, N), or (1, N) for an ensemble."""
        classes: Ints = self.stated.argmax(axis=-1)
        return classes

    def among(self, chosen: npt.NDArray[np.bool_]) -> Measured:
        """The predictions of those images for which `chosen`, (N,), is True."""
        return dataclasses.replace(
            self,
            labels=self.labels[chosen],
            patients=self.patients[chosen],
            is_cross=self.is_cross[chosen],
            stated=self.stated[:, chosen],
            networks=None if self.networks is None else self.networks[:, :, chosen],
        )

    def intervals(
        self,
        metrics: Metrics,
        *,
        resamples: int,
        pivotal: Collection[str] = (),
        single: bool = False,
    ) -> dict[str, Interval]:
        """Values with intervals over patients and seeds and, with folds, over training sets.

        Parameters
        ----------
        pivotal : see `bootstrap`
        single : True: give the mean of the single networks instead of the ensemble
        """
        rows = self.stated[:, None] if self.networks is None else self.networks

        def by_row(weights: Floats) -> dict[str, Floats]:
            found = [[metrics(p, weights) for p in row] for row in rows]
            return {
                name: np.stack([np.mean([m[name] for m in row], axis=0) for row in found])
                for name in found[0][0]
            }

        def of_ensemble(weights: Floats) -> Mapping[str, Floats]:
            return {name: v[None] for name, v in metrics(self.stated[0], weights).items()}

        return bootstrap(
            by_row,
            self.patients,
            resamples=resamples,
            level=LEVEL,
            pivotal=pivotal,
            folds=self.folds,
            shared=None if self.networks is None else overlap(len(self.networks)),
            ensemble=None if single or self.networks is None else of_ensemble,
        )


def measured(
    part: str,
    folds: int,
    by_seed: Mapping[int, Predictions],
    networks: Mapping[Network, Predictions],
) -> Measured:
    """Collect the predictions of a recipe.

    Parameters
    ----------
    part : test or validation
    folds : of the run
    by_seed : of the part
    networks : of the test part, by seed and fold
    """
    first = next(iter(by_seed.values()))
    stated = np.stack([p.probabilities for p in by_seed.values()])
    tested = part == "test" and folds > 1
    members = in_folds(networks, whole_seeds(networks, folds), folds) if tested else None
    return Measured(
        labels=first.labels,
        patients=first.images["patient_id"].to_numpy(dtype=str),
        is_cross=first.is_cross,
        stated=stated.mean(axis=0, keepdims=True) if tested else stated,
        networks=members,
        folds=1 if tested else folds,
        seeds=list(by_seed) if members is None else whole_seeds(networks, folds),
    )


def whole_seeds(networks: Mapping[Network, Predictions], folds: int) -> list[int]:
    """Seeds that have a network in every fold."""
    seeds = sorted({seed for seed, _ in networks})
    return [s for s in seeds if all(Network(s, fold) in networks for fold in range(folds))]


def in_folds(
    networks: Mapping[Network, Predictions], seeds: list[int], folds: int
) -> Floats | None:
    """Probabilities (K, S, N, C) of the networks; None if there are no seeds."""
    if not seeds:
        return None
    every = [[networks[Network(s, fold)].probabilities for s in seeds] for fold in range(folds)]
    return np.stack([np.stack(row) for row in every])
