"""Checks of an experiment before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from thyroid import pipeline
from thyroid.data import data_checks
from thyroid.data.dataset import PARTS, Dataset
from thyroid.data.splits import Split, make_split
from thyroid.errors import InputError
from thyroid.network_input import sum_pixels
from thyroid.networks.build import build, require_fit, require_size
from thyroid.networks.last_layer import last_layer
from thyroid.networks.resnet import freeze
from thyroid.progress import say
from thyroid.recipe import Recipe
from thyroid.runs.experiment import Experiment
from thyroid.stage import Stage
from thyroid.stages import simulate_oracle
from thyroid.stages.batches import drawn_synthetic, synthetic_weights
from thyroid.stages.synthesise import combinations

FEW_TEST_IMAGES = 10
"""With fewer test images of a class, one image moves its recall by more than a tenth."""


def preflight(
    experiment: Experiment, *, distinct_ids: bool = False, allow_look_alikes: bool = False
) -> None:
    """Refuse an experiment that cannot work, before anything is written.

    Parameters
    ----------
    distinct_ids : True: test patients are other people even if their numbers differ from those of
        training patients only in leading zeros or ".0"
    allow_look_alikes : True: images of different patients in different parts may look the same

    Raises
    ------
    InputError
        When the data have a fault that makes every result untrue or cannot be split as the recipe
        says, the input size does not divide the images' size, the network or phase does not exist,
        or the requested images cannot be synthesised.
    """
    torch.set_num_threads(1)  # for a driver; stages set their own number
    dataset, recipe = experiment.dataset, experiment.recipe
    pairs = _usable(dataset, experiment.test_set, distinct_ids=distinct_ids)
    splits = [make_split(dataset, recipe.in_fold(f).split) for f in range(recipe.folds)]
    if not allow_look_alikes:
        _require_unlike(dataset, splits, pairs, experiment.test_set)
    sum_pixels(torch.from_numpy(dataset.counts[:1].astype("float32")), recipe.input.size)
    require_size(recipe.network, recipe.input.size)
    with torch.random.fork_rng():
        network = build(recipe.network, len(dataset.info.classes))
        require_fit(network, recipe.network, recipe.input.size, len(dataset.info.classes))
    if recipe.training == "probe":
        last_layer(network, recipe.network)
        return
    if recipe.cross.order == "retrain":
        freeze(network, recipe.cross.trainable)
    segments = pipeline.classifier(recipe, dataset.digest, 0)
    if recipe.synthetic:
        pipeline.synthesis(recipe, dataset.digest, 0)
    oracle = None
    if recipe.synthetic and recipe.generator == pipeline.ORACLE:
        oracle = simulate_oracle.simulator_of(dataset)
    for parts in splits:
        _require_phases(dataset, parts, recipe, segments)
        if recipe.synthetic:
            _require_drawable(dataset, parts, recipe, segments)
        if oracle is not None:
            wanted = combinations(dataset, parts.train, recipe.synthesis.crosses)
            simulate_oracle.require_known(oracle, wanted)


def tell_small_test_part(experiment: Experiment) -> None:
    """Say if a class has few test images, before anything is trained."""
    dataset, split = experiment.dataset, experiment.recipe.split
    part = make_split(dataset, split).test
    if experiment.test_set is not None or not len(part):
        return
    of_class = dataset.images["label"].iloc[part].value_counts()
    rarest = min(dataset.info.classes, key=lambda name: of_class.get(name, 0))
    fewest = of_class.get(rarest, 0)
    if fewest >= FEW_TEST_IMAGES:
        return
    told = f"The test part has {len(part)} images, {fewest} of them of {rarest}: the result will be"
    say(f"{told} uncertain.")
    fixed = dataset.official_parts is not None or split.leave_out_centre is not None
    if experiment.recipe.folds > 1 and not fixed:
        say(
            f"With `--split.test 0`, the result is out of fold and rests on all {len(dataset)} "
            "images."
        )


@lru_cache(maxsize=1)  # the rows of a comparison have the same data
def _usable(
    dataset: Dataset, test_set: Dataset | None, *, distinct_ids: bool
) -> tuple[tuple[int, int], ...]:
    """Require that the data have no fault that makes every result untrue; return the pairs of
    images that look the same.
    """
    pairs: tuple[tuple[int, int], ...] = ()
    for flag in data_checks.check(dataset):
        if flag.severity == "error":
            raise InputError(f"{dataset.folder} cannot be trained on: {flag.sentence}")
        pairs += flag.pairs
    if test_set is not None:
        _require_apart(dataset, test_set, distinct_ids=distinct_ids)
    return pairs


def _require_phases(
    dataset: Dataset, parts: Split, recipe: Recipe, segments: Sequence[Stage]
) -> None:
    """Require that each phase has images to train on."""
    is_cross = dataset.is_cross[parts.train]
    phases = {segment.config.phase for segment in segments}
    if "single" in phases and is_cross.all():
        raise InputError(
            f"{dataset.folder} has no training image of a single finding: set cross.order to mixed."
        )
    adds = recipe.cross.synthetic + recipe.cross.superposed > 0
    named = adds and recipe.synthesis.crosses not in ("seen", "none")
    if "cross" in phases and not is_cross.any() and not named:
        raise InputError(
            f"{dataset.folder} has no training image of several findings: set cross.order to mixed."
        )


def _require_drawable(
    dataset: Dataset, parts: Split, recipe: Recipe, segments: Sequence[Stage]
) -> None:
    """Require that the recipe makes the synthetic images that training draws."""
    each = recipe.synthesis
    made = [
        ";".join(findings)
        for findings in combinations(dataset, parts.train, each.crosses)
        if (each.images_per_cross if len(findings) > 1 else each.images_per_class)
    ]
    pool = pd.DataFrame({"findings": made})
    for segment in segments:
        if segment.config.synthetic is not None:
            train = dataset.images.iloc[parts.train]
            for share in drawn_synthetic(segment.config.synthetic).values():
                synthetic_weights(train, pool, share)


def _require_unlike(
    dataset: Dataset,
    splits: Sequence[Split],
    pairs: Sequence[tuple[int, int]],
    test_set: Dataset | None,
) -> None:
    """Require that images of different patients in different parts do not look the same."""
    what = "if they show one patient, give them one number and import again; otherwise add "
    for split in splits:
        part = {row: name for name in PARTS for row in getattr(split, name).tolist()}
        used = [pair for pair in pairs if set(pair) <= set(part)]
        across = [(one, two) for one, two in used if part[one] != part[two]]
        if across:
            one, two = (dataset.images["image_id"].iloc[row] for row in across[0])
            raise InputError(
                f"{len(across)} pairs of images of different patients in {dataset.folder}, such as "
                f"{one} and {two}, look the same and are in different parts of the split: {what}"
                "--allow-look-alikes."
            )
    if test_set is not None:
        every, tested = np.arange(len(dataset)), np.arange(len(test_set))
        alike = data_checks.look_alikes(dataset, every, test_set, tested)
        if alike:
            raise InputError(
                f"{alike} images of the test set {test_set.folder} look the same as an image of "
                f"the training data: {what}--allow-look-alikes."
            )


def _require_apart(dataset: Dataset, test_set: Dataset, *, distinct_ids: bool) -> None:
    """Require that a separate test set is of the same kind, and of other patients."""
    for name in ("classes", "kind", "size", "pixel_mm"):
        own, other = getattr(dataset.info, name), getattr(test_set.info, name)
        if own != other:
            raise InputError(
                f"The test set {test_set.folder} has {name} {other}, but the training data have "
                f"{own}: import both in the same way."
            )
    for flag in data_checks.check(test_set):
        if flag.severity == "error":
            raise InputError(f"{test_set.folder} cannot be tested on: {flag.sentence}")
    seen = {hashlib.sha256(image.tobytes()).digest() for image in dataset.counts}
    same = sum(hashlib.sha256(image.tobytes()).digest() in seen for image in test_set.counts)
    patients = len(set(dataset.patients) & set(test_set.patients))
    if same or patients:
        raise InputError(
            f"The test set {test_set.folder} shares {same} images and {patients} patients with "
            "the training data, so results on it mean nothing: remove them from one of the two "
            "data sets."
        )
    key = dataset.info.patients_key
    alike = data_checks.like_others(test_set, dataset)
    if key is not None and key == test_set.info.patients_key and alike.any() and not distinct_ids:
        raise InputError(
            f"{len(set(test_set.patients[alike]))} patients of the test set {test_set.folder} "
            "have the same numbers as training patients except for leading zeros or .0, which a "
            "spreadsheet may have changed: write the numbers in one way and import again, or add "
            "--distinct-ids if the patients are different people."
        )
    if key is None or key != test_set.info.patients_key:
        say(
            f"It is not known whether {dataset.folder} and {test_set.folder} share patients: "
            "name all patients, and import both with one --patients-key."
        )
