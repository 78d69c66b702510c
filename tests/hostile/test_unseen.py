"""The pixels of a combination that is left out change nothing that is learned, chosen or drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.toy import made, toy_generators, with_other_pixels, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.recipe import Recipe
from thyroid.runs.unseen_recipes import unseen_rows

ASKED = "left+right"


def method() -> Recipe:
    return toy_generators(
        cross__order="retrain",
        cross__epochs=2,
        schedule__constant_epochs=1,
        split__folds=1,
        cross__superposed=0.25,
    )


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Toy data; with other pixels in the combination's images, and in those of another one."""
    folder = tmp_path_factory.mktemp("unseen")
    data = write_toy(folder / "data", crosses=24)
    findings = data.images["findings"]
    hidden, other = (np.flatnonzero(findings == text) for text in ("left;right", "right;below"))
    train = make_split(data, unseen_rows(method(), ASKED, ())[0].recipe.split).train
    return {
        "data": data,
        "hidden": with_other_pixels(data, hidden, folder / "hidden"),
        "other": with_other_pixels(data, np.intersect1d(other, train), folder / "other"),
    }


@pytest.mark.parametrize("name", ["unseen-never", "unseen-superposed", "unseen-eigen"])
def test_pixels_of_the_combination_change_no_network_no_filter_and_no_synthetic_image(
    name: str, copies: dict[str, Dataset], tmp_path: Path
) -> None:
    rows = {row.name: row for row in unseen_rows(method(), ASKED, ("eigen",))}
    recipe = rows[name].recipe
    found = {}
    for which, data in copies.items():
        model = pipeline.classifier(recipe, data.digest, 0)[-1]
        folder, metrics = made(model, data.folder, tmp_path / "store")
        tensors = load_file(folder / "model.safetensors")
        validated = [line["validation_loss"] for line in metrics]
        pools = []
        if recipe.synthetic:
            pool, _ = made(model.inputs["synthetic"], data.folder, tmp_path / "store")
            pools = [np.array(Dataset.open(pool / "dataset").counts)]
            given = set(Dataset.open(pool / "dataset").images["findings"])
            assert {"left;right", "right;below"} <= given
        found[which] = (tensors, validated, pools)
    plain, hidden, other = (found[which] for which in ("data", "hidden", "other"))
    for key, tensor in plain[0].items():
        assert torch.equal(tensor, hidden[0][key]), key
    assert plain[1] == hidden[1]  # choices before the training do not see its images, either
    assert all(np.array_equal(a, b) for a, b in zip(plain[2], hidden[2], strict=True))
    assert any(not torch.equal(tensor, other[0][key]) for key, tensor in plain[0].items())


def test_the_row_of_real_images_does_see_them(copies: dict[str, Dataset], tmp_path: Path) -> None:
    recipe = unseen_rows(method(), ASKED, ())[-1].recipe
    networks = [
        load_file(
            made(pipeline.classifier(recipe, data.digest, 0)[-1], data.folder, tmp_path)[0]
            / "model.safetensors"
        )
        for data in (copies["data"], copies["hidden"])
    ]
    assert any(not torch.equal(tensor, networks[1][key]) for key, tensor in networks[0].items())
