"""Export of a run to a model folder, which is complete, verified, and calibrated without the test
part.
"""

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
from tests.stub_config import with_config
from tests.toy import CLASSES, PRECISION, toy_recipe, write_toy
from thyroid.cli import main
from thyroid.configuration import from_json
from thyroid.data.dataset import Dataset
from thyroid.data.scintigram import image_id
from thyroid.errors import InputError
from thyroid.evaluate.metrics import macro_f1
from thyroid.evaluate.temperature import fit_temperature, tempered
from thyroid.files import sha256_of
from thyroid.model import onnx_graph
from thyroid.model.ensemble import Ensemble
from thyroid.model.model_folder import member_files, read_model
from thyroid.recipe import Recipe, override
from thyroid.run_files.config_json import read_config
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import Predictions, read_predictions
from thyroid.run_files.split_csv import read_split
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.predict_part import probabilities
from thyroid.workflows.weights import weights_file

TRAIN = [*FEW, "--execution.precision", PRECISION, "--optimiser.batch-size", "8"]
TRAIN += ["--schedule.constant-epochs", "5", "--schedule.decay-epochs", "4", "--views", "shifts"]
"""The training is long enough that most images are right and some probabilities are high; otherwise
calibration would have no effect."""
IMAGES = 180
"""Number of toy images; with fewer than 19 for validation, every 95 % set would contain all
classes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    """The toy data set, larger. Tests must not change it."""
    return write_toy(tmp_path_factory.mktemp("data") / "dataset", images=IMAGES, seed=seed).folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two folds and two seeds. Tests must not change it."""
    folder = tmp_path_factory.mktemp("model") / "run"
    command = ["train", str(data), str(folder), *TRAIN, "--folds", "2", "--seeds", "2"]
    assert main(command) == 0
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """Its model, with ONNX. Tests must not change it."""
    folder = run.with_name("exported")
    assert main(["export", str(run), str(folder), "--onnx"]) == 0
    return folder


NETWORKS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""Fold and seed of each network of the run, in the order of its model."""


def card_of(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text())


def mean_of(run: Path, names: list[str]) -> Predictions:
    """The mean of several tables of predictions of the same images."""
    read = [read_predictions(run / "predictions" / name, CLASSES) for name in names]
    p = np.mean([each.probabilities for each in read], axis=0)
    return dataclasses.replace(read[0], probabilities=p)


def held_out(run: Path) -> Predictions:
    return mean_of(run, ["validation-seed0.csv", "validation-seed1.csv"])


def of_test_part(run: Path) -> Predictions:
    return mean_of(run, [f"networks/test-fold{f}-seed{s}.csv" for f, s in NETWORKS])


def test_the_folder_says_what_it_is(run: Path, exported: Path, data: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "members", "model.json", "README.md", "model.onnx", "training_images.txt",
    }  # fmt: skip
    card, opened = card_of(exported), Dataset.open(data)
    tested = {image.image_id for image in read_split(run) if image.part == "test"}
    used = opened.counts[~opened.images["image_id"].isin(tested).to_numpy()]
    assert read_model(exported).training_hashes == {image_id(counts) for counts in used}
    assert 0 < len(used) < len(opened)
    assert [(member["fold"], member["seed"]) for member in card["members"]] == list(NETWORKS)
    for member in card["members"]:
        fold, seed = member["fold"], member["seed"]
        stored = [exported / name for name in member_files(Network(seed, fold))]
        source = run / "model" / f"fold{fold}-seed{seed}"
        assert stored[0].read_bytes() == (source / "model.safetensors").read_bytes()
        assert stored[1].read_bytes() == (source / "features.safetensors").read_bytes()
        hashes = [member["weights_sha256"], member["features_sha256"]]
        assert [sha256_of(path) for path in stored] == hashes
    assert len(list((exported / "members").iterdir())) == 2 * len(NETWORKS)
    own = json.loads((run / "model" / "fold0-seed0" / "model.json").read_text())
    assert own.items() <= card.items()
    assert card["format_version"] == 3
    assert card["views"] == "shifts"
    assert card["data"] == {
        "name": "toy", "digest": opened.digest, "source": "test", "licence": "CC0-1.0",
        "images": 180, "patients": 90,
    }  # fmt: skip
    assert card["recipe"] == json.loads((run / "recipe.json").read_text())
    assert card["calibration"]["level"] == 0.95
    parts = pd.read_csv(run / "split.csv").set_index("image_id")["part"]
    totals = opened.images.set_index("image_id")["total_counts"][parts == "development"]
    assert card["total_counts"] == [totals.min(), totals.max()]
    assert str(run.parent) not in (exported / "model.json").read_text()
    assert str(data) not in (exported / "model.json").read_text()

    model = read_model(exported)
    assert model.classes == CLASSES
    assert (model.kind, model.size, model.pixel_mm) == ("counts", 32, 4.0)


@pytest.mark.processors
def test_temperature_and_threshold_are_those_of_out_of_fold_predictions(
    run: Path, exported: Path, measured: Callable[..., None]
) -> None:
    calibration = card_of(exported)["calibration"]
    validation = held_out(run)
    labels, raw = validation.labels, validation.probabilities
    parts = pd.read_csv(run / "split.csv")
    assert calibration["images"] == len(labels) == (parts["part"] == "development").sum()
    assert (calibration["part"], calibration["networks"]) == ("out of fold", 2)

    def loss(temperature: float) -> float:
        scaled = raw ** (1 / temperature)
        p = scaled / scaled.sum(axis=1, keepdims=True)
        of_images = log_loss(labels, p, labels=range(3), normalize=False)
        return of_images + 2 * np.log(temperature) ** 2  # log T is assumed to be 0 with SD 0.5

    T = calibration["fitted_temperature"]
    measured("log of the temperature", abs(np.log(T)), below=np.log(10))
    assert loss(T) <= min(loss(0.97 * T), loss(T / 0.97))
    # Held-out predictions are the mean of two networks, the model's of four
    expected = T * (1 - 0.10 * 3 / 4) / (1 - 0.10 / 2)
    assert calibration["temperature"] == pytest.approx(expected)

    # The ceil((n + 1) level)-th smallest score 1 - p_label (Sadinle et al. 2019); none: all classes
    scores = np.sort(1 - tempered(raw, T)[np.arange(len(labels)), labels])
    rank = int(np.ceil((len(labels) + 1) * 0.95))
    expected = scores[rank - 1] if rank <= len(labels) else 1.0
    assert calibration["threshold"] == pytest.approx(expected)


def test_a_model_with_many_held_out_images_and_one_without_its_data_are_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither has a second gate; the second does not know its training images. The card says what
    a second gate found, and why there is none.
    """
    for used, told in (
        (True, "It found 1 of 144 training"),
        (False, "is not used as a second gate"),
    ):
        found = {"images": 144, "unlike": 1, "used": used}
        with monkeypatch.context() as patched:
            patched.setattr(
                "thyroid.model.make_model.about_second_gate", lambda *_, found=found: found
            )
            assert main(["export", str(run), str(tmp_path / f"used-{used}")]) == 0
        assert told in (tmp_path / f"used-{used}" / "README.md").read_text()
    monkeypatch.setattr("thyroid.model.make_model.ENOUGH", 100)
    assert main(["export", str(run), str(tmp_path / "many")]) == 0
    assert card_of(tmp_path / "many")["gate"]["scintigrams"] is None

    def gone(*_: object, **__: object) -> Dataset:
        raise InputError("it was moved")

    monkeypatch.setattr("thyroid.model.make_model.Dataset.open", gone)
    assert main(["export", str(run), str(tmp_path / "without")]) == 0
    card = card_of(tmp_path / "without")
    assert (card["gate"]["scintigrams"], card["training_flags"]) == (None, None)
    assert read_model(tmp_path / "without").training_hashes is None
    assert "will not mark images that the model was trained on" in capsys.readouterr().out
    assert "It has no second gate" in (tmp_path / "without" / "README.md").read_text()


def test_test_predictions_take_no_part_in_calibration(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    calibration = card_of(exported)["calibration"]
    other = tmp_path / "other"
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("store"))
    for path in (other / "predictions").rglob("test-*.csv"):
        table = pd.read_csv(path)
        table[[f"p_{name}" for name in CLASSES]] = np.eye(3)[np.arange(len(table)) % 3]
        table.to_csv(path, index=False)
    assert main(["export", str(other), str(tmp_path / "corrupted")]) == 0
    assert card_of(tmp_path / "corrupted")["calibration"] == calibration
    assert card_of(tmp_path / "corrupted")["metrics"] != card_of(exported)["metrics"]

    for path in (other / "predictions").rglob("test-*.csv"):
        path.unlink()
    assert main(["export", str(other), str(tmp_path / "without")]) == 0
    card = card_of(tmp_path / "without")
    assert card["calibration"] == calibration
    assert (card["metrics"]["part"], card["metrics"]["out_of_fold"]) == ("validation", True)
    validation = held_out(run)
    accuracy = accuracy_score(validation.labels, validation.probabilities.argmax(axis=1))
    assert card["metrics"]["overall"]["accuracy"]["value"] == pytest.approx(accuracy)
    text = (tmp_path / "without" / "README.md").read_text()
    assert "There was no test part" in text
    assert "**These are results of single networks**" in text


@pytest.mark.processors
def test_the_model_card_has_the_metrics_of_calibrated_test_predictions(
    run: Path, exported: Path, measured: Callable[..., None]
) -> None:
    test = of_test_part(run)
    calibration, metrics = card_of(exported)["calibration"], card_of(exported)["metrics"]
    p = tempered(test.probabilities, calibration["temperature"])
    named = p.argmax(axis=1)
    overall = metrics["overall"]
    assert (metrics["part"], metrics["out_of_fold"]) == ("test", False)
    assert metrics["images"] == len(test.labels)
    assert overall["accuracy"]["value"] == pytest.approx(accuracy_score(test.labels, named))
    assert overall["macro_f1"]["value"] == pytest.approx(
        f1_score(test.labels, named, average="macro")
    )
    assert overall["log_loss"]["value"] == pytest.approx(log_loss(test.labels, p, labels=range(3)))
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
    assert "from all 4 networks of a run of `thyroid train`" in card
    assert "None of 144 validation images is above a limit, but they are too few" in card
    assert "**It has no gate**" in card
    assert "**The images are simulated.**" in card
    assert "| licence | CC0-1.0 |" in card
    assert "| left |" in card
    assert "{{" not in card
    assert str(run.parent) not in card


def test_with_enough_images_the_card_says_what_the_gate_leaves_of_the_promise(
    run: Path, exported: Path
) -> None:
    """95 of 100 images have their class among the credible ones, and at most one does not pass: of
    the 99 that pass, at least 94 have it, which are 94.9 %.
    """
    card = card_of(exported)
    card["gate"]["images"] = 199
    written = model_card(model_card_info(read_run(run), "test", of_test_part(run), card))
    assert "Of images like these 199 validation images, at most 1 % are expected to" in written
    assert "expected to contain the true class for at least 94.9 % of the others" in written
    assert "contain the true class for at least" not in (exported / "README.md").read_text()


def test_names_from_outside_cannot_become_markup(run: Path, exported: Path) -> None:
    card = card_of(exported) | {"name": "toy <script>|x|\n# heading"}
    info = model_card_info(read_run(run), "test", of_test_part(run), card)
    first = model_card(info).splitlines()[0]
    assert first == r"# toy \<script\>\|x\| \# heading"
    assert text("a_b*c") == r"a\_b\*c"


def test_onnx_says_what_the_run_s_networks_say(run: Path, exported: Path) -> None:
    """Against the networks and the code of the prediction stage, not the exported module."""
    recipe = toy_recipe()
    on = start(recipe.execution)
    counts = torch.poisson(30 * torch.rand(7, 32, 32), generator=torch.Generator().manual_seed(3))
    counts[0] = 0
    of_networks = []
    for fold, seed in NETWORKS:
        network, _, config = load_model(run / "model" / f"fold{fold}-seed{seed}", on)
        p = probabilities(network, counts, config.normalisation, on, "shifts")
        of_networks.append(p.double().numpy())
    T = card_of(exported)["calibration"]["temperature"]
    theirs = tempered(np.mean(of_networks, axis=0), T)
    answers = read_model(exported).answers(counts)
    np.testing.assert_allclose(answers.probabilities, theirs, atol=1e-5)
    agree = np.stack(of_networks).argmax(2) == theirs.argmax(1)
    np.testing.assert_allclose(answers.agreement, agree.mean(axis=0))

    session = onnxruntime.InferenceSession(
        exported / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for some in (slice(0, 1), slice(0, 7)):
        (ours,) = session.run(None, {"counts": counts[some].numpy()})
        np.testing.assert_allclose(ours, theirs[some], atol=1e-4)
    about = {p.key: p.value for p in onnx.load(exported / "model.onnx").metadata_props}
    assert json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["threshold"]) == card_of(exported)["calibration"]["threshold"]
    assert json.loads(about["networks"]) == 4
    assert about["gate"].startswith("none")


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
    told = capsys.readouterr().err
    assert "--onnx needs onnxruntime: install it with `pip install 'thyroid[onnx]'`" in told
    assert not list(tmp_path.iterdir())


def test_the_best_network_is_chosen_on_its_own_fold(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {}
    for fold, seed in NETWORKS:
        of_seed = read_predictions(run / "predictions" / f"validation-seed{seed}.csv", CLASSES)
        own = of_seed.folds == fold
        named = of_seed.probabilities[own].argmax(axis=1)
        values[fold, seed] = macro_f1(of_seed.labels[own], named, len(CLASSES))
    assert main(["export", str(run), str(tmp_path / "best"), "--members", "best"]) == 0
    card = card_of(tmp_path / "best")
    few = f"{card['gate']['images']} images are too few to set the limit of 'unlike_training'"
    assert few in capsys.readouterr().out
    (member,) = card["members"]
    best = member["fold"], member["seed"]
    assert values[best] == max(values.values())

    # Calibrated on predictions by networks not trained on the image: its own for its fold
    of_seed = read_predictions(run / "predictions" / f"validation-seed{best[1]}.csv", CLASSES)
    fitted = fit_temperature(of_seed.labels, of_seed.probabilities)
    calibration = card["calibration"]
    assert calibration["temperature"] == calibration["fitted_temperature"] == pytest.approx(fitted)
    assert (calibration["images"], calibration["networks"]) == (len(of_seed.labels), 1)
    name = f"networks/test-fold{best[0]}-seed{best[1]}.csv"
    alone = read_predictions(run / "predictions" / name, CLASSES)
    expected = accuracy_score(alone.labels, alone.probabilities.argmax(axis=1))
    assert card["metrics"]["overall"]["accuracy"]["value"] == pytest.approx(expected)
    assert "the best of 4 networks" in (tmp_path / "best" / "README.md").read_text()
    assert card["gate"]["images"] == (of_seed.folds == best[0]).sum()
    parts = pd.read_csv(run / "split.csv").set_index("image_id")
    training = (parts["part"] == "development") & (parts["fold"] != best[0])
    data = Dataset.open(read_config(run).dataset.folder)
    totals = data.images.set_index("image_id")["total_counts"][training]
    assert card["total_counts"] == [totals.min(), totals.max()]


def test_a_model_is_no_start_for_images_that_it_was_trained_on(
    exported: Path, data: Path, tmp_path: Path
) -> None:
    """The weights would have been trained on a fold's validation part, or on the test set."""
    model, own = read_model(exported), Dataset.open(data)
    recipe = from_json(Recipe, model.card["recipe"])
    other = write_toy(tmp_path / "other", seed=99)
    assert weights_file(exported, recipe, [other]) == exported / member_files(Network(0, 0))[0]
    for datasets in ([own], [other, own]):
        with pytest.raises(InputError, match=r"was trained on images of .*/dataset, which this"):
            weights_file(exported, recipe, datasets)
    wider = override(recipe, {"network.width": 8})
    with pytest.raises(InputError, match="model of resnet_small of width 4, but the recipe's"):
        weights_file(exported, wider, [other])
    pictures = write_toy(tmp_path / "pictures", kind="display")
    with pytest.raises(InputError, match="trained on photon counts, but the data are pictures"):
        weights_file(exported, recipe, [pictures])


def test_a_model_of_one_network_from_before_there_were_several_is_read(
    exported: Path, tmp_path: Path
) -> None:
    older, card = tmp_path / "older", card_of(exported)
    older.mkdir()
    first = card["members"][0]
    shutil.copyfile(exported / member_files(Network(0, 0))[0], older / "model.safetensors")
    for name in ("members", "gate", "views"):
        del card[name]
    card |= {"format_version": 1, "seed": 0, "weights_sha256": first["weights_sha256"]}
    (older / "model.json").write_text(json.dumps(card))
    counts = torch.poisson(30 * torch.rand(3, 32, 32), generator=torch.Generator().manual_seed(3))
    whole, model = read_model(exported), read_model(older)
    answers = model.answers(counts)
    alone = Ensemble(whole.network.of_one_view().viewed[:1], whole.network.temperature)
    torch.testing.assert_close(torch.from_numpy(answers.probabilities).float(), alone(counts))
    assert np.isnan(answers.distances).all()


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(
    run: Path, exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    def altered(name: str) -> Path:
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("store"))
        return tmp_path / name

    unfinished, damaged, ambiguous = altered("unfinished"), altered("damaged"), altered("named")
    older = altered("older")  # its networks were built differently
    for path in older.glob("model/*/model.json"):
        card = json.loads(path.read_text())
        card["network"] |= {"name": "resnet_small", "width": 8}
        path.write_text(json.dumps(card))
    lacking, untested = altered("lacking"), altered("untested")
    (lacking / "model" / "fold1-seed1" / "features.safetensors").unlink()
    (untested / "predictions" / "networks" / "test-fold1-seed0.csv").unlink()
    planted = altered("planted")
    (planted / "model" / "fold1-seed1" / "features.safetensors").write_bytes(b"planted")
    (unfinished / "predictions" / "validation-seed0.csv").unlink()
    (damaged / "config.json").write_text("{")
    with_config(ambiguous, dataset__classes=("left", "right", "uncertain"))
    before = sorted(tmp_path.iterdir())
    for arguments, sentence in [
        ([str(tmp_path / "none"), "m"], "is not a run (it has no config.json)"),
        ([str(unfinished), "m"], "is not finished"),
        ([str(lacking), "m"], "is not finished"),
        ([str(untested), "m"], "is not finished"),
        ([str(planted), "m"], "features.safetensors is damaged"),
        ([str(damaged), "m"], "cannot be read"),
        ([str(ambiguous), "m"], "is called 'uncertain'"),
        ([str(older), "m"], "do not fit the network that this version of thyroid builds: train it"),
        ([str(run), str(exported)], "exists already"),
        ([str(run), "/proc/model"], "annot write /proc"),
    ]:
        arguments[1] = str(tmp_path / arguments[1])
        refused(["export", *arguments], sentence)
        assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_model_is_told(
    run: Path, exported: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    def altered(name: str, **changes: object) -> Path:
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        (folder / "model.json").write_text(json.dumps(card_of(exported) | changes))
        return folder

    def damaged(name: str, file: str) -> Path:
        path = altered(name) / file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        return path.parents[1]

    members, missing = card_of(exported)["members"], altered("missing")
    (missing / member_files(Network(1, 1))[0]).unlink()
    escaping = [members[0] | {"fold": "../fold0"}]
    assert read_model(altered("weights only", format_version=2), gate=False).gate is None
    for folder, sentence in [
        (tmp_path, "is not a model (it has no model.json)"),
        (exported / "README.md", "is not a model"),
        (run / "model", "is not a model"),
        (run / "model" / "fold0-seed0", f"`thyroid export {run} MODEL`"),
        (altered("newer", format_version=4), "reads up to 3: install a newer version"),
        (altered("earlier", format_version=2), "run the command of its run again"),
        (altered("text", calibration="high"), "is damaged, or was changed"),
        (
            altered("wider", network={"name": "resnet_small", "width": 8}),
            "do not fit the network",
        ),
        (altered("unknown", network={"name": "resnet19"}), "is damaged"),
        (damaged("weights", member_files(Network(0, 1))[0]), "is damaged"),
        (damaged("features", member_files(Network(0, 1))[1]), "is damaged"),
        (missing, "is damaged"),
        (altered("none", members=[]), "is damaged"),
        (altered("twice", members=members[:1] * 2), "is damaged"),
        (altered("escaping", members=escaping), "is damaged"),
        (altered("scale", members=[members[0] | {"distance_scale": 0}]), "is damaged"),
        (altered("gate", gate={"threshold": -1, "relative": 1, "level": 0.99}), "is damaged"),
        (altered("views", views="all"), "is damaged"),
    ]:
        out = ["--out", str(tmp_path / "out.csv")]
        refused(["predict", str(folder), str(folder), *out], sentence)
    assert not (tmp_path / "out.csv").exists()
