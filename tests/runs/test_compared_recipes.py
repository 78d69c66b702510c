"""Rows of a comparison, the recipes it tries; the spaces' proposals can be trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

import tune_spaces
from tests.toy import toy_generators, toy_recipe, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.networks.build import BASELINES, PUBLISHED, build
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import RECIPES, NetworkConfig, Recipe, override
from thyroid.run_files.predictions_csv import COLUMNS, Predictions
from thyroid.runs.compared_recipes import (
    ABLATIONS,
    ablation_rows,
    baseline_rows,
    candidates,
    changes_of,
    chosen,
    method_row,
    named_models,
)
from thyroid.runs.experiment import Experiment
from thyroid.runs.preflight import preflight
from thyroid.space import load_space

DIGEST = "d" * 64


def check(dataset: Dataset, recipe: Recipe, test_set: Dataset | None = None) -> None:
    preflight(Experiment(dataset=dataset, recipe=recipe, seeds=[0], test_set=test_set))


FIXED = {"execution.precision": "fp32", "execution.device": "cpu"}


def paper(**changes: Any) -> Recipe:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return override(RECIPES["paper"](), FIXED | dotted)


def trained(recipe: Recipe) -> str:
    return pipeline.classifier(recipe, DIGEST, 0)[-1].key


# Rows


def test_the_methods_own_network_starts_from_the_same_weights() -> None:
    method = paper(network__weights="a" * 64)
    files = {"a" * 64: "own.safetensors"}
    own, other = baseline_rows(method, ("resnet_small", "lenet5"), files=files)
    assert own.recipe.network.weights == "a" * 64
    assert own.recipe.network.cross_feature == "none"
    assert own.name == "resnet_small-own"
    assert own.title == f"{NETWORKS['resnet_small'].title} · fine-tuned · own.safetensors"
    assert other.recipe.network.weights is None
    assert (other.name, other.title) == ("lenet5", "LeNet-5")


def test_a_row_starts_from_the_weights_that_it_names() -> None:
    method = paper(optimiser__learning_rate=1e-3)
    files = {"a" * 64: "image net.v1.pth", "b" * 64: "own.safetensors"}
    pretrained = [NetworkConfig(name="resnet18", weights=digest) for digest in files]
    rows = baseline_rows(method, ("resnet18",), pretrained, files)
    assert [row.name for row in rows] == ["resnet18", "resnet18-image-net-v1", "resnet18-own"]
    assert [row.title for row in rows] == [
        "ResNet-18",
        "ResNet-18 · fine-tuned · image net.v1.pth",
        "ResNet-18 · fine-tuned · own.safetensors",
    ]
    plain = rows[0].recipe
    for row, digest in zip(rows[1:], files, strict=True):
        assert row.kind == "baseline"
        assert changes_of(plain, row.recipe) == {"network.weights": digest}  # the same budget
        first = pipeline.classifier(row.recipe, DIGEST, 0)[0]
        assert first.inputs["weights"].dataset == digest
    with pytest.raises(InputError, match="two rows called resnet18-own: rename one of the files"):
        baseline_rows(method, (), pretrained, dict.fromkeys(files, "own.pth"))


@pytest.mark.parametrize("weights", [None, "c" * 64])
def test_a_probe_is_of_the_methods_start_and_of_each_pretrained_network(
    weights: str | None,
) -> None:
    method = paper(network__weights=weights, network__width=8)
    files = {"a" * 64: "imagenet.pth"} | ({} if weights is None else {weights: "own.pth"})
    pretrained = [NetworkConfig(name="resnet18", weights="a" * 64)]
    tuned, own, other = baseline_rows(method, (), pretrained, files, probe=True)
    assert tuned.recipe.training == "network"
    start = "random weights" if weights is None else "own.pth"
    assert own.title == f"{NETWORKS['resnet_small'].title} · probe · {start}"
    assert own.name == ("probe-resnet_small" if weights is None else "probe-resnet_small-own")
    assert (own.recipe.network.width, own.recipe.network.weights) == (8, weights)
    assert (other.name, other.title) == (
        "probe-resnet18-imagenet",
        "ResNet-18 · probe · imagenet.pth",
    )
    for row in (own, other):
        assert row.kind == "baseline"
        final = pipeline.classifier(row.recipe, DIGEST, 0)[-1]
        found = {stage.kind for stage in final.lineage()} - {"weights"}
        assert found == {"split", "probe"}
        for kept in ("split", "input", "augmentation", "views"):
            assert getattr(row.recipe, kept) == getattr(method, kept)
        assert row.recipe.allowed_views == method.allowed_views


def test_a_space_changes_nothing_of_a_probe() -> None:
    """There is one recipe to try, and no other training."""
    method = override(RECIPES["small"](), FIXED)
    (own,) = baseline_rows(method, (), probe=True)
    assert candidates(own, load_space("baselines"), 8) == [own.recipe]

    def back(trial: optuna.Trial, recipe: Recipe) -> Recipe:
        return override(recipe, {"training": "network"})

    assert candidates(own, back, 8) == [own.recipe]


def test_networks_are_compared_with_a_method_that_is_a_probe() -> None:
    method = override(RECIPES["small"](), FIXED | {"training": "probe"})
    (row,) = baseline_rows(method, ("lenet5",))
    assert row.recipe.training == "network"
    assert ablation_rows(method) == []


def test_names_of_networks() -> None:
    assert named_models("small").names == BASELINES
    assert named_models("published").names == PUBLISHED
    assert named_models("none").names == ()
    assert named_models("lenet5, vgg_small,lenet5").names == ("lenet5", "vgg_small")
    assert named_models("lenet5,small").names[:2] == ("lenet5", BASELINES[0])
    assert [named_models(asked).probe for asked in ("small,probe", "none, probe", "small")] == [
        True,
        True,
        False,
    ]
    given = named_models("probe,resnet18=/home/me/a=b.pth,vgg16=w.pth")
    assert given.pretrained == (("resnet18", "/home/me/a=b.pth"), ("vgg16", "w.pth"))
    assert given.names == ()
    assert given.asked == "probe,resnet18=a=b.pth,vgg16=w.pth"
    for unknown in ("resnet19", "lenet5,", "resnet19=w.pth", "probe=w.pth", "small=w.pth"):
        with pytest.raises(InputError, match=r"--models names '.*': choose small, published, none"):
            named_models(unknown)


@pytest.mark.parametrize("names", [BASELINES, PUBLISHED])
def test_a_baseline_is_a_plain_network_with_all_else_as_in_the_method(
    names: tuple[str, ...],
) -> None:
    method = paper(
        network__width=32,
        cross__secondary=0.25,
        optimiser__weight_average=0.95,
        views="shifts",
    )
    rows = baseline_rows(method, names)
    assert [row.name for row in rows] == list(names)
    for row in rows:
        assert (row.kind, row.title) == ("baseline", NETWORKS[row.name].title)
        assert row.recipe.network.width == (32 if row.name == method.network.name else None)
        assert not row.recipe.synthetic
        final = pipeline.classifier(row.recipe, DIGEST, 0)[-1]
        assert {stage.kind for stage in final.lineage()} == {"split", "classifier"}
        assert {s.config.phase for s in final.lineage() if s.kind == "classifier"} == {"mixed"}
        assert final.config.secondary == 0
        for kept in ("split", "input", "augmentation", "optimiser", "schedule", "execution"):
            assert getattr(row.recipe, kept) == getattr(method, kept)
        assert row.recipe.optimiser.weight_average == 0.95
        assert row.recipe.allowed_views == "shifts"


def test_the_method_is_the_first_row() -> None:
    row = method_row(paper())
    assert (row.name, row.kind, row.recipe) == ("method", "method", paper())
    assert changes_of(row.recipe, row.recipe) == {}


def test_ablations_of_the_published_method() -> None:
    method = paper(cross__secondary=0.25, cross__superposed=0.25)
    rows = {row.name: row for row in ablation_rows(method)}
    assert set(rows) == set(ABLATIONS) - {"x-input", "random-start"}  # which the method has
    assert len({trained(row.recipe) for row in rows.values()} | {trained(method)}) == len(rows) + 1
    assert all(row.kind == "ablation" for row in rows.values())
    changed = {name: changes_of(method, row.recipe) for name, row in rows.items()}
    assert changed["no-gan"] == {"mixing.synthetic_share": 0.0, "cross.synthetic": 0.0}
    assert changed["no-srgan"] == {"srgan.pixel_epochs": 0, "srgan.adversarial_epochs": 0}
    assert changed["no-cross-phase"] == {"cross.order": "never"}
    assert changed["primary-alone"] == {"cross.secondary": 0.0}
    assert changed["no-superposition"] == {"cross.superposed": 0.0}
    assert changed["no-x"] == {"network.cross_feature": "none"}
    assert changed["x-stem"] == {"network.cross_feature": "stem"}
    kinds = {
        stage.kind for stage in pipeline.synthesis(rows["no-srgan"].recipe, DIGEST, 0).lineage()
    }
    assert "srgan" not in kinds
    without = pipeline.classifier(rows["no-gan"].recipe, DIGEST, 0)[-1]
    assert not {"dcgan", "synthesis"} & {stage.kind for stage in without.lineage()}


def test_a_method_that_starts_from_weights_is_compared_with_itself_from_random_ones() -> None:
    method = paper(
        network__weights="e" * 64,
        network__input_mean=2.7,
        network__input_std=1.4,
        fine_tuning__rate=0.1,
        fine_tuning__frozen_epochs=1,
    )
    (row,) = ablation_rows(method, every=False)
    assert row in ablation_rows(method)
    assert ablation_rows(paper(), every=False) == []
    assert trained(row.recipe) == trained(paper())
    assert row.title == "random weights"


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, {"x-input", "primary-alone", "no-superposition"}),
        ({"srgan.scale": 1}, {"no-srgan"}),
        ({"srgan.pixel_epochs": 0, "srgan.adversarial_epochs": 0}, {"no-srgan"}),
        ({"network.name": "lenet5", "network.cross_feature": "none"},
         {"no-x", "x-input", "x-stem", "x-context"}),
        ({"mixing.synthetic_share": 0.0, "cross.synthetic": 0.0}, {"no-gan", "no-srgan"}),
        ({"cross.order": "never", "cross.superposed": 0.5, "cross.secondary": 0.5},
         {"no-cross-phase", "no-superposition", "primary-alone", "no-x", "x-stem", "x-context"}),
        ({"cross.order": "mixed", "cross.superposed": 0.5}, {"mixed", "no-superposition"}),
    ],
)  # fmt: skip
def test_a_part_that_the_method_does_not_have_cannot_be_taken_away(
    changes: dict[str, Any], left_out: set[str]
) -> None:
    method = override(paper(), changes)
    rows = ablation_rows(method)
    assert not {row.name for row in rows} & left_out
    assert rows
    assert all(trained(row.recipe) != trained(method) for row in rows)
    for row in rows:
        build(row.recipe.network, 3)


def test_a_change_is_named_by_its_dotted_field() -> None:
    other = override(paper(), {"network.name": "lenet5", "network.cross_feature": "none"})
    assert changes_of(paper(), other) == {
        "network.name": "lenet5",
        "network.cross_feature": "none",
    }


# Candidates


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
    """Each stratum of the learning rate has one, and the default is tried beside them."""
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


@pytest.mark.parametrize("base", ["small", "paper", "toy"])
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
    """A space of cross phases changes nothing of a plain network."""
    method = method_row(BASES["small"])
    (plain,) = baseline_rows(method.recipe, ("lenet5",))
    space = load_space("cross_training")
    assert candidates(plain, space, 8) == [plain.recipe]
    tried = candidates(method, space, 8)
    assert len({trained(recipe) for recipe in tried}) == len(tried) > 4


# Spaces


BASES = {
    "toy": toy_generators(network__name="resnet_small"),
    "plain": toy_recipe(network__name="lenet5", schedule__warmup_epochs=0),
    "small": override(RECIPES["small"](), FIXED),
    "paper": override(RECIPES["paper"](), FIXED),
    "published": override(RECIPES["small"](), FIXED | {"network.name": "vgg16"}),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["cross_training", "baselines", "joint"])
def test_every_proposal_can_be_trained(name: str, base: str) -> None:
    recipe, space = BASES[base], load_space(name)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = []
    for _ in range(200):
        trial = study.ask()
        proposed.append(space(trial, recipe))
        study.tell(trial, 0.0)
    residual = NETWORKS[recipe.network.name].residual
    for changed in set(proposed):
        segments = pipeline.classifier(changed, DIGEST, 0)
        assert sum(stage.config.epochs for stage in segments) == changed.schedule.epochs
        assert residual or (changed.network.cross_feature, changed.cross.trainable) == (
            "none",
            "all",
        )
        if changed.cross.order == "retrain":
            assert pipeline.before_cross(changed, DIGEST, 0).config.phase == "single"
            assert segments[-1].config.phase == "cross"
    for network in {changed.network for changed in proposed}:
        assert network.name == recipe.network.name
    if name in ("cross_training", "joint"):
        assert {changed.cross.order for changed in proposed} == {"retrain", "mixed"}
        sources = {changed.network.cross_feature for changed in proposed}
        assert sources == ({"none", "input", "stem", "context"} if residual else {"none"})


def test_trials_of_cross_training_share_their_single_phases() -> None:
    """The lengths are multiples of a segment: two hundred trials need a few constant segments."""
    recipe, space = BASES["small"], load_space("cross_training")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    single = {
        stage.key: stage.config.epochs
        for _ in range(200)
        for stage in pipeline.classifier(space(study.ask(), recipe), DIGEST, 0)
        if stage.config.phase == "single"
    }
    most = recipe.schedule.constant_epochs // recipe.schedule.segment_epochs
    assert len(single) == 1 + most  # warm-up, and each constant segment once
    assert set(single.values()) == {
        recipe.schedule.warmup_epochs,
        recipe.schedule.segment_epochs,
    }


# Before anything is written


def changed_table(dataset: Dataset, **columns: Any) -> Dataset:
    """The data set with other columns of images.csv, in its place."""
    table = dataset.images.assign(**columns)
    table.to_csv(dataset.folder / "images.csv", index=False)
    return Dataset.open(dataset.folder)


def of_other_patients(folder: Path, **given: Any) -> Dataset:
    dataset = write_toy(folder, **{"seed": 1} | given)
    return changed_table(dataset, patient_id="other-" + dataset.images["patient_id"])


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_toy(tmp_path_factory.mktemp("crossed") / "data", crosses=24)


def test_a_test_set_of_other_patients_is_accepted(crossed: Dataset, tmp_path: Path) -> None:
    recipe = toy_recipe(split__test=0.0)
    check(crossed, recipe, of_other_patients(tmp_path / "other"))


def test_a_test_set_that_says_nothing_is_refused(
    crossed: Dataset, toy: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(split__test=0.0)
    same = crossed
    renamed = of_other_patients(tmp_path / "renamed", seed=0, crosses=24)
    patients = write_toy(tmp_path / "patients", seed=1)
    one = of_other_patients(tmp_path / "one")
    names = one.images["patient_id"].mask(one.images.index == 3, "patient-003")
    one = changed_table(one, patient_id=names)
    for test_set, sentence in [
        (same, "shares 114 images and 57 patients"),
        (renamed, "shares 114 images and 0 patients"),
        (patients, "shares 0 images and 45 patients"),
        (one, "shares 0 images and 1 patients"),
        (of_other_patients(tmp_path / "size", size=64), "has size 64, but the training data have"),
        (of_other_patients(tmp_path / "kind", kind="display"), "has kind display"),
    ]:
        with pytest.raises(InputError, match=sentence):
            check(crossed, recipe, test_set)


def test_a_test_set_of_other_classes_is_refused(crossed: Dataset, tmp_path: Path) -> None:
    other = of_other_patients(tmp_path / "other")
    info = dataclasses.replace(other.info, classes=("left", "right", "above"))
    with pytest.raises(InputError, match=r"has classes .*above"):
        check(crossed, toy_recipe(split__test=0.0), dataclasses.replace(other, info=info))


def test_a_phase_without_images_is_refused(crossed: Dataset, toy: Path, tmp_path: Path) -> None:
    alone = Dataset.open(toy)
    retrain = {"cross__order": "retrain", "cross__epochs": 2}
    for changes in ({}, {"cross__rehearsal": 0.0}, {"cross__superposed": 0.5}):
        with pytest.raises(InputError, match="no training image of several findings"):
            check(alone, toy_recipe(**retrain, **changes))
        check(crossed, toy_recipe(**retrain, **changes))
    asked = {"cross__superposed": 0.5, "synthesis__crosses": "left+right", "cross__rehearsal": 0.0}
    check(alone, toy_recipe(**retrain, **asked))

    both = write_toy(tmp_path / "both")
    findings = both.images["label"].map(
        {"left": "left;right", "right": "right;below", "below": "below;left"}
    )
    crosses = changed_table(both, findings=findings)
    for order in ("retrain", "never"):
        with pytest.raises(InputError, match="no training image of a single finding"):
            check(crosses, toy_recipe(cross__order=order, cross__epochs=2))
    check(crosses, toy_recipe())


def test_what_a_network_does_not_take_is_said_before_anything_is_written(crossed: Dataset) -> None:
    for changes, sentence in [
        ({"network__name": "lenet5", "network__cross_feature": "stem"}, "needs a residual network"),
        ({"network__name": "vgg_small"}, "network.width has no meaning for vgg_small"),
        ({"network__name": "vgg_small", "network__width": None, "input__size": 16}, "too small"),
        ({"network__name": "lenet5", "cross__order": "retrain", "cross__epochs": 1,
          "cross__trainable": "head"}, "needs a residual network"),
        ({"cross__order": "retrain", "cross__epochs": 4}, "leaves nothing of the schedule's 4"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            check(crossed, toy_recipe(**changes))


# Choice


def predicted(right: int, lost: int = 0) -> Predictions:
    """120 images of three classes, a patient each: the first `right` are named rightly, less the
    first `lost`; the others are taken for the next class.
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


def test_a_row_of_timms_has_a_folders_name_and_starts_from_nothing() -> None:
    """The input that the method's weights expect stays with the method."""
    method = toy_recipe(
        network__weights="e" * 64, network__input_mean=2.7, fine_tuning__frozen_epochs=1
    )
    names = named_models("timm:test_resnet.r160_in1k, resnet_small").names
    other, own = baseline_rows(method, names, files={"e" * 64: "weights.pth"})
    assert other.name == "timm-test_resnet-r160_in1k"
    assert other.title == "test_resnet.r160_in1k of timm"
    assert (other.recipe.network.weights, other.recipe.network.input_mean) == (None, 0.0)
    assert own.recipe.network.input_mean == 2.7
    stages = pipeline.classifier(other.recipe, "d" * 64, 0)
    assert {stage.config.pretrained_rate for stage in stages} == {1.0}
    with pytest.raises(InputError, match="timm has no network 'hf-hub:a/b'"):
        named_models("timm:hf-hub:a/b")
