"""From a run to a model folder: calibrated without the test part, complete, verified."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from reports.model_card import model_card, model_card_info, text
from reports.run import read_run
from tests.short_trainings import FEW
from tests.toy import CLASSES, PRECISION, toy_recipe, write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.evaluate.temperature import tempered
from thyroid.files import sha256_of
from thyroid.model import onnx_graph
from thyroid.model.model_folder import Calibrated, Model, read_model
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig
from thyroid.run_files.predictions_csv import read_predictions
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.predict_part import probabilities
from thyroid.views import Viewed

TRAIN = [*FEW, "--execution.precision", PRECISION, "--optimiser.batch-size", "8"]
TRAIN += ["--schedule.constant-epochs", "5", "--schedule.decay-epochs", "4"]
"""Long enough to be right for most images and sure of some: else calibration has nothing to do."""
IMAGES = 180
"""Images of the toy: with fewer than 19 for validation, every 95 % set would hold all classes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    """The toy data set, larger. Not to be written to."""
    return write_toy(tmp_path_factory.mktemp("data") / "dataset", images=IMAGES, seed=seed).folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds. Not to be written to."""
    folder = tmp_path_factory.mktemp("model") / "run"
    assert main(["train", str(data), str(folder), "--seeds", "2", *TRAIN]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """Its model, with ONNX. Not to be written to."""
    folder = run.with_name("exported")
    assert main(["export", str(run), str(folder), "--onnx"]) == 0
    return folder


def card_of(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def test_the_folder_says_what_it_is(run: Path, exported: Path, data: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "model.safetensors", "model.json", "README.md", "model.onnx",
    }  # fmt: skip
    assert sha256_of(exported / "model.safetensors") == sha256_of(
        run / "model" / "model.safetensors"
    )
    card, opened = card_of(exported), Dataset.open(data)
    own = json.loads((run / "model" / "model.json").read_text())
    assert own.items() <= card.items()
    assert card["format_version"] == 2
    assert card["views"] == "mirrored_shifts"
    assert card["data"] == {
        "name": "toy", "digest": opened.digest, "source": "test", "licence": "CC0-1.0",
        "images": 180, "patients": 90,
    }  # fmt: skip
    assert card["recipe"] == json.loads((run / "recipe.json").read_text())
    assert card["calibration"]["level"] == 0.95
    parts = pd.read_csv(run / "split.csv").set_index("image_id")["part"]
    totals = opened.images.set_index("image_id")["total_counts"][parts == "train"]
    assert card["total_counts"] == [totals.min(), totals.max()]
    assert str(run.parent) not in (exported / "model.json").read_text()
    assert str(data) not in (exported / "model.json").read_text()

    model = read_model(exported)
    assert model.classes == CLASSES
    assert (model.kind, model.size, model.pixel_mm) == ("counts", 32, 4.0)


@pytest.mark.processors
def test_temperature_and_threshold_are_those_of_the_validation_images(
    run: Path, exported: Path, measured: Callable[..., None]
) -> None:
    calibration = card_of(exported)["calibration"]
    validation = read_predictions(run / "predictions" / "validation-seed0.csv", CLASSES)
    labels, raw = validation.labels, validation.probabilities
    assert calibration["images"] == len(labels)

    def loss(temperature: float) -> float:
        scaled = raw ** (1 / temperature)
        p = scaled / scaled.sum(axis=1, keepdims=True)
        return log_loss(labels, p, labels=range(3))

    T = calibration["temperature"]
    measured("least temperature", T, above=0.1)
    measured("most temperature", T, below=10)
    assert loss(T) <= min(loss(0.97 * T), loss(T / 0.97))

    # The ceil((n + 1) level)-th smallest score 1 - p_label (Sadinle et al. 2019); none: all classes
    scores = np.sort(1 - tempered(raw, T)[np.arange(len(labels)), labels])
    rank = int(np.ceil((len(labels) + 1) * 0.95))
    expected = scores[rank - 1] if rank <= len(labels) else 1.0
    assert calibration["threshold"] == pytest.approx(expected)


def test_test_predictions_take_no_part_in_calibration(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    calibration = card_of(exported)["calibration"]
    other = tmp_path / "other"
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("store"))
    for seed in (0, 1):
        path = other / "predictions" / f"test-seed{seed}.csv"
        table = pd.read_csv(path)
        table[[f"p_{name}" for name in CLASSES]] = np.eye(3)[np.arange(len(table)) % 3]
        table.to_csv(path, index=False)
    assert main(["export", str(other), str(tmp_path / "corrupted")]) == 0
    assert card_of(tmp_path / "corrupted")["calibration"] == calibration
    assert card_of(tmp_path / "corrupted")["metrics"] != card_of(exported)["metrics"]

    for path in (other / "predictions").glob("test-*.csv"):
        path.unlink()
    assert main(["export", str(other), str(tmp_path / "without")]) == 0
    card = card_of(tmp_path / "without")
    assert card["calibration"] == calibration
    assert card["metrics"]["part"] == "validation"
    assert "There was no test part" in (tmp_path / "without" / "README.md").read_text()


@pytest.mark.processors
def test_the_model_card_has_the_metrics_of_calibrated_test_predictions(
    run: Path, exported: Path, measured: Callable[..., None]
) -> None:
    test = read_predictions(run / "predictions" / "test-seed0.csv", CLASSES)
    calibration, metrics = card_of(exported)["calibration"], card_of(exported)["metrics"]
    p = tempered(test.probabilities, calibration["temperature"])
    named = p.argmax(axis=1)
    overall = metrics["overall"]
    assert metrics["part"] == "test"
    assert metrics["images"] == len(test.labels)
    assert overall["accuracy"]["value"] == pytest.approx(accuracy_score(test.labels, named))
    assert overall["macro_f1"]["value"] == pytest.approx(
        f1_score(test.labels, named, average="macro")
    )
    assert overall["log_loss"]["value"] == pytest.approx(log_loss(test.labels, p, labels=range(3)))
    measured("accuracy", overall["accuracy"]["value"], above=0.5)
    sets = [{c for c in range(3) if 1 - row[c] <= calibration["threshold"]} for row in p]
    holds = [label in one for label, one in zip(test.labels, sets, strict=True)]
    single = [len(one) == 1 for one in sets]
    found = metrics["sets"]
    assert found["coverage"]["value"] == pytest.approx(np.mean(holds))
    assert found["named"]["value"] == pytest.approx(np.mean(single))
    assert found["empty"] + found["several"] == pytest.approx(1 - np.mean(single))
    measured("least share of single sets", np.mean(single), above=0)
    measured("most share of single sets", np.mean(single), below=1)
    assert found["right"]["value"] == pytest.approx(np.mean(np.array(holds)[single]))

    card = (exported / "README.md").read_text()
    assert f"| macro-F1 | {overall['macro_f1']['value']:.3f} (" in card
    assert "**Not for clinical use.**" in card
    assert "**The images are simulated.**" in card
    assert "| licence | CC0-1.0 |" in card
    assert "| left |" in card
    assert "{{" not in card
    assert str(run.parent) not in card


def test_names_from_outside_cannot_become_markup(run: Path, exported: Path) -> None:
    card = card_of(exported) | {"name": "toy <script>|x|\n# heading"}
    info = model_card_info(read_run(run), 0, card)
    first = model_card(info).splitlines()[0]
    assert first == r"# toy \<script\>\|x\| \# heading"
    assert text("a_b*c") == r"a\_b\*c"


def test_onnx_says_what_the_run_s_network_says(run: Path, exported: Path) -> None:
    """Against the network and the code of the prediction stage, not the exported module."""
    recipe = toy_recipe()
    on = start(recipe.execution)
    network, _, config = load_model(run / "model", on)
    counts = torch.poisson(30 * torch.rand(7, 32, 32), generator=torch.Generator().manual_seed(3))
    counts[0] = 0
    T = card_of(exported)["calibration"]["temperature"]
    p = probabilities(network, counts, config.normalisation, on, card_of(exported)["views"])
    theirs = tempered(p.double().numpy(), T)

    session = onnxruntime.InferenceSession(
        exported / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for some in (slice(0, 1), slice(0, 7)):
        (ours,) = session.run(None, {"counts": counts[some].numpy()})
        np.testing.assert_allclose(ours, theirs[some], atol=1e-4)
    about = {p.key: p.value for p in onnx.load(exported / "model.onnx").metadata_props}
    assert json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["threshold"]) == card_of(exported)["calibration"]["threshold"]


@pytest.mark.parametrize("normalisation", ["log_mean", "maximum"])
def test_onnx_sums_pixels_and_normalises(normalisation: str, tmp_path: Path) -> None:
    """A grid of 64 for a network that sees 32, with x_i, which averages its source."""
    config = InputConfig(size=32, normalisation=normalisation)
    torch.manual_seed(0)
    own = NetworkConfig(name="resnet_small", width=4, cross_feature="input")
    network = build(own, 3)
    for name, parameter in network.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.normal_(parameter)
    viewed = Viewed(network, config, "mirrored_shifts")
    model = Model(
        name="m", classes=CLASSES, kind="counts", size=64, pixel_mm=2.0, input=config,
        threshold=0.9, level=0.95, total_counts=None,
        network=Calibrated(viewed, 1.5).eval(), card={"network": {"name": own.name}},
    )  # fmt: skip
    assert onnx_graph.write_onnx(model, tmp_path) <= 1e-4
    warmer = dataclasses.replace(model, network=Calibrated(viewed, 1.6).eval())
    assert onnx_graph._difference(warmer, (tmp_path / "model.onnx").read_bytes()) > 1e-3


@pytest.mark.parametrize("side", [4, 5, 7])
def test_max_of_windows_is_adaptive_max_pooling(side: int) -> None:
    x = torch.rand(2, 3, 26, 13, generator=torch.Generator().manual_seed(side))
    expected = torch.nn.functional.adaptive_max_pool2d(x, side)
    torch.testing.assert_close(onnx_graph.MaxOfWindows(side)(x), expected, rtol=0, atol=0)


def test_a_network_whose_pooling_onnx_lacks_has_a_graph(tmp_path: Path) -> None:
    """LeNet-5 pools 26 pixels to 5."""
    config = InputConfig(size=64)
    lenet = build(NetworkConfig(name="lenet5"), 3)
    model = Model(
        name="m", classes=CLASSES, kind="counts", size=64, pixel_mm=2.0, input=config,
        threshold=0.9, level=0.95, total_counts=None, card={"network": {"name": "lenet5"}},
        network=Calibrated(Viewed(lenet, config, "shifts"), 0.3).eval(),
    )  # fmt: skip
    assert onnx_graph.write_onnx(model, tmp_path) <= 1e-4
    assert isinstance(model.network.viewed.network.pool, torch.nn.AdaptiveMaxPool2d)


def test_a_graph_that_differs_is_no_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "_difference", lambda model, content: 2e-4)
    assert main(["export", str(run), str(tmp_path / "model"), "--onnx"]) == 1
    told = capsys.readouterr().err
    assert "differ from torch's by 0.0002, more than 0.0001" in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_extra_a_sentence_names_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else there(name)
    )
    assert main(["export", str(run), str(tmp_path / "model"), "--onnx"]) == 2
    assert "--onnx needs onnxruntime: `pip install 'thyroid[onnx]'`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_seed_comes_from_the_store(
    run: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "second"
    assert main(["export", str(run), str(second), "--seed", "1"]) == 0
    assert card_of(second)["weights_sha256"] != card_of(exported)["weights_sha256"]
    assert card_of(second)["calibration"] != card_of(exported)["calibration"]
    images = Dataset.open(json.loads((run / "config.json").read_text())["dataset"]["folder"])
    said = read_predictions(run / "predictions" / "test-seed1.csv", CLASSES)
    rows = images.images["image_id"].isin(said.images["image_id"]).to_numpy()
    model = read_model(second)
    p = model.probabilities(torch.from_numpy(images.counts[rows].astype(np.float32)))
    of = dict(zip(images.images["image_id"][rows], p.numpy(), strict=True))
    expected = tempered(said.probabilities, card_of(second)["calibration"]["temperature"])
    np.testing.assert_allclose(
        np.stack([of[name] for name in said.images["image_id"]]), expected, atol=1e-4
    )

    capsys.readouterr()
    empty = tmp_path / "empty"
    command = ["export", str(run), str(tmp_path / "third"), "--seed", "1", "--store"]
    assert main([*command, str(empty)]) == 2
    assert f"The network of seed 1 is not in {empty}" in capsys.readouterr().err
    assert main([*command, str(run / "store")]) == 0


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(
    run: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def altered(name: str) -> Path:
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("store"))
        return tmp_path / name

    unfinished, damaged, ambiguous = altered("unfinished"), altered("damaged"), altered("named")
    older = altered("older")  # its network was built otherwise
    card = json.loads((older / "model" / "model.json").read_text())
    card["network"] |= {"name": "resnet_small", "width": 8}
    (older / "model" / "model.json").write_text(json.dumps(card))
    (unfinished / "predictions" / "validation-seed0.csv").unlink()
    (damaged / "config.json").write_text("{")
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["classes"] = ["left", "right", "uncertain"]
    (ambiguous / "config.json").write_text(json.dumps(config))
    before = sorted(tmp_path.iterdir())
    for arguments, sentence in [
        ([str(tmp_path / "none"), "m"], "is no run, it has no config.json"),
        ([str(unfinished), "m"], "is not finished"),
        ([str(damaged), "m"], "cannot be understood"),
        ([str(ambiguous), "m"], "is called 'uncertain'"),
        ([str(older), "m"], "are not those of the network that this thyroid builds: train it"),
        ([str(run), "m", "--seed", "7"], "--seed 7 is none of the run's seeds: choose one of 0, 1"),
        ([str(run), str(exported)], "exists already"),
        ([str(run), "/proc/model"], "annot write /proc/model"),
    ]:
        arguments[1] = str(tmp_path / arguments[1])
        assert main(["export", *arguments]) == 2, arguments
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_model_is_told(
    run: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def altered(name: str, **changes: object) -> Path:
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        (folder / "model.json").write_text(json.dumps(card_of(exported) | changes))
        return folder

    weights = altered("weights") / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    missing = altered("missing")
    (missing / "model.safetensors").unlink()
    for folder, sentence in [
        (tmp_path, "is no model, it has no model.json"),
        (exported / "README.md", "is no model"),
        (run / "model", f"`thyroid export {run} MODEL` makes a model of it"),
        (altered("newer", format_version=3), "reads up to 2: install a newer thyroid"),
        (altered("text", calibration="high"), "is damaged, or was changed"),
        (
            altered("wider", network={"name": "resnet_small", "width": 8}),
            "not those of the network",
        ),
        (altered("unknown", network={"name": "resnet19"}), "is damaged"),
        (weights.parent, "is damaged"),
        (missing, "is damaged"),
    ]:
        out = ["--out", str(tmp_path / "out.csv")]
        assert main(["predict", str(folder), str(folder), *out]) == 2, folder
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.count("\n") == 1, told
    assert not (tmp_path / "out.csv").exists()
