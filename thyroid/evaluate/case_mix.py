"""Equal case mix in several sets of images, so that a comparison does not compare mixes.

A group is a combination of findings. Sets with different proportions of groups differ, however
good the images of each group are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Groups = npt.NDArray[np.object_]
"""(N,) str, each image's group."""


def mix_weights(groups: Groups, reference: Groups) -> Floats:
    """Return (N,) weights that give these images the reference's mix of groups.

    Without a reference all weights are 1.
    """
    own = Counter(groups)
    wanted = Counter(reference) or own
    return np.array([wanted[group] / own[group] for group in groups], dtype=np.float64)


def draw_same_mix(
    reference: Groups, sets: Sequence[Groups], rng: np.random.Generator
) -> tuple[Ints, list[Ints]]:
    """Draw rows of a reference and of several sets so that all have the same mix of groups.

    The mix is the reference's, without groups that a set lacks. Each set gives the same number of
    images: the largest whole multiple of the reference's that all sets have.

    Returns
    -------
    rows of the reference, and rows of each set; int64
    """
    there = Counter(reference)
    least = {group: min(int((groups == group).sum()) for groups in sets) for group in there}
    kept = {group: min(there[group], least[group]) for group in there if least[group]}
    times = max(1, min((least[group] // there[group] for group in kept), default=1))
    return (
        _draw(reference, kept, rng),
        [_draw(groups, {g: times * n for g, n in kept.items()}, rng) for groups in sets],
    )


def _draw(groups: Groups, wanted: Mapping[str, int], rng: np.random.Generator) -> Ints:
    rows = [
        rng.choice(np.flatnonzero(groups == group), number, replace=False)
        for group, number in wanted.items()
    ]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
