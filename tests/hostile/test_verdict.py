"""Attempts to make the report say something wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from reports.report import write_report
from reports.sections.verdict import verdict_line
from tests.toy import toy_generators, toy_recipe, write_toy
from thyroid.data.dataset import Dataset, write_dataset
from thyroid.evaluate.paired import macro_f1_difference
from thyroid.execution.in_process import bring_about, in_process, opened
from thyroid.recipe import Recipe
from thyroid.run_files.predictions_csv import ARTIFACT, read_predictions
from thyroid.runs.experiment import Experiment
from thyroid.runs.final_evaluation import evaluate
from thyroid.runs.run_folder import at_work
from thyroid.storage.store import Store


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


DRAWS = 3
"""If nothing is learned, p is below 0.05 in one of 20 draws, and in all of three draws once in
8,000."""


def shuffled(dataset: Dataset, folder: Path, draw: int = 0) -> Dataset:
    """The same images, with labels exchanged among patients."""
    images = dataset.images.copy()
    patients = list(dict.fromkeys(images["patient_id"]))
    other = dict(zip(patients, np.random.default_rng(draw).permutation(patients), strict=True))
    label = images.groupby("patient_id", sort=False)["label"].first()
    images["label"] = images["findings"] = images["patient_id"].map(other).map(label)
    about = {f.name: getattr(dataset.info, f.name) for f in dataclasses.fields(dataset.info)}
    for derived in ("sha256", "format_version"):
        del about[derived]
    return write_dataset(folder, **about, images=images, counts=dataset.counts)


def reported(
    dataset: Dataset, recipe: Recipe, run: Path, seeds: int = 2
) -> tuple[dict[str, Any], str]:
    """A run's numbers, and its page."""
    experiment = Experiment(dataset=dataset, recipe=recipe, seeds=range(seeds))
    with at_work(run, experiment, "train", None) as store:
        evaluate(run, experiment, store, in_process(store, {dataset.digest: dataset.folder}))
    page = write_report(run)
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


@pytest.mark.processors
def test_with_shuffled_labels_nothing_is_learned_and_the_report_says_so(
    tmp_path: Path, measured: Callable[..., None]
) -> None:
    toy = write_toy(tmp_path / "toy", images=180)
    for draw in range(DRAWS):
        dataset = shuffled(toy, tmp_path / f"shuffled-{draw}", draw)
        info, page = reported(dataset, toy_generators(), tmp_path / f"run-{draw}", seeds=5)
        if info["results"]["chance"]["p_value"] > 0.05:
            break
    verdict, reached = info["verdict"], info["results"]["overall"]["macro_f1"]["value"]
    measured("macro-F1 from chance", abs(reached - 1 / 3), below=0.12)
    without = info["synthetic_gain"]["without_synthetic"]
    measured("without synthetic", abs(without - 1 / 3), below=0.12)
    assert not verdict["learned"]
    assert verdict_line(verdict).startswith("nothing was learned: ")
    first = page[page.index('id="verdict"') :]
    assert "Nothing was learned" in first[: first.index("</p>")]
    assert " does not tell " in page
    assert " tells " not in first
    assert "It is surest of" not in page
    assert "Synthetic images raised" not in page


@pytest.mark.processors
@pytest.mark.parametrize("name", ["lenet5", "resnet_small"])
def test_no_network_learns_shuffled_labels(
    name: str, tmp_path: Path, measured: Callable[..., None]
) -> None:
    """The counterpart: each network learns the true labels.

    If nothing is learned, the p-value may be any number, and is below 0.05 once in twenty. So the
    figures themselves are compared with chance: on 36 images they vary by 0.08.
    """
    toy = write_toy(tmp_path / "toy", images=180)
    more = {"schedule__constant_epochs": 8, "optimiser__learning_rate": 0.003}
    recipe = toy_recipe(network__name=name, network__width=4, **more)
    true, _ = reported(toy, recipe, tmp_path / "true")
    false, _ = reported(shuffled(toy, tmp_path / "shuffled"), recipe, tmp_path / "false")
    for labels, info in (("true", true), ("shuffled", false)):
        chance = info["results"]["chance"]["macro_f1"]
        above_chance = info["results"]["overall"]["macro_f1"]["value"] - chance
        limit = {"above": 0.25} if labels == "true" else {"below": 0.25}
        measured(f"macro-F1 above chance, {labels} labels, {name}", above_chance, **limit)
    assert true["verdict"]["learned"]


@pytest.mark.processors
def test_images_that_cannot_help_are_not_said_to(
    tmp_path: Path, measured: Callable[..., None]
) -> None:
    """Without synthetic images, the network is right about every image."""
    dataset = write_toy(tmp_path / "toy", images=180)
    more = {"schedule__constant_epochs": 5, "optimiser__learning_rate": 0.003}
    info, page = reported(dataset, toy_generators(**more), tmp_path / "run", seeds=5)
    assert info["verdict"]["learned"]
    assert "Nothing was learned" not in page
    measured("macro-F1 without", info["synthetic_gain"]["without_synthetic"], above=0.98)
    assert info["verdict"]["synthetic"]["state"] in ("undecided", "lowered")


@pytest.mark.processors
def test_two_equal_methods_are_told_apart_one_time_in_twenty_at_most(
    tmp_path: Path, measured: Callable[..., None]
) -> None:
    """The same recipe against itself, trained with ten seeds: five, and five others."""
    repetitions, differ = 20, 0
    dataset = write_toy(tmp_path / "toy", images=60)
    tested = write_toy(tmp_path / "tested", images=60, seed=1)
    recipe = toy_recipe(
        network__name="lenet5",
        split__test=0.0,
        schedule__constant_epochs=1,
        schedule__warmup_epochs=0,
        schedule__decay_epochs=0,
    )
    store = Store(tmp_path / "store")
    where = {each.digest: each.folder for each in (dataset, tested)}
    experiment = Experiment(
        dataset=dataset, recipe=recipe, seeds=range(10 * repetitions), test_set=tested
    )
    stages = [s for s in experiment.predictions() if s.config.part == "all"]
    bring_about(stages, in_process(store, where))
    found = [read_predictions(opened(s, store) / ARTIFACT, tested.info.classes) for s in stages]
    named = np.stack([each.probabilities.argmax(axis=1) for each in found])  # (10 R, N)
    spread = [float(np.mean(row == found[0].labels)) for row in named]
    measured("spread", np.std(spread), above=0.02)  # seeds do differ
    measured("least accuracy", np.mean(spread), above=0.5)
    measured("most accuracy", np.mean(spread), below=0.95)

    def shown(first: Sequence[int], second: Sequence[int]) -> bool:
        patients = tested.images["patient_id"].to_numpy(dtype=str)
        difference = macro_f1_difference(
            found[0].labels, named[first], named[second], patients, classes=3
        )
        return difference.p_value <= 0.05

    for i in range(repetitions):
        ten = list(range(10 * i, 10 * i + 10))
        differ += shown(ten[:5], ten[5:])
    measured("told apart", differ, below=binom.ppf(0.95, repetitions, 0.05) + 1)
