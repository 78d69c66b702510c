"""Predictions of the same images by two recipes, with networks of the same seeds and folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.measured import in_folds, whole_seeds
from reports.run import ByNetwork, PredictedRow, Run
from thyroid.errors import InputError
from thyroid.evaluate.metrics import Floats, Ints
from thyroid.evaluate.paired import Difference, accuracy_difference, macro_f1_difference
from thyroid.run_files.predictions_csv import Predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Two recipes' predictions of the same images: K folds, S seeds, N images, C classes.

    A network of one recipe is paired with the network of the other recipe that was trained on the
    same patients with the same seed.
    """

    seeds: list[int]
    folds: int
    out_of_fold: bool
    """True if each image was predicted by the network of its fold, and no network predicted all."""
    labels: Ints
    """(N,)"""
    patients: npt.NDArray[np.str_]
    """(N,)"""
    is_cross: npt.NDArray[np.bool_]
    """(N,)"""
    probabilities: tuple[Floats, Floats]
    """Those of the first recipe, then of the second: (S, N, C), or (K, S, N, C) for test images."""

    @property
    def networks(self) -> int:
        """Number of networks of each recipe."""
        return self.folds * len(self.seeds)

    @property
    def of_ensembles(self) -> bool:
        """True if networks of several folds predict the same images as an ensemble."""
        return self.folds > 1 and not self.out_of_fold

    @property
    def names(self) -> list[tuple[int, int | None]]:
        """Seed and fold of each row of `named`; the fold is None with one split, or out of fold."""
        if self.of_ensembles:
            return [(seed, fold) for fold in range(self.folds) for seed in self.seeds]
        return [(seed, None) for seed in self.seeds]

    @property
    def named(self) -> tuple[Ints, Ints]:
        """Most probable classes by the single networks of each recipe, (R, N) each."""
        images = len(self.labels)
        first, second = (p.argmax(axis=-1).reshape(-1, images) for p in self.probabilities)
        return first, second

    @property
    def together(self) -> tuple[Ints, Ints]:
        """Classes of the highest mean probability over each recipe's networks, (N,) each."""
        axes = tuple(range(self.probabilities[0].ndim - 2))
        first, second = (p.mean(axis=axes).argmax(axis=-1) for p in self.probabilities)
        return first, second

    def macro_f1_difference(
        self, *, level: float, resamples: int, ensembles: bool = False
    ) -> Difference:
        """Difference in macro-F1, first recipe minus second, mean over networks.

        Parameters
        ----------
        ensembles : True: compare the ensembles instead of single networks
        """
        first, second = (p.argmax(axis=-1) for p in self.probabilities)
        return macro_f1_difference(
            self.labels,
            first,
            second,
            self.patients,
            classes=self.probabilities[0].shape[-1],
            folds=self.folds if self.out_of_fold else 1,
            ensembles=self.together if ensembles else None,
            level=level,
            resamples=resamples,
        )

    def accuracy_difference(
        self, chosen: npt.NDArray[np.bool_], *, level: float, resamples: int
    ) -> Difference:
        """Difference in accuracy on some images, first recipe minus second, mean over networks."""
        first, second = (p[..., chosen, :].argmax(axis=-1) for p in self.probabilities)
        return accuracy_difference(
            self.labels[chosen],
            first,
            second,
            self.patients[chosen],
            folds=self.folds if self.out_of_fold else 1,
            level=level,
            resamples=resamples,
        )


def paired(
    run: Run, by_seed: Mapping[int, Predictions], networks: ByNetwork, where: str
) -> Pair | None:
    """Pair the run's predictions with another recipe's, for common seeds; None if there are none.

    Parameters
    ----------
    by_seed, networks : the other recipe's predictions of the part on which the run's results are
    where : the folder and the images, for the text of the error

    Raises
    ------
    InputError
        When the two recipes have predicted different images.
    """
    if run.part is None:
        return None
    return _pair(run, (run.predictions[run.part], run.networks), (by_seed, networks), where)


def paired_rows(run: Run, row: PredictedRow, other: PredictedRow) -> Pair | None:
    """Pair two rows of a comparison, neither of them the method; None if they share no seed.

    Raises
    ------
    InputError
        When the two recipes have predicted different images.
    """
    where = f"{run.folder / 'rows'}: {run.part} images of {row.name} and {other.name}"
    one, two = ((each.predictions, each.networks) for each in (row, other))
    return _pair(run, one, two, where)


def _pair(
    run: Run,
    one: tuple[Mapping[int, Predictions], ByNetwork],
    other: tuple[Mapping[int, Predictions], ByNetwork],
    where: str,
) -> Pair | None:
    own, by_seed = one[0], other[0]
    in_both = [seed for seed in own if seed in by_seed]
    tested = run.part == "test" and run.folds > 1
    if tested:
        known = [whole_seeds(networks, run.folds) for _, networks in (one, other)]
        in_both = [seed for seed in in_both if all(seed in whole for whole in known)]
    if not in_both:
        return None
    images = own[in_both[0]].images
    if not images.equals(by_seed[in_both[0]].images):
        raise InputError(f"{where} differ: run the command that made them again.")
    if tested:
        first, second = (in_folds(networks, in_both, run.folds) for _, networks in (one, other))
        assert first is not None
        assert second is not None
    else:
        first, second = (
            np.stack([each[seed].probabilities for seed in in_both]) for each in (own, by_seed)
        )
    return Pair(
        seeds=in_both,
        folds=run.folds,
        out_of_fold=run.folds > 1 and not tested,
        labels=own[in_both[0]].labels,
        patients=images["patient_id"].to_numpy(dtype=str),
        is_cross=own[in_both[0]].is_cross,
        probabilities=(first, second),
    )
