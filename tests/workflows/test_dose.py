"""`thyroid compare --dose`: from a simulated data set to the curve's rows, and its plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.run_files.test_files_md import all_named
from tests.short_trainings import MIXED, RETRAIN, TINY, artifacts, cross_data
from tests.toy import write_small_phantom
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.run_files.rows_json import read_rows

CURVE = ["--models", "none", "--dose", "--shares", "0.5", "--generators", "eigen,oracle"]
CURVE += ["--seeds", "1", "--sizes", "3,all"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    return write_small_phantom(folder, 6, 2)


@pytest.mark.usefixtures("ray_here")
def test_a_curve_is_planned_and_trained_and_its_dose_is_counted(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every dose of every generator and size has a row of as many steps, with the share of
    synthetic images that its name says; no simulated patient is tested on; the same command again
    computes nothing.
    """
    run = tmp_path / "run"
    command = ["compare", str(phantom), str(run), *MIXED, *CURVE]
    command += ["--mixing.synthetic-share", "0", "--mixing.final-share", "0"]
    command += ["--synthesis.images-per-class", "2", "--synthesis.images-per-cross", "1"]

    assert main([*command, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "x4" in plan  # share 0 and the shares of both sizes have one split each
    assert plan.count(" oracle ") == 2
    assert "trainings need" in plan
    assert not (run / "config.json").exists()

    assert main(command) == 0
    rows = {row.name: row for row in read_rows(run)}
    names = ["dose-none", "dose-eigen-50", "dose-oracle-50"]
    assert list(rows) == ["method", *(f"{name}-n3" for name in names), *names]
    for row in rows.values():
        assert row.images
        assert row.synthetic_images is not None
        dose = 0 if row.dose is None else row.dose.share
        assert row.synthetic_images / row.images == pytest.approx(dose, abs=0.01)
    assert len({row.images for row in rows.values()}) == 1  # as many steps at every dose and size
    config = json.loads((run / "config.json").read_text())
    assert config["comparison"]["dose"] == {
        "shares": [0.5],
        "generators": ["eigen", "oracle"],
        "sizes": [3, None],
    }
    assert all_named(run)
    test = {}
    for name in rows:
        place = run if name == "method" else run / "rows" / name
        test[name] = pd.read_csv(place / "predictions" / "test-seed0.csv")
        assert list(test[name]["image_id"]) == list(test["method"]["image_id"])
    assert test["method"].equals(test["dose-none"])  # trained once
    assert (run / "report.html").exists()

    # No image that the oracle simulated is tested on
    tested = set(test["method"]["patient_id"])
    for pool in (run / "store" / "artifacts").glob("*/dataset"):
        assert not set(Dataset.open(pool).images["patient_id"]) & tested

    made = artifacts(run)
    assert main(command) == 0
    assert artifacts(run) == made


def test_the_oracle_is_no_generator_of_a_method(
    phantom: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    command = ["train", str(phantom), str(run), *MIXED, "--generator", "oracle"]
    refused(command, "The oracle cannot be the generator of a method")
    assert not run.exists()


def test_a_curve_on_other_data_has_no_oracle(
    toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    command = ["compare", str(toy), str(tmp_path / "run"), *MIXED, *CURVE]
    refused(command, "only the simulator can draw further patients")


@pytest.mark.usefixtures("ray_here")
def test_an_unseen_combination_is_tested_on_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks that never saw a combination of two diseases, saw it superposed, synthetic or real,
    are tested on it; only the last are validated on it.
    """
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    command = ["compare", str(data), str(run), *RETRAIN, *TINY, "--models", "none", "--seeds", "1"]
    command += ["--unseen", "left+right", "--generators", "eigen", "--split.test", "0.3"]
    assert main([*command, "--trials-per-model", "2"]) == 2
    assert "needs a recipe that was chosen without images of" in capsys.readouterr().err
    assert main(command) == 0
    rows = {row.name: row for row in read_rows(run)}
    given = ["unseen-never", "unseen-superposed", "unseen-eigen", "unseen-real"]
    assert list(rows) == ["method", *given]
    for name in given:
        folder = run / "rows" / name / "predictions"
        validated, tested = (
            set(pd.read_csv(folder / f"{part}-seed0.csv")["findings"])
            for part in ("validation", "test")
        )
        assert "left;right" in tested
        assert ("left;right" in validated) == (name == "unseen-real")
    eigen = rows["unseen-eigen"]
    assert eigen.images
    assert eigen.synthetic_images == pytest.approx(eigen.images / 2, rel=0.1)
    assert len({row.images for row in rows.values()}) == 1
    assert 'id="unseen"' in (run / "report.html").read_text()
    assert json.loads((run / "config.json").read_text())["comparison"]["unseen"] == "left+right"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--shares", "2"], "--shares"),
        (["--sizes", "20"], "--sizes belongs to a dose-response curve: add --dose"),
        (["--generators", "eigen"], "--generators belongs to a dose-response curve: add --dose"),
        (["--unseen", "left+right", "--shares", "0.1"], "--shares belongs to a dose-response"),
    ],
)
def test_options_of_a_curve_are_not_ignored_without_one(
    words: list[str], sentence: str, toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    command = ["compare", str(toy), str(tmp_path / "run"), "--models", "lenet5", *words]
    refused([*command, "--mixing.cross-share", "None"], sentence)
    assert not (tmp_path / "run").exists()
