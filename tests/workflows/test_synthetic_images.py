"""`thyroid train` with synthetic images."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.run_files.test_files_md import all_named
from tests.runs.test_tensorboard import same_as_metrics
from tests.short_trainings import FEW, MIXED
from tests.toy import write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset


def test_training_with_synthetic_images_shows_what_they_are_worth(tmp_path: Path) -> None:
    """A command that is killed after its first generator and run again has the same results."""
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
        "classifier": 3,  # its own stages; those of the label filter are not listed
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
    assert all_named(run)


def test_what_cannot_be_synthesised_is_said_before_anything_is_written(
    toy: Path, tmp_path: Path, refused: Callable[..., str]
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
        (
            [*mixed, "--mixing.cross-share", "1", "--synthesis.crosses", "none"],
            "mixing.cross_share 1 needs single or cross images that",
        ),
        ([*train, "--vgg19", str(tmp_path / "none.pth")], "is not a file"),
        ([*train, "--vgg19", __file__], f"{__file__} does not hold the weights of VGG-19"),
    ]:
        refused(command, sentence)
        assert not run.exists()
