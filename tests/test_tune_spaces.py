"""Every proposal of every space can be trained, whatever recipe it starts from."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import RECIPES, FineTuningConfig, Recipe, override
from thyroid.space import load_space


def proposals(name: str, base: Recipe) -> list[Recipe]:
    """A hundred random proposals."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = []
    for _ in range(100):
        trial = study.ask()
        proposed.append(load_space(name)(trial, base))
        study.tell(trial, 0.0)
    return proposed


def schedule(warmup: int, constant: int, decay: int, segment: int) -> dict[str, Any]:
    names = ("warmup", "constant", "decay", "segment")
    return {
        f"schedule__{name}_epochs": epochs
        for name, epochs in zip(names, (warmup, constant, decay, segment), strict=True)
    }


@pytest.mark.parametrize(
    "epochs",
    [(2, 0, 4, 2), (0, 0, 4, 2), (2, 0, 0, 2), (0, 1, 0, 1), (0, 5, 0, 1), (0, 3, 0, 2)],
)
@pytest.mark.parametrize("name", ["augmentation", "cross_training", "joint"])
def test_of_any_schedule(name: str, epochs: tuple[int, int, int, int]) -> None:
    base = toy_recipe(**schedule(*epochs))
    proposed = proposals(name, base)
    for recipe in set(proposed):
        segments = pipeline.classifier(recipe, "0" * 64, 0)
        assert sum(stage.config.epochs for stage in segments) == recipe.schedule.epochs
        if recipe.cross.order == "retrain":
            assert (segments[0].config.phase, segments[-1].config.phase) == ("single", "cross")
    constant = {recipe.schedule.constant_epochs for recipe in proposed}
    if not base.schedule.constant_epochs:
        assert constant == {0}
    elif name != "augmentation":
        one_epoch = epochs == (0, 1, 0, 1)
        orders = {recipe.cross.order for recipe in proposed}
        assert ("retrain" in orders) == (not one_epoch and epochs != (0, 5, 0, 1))


@pytest.mark.parametrize(
    ("synthetic", "superposed"),
    [(0.0, {0.0, 0.25, 0.5}), (0.5, {0.0, 0.25, 0.5}), (0.75, {0.0, 0.25}), (0.9, {0.0})],
)
@pytest.mark.parametrize("name", ["cross_training", "joint"])
def test_of_any_share_of_synthetic_crosses(
    name: str, synthetic: float, superposed: set[float]
) -> None:
    base = toy_recipe(cross__synthetic=synthetic)
    retraining = [recipe for recipe in proposals(name, base) if recipe.cross.order == "retrain"]
    assert {recipe.cross.superposed for recipe in retraining} == superposed


def test_fine_tuning_is_searched_for_where_there_are_weights() -> None:
    base = toy_recipe(network__weights="e" * 64, **schedule(2, 8, 4, 2))
    found = proposals("transfer", base)
    assert {recipe.fine_tuning.frozen_epochs for recipe in found} == {0, 4, 6}
    assert {recipe.fine_tuning.rate for recipe in found} == {1.0, 0.3, 0.1, 0.03}
    assert {recipe.fine_tuning.statistics for recipe in found} == {"learned", "kept"}
    assert {recipe.fine_tuning.rates for recipe in found} == {"equal", "graded"}
    graded = [recipe.fine_tuning for recipe in found if recipe.fine_tuning.rates == "graded"]
    assert 1.0 not in {tuning.rate for tuning in graded}
    for recipe in set(found):
        segments = pipeline.classifier(recipe, "0" * 64, 0)
        assert sum(stage.config.epochs for stage in segments) == recipe.schedule.epochs
        frozen = [stage.config.epochs for stage in segments if stage.config.pretrained_rate == 0]
        assert sum(frozen) == recipe.fine_tuning.frozen_epochs
    without = proposals("transfer", toy_recipe())
    assert {recipe.fine_tuning for recipe in without} == {FineTuningConfig()}
    assert len(set(without)) > 3


FIXED = {"execution.precision": "fp32", "execution.device": "cpu"}
BASES = {
    "toy": toy_generators(network__name="resnet_small"),
    "plain": toy_recipe(network__name="lenet5", schedule__warmup_epochs=0),
    "small": override(RECIPES["small"](), FIXED),
    "paper": override(RECIPES["paper"](), FIXED),
    "published": override(RECIPES["small"](), FIXED | {"network.name": "vgg16"}),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["cross_training", "baselines", "joint"])
def test_of_any_recipe(name: str, base: str) -> None:
    recipe = BASES[base]
    proposed = proposals(name, recipe)
    residual = NETWORKS[recipe.network.name].residual
    for changed in set(proposed):
        segments = pipeline.classifier(changed, "0" * 64, 0)
        assert sum(stage.config.epochs for stage in segments) == changed.schedule.epochs
        source, trainable = changed.network.cross_feature, changed.cross.trainable
        assert residual or (source, trainable) == ("none", "all")
        assert changed.network.name == recipe.network.name
        if changed.cross.order == "retrain":
            assert (segments[0].config.phase, segments[-1].config.phase) == ("single", "cross")
    if name in ("cross_training", "joint"):
        assert {changed.cross.order for changed in proposed} == {"retrain", "mixed"}
        sources = {changed.network.cross_feature for changed in proposed}
        assert sources == ({"none", "input", "stem", "context"} if residual else {"none"})


def test_trials_of_cross_training_share_their_single_phases() -> None:
    """The lengths are multiples of a segment: a hundred trials need a few constant segments."""
    recipe = BASES["small"]
    single = {
        stage.key: stage.config.epochs
        for proposed in proposals("cross_training", recipe)
        for stage in pipeline.classifier(proposed, "0" * 64, 0)
        if stage.config.phase == "single"
    }
    most = recipe.schedule.constant_epochs // recipe.schedule.segment_epochs
    assert len(single) == 1 + most  # warm-up, and each constant segment once
    assert set(single.values()) == {
        recipe.schedule.warmup_epochs,
        recipe.schedule.segment_epochs,
    }
