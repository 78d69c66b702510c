"""Two methods' predictions of the same images, by models that were trained with the same seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thyroid.errors import InputError
from thyroid.evaluate.metrics import Floats, Ints
from thyroid.run_files.predictions_csv import Predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """The predictions, row by row: S seeds, N images, C classes."""

    seeds: list[int]
    labels: Ints
    """(N,)"""
    patients: npt.NDArray[np.str_]
    """(N,)"""
    is_cross: npt.NDArray[np.bool_]
    """(N,)"""
    probabilities: tuple[Floats, Floats]
    """(S, N, C) of the first and of the second method."""

    @property
    def named(self) -> tuple[Ints, Ints]:
        """(S, N) each: the classes that the models name."""
        first, second = (p.argmax(axis=-1) for p in self.probabilities)
        return first, second


def paired(
    first: Mapping[int, Predictions], second: Mapping[int, Predictions], where: str
) -> Pair | None:
    """The seeds that both have; None where there is no such seed.

    Parameters
    ----------
    first, second : by seed
    where : the folder and the images, for the error's text

    Raises
    ------
    InputError
        When the two have predicted different images.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    one = first[seeds[0]]
    if not one.images.equals(second[seeds[0]].images):
        raise InputError(f"{where} differ: run the command that made them again.")
    return Pair(
        seeds=seeds,
        labels=one.labels,
        patients=one.images["patient_id"].to_numpy(dtype=str),
        is_cross=one.is_cross,
        probabilities=(
            np.stack([first[seed].probabilities for seed in seeds]),
            np.stack([second[seed].probabilities for seed in seeds]),
        ),
    )
