"""Recipes whose true macro-F1 is known: small classifiers of Gaussian classes, trained in folds.

Both recipes see six common dimensions. The first one also sees six others, and the second one
another six, in which the classes have the same positions. By this symmetry both are equally good on
average over training sets, while each single training set favours one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from thyroid.evaluate.metrics import Floats, Ints

CLASSES, SHARED, OWN = 7, 6, 6
FIRST = np.r_[0 : SHARED + OWN]
SECOND = np.r_[0:SHARED, SHARED + OWN : SHARED + 2 * OWN]
WORSE = SECOND[:-2]
"""The second recipe without two of its dimensions."""
Network = Callable[[Floats], Floats]
"""Maps images (n, D) to probabilities (n, C)."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Patients with one or several similar images, in classes that may have unequal sizes."""

    distance: float = 1.1
    """Standard deviation of the centres of the classes, in standard deviations of an image."""
    within: float = 0.0
    """Share of an image's variance that is common to a patient's images."""
    images: int = 1
    """Mean number of images per patient; all numbers from 1 to 2 images - 1 are equally likely."""
    shares: tuple[float, ...] = (1 / CLASSES,) * CLASSES

    def draw(self, patients: int, rng: np.random.Generator) -> tuple[Floats, Ints, Ints]:
        """Return images (N, D), labels (N,) and patients (N,)."""
        centres = np.random.default_rng(0).normal(0, self.distance, (CLASSES, SHARED + OWN))
        centres = np.concatenate([centres, centres[:, SHARED:]], axis=1)
        numbers = np.round(np.array(self.shares) * patients).astype(int)
        label = rng.permutation(np.repeat(np.arange(CLASSES), numbers))
        member = np.repeat(np.arange(len(label)), rng.integers(1, 2 * self.images, len(label)))
        own, common = rng.normal(size=(2, len(member), centres.shape[1]))
        common = common[np.searchsorted(member, member)]  # that of the patient's first image
        noise = np.sqrt(self.within) * common + np.sqrt(1 - self.within) * own
        return centres[label[member]] + noise, label[member], member


def discriminant(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Linear discriminant: smooth, and least affected by chance."""
    means = _means(x, y)
    within = x - means[y]
    slopes = np.linalg.solve(within.T @ within / len(x), means.T)
    offsets = np.log(np.bincount(y, minlength=CLASSES) / len(y)) - (means.T * slopes).sum(0) / 2
    return lambda t: _softmax(t @ slopes + offsets)


def quadratic(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Quadratic discriminant: smooth, with many parameters."""
    parts = []
    for c in range(CLASSES):
        spread = 0.9 * np.cov(x[y == c].T) + 0.1 * np.eye(x.shape[1])
        parts.append((x[y == c].mean(0), np.linalg.inv(spread), np.linalg.slogdet(spread)[1]))

    def predict(t: Floats) -> Floats:
        squares = [(((t - m) @ inverse) * (t - m)).sum(1) + size for m, inverse, size in parts]
        return _softmax(-np.stack(squares, axis=1) / 2)

    return predict


def random_features(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Ridge regression on 60 random ReLUs, which are drawn anew in each training, as a new seed
    would.
    """
    slopes, offsets = rng.normal(size=(x.shape[1], 60)) / np.sqrt(x.shape[1]), rng.normal(size=60)
    z = np.maximum(x @ slopes + offsets, 0)
    weights = np.linalg.solve(z.T @ z + np.eye(60), z.T @ np.eye(CLASSES)[y])
    return lambda t: _softmax(6 * np.maximum(t @ slopes + offsets, 0) @ weights)


def five_dimensions(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Nearest centre in the five most informative dimensions of the training set: unstable."""
    means = _means(x, y)
    best = np.argsort(means.var(0) / (x - means[y]).var(0))[-5:]
    chosen = means[:, best]
    return lambda t: _softmax(t[:, best] @ chosen.T - (chosen**2).sum(1) / 2)


def neighbour(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Nearest neighbour: results depend on single training images."""
    return lambda t: np.eye(CLASSES)[y[((x**2).sum(1) - 2 * t @ x.T).argmin(1)]]


def tree(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Decision tree with random candidates at each split: it depends much on data and seed."""
    seed = int(rng.integers(2**31))
    fitted = DecisionTreeClassifier(max_features=4, min_samples_leaf=3, random_state=seed)
    fitted.fit(x, y)
    return lambda t: np.asarray(fitted.predict_proba(t))


def perceptron(x: Floats, y: Ints, rng: np.random.Generator) -> Network:
    """Network with one hidden layer of 24 units, trained for 25 epochs by Adam with a cosine
    schedule.
    """
    dims, hidden, epochs, batch, step = x.shape[1], 24, 25, 16, 0
    weights = [
        rng.normal(size=(dims, hidden)) * np.sqrt(2 / dims),
        np.zeros(hidden),
        rng.normal(size=(hidden, CLASSES)) / np.sqrt(hidden),
        np.zeros(CLASSES),
    ]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for epoch in range(epochs):
        rate = 0.005 * (1 + np.cos(np.pi * epoch / epochs))
        order = rng.permutation(len(x))
        for rows in np.split(order[: len(x) // batch * batch], len(x) // batch):
            step += 1
            h = np.maximum(x[rows] @ weights[0] + weights[1], 0)
            error = (_softmax(h @ weights[2] + weights[3]) - np.eye(CLASSES)[y[rows]]) / batch
            back = error @ weights[2].T * (h > 0)
            gradients = (x[rows].T @ back, back.sum(0), h.T @ error, error.sum(0))
            for w, m, v, g in zip(weights, first, second, gradients, strict=True):
                m += 0.1 * (g - m)
                v += 0.01 * (g**2 - v)
                w -= rate * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
    return lambda t: _softmax(np.maximum(t @ weights[0] + weights[1], 0) @ weights[2] + weights[3])


def deal(labels: Ints, member: Ints, folds: int, rng: np.random.Generator) -> Ints:
    """Deal patients to folds, stratified by class; returns the fold of each image, (N,)."""
    label = labels[np.searchsorted(member, np.arange(member[-1] + 1))]
    order = np.lexsort((rng.random(len(label)), label))
    fold = np.empty(len(label), dtype=int)
    fold[order] = np.arange(len(label)) % folds
    return fold[member]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Predicted classes of two recipes for one development set and one test set."""

    labels: Ints
    patients: Ints
    fold: Ints
    out_of_fold: Ints
    """(2, S, N)"""
    test_labels: Ints
    test_patients: Ints
    networks: Ints
    """(2, K, S, T)"""
    ensembles: Ints
    """(2, T)"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Two recipes and their data."""

    fit: Callable[[Floats, Ints, np.random.Generator], Network]
    second: Ints | None = None
    """Dimensions of the second recipe; by default it equals the first."""
    folds: int = 5
    seeds: int = 1
    patients: int = 60
    """Number in each class, for development."""
    test_patients: int = 60
    """Number in each class."""
    population: Population = Population()

    def train(
        self, rng: np.random.Generator, *, test: tuple[Floats, Ints, Ints] | None = None
    ) -> Trained:
        """Draw patients for training and, if no test set is given, for the test; train all
        networks.
        """
        x, y, member = self.population.draw(self.patients * CLASSES, rng)
        tx, ty, test_member = test or self.population.draw(self.test_patients * CLASSES, rng)
        fold = deal(y, member, self.folds, rng)
        oof = np.empty((2, self.seeds, len(y)), dtype=int)
        p = np.empty((2, self.folds, self.seeds, len(ty), CLASSES))
        for r, dims in enumerate((FIRST, SECOND if self.second is None else self.second)):
            for f, s in np.ndindex(self.folds, self.seeds):
                network = self.fit(x[fold != f][:, dims], y[fold != f], rng)
                oof[r, s, fold == f] = network(x[fold == f][:, dims]).argmax(1)
                p[r, f, s] = network(tx[:, dims])
        return Trained(
            labels=y,
            patients=member,
            fold=fold,
            out_of_fold=oof,
            test_labels=ty,
            test_patients=test_member,
            networks=p.argmax(-1),
            ensembles=p.mean((1, 2)).argmax(-1),
        )


def _means(x: Floats, y: Ints) -> Floats:
    return np.stack([x[y == c].mean(0) for c in range(CLASSES)])


def _softmax(z: Floats) -> Floats:
    grown = np.exp(z - z.max(-1, keepdims=True))
    shares: Floats = grown / grown.sum(-1, keepdims=True)
    return shares
