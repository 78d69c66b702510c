"""The dose of synthetic images: the share of all that training draws, counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.stages.test_training_set import LENGTH, drawn, findings_of, sets_of
from tests.toy import made, toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.recipe import Recipe, override

ORDERS = ("mixed", "retrain", "never")


def dosed(dose: float, order: str = "retrain", **changes: object) -> Recipe:
    about = {"mixing__dose": dose, "cross__order": order, "generator": "eigen", "srgan__scale": 1}
    return toy_generators(**about | LENGTH | changes)


@pytest.fixture(scope="module")
def pool(crossed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images of the crossed toy data."""
    stage = pipeline.synthesis(dosed(0.5), Dataset.open(crossed).digest, 0)
    return made(stage, crossed, tmp_path_factory.mktemp("pool"))[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dose", [0.25, 0.5, 0.75])
def test_the_dose_is_the_share_of_every_batch_of_every_phase(
    dose: float, order: str, crossed: Path, pool: Path
) -> None:
    recipe = dosed(dose, order)
    real = len(findings_of(crossed, recipe))
    for epoch, training in enumerate(sets_of(recipe, crossed, {"synthetic": pool})):
        rows = drawn(training, epoch)
        by_row = (rows >= real).sum(1)  # the pool stands behind the real images
        assert by_row.tolist() == [16 * dose] * 4
        assert training.count_synthetic(rows.flatten()) == by_row.sum()


@pytest.mark.parametrize("order", ["mixed", "retrain"])
def test_synthetic_images_take_the_place_of_real_ones_of_their_kind(
    order: str, crossed: Path, pool: Path
) -> None:
    """The same number of crosses is drawn at every dose; only the share of real ones among them
    differs.
    """
    share = {}
    for dose in (0.0, 0.5):
        recipe = dosed(dose, order, cross__share=0.25)
        findings = [*findings_of(crossed, recipe), *Dataset.open(pool / "dataset").images.findings]
        *_, last = sets_of(recipe, crossed, {"synthetic": pool})
        rows = torch.cat([drawn(last, epoch).flatten() for epoch in range(6, 36)])
        share[dose] = sum(";" in findings[row] for row in rows.tolist()) / len(rows)
    assert share[0.0] == pytest.approx(share[0.5], abs=0.03)
    if order == "retrain":
        assert share == {0.0: 0.25, 0.5: 0.25}


def test_superposed_crosses_keep_their_share(crossed: Path, pool: Path) -> None:
    recipe = dosed(0.25, cross__superposed=0.5)
    *_, last = sets_of(recipe, crossed, {"synthetic": pool})
    assert last.shares(6) == pytest.approx(
        {
            "superposed": 0.25,
            "synthetic": 0.125,
            "cross": 0.125,
            "synthetic_single": 0.125,
            "single": 0.375,
        }
    )
    with pytest.raises(InputError, match=r"mixing.dose 0.75 and cross.superposed 0.5 are shares"):
        pipeline.classifier(dosed(0.75, cross__superposed=0.5), "d" * 64, 0)


def test_a_dose_takes_the_place_of_the_other_shares() -> None:
    whole = {"mixing.synthetic_share": 1.0, "mixing.cross_share": 1.0, "cross.synthetic": 0.5}
    for order in ORDERS:
        plain = dosed(0.25, order)
        other = override(plain, whole)
        keys = [pipeline.classifier(recipe, "d" * 64, 0)[-1].key for recipe in (plain, other)]
        assert keys[0] == keys[1]
        assert plain.synthetic


def test_no_dose_is_the_training_on_real_images_alone() -> None:
    for order in ORDERS:
        none = dosed(0.0, order)
        real = toy_recipe(cross__order=order, **LENGTH)
        keys = [pipeline.classifier(recipe, "d" * 64, 0)[-1].key for recipe in (none, real)]
        assert keys[0] == keys[1]
        assert not none.synthetic


def test_x_i_is_there_from_the_first_cross_image_on() -> None:
    """With order `mixed` from the first epoch on, with `retrain` from the cross phase on."""
    for order, expected in (("mixed", ["input"] * 7), ("retrain", ["none"] * 3 + ["input"] * 4)):
        recipe = dosed(0.25, order, network__cross_feature="input")
        segments = pipeline.classifier(recipe, "d" * 64, 0)
        assert [segment.config.network.cross_feature for segment in segments] == expected


@pytest.mark.parametrize("order", ["mixed", "retrain"])
def test_a_training_counts_what_its_batches_drew(order: str, crossed: Path, tmp_path: Path) -> None:
    recipe = dosed(0.5, order, schedule__constant_epochs=1, schedule__decay_epochs=1)
    recipe = override(recipe, {"cross.epochs": 1})
    final = pipeline.classifier(recipe, Dataset.open(crossed).digest, 0)[-1]
    _, epochs = made(final, crossed, tmp_path)
    mine = [line for line in epochs if line["seed"] == 0 and line["phase"] == final.config.phase]
    assert mine
    counted = Counter({"images": 0, "synthetic_images": 0})
    for line in mine:
        counted.update({name: line[name] for name in counted})
    assert counted["images"] % 16 == 0
    if order == "retrain":
        assert counted["synthetic_images"] == counted["images"] / 2
    else:  # the label filter, which is a classifier, too, draws real images alone
        assert {line["synthetic_images"] / line["images"] for line in mine} == {0.0, 0.5}
