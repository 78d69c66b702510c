"""Recipes that a comparison tries for each row, and the recipe that it chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

import tune_spaces
from tests.runs.test_compared_recipes import FIXED, paper, trained
from tests.toy import toy_generators
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.run_files.predictions_csv import COLUMNS, Predictions
from thyroid.runs.compared_recipes import (
    baseline_rows,
    candidates,
    changes_of,
    chosen,
    method_row,
)
from thyroid.space import load_space


def test_every_network_is_tried_with_the_same_proposals() -> None:
    space = load_space("baselines")
    rows = [method_row(paper()), *baseline_rows(paper(), ("lenet5", "resnet50"))]
    tried = [candidates(row, space, 8) for row in rows]
    assert [of_row[0] for of_row in tried] == [row.recipe for row in rows]
    changed = [
        [changes_of(row.recipe, recipe) for recipe in of_row]
        for row, of_row in zip(rows, tried, strict=True)
    ]
    assert changed[0] == changed[1] == changed[2]
    assert changed[0][0] == {}
    assert len(changed[0]) == len(set(tried[0])) == 8
    fields = {field for change in changed[0] for field in change}
    assert fields == {
        "optimiser.learning_rate",
        "optimiser.weight_decay",
        *(f"augmentation.{name}" for name in ("rotation_deg", "shift", "zoom", "anisotropy")),
    }


@pytest.mark.parametrize("number", [4, 8, 16])
def test_proposals_leave_out_no_part_of_a_range(number: int) -> None:
    """Each stratum of the learning rate gets one proposal, and the default recipe is tried, too."""
    (row,) = baseline_rows(paper(), ("lenet5",))
    proposed = candidates(row, load_space("baselines"), number)[1:]
    for field, low, high in (("learning_rate", 1e-4, 1e-2), ("weight_decay", 0.01, 0.2)):
        values = np.array([getattr(recipe.optimiser, field) for recipe in proposed])
        place = np.log(values / low) / np.log(high / low)
        assert sorted((place * (number - 1)).astype(int)) == list(range(number - 1))
    turned = [recipe.augmentation.rotation_deg for recipe in proposed]
    times = [turned.count(degrees) for degrees in set(turned)]
    assert len(times) == 3
    assert max(times) - min(times) <= 1


def test_one_trial_is_the_recipe_itself() -> None:
    assert candidates(method_row(paper()), load_space("baselines"), 1) == [paper()]


def test_a_method_that_a_search_chose_among_as_many_stays_as_it_is() -> None:
    space = load_space("baselines")
    assert candidates(method_row(paper(), searched=8), space, 8) == [paper()]
    assert len(candidates(method_row(paper(), searched=7), space, 8)) == 8


SPACES = sorted(p.stem for p in Path(str(tune_spaces.__file__)).parent.glob("[a-z]*.py"))


BASES = {
    "toy": toy_generators(network__name="resnet_small"),
    "small": override(RECIPES["small"](), FIXED),
    "paper": paper(),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", SPACES)
def test_no_space_makes_a_baseline_of_another_kind_or_another_length(name: str, base: str) -> None:
    method, space = BASES[base], load_space(name)
    for row in [method_row(method), *baseline_rows(method, ("lenet5", "resnet_small"))]:
        for number in (4, 12, 40):
            for recipe in candidates(row, space, number):
                for same in ("split", "schedule", "execution"):
                    assert getattr(recipe, same) == getattr(method, same)
                assert recipe.optimiser.batch_size == method.optimiser.batch_size
                assert recipe.input.size == method.input.size
                assert recipe.network.name == row.recipe.network.name
                if row.kind == "baseline":
                    assert not recipe.synthetic
                    assert (recipe.cross.order, recipe.cross.secondary) == ("mixed", 0.0)
                    assert recipe.network.cross_feature == "none"
                    fields = set(changes_of(row.recipe, recipe))
                    assert {field.partition(".")[0] for field in fields} <= {
                        "optimiser",
                        "augmentation",
                    }


def test_recipes_that_train_the_same_network_count_once() -> None:
    """A space for the cross phase does not change a plain network."""
    method = method_row(BASES["small"])
    (plain,) = baseline_rows(method.recipe, ("lenet5",))
    space = load_space("cross_training")
    assert candidates(plain, space, 8) == [plain.recipe]
    tried = candidates(method, space, 8)
    assert len({trained(recipe) for recipe in tried}) == len(tried) > 4


def test_a_space_changes_nothing_of_a_probe() -> None:
    """Only one recipe is tried, so there is no other training."""
    method = override(RECIPES["small"](), FIXED)
    (own,) = baseline_rows(method, (), probe=True)
    assert candidates(own, load_space("baselines"), 8) == [own.recipe]

    def back(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        return override(recipe, {"training": "network"})

    assert candidates(own, back, 8) == [own.recipe]


def predicted(right: int, lost: int = 0) -> Predictions:
    """Predictions for 120 images of three classes, one per patient: the first `right` images,
    except the first `lost` of them, are right; all others are taken for the next class.
    """
    image = np.arange(120)
    truth = image % 3
    named = np.where((image < right) & (image >= lost), truth, (truth + 1) % 3)
    rows = [[f"i{i}", f"p{i}", "c", "abc"[c], "abc"[c]] for i, c in zip(image, truth, strict=True)]
    return Predictions(
        classes=("a", "b", "c"),
        images=pd.DataFrame(rows, columns=COLUMNS),
        probabilities=np.eye(3)[named],
    )


def test_a_proposal_is_taken_where_it_is_better_by_more_than_a_standard_error() -> None:
    """With g images gained and l lost, the difference is g - l and its error sqrt(g + l)."""
    own = predicted(90)
    assert chosen([own, predicted(96, lost=4)]) == 0  # 2 +- 3.2
    assert chosen([own, predicted(99)]) == 1  # 9 +- 3
    assert chosen([own, predicted(99, lost=3)]) == 1  # 6 +- 3.5
    assert chosen([own, predicted(94), predicted(99), predicted(20)]) == 2
    assert chosen([own, predicted(80)]) == 0
    assert chosen([own]) == 0


def test_a_recipe_that_could_not_be_trained_is_not_taken() -> None:
    assert chosen([predicted(90), None]) == 0
    assert chosen([None, predicted(20), predicted(21), None]) == 2
    assert chosen([None, None]) is None
