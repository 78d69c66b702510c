"""Which images an epoch's batches hold: real ones, and synthetic ones in their share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Generator, Tensor

from thyroid.errors import InputError
from thyroid.pipeline import SyntheticShare


def epoch_order(real: int, batch: int, steps: int, generator: Generator) -> Tensor:
    """`steps` batches of real images, none twice in an epoch: (steps * batch,) indices."""
    return torch.randperm(real, generator=generator)[: steps * batch]


def mixed_order(
    real: int, batch: int, steps: int, share: float, weights: Tensor, generator: Generator
) -> Tensor:
    """`steps` batches with a share of synthetic images in each.

    Parameters
    ----------
    real : number of real images; synthetic image k has the index real + k
    share : of synthetic images in a batch, above 0 to 1; met on average where it is no whole number
    weights : (M,) how often each synthetic image is drawn, relative to the others
    generator : on the CPU

    Returns
    -------
    (steps * batch,) int64. No real image comes twice in an epoch.
    """
    upto = (torch.arange(steps + 1, dtype=torch.float64) * batch * share + 1e-6).long()
    synthetic = upto.diff()  # (steps,) per batch
    drawn = torch.multinomial(weights, max(int(upto[-1]), 1), True, generator=generator)
    order = torch.randperm(real, generator=generator)
    batches = []
    for step in range(steps):
        fresh = real + drawn[upto[step] : upto[step + 1]]
        taken = step * batch - int(upto[step])
        own = order[taken : taken + batch - int(synthetic[step])]
        shuffled = torch.randperm(batch, generator=generator)  # every worker gets some of both
        batches.append(torch.cat([own, fresh])[shuffled])
    return torch.cat(batches)


def synthetic_weights(
    real: pd.DataFrame, synthetic: pd.DataFrame, config: SyntheticShare
) -> Tensor:
    """How often to draw each synthetic image, (M,) float64, in sum 1.

    A combination of findings is drawn in proportion to its number of real training images to the
    power `class_exponent`, among single and among cross images; between these two
    `cross_share` decides. A cross never seen counts as an average one.

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
            f"mixing.cross_share {cross_share:g} asks for images that the synthetic ones do not "
            "have: change it or synthesis.crosses."
        )
    each: npt.NDArray[np.float64] = np.array(
        [chance[text] / pool[text] for text in synthetic["findings"]]
    )
    return torch.from_numpy(each / each.sum())
