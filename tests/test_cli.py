"""The command line as a user meets it: a process, its output, its status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.columns import documented_as_written
from tests.runs.test_tensorboard import same_as_metrics, scalars
from tests.toy import write_toy
from thyroid import pipeline
from thyroid.cli import SUMMARIES, main
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset, write_dataset
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, override, read_recipe
from thyroid.storage.store import Store

SHORT = ["--input.size", "32", "--network.width", "4", "--schedule.warmup-epochs", "0"]
SHORT += ["--schedule.constant-epochs", "2", "--schedule.decay-epochs", "1"]
SHORT += ["--schedule.segment-epochs", "1"]
FEW = [*SHORT, "--mixing.synthetic-share", "0", "--mixing.final-share", "0"]

TINY = ["--dcgan.latent", "8", "--dcgan.width", "4", "--dcgan.batch-size", "16"]
TINY += ["--dcgan.epochs", "2", "--dcgan.steps-per-epoch", "3", "--dcgan.segment-epochs", "1"]
TINY += ["--srgan.width", "4", "--srgan.blocks", "1", "--srgan.batch-size", "16"]
TINY += ["--srgan.pixel-epochs", "1", "--srgan.adversarial-epochs", "1"]
TINY += ["--srgan.steps-per-epoch", "2", "--synthesis.images-per-class", "8"]
TINY += ["--synthesis.images-per-cross", "6", "--synthesis.rejection", "1"]
TINY += [
    "--label-filter.warmup-epochs",
    "0",
    "--label-filter.constant-epochs",
    "2",
    "--label-filter.decay-epochs",
    "0",
]
"""Generators of seconds; whether they are used, `--mixing` says."""

MIXED = [*SHORT, *TINY, "--mixing.synthetic-share", "0.5", "--mixing.final-share", "0.5"]
MIXED += ["--mixing.cross-share", "None"]

RETRAIN = [*FEW, "--cross.order", "retrain", "--cross.epochs", "2"]
"""One epoch of single images, then two of cross images."""


def cross_data(folder: Path) -> Path:
    """The toy data set with cross images."""
    return write_toy(folder, crosses=24).folder


def elsewhere(folder: Path) -> Dataset:
    """Thirty images of other patients."""
    dataset = write_toy(folder, images=30, seed=7)
    names = "other-" + dataset.images["patient_id"]
    dataset.images.assign(patient_id=names).to_csv(folder / "images.csv", index=False)
    return Dataset.open(folder)


def artifacts(run: Path) -> dict[Path, int]:
    """Each artifact of the run's store, and when it was made."""
    return {p: p.stat().st_mtime_ns for p in (run / "store" / "artifacts").glob("*/*")}


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from thyroid.cli import main; main(['--help']);"
        "sys.exit(bool({'torch', 'ray', 'pandas', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in SUMMARIES)


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_explains_itself_without_torch(name: str) -> None:
    code = (
        "import sys; from thyroid.cli import main\n"
        f"try: main(['{name}', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"usage: thyroid {name}" in done.stdout


@pytest.mark.parametrize("name", sorted(set(SUMMARIES) - {"demo"}))
def test_a_command_without_arguments_says_what_it_needs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([name])
    assert end.value.code == 2
    assert f"thyroid {name}" in capsys.readouterr().err


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
    assert (run / "model" / "model.safetensors").exists()

    artifacts = {p: p.stat().st_mtime_ns for p in (run / "store" / "artifacts").glob("*/*")}
    page = (run / "report.html").read_bytes()
    assert main(command) == 0
    assert {p: p.stat().st_mtime_ns for p in (run / "store" / "artifacts").glob("*/*")} == artifacts
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


def test_a_dry_run_shows_the_recipe_and_what_is_to_do_and_writes_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(toy), str(tmp_path / "run"), "--seeds", "1", *FEW]
    assert main([*command, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert '"size": 32' in told
    assert "auto" not in told
    assert len(re.findall(r"^[0-9a-f]{8}  \w+ +to do", told, re.M)) == 7
    assert not (tmp_path / "run").exists()
    assert main(command) == 0
    assert main([*command, "--dry-run"]) == 0
    assert len(re.findall(r"in the store", capsys.readouterr().out)) == 7


def test_a_run_folder_takes_no_other_run(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(toy), run, "--seeds", "1", *FEW]) == 0
    config = (tmp_path / "run" / "config.json").read_bytes()
    other = write_toy(tmp_path / "other", seed=1).folder
    for command, sentence in [
        (["train", str(other), run, "--seeds", "1", *FEW], "holds a run on other data"),
        (["train", str(toy), run, *FEW, "--split.seed", "7"], "split.seed was 0 and not 7"),
        (["search", str(toy), run, "--space", "augmentation", *FEW], "command was train and not"),
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
    """The same picture under two patients could be trained on and tested on."""
    original = Dataset.open(toy)
    counts = original.counts.copy()
    counts[6] = counts[0]
    info = original.info
    twins = write_dataset(
        tmp_path / "twins",
        name=info.name,
        classes=info.classes,
        size=info.size,
        pixel_mm=info.pixel_mm,
        kind=info.kind,
        source=info.source,
        licence=info.licence,
        images=original.images,
        counts=np.ascontiguousarray(counts),
    )
    assert main(["train", str(twins.folder), str(tmp_path / "run"), *FEW]) == 2
    assert "cannot be trained on" in capsys.readouterr().err


def test_bad_input_is_one_sentence_status_2_and_leaves_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    changed = write_toy(tmp_path / "changed").folder
    counts = bytearray((changed / "counts.npy").read_bytes())
    counts[-1] ^= 1
    (changed / "counts.npy").write_bytes(counts)
    train = ["train", str(toy), str(run), *FEW]
    search = ["search", str(toy), str(run), *FEW, "--space"]
    for command, sentence in [
        (["diagnose"], "no command 'diagnose'"),
        (["train", str(tmp_path / "none"), str(run)], "is no data set"),
        (["train", str(changed), str(run)], "was changed or damaged"),
        ([*train, "--input.size", "20"], "choose one of 32, 16."),
        ([*train, "--input.size", "7"], "input.size is 7 but must be from 16"),
        ([*train, "--network.name", "resnet19"], "choose one of alexnet"),
        ([*train, "--recipe", "large"], "choose small, resnet18, paper or a JSON file"),
        ([*train, "--recipe", str(tmp_path / "no.json")], "Cannot read recipe"),
        ([*train, "--seeds", "0"], "--seeds is 0"),
        (["train", str(toy), "/proc/run", *FEW], "Cannot write /proc/run"),
        ([*search, "none"], "choose augmentation"),
        ([*search, "augmentation", "--grace-epochs", "0"], "--grace-epochs is 0"),
        ([*train, "--network.width", "0"], "network.width is 0"),
        ([*train, "--execution.device", "cuda"], "there is none here"),
        ([*search, "augmentation", "--time-budget", "soon"], "90s, 30m, 2h or 30d"),
        ([*search, "augmentation", "--gpu-hours", "1"], "on the processor: use --time-budget"),
        ([*search, "augmentation", "--gpu-hours", "0"], "--gpu-hours is 0.0 but must be above"),
        ([*search, "augmentation", "--report-every", "1"], "--report-every '1' is no duration"),
        ([*search, "augmentation", "--objectives", "f1"], "name each once, of macro_f1"),
        ([*search, "augmentation", "--warm-start", "nowhere"], "nowhere is no run"),
        ([*search, "augmentation", "--storage", "sqlite:////no/where.db"], "give a URL such as"),
        (["train", str(toy), str(toy), *FEW], "is a data set: name another folder"),
        (["train", str(toy), str(toy / "run"), *FEW], "is a data set: name another folder"),
        (["compare", str(toy), str(run), *FEW, "--models", "none"], "compares nothing"),
        (["demo", "--out", str(changed)], "holds something else: name a new folder"),
        (["demo", "--out", str(run), "--trials", "0"], "--trials is 0"),
        (["report", str(tmp_path)], "is no run"),
        (["phantom", str(tmp_path / "p"), "--preset", "heart"], "choose thyroid7 or"),
        (["phantom", str(toy)], "exists already"),
        (["import", str(tmp_path / "none"), str(tmp_path / "d")], "none"),
    ]:
        assert main(command) == 2, command
        told = capsys.readouterr().err.removeprefix("starting Ray on this machine\n")
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert not run.exists()
        assert not (tmp_path / "p").exists()
        assert not (tmp_path / "d").exists()


def test_an_unknown_option_is_status_2(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", str(toy), str(tmp_path / "run"), "--input.sise", "32"])
    assert end.value.code == 2


def test_a_full_disk_ends_with_a_sentence(toy: Path, tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk: every write beyond it is refused."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from thyroid.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", limited, "train", str(toy), str(run), "--seeds", "1", *FEW],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((run / "store" / "building").iterdir())
    assert not list((run / "store" / "claims").iterdir())


def test_training_with_synthetic_images_shows_what_they_are_worth(tmp_path: Path) -> None:
    """Killed after its first generator, and run again: the same results as undisturbed."""
    data = write_toy(tmp_path / "data", crosses=24).folder
    command = ["train", str(data), str(tmp_path / "killed"), "--seeds", "1", *MIXED]
    made = tmp_path / "killed" / "store" / "artifacts"
    process = subprocess.Popen(
        [sys.executable, "-m", "thyroid.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(made.glob("*/*/generator.safetensors")):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "killed" / "predictions").exists()
    before = {path: path.stat().st_mtime_ns for path in made.glob("*/*")}
    assert main(command) == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in made.glob("*/*")}.items()
    run = tmp_path / "run"
    assert main(["train", str(data), str(run), "--seeds", "1", *MIXED]) == 0

    names = {"validation-seed0.csv", "test-seed0.csv"}
    for folder in ("predictions", "predictions/without-synthetic"):
        assert {p.name for p in (run / folder).glob("*.csv")} == names
        for name in names:
            again = tmp_path / "killed" / folder / name
            assert again.read_bytes() == (run / folder / name).read_bytes()
    with_and_without = [
        run / f"predictions{twin}" / "test-seed0.csv" for twin in ("", "/without-synthetic")
    ]
    assert with_and_without[0].read_bytes() != with_and_without[1].read_bytes()
    plain = tmp_path / "plain"
    assert main(["train", str(data), str(plain), "--seeds", "1", *FEW]) == 0
    assert (plain / "predictions" / "test-seed0.csv").read_bytes() == with_and_without[
        1
    ].read_bytes()
    assert not (plain / "synthetic").exists()

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    of_stage = {
        kind: [m for m in lines if m["stage"] == kind] for kind in {m["stage"] for m in lines}
    }
    assert {kind: len(found) for kind, found in of_stage.items()} == {
        "dcgan": 2,
        "srgan": 2,
        "synthesis": 5,
        "classifier": 3,  # its own; the judge's are not the run's
    }
    assert [m["epoch"] for m in of_stage["dcgan"]] == [1, 2]
    assert all("diversity" in m for m in of_stage["dcgan"])

    quality = json.loads((run / "synthetic" / "quality.json").read_text())
    assert quality["format_version"] == 1
    assert {row["group"] for row in quality["rows"]} >= {"all", "left", "right", "below"}
    examples = Dataset.open(run / "synthetic" / "examples")
    assert examples.images["findings"].value_counts().to_dict() == dict.fromkeys(
        ["left", "right", "below", "left;right", "right;below"], 6
    )
    assert (run / "report.html").exists()
    assert same_as_metrics(run, seeds=1)
    documented = documented_as_written(run)
    assert documented >= {"classifier", "dcgan", "srgan", "synthesis", "split.csv", "predictions"}


def test_a_recipe_without_synthetic_images_takes_the_place_of_one_with_them(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(toy), run, "--seeds", "1", *MIXED]) == 0
    assert main(["train", str(toy), run, "--seeds", "1", *FEW, *TINY]) == 2
    assert "mixing.synthetic_share was 0.5 and not 0.0" in capsys.readouterr().err
    assert (tmp_path / "run" / "synthetic").exists()


def test_what_cannot_be_synthesised_is_said_before_anything_is_written(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    large = write_toy(tmp_path / "large", size=96).folder
    crossed = write_toy(tmp_path / "crossed", crosses=24).folder
    mixed = ["train", str(crossed), str(run), *MIXED]
    train = ["train", str(toy), str(run), *MIXED]
    for command, sentence in [
        ([*train, "--synthesis.crosses", "left+above"], "synthesis.crosses names 'left+above'"),
        (
            ["train", str(large), str(run), *MIXED, "--input.size", "96"],
            "one of 8, 16, 32, 64, 128",
        ),
        ([*train, "--synthesis.rejection", "0"], "synthesis.rejection is 0"),
        ([*train, "--mixing.synthetic-share", "2"], "mixing.synthetic_share is 2"),
        (
            [*mixed, "--mixing.cross-share", "1", "--synthesis.crosses", "none"],
            "mixing.cross_share 1 asks for images that",
        ),
        ([*train, "--vgg19", str(tmp_path / "none.pth")], "is no file"),
        ([*train, "--vgg19", __file__], f"{__file__} does not hold the weights of VGG-19"),
    ]:
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert not run.exists()


@pytest.mark.usefixtures("ray_here")
def test_search_writes_trials_and_the_best_recipe(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["search", str(toy), str(run), "--space", "augmentation", *FEW, *TINY]
    command += ["--trials", "2", "--final-seeds", "1"]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "trial 0: macro-F1" in told.err
    assert f"best recipe: {run / 'recipe.json'}" in told.out
    table = pd.read_csv(run / "trials.csv")
    assert list(table["state"]) == ["complete", "complete"]
    best = table.loc[table["chosen"].idxmax()]
    assert best["raced_macro_f1"] == table["raced_macro_f1"].max()
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["augmentation"]["mirror"] == best["param_mirror"]
    assert recipe["augmentation"]["rotation_deg"] == pytest.approx(10 * best["param_magnitude"])
    page = (run / "report.html").read_text()
    assert "Search" in page
    assert "What was computed" in page
    stages = json.loads((run / "stages.json").read_text())["stages"]
    assert {user for stage in stages for user in stage["users"]} >= {"trial 0", "trial 1", "seed 0"}
    assert not any(stage["found"] for stage in stages)
    assert "computed" in told.err.splitlines()[-1]
    assert documented_as_written(run) >= {"trials.csv", "stages.json", "usage.json"}
    assert same_as_metrics(run, seeds=1)
    outcome = scalars(run / "tensorboard" / "search")
    assert outcome["search/macro_f1", 1] == pytest.approx(table["macro_f1"][1], rel=1e-6)

    assert main(["train", str(toy), str(tmp_path / "again"), "--recipe", str(run / "recipe.json"),
                 "--seeds", "1", "--store", str(run / "store")]) == 0  # fmt: skip
    stages = json.loads((tmp_path / "again" / "stages.json").read_text())["stages"]
    assert all(stage["found"] for stage in stages)
    assert main([*command, "--objectives", "macro_f1,compute"]) == 2
    assert "whose --objectives was ['macro_f1']" in capsys.readouterr().err
    again = pd.read_csv(tmp_path / "again" / "predictions" / "test-seed0.csv")
    assert again.equals(pd.read_csv(run / "predictions" / "test-seed0.csv"))


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
    card = json.loads((run / "model" / "model.json").read_text())
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

    # Another order leaves nothing of it behind
    assert main([*command, "--cross.order", "never"]) == 2
    assert "cross.order was retrain and not never" in capsys.readouterr().err


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


def test_a_test_set_that_lies_elsewhere_is_predicted_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    other = elsewhere(tmp_path / "other")
    train = ["train", str(data), str(run), "--seeds", "1", *RETRAIN]
    command = [*train, "--test-set", str(other.folder)]
    assert main([*command, "--dry-run"]) == 0
    assert not run.exists()
    capsys.readouterr()
    assert main(command) == 0
    assert "on 30 test images" in capsys.readouterr().out
    for place in ("predictions", "predictions/before-cross"):
        tested = pd.read_csv(run / place / "test-seed0.csv")
        assert list(tested["image_id"]) == list(other.images["image_id"])
    parts = pd.read_csv(run / "split.csv")["part"]
    assert set(parts) == {"train", "validation"}
    assert len(parts) == 114
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["split"]["test"] == 0
    about = config["test_set"]
    assert (about["digest"], about["images"], about["patients"]) == (other.digest, 30, 15)
    assert about["folder"] == str(other.folder)

    assert main(command) == 0  # the same command again
    capsys.readouterr()
    for test_set in ([], ["--test-set", str(elsewhere(tmp_path / "third").folder)]):
        table = tmp_path / "third" / "images.csv"
        if test_set:
            table.write_text(table.read_text().replace("centre-1", "centre-9"))
        assert main([*train, *test_set]) == 2
        assert "holds a run on other data" in capsys.readouterr().err


def test_a_test_set_that_says_nothing_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    size = elsewhere(tmp_path / "other")
    info = json.loads((size.folder / "dataset.json").read_text())
    info["classes"] = ["left", "below", "right"]
    (size.folder / "dataset.json").write_text(json.dumps(info))
    for test_set, sentence in [
        (data, "shares 114 images and 57 patients with the training data"),
        (write_toy(tmp_path / "patients", seed=3).folder, "shares 0 images and 45 patients"),
        (write_toy(tmp_path / "size", size=64, seed=3).folder, "has size 64"),
        (size.folder, "has classes"),
        (tmp_path / "none", "is no data set"),
    ]:
        for name in ("train", "compare"):
            command = [name, str(data), str(run), *RETRAIN, "--test-set", str(test_set)]
            assert main(command) == 2, command
            told = capsys.readouterr().err
            assert sentence in told, told
            assert told.count("\n") == 1, told
            assert not run.exists()


COMPARED = [*RETRAIN, "--network.cross-feature", "input", "--schedule.segment-epochs", "2"]
COMPARED += ["--ablations", "--seeds", "2", "--trials-per-model", "2"]


@pytest.mark.usefixtures("ray_here")
def test_compare_fills_a_row_for_every_network_and_ablation_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    command = ["compare", str(data), str(run), "--models", "lenet5,resnet_small", *COMPARED]
    searched = tmp_path / "searched"  # where a search of five trials has ended
    searched.mkdir()
    about = {"dataset": {"classes": ["left"]}, "search": {"trials": 5}}
    (searched / "config.json").write_text(json.dumps(about))
    (searched / "recipe.json").write_text(json.dumps(to_json(RECIPES["small"]())))
    command += ["--recipe", str(searched / "recipe.json")]
    assert main(command) == 0
    capsys.readouterr()
    config = json.loads((run / "config.json").read_text())
    assert (config["command"], config["seeds"], config["search"]) == ("compare", [0, 1], None)
    rows = {row["name"]: row for row in json.loads((run / "rows.json").read_text())["rows"]}
    ablations = {"no-cross-phase", "mixed", "no-x", "x-stem", "x-context"}
    assert set(rows) == {"method", "lenet5", "resnet_small"} | ablations
    assert [name for name, row in rows.items() if row["kind"] == "ablation"] == list(rows)[3:]
    tried = {name: row["trials"] for name, row in rows.items() if row["trials"]}
    assert tried == {"method": 6, "lenet5": 2, "resnet_small": 2}
    assert config["searched"] == 5
    assert all(row["done"] and row["train_seconds"] > 0 for row in rows.values())
    assert rows["no-x"]["changes"] == {"network.cross_feature": "none"}
    assert rows["no-cross-phase"]["parameters"] == rows["no-x"]["parameters"]
    assert rows["method"]["parameters"] > rows["no-x"]["parameters"]
    assert rows["lenet5"]["changes"]["network.name"] == "lenet5"
    assert rows["lenet5"]["changes"]["cross.order"] == "mixed"

    # Every row but the method has predictions of its own, of the same images
    assert {p.name for p in (run / "rows").iterdir()} == set(rows) - {"method"}
    names = {f"{part}-seed{s}.csv" for part in ("validation", "test") for s in (0, 1)}
    method = {n: pd.read_csv(run / "predictions" / n) for n in names}
    assert {p.name for p in (run / "predictions" / "before-cross").iterdir()} == names
    seen = {(run / "predictions" / "test-seed0.csv").read_bytes()}
    for row in set(rows) - {"method"}:
        folder = run / "rows" / row / "predictions"
        assert {p.name for p in folder.iterdir()} == names
        for name in names:
            assert list(pd.read_csv(folder / name)["image_id"]) == list(method[name]["image_id"])
        seen.add((folder / "test-seed0.csv").read_bytes())
    assert len(seen) == len(rows)
    assert (run / "report.html").exists()
    assert "rows.json" in documented_as_written(run)

    made, content = artifacts(run), (run / "rows.json").read_bytes()
    assert main(command) == 0  # again: nothing is computed
    assert artifacts(run) == made
    assert (run / "rows.json").read_bytes() == content
    capsys.readouterr()
    space = tmp_path / "own.py"
    space.write_text("def space(trial, recipe):\n    return recipe\n")
    for other, sentence in [
        ([*command, "--cross.share", "0.25"], "cross.share was 0.5 and not 0.25"),
        ([*command, "--space", str(space)], "whose --space was baselines and not"),
        (["train", str(data), str(run), *RETRAIN], "command was compare and not train"),
    ]:
        assert main(other) == 2
        assert sentence in capsys.readouterr().err
    assert artifacts(run) == made

    # The method's own recipe, trained alone, is the method
    again = ["train", str(data), str(tmp_path / "again"), "--recipe", str(run / "recipe.json")]
    assert main([*again, "--seeds", "1", "--store", str(run / "store")]) == 0
    assert artifacts(run) == made
    assert json.loads((tmp_path / "again" / "config.json").read_text())["searched"] == 6
    alone = tmp_path / "again" / "predictions" / "test-seed0.csv"
    assert alone.read_bytes() == (run / "predictions" / "test-seed0.csv").read_bytes()


@pytest.mark.usefixtures("ray_here")
def test_a_candidate_that_diverges_is_left_out(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "poison.py"
    space.write_text(
        "from thyroid.recipe import override\n"
        "def space(trial, recipe):\n"
        "    poison = {'optimiser.learning_rate': 10.0, 'optimiser.weight_decay': 10.0}\n"
        "    return override(recipe, poison)\n"
    )
    run = tmp_path / "run"
    command = ["compare", str(toy), str(run), *FEW, "--network.name", "lenet5"]
    command += ["--models", "none", "--seeds", "1", "--trials-per-model", "2"]
    command += ["--space", str(space), "--optimiser.batch-size", "4"]
    assert main(command) == 0
    recipe = read_recipe(run / "recipe.json")
    assert recipe.optimiser.learning_rate == 2e-3
    poisoned = override(recipe, {"optimiser.learning_rate": 10.0, "optimiser.weight_decay": 10.0})
    store, digest = Store(run / "store"), Dataset.open(toy).digest
    tried = [pipeline.classifier(r, digest, 0)[-1].key in store for r in (recipe, poisoned)]
    assert tried == [True, False]
    rows = json.loads((run / "rows.json").read_text())["rows"]
    assert [(row["name"], row["trials"]) for row in rows] == [("method", 2)]

    # A proposal that is better takes the recipe's place
    healing = tmp_path / "healing.py"
    healing.write_text(space.read_text().replace("10.0", "2e-3"))
    command[2] = str(tmp_path / "healed")
    command[command.index(str(space))] = str(healing)
    assert main([*command, "--optimiser.learning-rate", "1e-8"]) == 0
    assert read_recipe(tmp_path / "healed" / "recipe.json").optimiser.learning_rate == 2e-3

    capsys.readouterr()
    command[2], command[command.index(str(healing))] = str(tmp_path / "all"), str(space)
    poison = ["--optimiser.learning-rate", "10", "--optimiser.weight-decay", "10"]
    assert main([*command, *poison]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "No recipe of the method could be trained: lower its learning rate." in told[-1]


def test_a_comparison_that_cannot_be_is_one_sentence_and_leaves_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    compare = ["compare", str(toy), str(run), *FEW]
    for command, sentence in [
        ([*compare, "--models", "lenet5,resnet19"], "--models names 'resnet19': choose small"),
        ([*compare, "--seeds", "0"], "--seeds is 0 but must be at least 1"),
        ([*compare, "--trials-per-model", "0"], "--trials-per-model is 0 but must be"),
        ([*compare, "--space", "none"], "choose augmentation, baselines, cross_training"),
        ([*compare, "--models", "vgg_small", "--input.size", "16"], "too small for vgg_small"),
        ([*compare, "--network.name", "resnet19", "--ablations"], "choose one of alexnet"),
    ]:
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert not run.exists()


def test_training_starts_from_the_users_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In colour, with a head of other classes; a learning rate of nothing leaves them."""
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
    trained = load_file(run / "model" / "model.safetensors")
    kept = [name for name in given if name.endswith(".weight") and not name.startswith("fc.")]
    expected = given | {"conv1.weight": given["conv1.weight"].sum(1, keepdim=True)}
    for name in kept:
        torch.testing.assert_close(trained[name], expected[name], atol=1e-5, rtol=0)
    assert trained["fc.weight"].shape == (3, 2 * 4 * 8)

    made = artifacts(run)
    assert main([*command, "--weights", str(file)]) == 0  # again: nothing is computed
    assert artifacts(run) == made
    capsys.readouterr()
    again = ["train", str(data), str(tmp_path / "again"), "--recipe", str(run / "recipe.json")]
    for changed, sentence in [
        (again, "The recipe takes weights: give --weights FILE"),
        ([*again, "--weights", str(other)], "other.safetensors is not the file of the recipe"),
        ([*again, "--weights", str(tmp_path / "none")], "is no file"),
        ([*command, "--weights", __file__], "does not hold the weights of resnet_small"),
    ]:
        assert main(changed) == 2, changed
        told = capsys.readouterr().err
        assert sentence in told, told
        assert told.count("\n") == 1, told
        assert not (tmp_path / "again").exists()
