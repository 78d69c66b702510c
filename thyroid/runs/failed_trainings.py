"""Trainings that failed: which ones, why, and their repetition at a lower learning rate.

A network whose training failed is no fair opponent: its row is reported as failed, and does not
count as beaten. Only validation images decide whether a training failed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from thyroid import pipeline
from thyroid.execution.in_process import Runner, bring_about, reread
from thyroid.progress import say
from thyroid.recipe import override
from thyroid.run_files.rows_json import FailedTraining, Failure
from thyroid.runs.compared_recipes import Row
from thyroid.runs.experiment import Experiment
from thyroid.stage import Stage
from thyroid.storage.store import Store

SLOWER = 0.1
"""Factor on the learning rate of a row with a failed training."""
LEAST = 1e-8
"""Lowest learning rate that a recipe may have."""
FIRST = 0.1
"""Share of a training's epochs that count as its first ones."""
FEWEST_EPOCHS = 10
"""In a training with fewer epochs, the last epoch is not compared with the first ones."""
WORDS: dict[Failure, str] = {
    "diverged": "the loss was not a number",
    "chance": "no better than chance",
    "start": "no better than in the first epochs",
}


def why_failed(macro_f1: Sequence[float], classes: int, *, from_weights: bool) -> Failure | None:
    """Return why a training failed, from the validation macro-F1 of each epoch; None: it did not.

    Random answers have a mean macro-F1 of at most 1 / classes: if a class is a share p of the
    images and q of the answers, its F1 is 2 p q / (p + q) <= (p + q) / 2, and each of p and q adds
    up to 1 over the classes.

    Parameters
    ----------
    macro_f1 : (epochs,)
    from_weights : True: the network started from given weights, and may have been as good at once
    """
    if macro_f1[-1] <= 1 / classes:
        return "chance"
    first = macro_f1[: math.ceil(FIRST * len(macro_f1))]
    if from_weights or len(macro_f1) < FEWEST_EPOCHS or macro_f1[-1] > np.mean(first):
        return None
    return "start"


def failed_trainings(experiment: Experiment, store: Store) -> tuple[FailedTraining, ...]:
    """Return the failed trainings of a recipe; a probe has none."""
    recipe, digest = experiment.recipe, experiment.dataset.digest
    if recipe.training == "probe":
        return ()
    found = []
    for seed, fold in experiment.networks:
        segments = pipeline.classifier(recipe.in_fold(fold), digest, seed)
        folders = [store.open(segment.key) for segment in segments]
        curve = [m["validation_macro_f1"] for f in folders if f is not None for m in reread(f)]
        reason: Failure | None = "diverged"
        if None not in folders:
            classes = len(experiment.dataset.info.classes)
            reason = why_failed(curve, classes, from_weights=recipe.network.weights is not None)
        if reason is not None:
            found.append(FailedTraining(seed=seed, fold=fold, reason=reason))
    return tuple(found)


def train_rows(
    wanted: Sequence[Stage], method: Experiment, store: Store, tolerant: Runner, strict: Runner
) -> None:
    """Make the stages of a comparison; skip those that diverge, unless the method needs them.

    Parameters
    ----------
    tolerant : runner that skips stages that cannot be made
    strict : runner that raises their errors

    Raises
    ------
    StageFailed
        When a network of the method diverges, or any stage fails for another reason.
    """
    bring_about(wanted, tolerant)
    needed = {stage.key for stage in method.stages()}
    missing = [
        stage
        for stage in wanted
        if store.open(stage.key) is None and (stage.key in needed or not _diverged(stage, store))
    ]
    if missing:
        bring_about(missing, strict)


def _diverged(stage: Stage, store: Store) -> bool:
    return any(store.failure(step.key) is not None for step in stage.lineage())


def repeated(
    rows: Sequence[Row], method: Experiment, store: Store, runner: Runner
) -> tuple[list[Row], dict[str, list[Stage]]]:
    """Repeat the trainings of each row, except the method's, of which a training failed, at a tenth
    of the learning rate; the repetition replaces the row if fewer trainings fail.

    Returns
    -------
    rows
        The rows, in the same order.
    needs
        Stages of the repetitions, by their names.
    """
    networks = len(method.networks)
    failed = {row.name: failed_trainings(method.of(row.recipe), store) for row in rows}
    slower = {
        row.name: override(
            row.recipe,
            {"optimiser.learning_rate": max(LEAST, SLOWER * row.recipe.optimiser.learning_rate)},
        )
        for row in rows
        if row.kind == "baseline" and failed[row.name]
    }
    for row in rows:
        if failed[row.name]:
            then = "; training again at a tenth of it" if row.name in slower else ""
            rate = f"at learning rate {row.recipe.optimiser.learning_rate:.2g}"
            say(f"{row.title}: {_sentence(failed[row.name], networks)} {rate}{then}")
    needs = {
        f"{name}, at a tenth of the learning rate": method.of(recipe).predictions()
        for name, recipe in slower.items()
    }
    if needs:
        bring_about([stage for stages in needs.values() for stage in stages], runner)
    final = []
    for row in rows:
        if row.name in slower:
            before, recipe = len(failed[row.name]), slower[row.name]
            again = failed_trainings(method.of(recipe), store)
            say(f"{row.title}: {_sentence(again, networks)} at a tenth of the learning rate")
            kept = recipe if len(again) < before else row.recipe
            row = dataclasses.replace(row, recipe=kept, failed_at_first=before)
        final.append(row)
    return final, needs


def _sentence(failed: Sequence[FailedTraining], networks: int) -> str:
    if not failed:
        return f"none of {networks} trainings failed"
    reasons = ", ".join(sorted({WORDS[each.reason] for each in failed}))
    return f"{len(failed)} of {networks} trainings failed ({reasons})"
