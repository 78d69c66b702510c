"""The same mix of groups of images in several sets, so that a comparison is not one of mixes.

A group is a combination of findings. Sets whose classes come in other proportions differ, however
good the images of each class are.
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
    """(N,) weights with which images of these groups have the reference's mix of groups.

    Without a reference all count alike.
    """
    own = Counter(groups)
    wanted = Counter(reference) or own
    return np.array([wanted[group] / own[group] for group in groups], dtype=np.float64)


def draw_same_mix(
    reference: Groups, parts: Sequence[Groups], rng: np.random.Generator
) -> tuple[Ints, list[Ints]]:
    """Rows of a reference and of several parts that have the same mix of groups.

    The mix is that of the reference, less what a part lacks. Each part gives the same number of
    images: the largest whole multiple of the reference's that all of them have.

    Returns
    -------
    rows of the reference, and rows of each part; int64
    """
    there = Counter(reference)
    least = {group: min(int((part == group).sum()) for part in parts) for group in there}
    kept = {group: min(there[group], least[group]) for group in there if least[group]}
    times = max(1, min((least[group] // there[group] for group in kept), default=1))
    return (
        _draw(reference, kept, rng),
        [_draw(part, {g: times * n for g, n in kept.items()}, rng) for part in parts],
    )


def _draw(groups: Groups, wanted: Mapping[str, int], rng: np.random.Generator) -> Ints:
    rows = [
        rng.choice(np.flatnonzero(groups == group), number, replace=False)
        for group, number in wanted.items()
    ]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
