"""The probe stage: a network with its initial weights, and a logistic regression on its features.

With few images per class, frozen features of good initial weights may be better than a training.
Those of random weights are a baseline that every network should beat.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from thyroid.networks.build import build
from thyroid.networks.last_layer import last_layer
from thyroid.networks.pretrained import load_pretrained
from thyroid.stage_config import ProbeConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import WEIGHTS, save_card, save_tensors
from thyroid.stages.compute import seed_of, start
from thyroid.stages.copy_weights import FILE as WEIGHTS_FILE
from thyroid.stages.images import images
from thyroid.stages.measure_distances import features_of

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

PENALTIES = tuple(10.0**power for power in range(5, -2, -1))
"""L2 penalties that are tried, the strongest first: of equally good ones, it is chosen."""
FOLDS = 5
"""Parts of the training patients that are held out in turn to choose a penalty; fewer if a class
has fewer patients."""
CONSTANT = 1e-4
"""A feature whose standard deviation is below this share of its mean has no weight: float32 is too
coarse for its differences."""
UNSEEN = -20.0
"""Logit of a class without training images; the greatest of the others is at least about 0."""


def fit(config: ProbeConfig, inputs: Mapping[str, Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Write a network as `train_classifier` does: initial weights with a fitted last layer.

    Features are those of the training part's real images, in one view each; the label is the
    primary finding. The penalty is chosen by cross-validation over patients of the training part.

    Yields
    ------
    dict
        seed, images, features (their number), penalty (as `logistic_regression` takes it),
        train_seconds.

    Raises
    ------
    InputError
        When the network does not end in a linear layer with a bias.
    """
    on = start(config.execution)
    threadpool_limits(config.execution.threads)  # scipy's libraries; `start` set torch's
    dataset, parts = split.open_split(inputs)
    began, classes = time.perf_counter(), len(dataset.info.classes)
    with torch.random.fork_rng():  # the weights that a training of this seed begins with
        torch.manual_seed(seed_of(config.seed, "initialise"))
        network = on.place(build(config.network, classes))
    if "weights" in inputs:
        load_pretrained(
            network, inputs["weights"] / WEIGHTS_FILE, config.network, dataset.info.classes
        )
    last = last_layer(network, config.network)

    counts = images(dataset, parts.train, config.input, on)
    x = features_of(network, counts, config.input.normalisation, on)  # (N, D)
    y, patients = dataset.labels[parts.train], dataset.patients[parts.train]
    penalty = chosen_penalty(x, y, patients, classes, config.seed)
    weights, bias = logistic_regression(x, y, classes, penalty)
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(weights))
        last.bias.copy_(torch.from_numpy(bias))
    yield {
        "seed": config.seed,
        "images": len(x),
        "features": x.shape[1],
        "penalty": penalty,
        "train_seconds": time.perf_counter() - began,
    }

    save_tensors(network.state_dict(), folder / WEIGHTS, dataset.info.classes)
    save_card(dataset, config, folder)
    split.mark_trained_on(dataset, parts, folder)


def chosen_penalty(
    x: Floats, y: Numbers, patients: npt.NDArray[np.object_], classes: int, seed: int
) -> float:
    """Return the penalty with the least cross-entropy of patients that are held out in turn.

    If no patient can be held out, this is the strongest penalty.

    Parameters
    ----------
    x : (N, D) features
    y : (N,) class of each image
    patients : (N,) patient of each image, whose images are held out together
    """
    if np.bincount(y).max() < 2 or len(set(patients)) < 2:
        return PENALTIES[0]  # nothing can be held out
    fewest = min(len(set(patients[y == c])) for c in set(y.tolist()))
    dealt = StratifiedGroupKFold(
        max(2, min(FOLDS, fewest)), shuffle=True, random_state=seed_of(seed, "probe") % 2**32
    )
    losses = np.zeros(len(PENALTIES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of one patient is reported elsewhere
        folds = list(dealt.split(x, y, patients))
    for train, held_out in folds:
        for i, penalty in enumerate(PENALTIES):
            weights, bias = logistic_regression(x[train], y[train], classes, penalty)
            p = log_softmax(x[held_out] @ weights.T + bias, axis=1)
            losses[i] -= p[np.arange(len(held_out)), y[held_out]].sum()
    return PENALTIES[int(losses.argmin())]


def logistic_regression(
    x: Floats, y: Numbers, classes: int, penalty: float
) -> tuple[Floats, Floats]:
    """Fit softmax(W x + b) with an L2 penalty on the weights of standardised features.

    Minimises the cross-entropy summed over images, plus `penalty` / 2 times the sum of squared
    weights. With two classes, the weights are the difference between those of the classes.

    Returns
    -------
    (C, D), (C,)
        W and b for features that are not standardised: W and b include the standardisation.
    """
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    varies = deviation > CONSTANT * np.abs(mean)
    scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
    seen = np.unique(y)
    weights, bias = np.zeros((classes, x.shape[1])), np.full(classes, UNSEEN)
    bias[seen] = 0.0
    if len(seen) > 1:
        model = LogisticRegression(C=1 / penalty, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of penalties that are too weak
            model.fit((x - mean) * scale, y)
        coefficients, constants = model.coef_, model.intercept_
        if len(seen) == 2:  # sklearn has the difference of the two
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            constants = np.concatenate([-constants, constants]) / 2
        weights[seen], bias[seen] = coefficients * scale, constants
    return weights, bias - weights @ mean
