"""Rows of a comparison, the recipes it tries; the spaces' proposals can be trained."""

from __future__ import annotations

from typing import Any

import pytest

from tests.toy import toy_recipe
from thyroid import pipeline
from thyroid.errors import InputError
from thyroid.networks.build import BASELINES, PUBLISHED, build
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import RECIPES, NetworkConfig, Recipe, override
from thyroid.runs.compared_recipes import (
    ABLATIONS,
    ablation_rows,
    baseline_rows,
    changes_of,
    method_row,
    named_models,
)

DIGEST = "d" * 64


FIXED = {"execution.precision": "fp32", "execution.device": "cpu"}


def paper(**changes: Any) -> Recipe:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return override(RECIPES["paper"](), FIXED | dotted)


def trained(recipe: Recipe) -> str:
    return pipeline.classifier(recipe, DIGEST, 0)[-1].key


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
