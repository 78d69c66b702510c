"""`thyroid train`: what it writes, what it refuses, and that the same command resumes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.runs.test_tensorboard import same_as_metrics
from tests.short_trainings import FEW, RETRAIN, artifacts, cross_data
from tests.toy import like, write_toy
from thyroid import machine
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError
from thyroid.machine import Processor
from thyroid.runs.run_folder import at_work
from thyroid.workflows.options import RunOptions, TrainOptions
from thyroid.workflows.setup import inputs, set_up


@pytest.mark.usefixtures("ray_here")  # trains both seeds side by side
def test_train_reports_and_the_same_command_again_computes_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", str(toy), str(run), "--seeds", "2", *FEW]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert re.search(r"macro-F1 0\.\d{3} \(95 % interval .*\) on 18 test images, mean of 2", told)
    config = json.loads((run / "config.json").read_text())
    assert config["dataset"]["digest"] == Dataset.open(toy).digest
    assert config["recipe"]["input"]["size"] == 32
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(m["seed"], m["epoch"]) for m in lines] == [(s, e) for s in (0, 1) for e in (1, 2, 3)]
    test = pd.read_csv(run / "predictions" / "test-seed0.csv")
    parts = pd.read_csv(run / "split.csv").set_index("image_id")["part"]
    assert set(parts[test["image_id"]]) == {"test"}
    assert (run / "model" / "fold0-seed1" / "model.safetensors").exists()

    made = artifacts(run)
    page = (run / "report.html").read_bytes()
    assert main(command) == 0
    assert artifacts(run) == made
    assert (run / "report.html").read_bytes() == page


@pytest.mark.parametrize(
    ("seeds", "room", "asked"), [("2", 2, True), ("1", 2, False), ("2", 1, False)]
)
def test_trainings_of_several_seeds_go_on_side_by_side_where_there_is_room(
    seeds: str, room: int, asked: bool, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[str | None] = []

    def connected(address: str | None) -> None:
        joined.append(address)
        raise InputError("no Ray today")

    monkeypatch.setattr("thyroid.workflows.cluster.connected", connected)
    monkeypatch.setattr(
        "thyroid.workflows.training.at_once", lambda execution, gpus_per_worker: room
    )
    command = ["train", str(toy), str(tmp_path / "run"), "--seeds", seeds, *FEW]
    assert main(command) == (2 if asked else 0)
    assert joined == ([None] if asked else [])


def test_auto_is_what_the_clusters_machines_have_and_not_that_of_the_command(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def machine_of_stages(options: RunOptions) -> Processor:
        asked.append(options.address)
        return Processor(gpus=2, gpu_bf16=False, cpu_bf16=True, cpu_amx_bf16=True)

    monkeypatch.setattr("thyroid.workflows.cluster.machine_of_stages", machine_of_stages)
    given = inputs(toy, tmp_path / "run", "small")
    for address, environment in (("auto", ""), (None, "10.0.0.1:6379")):
        monkeypatch.setenv("RAY_ADDRESS", environment)
        recipe = set_up(given, TrainOptions(address=address)).recipe
        assert (recipe.execution.device, recipe.execution.precision) == ("cuda", "fp32")
        assert recipe.network.precision == "fp32"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert set_up(given, TrainOptions(address="local")).recipe.execution.device == "cpu"
    assert asked == ["auto", None]


def test_a_gpu_of_this_machine_that_a_training_does_not_use_is_told(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gpu = dataclasses.replace(machine.here(), gpus=1)
    monkeypatch.setattr("thyroid.workflows.setup.here", lambda: with_gpu)

    def at_work(*_: object, **__: object) -> None:
        raise InputError("enough")

    monkeypatch.setattr("thyroid.workflows.training.at_work", at_work)
    command = ["train", str(toy), str(tmp_path / "run"), "--seeds", "1", *FEW]
    assert main([*command, "--execution.device", "cpu"]) == 2
    assert "trains on processors, and there are 1 GPUs: give" in capsys.readouterr().err


def test_a_dry_run_shows_the_recipe_and_what_is_to_do_and_writes_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(toy), str(tmp_path / "run"), "--seeds", "1", *FEW]
    assert main([*command, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert '"size": 32' in told
    assert "auto" not in told
    assert len(re.findall(r"^[0-9a-f]{8}  \w+ +to do", told, re.M)) == 8
    assert not (tmp_path / "run").exists()
    assert main(command) == 0
    assert main([*command, "--dry-run"]) == 0
    assert len(re.findall(r"in the store", capsys.readouterr().out)) == 8


def test_a_run_folder_takes_no_other_run(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(toy), run, "--seeds", "1", *FEW]) == 0
    config = (tmp_path / "run" / "config.json").read_bytes()
    other = write_toy(tmp_path / "other", seed=1).folder
    for command, sentence in [
        (["train", str(other), run, "--seeds", "1", *FEW], "holds a run on other data"),
        (["train", str(toy), run, *FEW, "--split.seed", "7"], "split.seed 0 instead of 7"),
        (["search", str(toy), run, "--space", "augmentation", *FEW], "command train instead of"),
    ]:
        assert main(command) == 2
        assert sentence in capsys.readouterr().err
    assert (tmp_path / "run" / "config.json").read_bytes() == config


@pytest.mark.usefixtures("ray_here")
def test_fewer_seeds_leave_no_results_of_others(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(toy), str(tmp_path / "run"), *FEW, "--seeds"]
    assert main([*command, "2"]) == 0
    assert main([*command, "1"]) == 0
    assert "1 seed" in capsys.readouterr().out.splitlines()[-2]
    names = {p.name for p in (tmp_path / "run" / "predictions").iterdir()}
    assert names == {"validation-seed0.csv", "test-seed0.csv"}
    assert same_as_metrics(tmp_path / "run", seeds=1)


def test_data_with_a_fault_that_makes_results_untrue_are_refused(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same picture of two patients could be in the training part and in the test part."""
    original = Dataset.open(toy)
    counts = original.counts.copy()
    counts[6] = counts[0]
    twins = like(original, tmp_path / "twins", counts=counts)
    assert main(["train", str(twins.folder), str(tmp_path / "run"), *FEW]) == 2
    assert "cannot be trained on" in capsys.readouterr().err


def test_a_retrained_run_keeps_what_it_knew_before_its_cross_phase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    command = ["train", str(data), str(run), "--seeds", "1", *RETRAIN]
    command += ["--network.cross-feature", "input", "--cross.superposed", "0.5"]
    assert main(command) == 0
    names = {"validation-seed0.csv", "test-seed0.csv"}
    before = {p.name: p.read_bytes() for p in (run / "predictions" / "before-cross").iterdir()}
    assert set(before) == names
    for name in names:
        assert (run / "predictions" / name).read_bytes() != before[name]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["single", "cross", "cross"]
    card = json.loads((run / "model" / "fold0-seed0" / "model.json").read_text())
    assert card["network"]["cross_feature"] == "input"
    made = artifacts(run)

    # Another cross phase takes the single phase from the store, and its networks are the same
    other = tmp_path / "other"
    store = ["--store", str(run / "store")]
    assert main(["train", str(data), str(other), "--seeds", "1", *RETRAIN, *store]) == 0
    assert made.items() <= artifacts(run).items()
    for name in names:
        again = other / "predictions" / "before-cross" / name
        assert again.read_bytes() == before[name]
    assert not (other / "store").exists()

    # Another order removes all of it
    assert main([*command, "--cross.order", "never"]) == 2
    assert "cross.order retrain instead of never" in capsys.readouterr().err


def test_parts_of_the_method_that_the_data_do_not_allow_are_told(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No image of the toy data set shows two diseases."""
    none, unused = "the recipe asks for no other synthetic images", "x_i is never used"
    shares = ["--mixing.synthetic-share", "0.2"]  # overrides nothing that the preset asks for
    none_of_single = ["--mixing.synthetic-share", "0"]  # but the cross phase has some
    for recipe, options, told in (
        ("small", shares, {none}),
        ("small", [*shares, "--mixing.cross-share", "0"], set[str]()),
        ("small", [*shares, "--mixing.cross-share", "0.5"], {"no synthetic cross images are made"}),
        ("small", ["--mixing.synthetic-share", "0"], set[str]()),
        ("paper", shares, {none, unused, "there is no cross phase"}),
        ("paper", none_of_single, {none, unused, "there is no cross phase"}),
    ):
        command = ["train", str(toy), str(tmp_path / "run"), "--recipe", recipe, *options]
        assert main([*command, "--dry-run"]) == 0
        out, err = capsys.readouterr()
        lines = re.findall(r"more than one disease: (.*?)(?:,.*)?\.?$", err, re.M)
        assert set(lines) == told
        advised = none in told and options is shares
        assert ("Add `--mixing.cross-share 0`" in err) == advised
        assert ('"synthetic_share": 0.2' in out) == (none not in told and options[1] != "0")
    crosses = write_toy(tmp_path / "crosses", crosses=20).folder
    never = ["--recipe", "paper", "--cross.order", "never", *none_of_single, "--dry-run"]
    assert main(["train", str(crosses), str(tmp_path / "run"), *never]) == 0
    assert "single images alone: x_i is never used" in capsys.readouterr().err


def test_a_small_test_part_is_told_before_training(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, other = {"split.folds": 5}, write_toy(tmp_path / "test", seed=1).folder
    out_of_fold = "With `--split.test 0`, the result is out of fold and rests on all 90 images."
    cases: list[tuple[dict[str, float], Path | None, list[str]]] = [
        ({"split.folds": 1}, None, ["18 images, 6 of them of left"]),
        (folds, None, ["18 images, 6 of them of left", out_of_fold]),
        (folds | {"split.test": 0.0}, None, []),
        (folds | {"split.test": 0.4}, None, []),
        (folds, other, []),
    ]
    for number, (changes, test_set, told) in enumerate(cases):
        given = inputs(toy, tmp_path / f"run{number}", "small", changes)
        experiment = set_up(given, TrainOptions(test_set=test_set)).experiment(1, of_one_split=1)
        with at_work(given.run, experiment, "train", None):
            said = capsys.readouterr().err
        for sentence in told:
            assert sentence in said
        assert ("The test part has" in said) == bool(told)
        assert ("out of fold" in said) == (len(told) > 1)


def test_without_cross_images_there_is_no_cross_phase_and_a_line_says_so(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", str(toy), str(run), "--seeds", "1", *RETRAIN]
    assert main(command) == 0
    assert "there is no cross phase" in capsys.readouterr().err
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["cross"]["order"] == "mixed"
    assert {p.name for p in (run / "predictions").iterdir()} == {
        "validation-seed0.csv",
        "test-seed0.csv",
    }


def test_training_starts_from_the_users_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    """Weights are for colour images and other classes; a learning rate of zero keeps them."""
    import torch
    from safetensors.torch import load_file, save_file

    from thyroid.networks.build import build
    from thyroid.recipe import NetworkConfig

    torch.manual_seed(5)
    given = build(NetworkConfig(name="resnet_small", width=4), classes=9).state_dict()
    given["conv1.weight"] = torch.rand(4, 3, 3, 3)
    file, other = tmp_path / "weights.safetensors", tmp_path / "other.safetensors"
    save_file(given, file)
    save_file(given | {"fc.bias": torch.ones(9)}, other)

    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    still = [*RETRAIN, "--optimiser.learning-rate", "1e-8", "--network.cross-feature", "input"]
    command = ["train", str(data), str(run), "--seeds", "1", *still]
    assert main([*command, "--weights", str(file)]) == 0
    trained = load_file(run / "model" / "fold0-seed0" / "model.safetensors")
    kept = [name for name in given if name.endswith(".weight") and not name.startswith("fc.")]
    expected = given | {"conv1.weight": given["conv1.weight"].sum(1, keepdim=True)}
    for name in kept:
        torch.testing.assert_close(trained[name], expected[name], atol=1e-5, rtol=0)
    assert trained["fc.weight"].shape == (3, 2 * 4 * 8)

    made = artifacts(run)
    assert main([*command, "--weights", str(file)]) == 0  # the second time nothing is computed
    assert artifacts(run) == made
    capsys.readouterr()
    again = ["train", str(data), str(tmp_path / "again"), "--recipe", str(run / "recipe.json")]
    for changed, sentence in [
        (again, "The recipe needs weights: give --weights FILE"),
        (
            [*again, "--weights", str(other)],
            "other.safetensors is not the file that the recipe names",
        ),
        ([*again, "--weights", str(tmp_path / "none")], "is not a file"),
        ([*command, "--weights", __file__], "does not hold the weights of resnet_small"),
    ]:
        refused(changed, sentence)
        assert not (tmp_path / "again").exists()
