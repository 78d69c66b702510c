"""The weights that ship with thyroid, and the command that makes them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from reports.inspect_page import DOUBTFUL
from tests.benchmarks.windowing import displayed
from tests.data.make_dicom import save_nm
from tests.toy import toy_recipe, write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.evaluate.metrics import macro_f1
from thyroid.files import sha256_of
from thyroid.model.doubtful_images import NOT_LOOKED, doubtful_images
from thyroid.model.make_model import about_second_gate
from thyroid.model.starting_point import EARLIER, FOLDER, is_shipped, shipped
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.build import build
from thyroid.networks.pretrained import load_pretrained
from thyroid.phantom.dicom_writer import nm_object
from thyroid.phantom.pathology import CLASSES
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import RECIPES, override, read_recipe
from thyroid.workflows.importing import import_files
from thyroid.workflows.weights import weights_file

FILES = sorted(set(FOLDER.glob("*.safetensors")) - set(FOLDER.glob("*-features.safetensors")))


def named_right(file: Path, dataset: Dataset) -> float:
    """Macro-F1 of the shipped network as it is, without any training."""
    recipe = RECIPES["small"]()
    network = build(recipe.network, len(CLASSES)).eval()
    load_pretrained(network, file, recipe.network, dataset.info.classes)
    counts = torch.from_numpy(dataset.counts.astype(np.float32))
    x = network_input(sum_pixels(counts, recipe.input.size), recipe.input.normalisation)
    with torch.inference_mode():
        named = network(x).argmax(1).numpy()
    return macro_f1(dataset.labels, named, len(CLASSES))


def test_they_are_small_and_say_what_they_are() -> None:
    assert [file.name for file in FILES] == [
        "resnet_small-counts.safetensors",
        "resnet_small-display.safetensors",
    ]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10e6
    for file in FILES:
        with safe_open(file, framework="pt") as opened:
            about = {name: json.loads(value) for name, value in opened.metadata().items()}
        assert about["classes"] == list(CLASSES)
        assert about["kind"] == file.stem.split("-")[1]
        assert about["data"].startswith("thyroid phantom, preset clinic7, seed ")
        floats = [t for t in load_file(file).values() if t.is_floating_point()]
        assert all(t.dtype == torch.float16 and t.isfinite().all() for t in floats)
        assert file.name in (FOLDER / "README.md").read_text()


def test_without_training_they_know_patients_of_other_centres(tmp_path: Path) -> None:
    """Patients of the frozen preset, which they were not trained on; chance has 0.14."""
    write_phantom(
        tmp_path / "data",
        preset="thyroid7",
        images_per_class=30,
        images_per_cross=0,
        seed=77,
        format="dataset",
    )
    dataset = Dataset.open(tmp_path / "data")
    assert named_right(shipped(RECIPES["small"](), "counts"), dataset) > 0.6


def test_those_for_pictures_know_other_displays_too(tmp_path: Path) -> None:
    """The weights that shipped before, trained without windowing, have 0.94 and 0.65."""
    few = {"images_per_class": 30, "images_per_cross": 0, "seed": 77}
    write_phantom(tmp_path / "files", preset="thyroid7", format="png", **few)
    dataset = import_files(tmp_path / "files", tmp_path / "data")
    file = shipped(RECIPES["small"](), "display")
    assert named_right(file, dataset) > 0.8
    shown = displayed(dataset.counts, np.random.default_rng(0))
    assert named_right(file, dataclasses.replace(dataset, counts=shown)) > 0.8


def test_import_and_inspect_tell_of_pictures_that_are_no_scintigrams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flood source among scintigrams of other centres."""
    preset = PRESETS["thyroid7-external"]
    where = addresses(preset, images_per_class=3, images_per_cross=0)
    files = tmp_path / "files" / "graves"
    files.mkdir(parents=True)
    for number, image in enumerate(simulate(preset, where, seed=5, posterior=True)):
        nm_object(image).save_as(files / f"{number}.dcm", enforce_file_format=True)
    assert main(["import", str(tmp_path / "files"), str(tmp_path / "sound")]) == 0
    told = capsys.readouterr().out
    assert "note: 21 images name thyroid's simulator as software: results on" in told
    assert "finds no thyroid scintigram" not in told

    flood = np.random.default_rng(0).poisson(20, (256, 256))
    save_nm(files / "flood.dcm", flood, PixelSpacing=[1.0, 1.0])
    assert main(["import", str(tmp_path / "files"), str(tmp_path / "mixed")]) == 0
    told = capsys.readouterr().out
    assert "finds no thyroid scintigram in 1 of 22 images, such as" in told
    images = Dataset.open(tmp_path / "mixed").images
    (named,) = re.findall(r"such as image (\w+)\.", told)
    assert images.set_index("image_id")["total_counts"][named] == flood.sum()
    used = {}
    for name in ("sound", "mixed"):
        opened = Dataset.open(tmp_path / name)
        used[name] = about_second_gate(opened, opened.images)
    assert used["sound"] == {"images": 21, "unlike": 0, "used": True}
    assert used["mixed"] == {"images": 22, "unlike": 1, "used": True}
    only = about_second_gate(opened, opened.images[opened.images["image_id"] == named])
    assert only == {"images": 1, "unlike": 1, "used": False}  # these images are of another kind

    shown = {}
    for name in ("sound", "mixed"):
        assert main(["inspect", str(tmp_path / name)]) == 0
        page = (tmp_path / f"{name}.html").read_text()
        shown[name] = DOUBTFUL in page
        line = "was trained on simulated scintigrams finds no thyroid scintigram in 1 of 22 images"
        assert (line in capsys.readouterr().out) == shown[name]
        assert (line in page) == shown[name]
    assert shown == {"sound": False, "mixed": True}


def test_images_of_another_field_are_not_looked_at_and_it_is_told(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Dataset.open(toy)
    assert doubtful_images(opened) is None
    assert about_second_gate(opened, opened.images) is None
    assert main(["inspect", str(toy), "--out", str(tmp_path / "page.html")]) == 0
    assert f"note: {NOT_LOOKED}" in capsys.readouterr().out


def test_a_network_or_an_input_without_shipped_weights_is_told(toy: Path) -> None:
    data = [Dataset.open(toy)]
    with pytest.raises(
        InputError, match=r"scintigrams for lenet5: choose --network\.name resnet_small"
    ):
        weights_file("phantom", toy_recipe(network__name="lenet5", network__width=None), data)
    with pytest.raises(InputError, match="resnet_small of another width"):
        weights_file("phantom", toy_recipe(), data)
    recipe = toy_recipe(network__width=None, input__normalisation="maximum")
    with pytest.raises(InputError, match=r"expects input.normalisation sqrt_mean, but the recipe"):
        weights_file("phantom", recipe, data)


def test_weights_of_counts_are_not_for_pictures(toy: Path, tmp_path: Path) -> None:
    recipe, file = RECIPES["small"](), shipped(RECIPES["small"](), "counts")
    assert weights_file(file, recipe, [Dataset.open(toy)]) == file
    pictures = write_toy(tmp_path / "pictures", kind="display")
    with pytest.raises(InputError, match="trained on photon counts, but the data are pictures"):
        weights_file(file, recipe, [pictures])
    assert weights_file("phantom", recipe, [pictures]).name == "resnet_small-display.safetensors"
    other = override(recipe, {"input.normalisation": "log_mean"})
    with pytest.raises(InputError, match=r"expects input\.normalisation sqrt_mean"):
        weights_file(file, other, [Dataset.open(toy)])


@pytest.mark.parametrize("kind", ["counts", "display"])
def test_pretrain_makes_weights_that_training_starts_from(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["pretrain", str(out), "--network", "lenet5", "--kind", kind, "--epochs", "1"]
    command += ["--images-per-class", "6", "--images-per-cross", "1"]
    assert main(command) == 0
    run, file = out / f"{kind}-6-1-seed0" / "lenet5-1", out / f"lenet5-{kind}.safetensors"
    trained = load_file(run / "model" / "fold0-seed0" / "model.safetensors")
    made = load_file(file)
    assert made.keys() == trained.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, trained[name].to(tensor.dtype), rtol=0, atol=0)
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["kind"]) == kind
    windowing = read_recipe(run / "recipe.json").augmentation.windowing
    assert windowing == (0.5 if kind == "display" else 0)
    recipe = toy_recipe(network__name="lenet5", network__width=None)
    dataset = Dataset.open(out / f"{kind}-6-1-seed0" / "dataset")
    assert weights_file(file, recipe, [dataset]) == file


def test_weights_that_shipped_before_are_known() -> None:
    for file in FILES:
        assert is_shipped(sha256_of(file))
    for digest in EARLIER:
        assert is_shipped(digest, earlier=True)
        assert not is_shipped(digest)
    assert not is_shipped("e" * 64, earlier=True)
