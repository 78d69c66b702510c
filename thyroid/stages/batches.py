"""Draws the batches of an epoch: each group of images in its share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Generator, Tensor

from thyroid.errors import InputError
from thyroid.stage_config import SyntheticShare


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A group of images and its share of every batch."""

    rows: Tensor
    """(M,) int64, not empty."""
    share: Tensor
    """(steps,) float64, share of each batch; fractions of an image are met on average."""
    weights: Tensor | None = None
    """(M,) how often each image is drawn, relative to the others, with replacement; None: each
    comes once before any comes twice."""


def epoch_order(sources: Sequence[Source], batch: int, generator: Generator) -> Tensor:
    """The batches of one epoch: (steps * batch,) int64.

    Parameters
    ----------
    sources : the last one fills the rest of each batch
    batch : images per step
    generator : on the CPU
    """
    taken = _per_batch([source.share for source in sources], batch)  # (steps, K)
    drawn = [
        _drawn(source, int(number), generator)
        for source, number in zip(sources, taken.sum(0), strict=True)
    ]
    if len(sources) == 1:
        return drawn[0]
    cut = [torch.split(d, n.tolist()) for d, n in zip(drawn, taken.T, strict=True)]
    batches = []
    for of_step in zip(*cut, strict=True):
        shuffled = torch.randperm(batch, generator=generator)  # every worker gets all groups
        batches.append(torch.cat(of_step[::-1])[shuffled])
    return torch.cat(batches)


def _per_batch(shares: Sequence[Tensor], batch: int) -> Tensor:
    """Number of images that each batch takes from each source, (steps, K) int64.

    Fractions add up over steps until they make a whole image.
    """
    wanted = torch.stack(list(shares), 1).double() * batch  # (steps, K)
    taken = torch.zeros(wanted.shape, dtype=torch.int64)
    owed = torch.zeros(wanted.shape[1], dtype=torch.float64)
    for step, more in enumerate(wanted):
        owed += more
        room = batch
        for k in range(len(shares) - 1):
            taken[step, k] = min(int(owed[k] + 1e-6), room)
            room -= int(taken[step, k])
        taken[step, -1] = room
        owed -= taken[step]
    return taken


def _drawn(source: Source, number: int, generator: Generator) -> Tensor:
    """(number,) of the source's rows."""
    if source.weights is not None:
        chosen = torch.multinomial(source.weights, max(number, 1), True, generator=generator)
        return source.rows[chosen[:number]]
    size = len(source.rows)
    passes = [torch.randperm(size, generator=generator) for _ in range(max(1, -(-number // size)))]
    return source.rows[torch.cat(passes)[:number]]


def drawn_synthetic(config: SyntheticShare) -> dict[str, SyntheticShare]:
    """Groups of synthetic images that a segment draws from, and their shares.

    There is `synthetic`; in a cross phase with a share of all images, `synthetic_single`, too.
    """
    groups = {"synthetic": config}
    if config.of_all:
        groups["synthetic_single"] = dataclasses.replace(config, cross_share=0.0)
    return groups


def synthetic_weights(
    real: pd.DataFrame, synthetic: pd.DataFrame, config: SyntheticShare
) -> Tensor:
    """Probability of drawing each synthetic image, (M,) float64; they sum to 1.

    `cross_share` of the draws are cross images. Among single images, and among cross images, a
    combination of findings is drawn in proportion to its number of real training images to the
    power `class_exponent`. A cross without real images counts as an average one.

    Parameters
    ----------
    real, synthetic : rows of images.csv of the training part and of the synthetic images

    Raises
    ------
    InputError
        When only images are asked for that the pool does not have.
    """
    seen = real["findings"].value_counts()
    pool = synthetic["findings"].value_counts()
    is_cross = {text: ";" in text for text in {*seen.index, *pool.index}}
    cross_share = config.cross_share
    if cross_share is None:
        cross_share = float(np.mean([is_cross[text] for text in real["findings"]]))
    chance: dict[str, float] = {}
    for cross, of_kind in ((False, 1 - cross_share), (True, cross_share)):
        sizes = {text: float(n) for text, n in seen.items() if is_cross[text] == cross}
        average = float(np.mean(list(sizes.values()))) if sizes else 1.0
        groups = [text for text in pool.index if is_cross[text] == cross]
        powers = [sizes.get(text, average) ** config.class_exponent for text in groups]
        for text, power in zip(groups, powers, strict=True):
            chance[text] = of_kind * power / sum(powers)
    if not sum(chance.values()):
        raise InputError(
            f"mixing.cross_share {cross_share:g} needs single or cross images that were not "
            "synthesised: change it or synthesis.crosses."
        )
    each: npt.NDArray[np.float64] = np.array(
        [chance[text] / pool[text] for text in synthetic["findings"]]
    )
    return torch.from_numpy(each / each.sum())
