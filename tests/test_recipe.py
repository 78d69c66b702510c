import pytest
from hypothesis import given
from hypothesis import strategies as st

from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, SplitConfig, from_json, override, to_json

EPOCHS = ("schedule.warmup_epochs", "schedule.constant_epochs", "schedule.decay_epochs")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert from_json(Recipe, to_json(recipe)) == recipe


def test_override_replaces_one_field_and_nothing_else() -> None:
    changed = override(Recipe(), {"input.size": 32})
    assert changed.input.size == 32
    assert override(changed, {"input.size": Recipe().input.size}) == Recipe()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input.sise": 32}, "no field 'input.sise'"),
        ({"input": {"sise": 3}}, "no field 'sise'"),
        ({"input.size": 3}, "input.size is 3 but must be from 16"),
        ({"input.size": "64"}, "size is '64' but must be int"),
        ({"input.normalisation": "none"}, "must be sqrt_mean, log_mean, mean, maximum"),
        ({"network.width": 2.5}, "width is 2.5"),
        ({"optimiser.learning_rate": 0.0}, "optimiser.learning_rate is 0.0"),
        (dict.fromkeys(EPOCHS, 0), "schedule.epochs is 0"),
        ({"split.validation": 0.6, "split.test": 0.5}, "leave no patient"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        override(Recipe(), changes)


@given(st.floats(0.01, 0.9), st.floats(0, 0.9))
def test_a_split_leaves_patients_to_train_on(validation: float, test: float) -> None:
    if validation + test < 1:
        assert SplitConfig(validation=validation, test=test).test == test
    else:
        with pytest.raises(InputError):
            SplitConfig(validation=validation, test=test)
