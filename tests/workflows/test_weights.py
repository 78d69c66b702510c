"""Where weights come from, and the recipe that starts from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.short_trainings import FEW
from tests.toy import CLASSES, PLACES, toy_recipe, write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.files import sha256_of
from thyroid.model.model_folder import read_model
from thyroid.networks.build import build
from thyroid.recipe import NetworkConfig
from thyroid.workflows.setup import start_from, started
from thyroid.workflows.weights import weights_file

NAME = "timm:test_resnet"


def in_the_cache(root: Path, repository: str, content: bytes, file: str) -> Path:
    """A file as huggingface_hub keeps it."""
    folder = root / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    (snapshot / file).write_bytes(content)
    return snapshot / file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; a request to the hub itself fails."""

    def download(*given: Any, **options: Any) -> str:
        if not options.get("local_files_only"):
            asked.append(given)
            raise LocalEntryNotFoundError("no connection")
        return str(sound(*given, **options, cache_dir=tmp_path / "hub"))

    sound, asked = huggingface_hub.hf_hub_download, []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("asked", "repository", "file"),
    [
        ("timm:test_resnet", "timm/test_resnet.r160_in1k", "model.safetensors"),
        ("timm:test_resnet.r160_in1k", "timm/test_resnet.r160_in1k", "model.safetensors"),
        ("hf-hub:hospital/scans", "hospital/scans", "pytorch_model.bin"),
        ("hf-hub:hospital/scans@main", "hospital/scans", "model.safetensors"),
    ],
)
def test_what_the_cache_has_is_not_downloaded(
    asked: str,
    repository: str,
    file: str,
    cache: Path,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = in_the_cache(cache, repository, b"weights", file)
    assert weights_file(asked, toy_recipe(), [Dataset.open(toy)]).samefile(there)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("asked", ["timm:test_resnet", "hf-hub:hospital/scans"])
def test_a_download_is_told_and_what_cannot_be_had_is_a_sentence(
    asked: str, cache: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"cannot be downloaded: fetch model\.safetensors or"):
        weights_file(asked, toy_recipe(), [Dataset.open(toy)])
    assert f"Downloading the weights {asked} from" in capsys.readouterr().err


def test_a_name_that_is_none_is_a_sentence(cache: Path, toy: Path) -> None:
    with pytest.raises(InputError, match="--weights hf-hub:a/b/c must be hf-hub:ORG/NAME"):
        weights_file("hf-hub:a/b/c", toy_recipe(), [Dataset.open(toy)])
    with pytest.raises(InputError, match=r"--weights none\.pth is not a file. Give phantom, the "):
        weights_file("none.pth", toy_recipe(), [Dataset.open(toy)])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (CLASSES, ""),
        ((CLASSES[1], "other"), f"1 of the 3 classes by name (they know {CLASSES[1]}, other). The"),
        (None, ""),
    ],
)
def test_classes_that_the_weights_do_not_know_are_told(
    names: tuple[str, ...] | None,
    told: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, file = toy_recipe(), tmp_path / "weights.safetensors"
    state = build(recipe.network, len(names or CLASSES)).state_dict()
    save_file(state, file, None if names is None else {"classes": json.dumps(names)})
    started(recipe, file, Dataset.open(toy), None)
    said = capsys.readouterr().err
    assert told in said if told else not said


@pytest.mark.parametrize(
    ("normalisation", "mean", "std"),
    [("sqrt_mean", 2.694, 1.356), ("maximum", 0.449, 0.226)],
)
def test_weights_of_photographs_see_grey_values_from_black_to_white(
    normalisation: str, mean: float, std: float, tmp_path: Path
) -> None:
    network = build(NetworkConfig(name="resnet_small", width=4), classes=3)
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    recipe = toy_recipe(input__normalisation=normalisation)
    plain = start_from(recipe, file, "d" * 64, CLASSES).network
    assert (plain.weights, plain.input_mean, plain.input_std) == ("d" * 64, 0.0, 1.0)
    colour = nn.Conv2d(3, 4, 3).state_dict()["weight"]
    torch.save(network.state_dict() | {"conv1.weight": colour}, file)
    grey = start_from(recipe, file, "d" * 64, CLASSES)
    assert (grey.network.input_mean, grey.network.input_std) == (mean, std)
    assert start_from(grey, file, "d" * 64, CLASSES) == grey  # a recipe that was kept


def test_a_network_of_timms_becomes_a_model_that_needs_no_hub(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network is trained from colour weights, exported, read, and run by ONNX."""
    import timm

    torch.manual_seed(0)
    given = timm.create_model("test_resnet", pretrained=False)
    given.eval()
    file = in_the_cache(cache, "timm/test_resnet.r160_in1k", b"", "model.safetensors")
    save_file(given.state_dict(), file)
    data = write_toy(tmp_path / "data", kind="display").folder
    run, model = tmp_path / "run", tmp_path / "model"
    few = [word for word in FEW if word not in ("--network.width", "4")]
    few = ["--network.name", NAME, *few, "--seeds", "1", "--fine-tuning.frozen-epochs", "1"]
    few += ["--fine-tuning.rate", "0.3"]
    assert main(["train", str(data), str(run), *few, "--weights", NAME]) == 0
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["network"]["weights"] == sha256_of(file)
    assert recipe["network"]["input_std"] > 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", forbidden)
    assert main(["export", str(run), str(model), "--onnx"]) == 0
    read = read_model(model)
    assert read.network.viewed[0].network.input_std.item() == pytest.approx(
        recipe["network"]["input_std"]
    )
    counts = torch.poisson(torch.full((3, 32, 32), 4.0))
    expected = read.probabilities(counts).numpy()
    session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
    (given_by_onnx,) = session.run(["probabilities"], {"counts": counts.numpy()})
    np.testing.assert_allclose(given_by_onnx, expected, atol=1e-4)
    (tmp_path / "one.png").write_bytes(picture())
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(model), str(tmp_path / "one.png"), "--out", str(out)]) == 0
    (answer,) = pd.read_csv(out).to_dict("records")
    assert sum(answer[f"p_{name}"] for name in CLASSES) == pytest.approx(1, abs=1e-3)


def forbidden(*given: Any, **options: Any) -> Callable[..., None]:
    raise AssertionError("the hub was asked")


def picture() -> bytes:
    """A PNG of three spots."""
    pixels = np.full((32, 32), 9, dtype=np.uint8)
    for row, column in PLACES.values():
        pixels[row - 2 : row + 2, column - 2 : column + 2] = 200
    written = BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def test_fine_tuning_needs_weights(toy: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    command = ["train", str(toy), str(tmp_path / "run"), *FEW, "--fine-tuning.rate", "0.1"]
    refused(command, "fine_tuning applies to layers with given weights")
