import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thyroid.configuration import from_json, to_json
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, SplitConfig, for_data, override

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
        ({"mixing.synthetic_share": 1.5}, "mixing.synthetic_share is 1.5"),
        ({"mixing.cross_share": -0.1}, "mixing.cross_share is -0.1 but must be from 0 to 1"),
        ({"mixing.cross_share": "half"}, "cross_share is 'half' but must be"),
        ({"dcgan.normalisation": "none"}, "normalisation is 'none' but must be spectral, batch"),
        ({"dcgan.loss": "bce"}, "loss is 'bce' but must be hinge, non_saturating"),
        ({"dcgan.steps_per_epoch": 0}, "dcgan.steps_per_epoch is 0"),
        ({"dcgan.augmentation": float("nan")}, "dcgan.augmentation is nan"),
        ({"srgan.scale": 3}, "scale is 3 but must be 1, 2, 4"),
        ({"input.size": True}, "size is True but must be int"),
        ({"cross.share": True}, "share is True but must be float"),
        ({"srgan.pixel_epochs": 0}, "srgan.adversarial_epochs needs a network to start from"),
        ({"synthesis.rejection": 0.0}, "synthesis.rejection is 0.0"),
        ({"synthesis.crosses": None}, "crosses is None but must be str"),
        ({"network.cross_feature": "image"}, "must be none, input, stem, context"),
        ({"cross.order": "first"}, "order is 'first' but must be mixed, retrain, never"),
        ({"cross.ramp": "steep"}, "must be constant, linear, cosine"),
        ({"cross.trainable": "none"}, "must be all, last_stages, head"),
        ({"cross.epochs": 0}, "cross.epochs is 0"),
        ({"cross.share": 0.0}, "cross.share is 0.0 but must be from 0.01 to 1"),
        ({"cross.rehearsal": 1.5}, "cross.rehearsal is 1.5"),
        ({"cross.rate": 0.0}, "cross.rate is 0.0"),
        ({"cross.secondary": 0.6}, "cross.secondary is 0.6 but must be from 0 to 0.5"),
        ({"cross.synthetic": 0.6, "cross.superposed": 0.5}, "together they must not exceed 1"),
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


def test_synthetic_images_are_used_where_a_share_says_so() -> None:
    assert not Recipe().synthetic
    for name in ("synthetic_share", "final_share"):
        assert override(Recipe(), {f"mixing.{name}": 0.1}).synthetic
    for order, used in [("mixed", False), ("never", False), ("retrain", True)]:
        assert override(Recipe(), {"cross.synthetic": 0.1, "cross.order": order}).synthetic == used


@pytest.mark.parametrize("name", ["mixing.cross_share", "mixing.synthetic_share"])
def test_0_and_0_point_0_are_one_setting(name: str) -> None:
    whole, real = (override(Recipe(), {name: value}) for value in (0, 0.0))
    assert json.dumps(to_json(whole)) == json.dumps(to_json(real))


def test_the_published_dcgan_can_be_asked_for() -> None:
    published = {
        "input.size": 64,
        "srgan.scale": 1,
        "dcgan.width": 128,
        "dcgan.normalisation": "batch",
        "dcgan.loss": "non_saturating",
        "dcgan.augmentation": 0.0,
        "dcgan.ema_images": 0,
        "dcgan.generator_rate": 2e-4,
        "dcgan.discriminator_rate": 2e-4,
    }
    gan = override(Recipe(), published).dcgan
    assert gan.generator_rate == gan.discriminator_rate == 2e-4
    assert gan.latent == 100


def test_synthetic_crosses_need_crosses() -> None:
    small = RECIPES["small"]()
    assert small.mixing.cross_share == 1
    assert for_data(small, "counts", crosses=True) == small
    without = for_data(small, "counts", crosses=False)
    assert not without.synthetic
    asked = override(small, {"synthesis.crosses": "graves+cold_nodule"})
    assert for_data(asked, "counts", crosses=False) == asked
    some = override(small, {"mixing.cross_share": 0.5})
    fitting = for_data(some, "counts", crosses=False)
    assert (fitting.mixing.synthetic_share, fitting.mixing.cross_share) == (0.2, None)


def test_a_choice_written_as_another_number_is_the_choice() -> None:
    assert to_json(override(Recipe(), {"srgan.scale": 4.0})) == to_json(
        override(Recipe(), {"srgan.scale": 4})
    )
    assert isinstance(override(Recipe(), {"srgan.scale": 4.0}).srgan.scale, int)


@pytest.mark.parametrize("order", ["retrain", "never", "mixed"])
def test_without_crosses_there_is_no_cross_phase(order: str) -> None:
    recipe = override(Recipe(), {"cross.order": order, "cross.synthetic": 0.5})
    assert for_data(recipe, "counts", crosses=True) == recipe
    fitting = for_data(recipe, "counts", crosses=False)
    assert fitting.cross.order == "mixed"
    assert not fitting.synthetic
    asked = override(recipe, {"synthesis.crosses": "graves+cold_nodule"})
    assert for_data(asked, "counts", crosses=False) == asked


def test_pictures_are_not_superposed() -> None:
    recipe = override(Recipe(), {"cross.superposed": 0.5})
    assert for_data(recipe, "counts", crosses=True).cross.superposed == 0.5
    assert for_data(recipe, "display", crosses=True).cross.superposed == 0


def test_the_published_protocol_is_a_recipe() -> None:
    """100 epochs, an improved ResNet, both generators, single images first."""
    paper = RECIPES["paper"]()
    assert paper.schedule.epochs == 100
    assert paper.network.name.startswith("resnet")
    assert paper.network.cross_feature != "none"
    assert (paper.cross.order, paper.synthetic) == ("retrain", True)
    assert paper.srgan.scale > 1


def test_counts_are_not_windowed_and_pictures_not_thinned() -> None:
    both = override(Recipe(), {"augmentation.windowing": 0.5, "augmentation.thinning": 0.5})
    counts, pictures = (for_data(both, kind, crosses=True) for kind in ("counts", "display"))
    assert (counts.augmentation.windowing, counts.augmentation.thinning) == (0.0, 0.5)
    assert (pictures.augmentation.windowing, pictures.augmentation.thinning) == (0.5, 0.0)
