"""Classes of a model that are sums of its networks' classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from thyroid.errors import InputError

if TYPE_CHECKING:
    from thyroid.run_files.predictions_csv import Predictions  # pandas; predict does not need it

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Merging:
    """The merged class of each class."""

    into: Mapping[str, str]
    """Class -> merged class, in the order of the networks' outputs."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Merged classes, each in the place of its first class."""
        return tuple(dict.fromkeys(self.into.values()))

    @property
    def matrix(self) -> Floats:
        """(C, K): 1 where class c is part of merged class k. (N, C) @ matrix sums probabilities."""
        groups = [self.classes.index(merged) for merged in self.into.values()]
        found: Floats = np.eye(len(self.classes))[groups]
        return found

    def of(self, predictions: Predictions) -> Predictions:
        """Merge labels and findings, and sum probabilities. Several findings may become one."""

        def merged(findings: str) -> str:
            return ";".join(dict.fromkeys(self.into[name] for name in findings.split(";")))

        images = predictions.images.assign(
            label=predictions.images["label"].map(merged),
            findings=predictions.images["findings"].map(merged),
        )
        p = predictions.probabilities @ self.matrix
        return dataclasses.replace(
            predictions, classes=self.classes, images=images, probabilities=p
        )


def merging_of(merge: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Merging:
    """Make a merging; classes that it does not name stay as they are.

    Parameters
    ----------
    merge : merged class -> its classes
    classes : of the networks, in their order

    Raises
    ------
    InputError
        When a class is unknown or in two merged ones, or nothing or everything is merged.
    """
    into = {name: name for name in classes}
    seen: set[str] = set()
    for merged, names in merge.items():
        if merged in into and merged not in names:
            raise InputError(
                f"--merge gives a merged class the name '{merged}', but the class of this name is "
                "not part of it: choose another name."
            )
        for name in names:
            if name not in into:
                raise InputError(
                    f"--merge names '{name}', which is not a class of the run: its classes are "
                    f"{', '.join(classes)}."
                )
            if name in seen:
                raise InputError(f"--merge names '{name}' twice: put it into one merged class.")
            seen.add(name)
            into[name] = merged
    left = set(into.values())
    if len(left) == len(into):
        raise InputError("--merge merges no classes: write MERGED=CLASS+CLASS.")
    if len(left) < 2:
        raise InputError(
            "--merge leaves only one class, so there is nothing to tell apart: merge fewer classes."
        )
    for name, merged in into.items():
        if not merged or not merged.isprintable() or ";" in merged:
            raise InputError(
                f"--merge gives '{name}' a name that cannot be printed: choose another name."
            )
    return Merging(into=into)


def parse_merge(text: str) -> dict[str, list[str]]:
    """Read the option `--merge`.

    >>> parse_merge("diffuse=graves+hashimoto,nodular=hot_nodule+cold_nodule")
    {'diffuse': ['graves', 'hashimoto'], 'nodular': ['hot_nodule', 'cold_nodule']}

    Raises
    ------
    InputError
        When it is not of this form.
    """
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        merged, sign, names = (word.strip() for word in part.partition("="))
        if not sign or not merged or merged in found:
            raise InputError(
                f"--merge cannot read '{part.strip()}': write "
                "diffuse=graves+hashimoto,nodular=hot_nodule+cold_nodule, each merged class once."
            )
        found[merged] = [name.strip() for name in names.split("+")]
    return found
