"""If nothing was learned, the report claims no success, by chance or against a worse opponent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from reports.report import report_info, write_report
from reports.run import read_run
from reports.sections.verdict import verdict_line
from tests.hostile.test_verdict import DRAWS, shuffled
from tests.reports.made_predictions import add_comparison, guessed
from tests.reports.made_runs import add_cross_phase, add_synthetic, make_dataset, make_run
from tests.reports.test_comparison import shown
from tests.short_trainings import FEW
from tests.toy import write_toy
from thyroid.cli import main
from thyroid.data.dataset import Dataset
from thyroid.evaluate.chance import against_chance
from thyroid.evaluate.metrics import Floats, Ints, macro_f1
from thyroid.run_files.predictions_csv import Predictions, read_predictions, write_predictions

Random = np.random.Generator


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "dataset", per_group=60)


def unequal(rng: Random, images: int) -> tuple[Ints, Ints]:
    """Labels and patients; patients of the first class have `images` images each."""
    label = np.arange(30) % 3
    patient = np.repeat(np.arange(30), np.where(label == 0, images, 1))
    return label[patient], rng.permutation(30)[patient]


@pytest.mark.parametrize("images", [2, 10])
def test_to_name_the_class_of_most_images_is_no_knowledge(images: int) -> None:
    """It is not learning, either, to predict the most frequent class most of the time: patients of
    one class come back, those of others do not.
    """
    rng = np.random.default_rng(0)
    labels, patients = unequal(rng, images)
    constant = np.zeros((2, len(labels)), dtype=np.int64)
    assert against_chance(labels, constant, patients, 3, resamples=99).p_value == 1
    called = 0
    for _ in range(200):
        labels, patients = unequal(rng, images)
        mostly = rng.choice(3, p=[0.8, 0.1, 0.1], size=(2, len(labels)))
        called += against_chance(labels, mostly, patients, 3, resamples=59).p_value <= 0.05
    assert called <= binom.ppf(0.999, 200, 0.05)


def test_to_know_them_is() -> None:
    rng = np.random.default_rng(1)
    labels, patients = unequal(rng, 10)
    known = np.where(rng.random((2, len(labels))) < 0.6, labels, 0)
    assert against_chance(labels, known, patients, 3, resamples=199).p_value == 1 / 200


def rewrite(folder: Path, classes: tuple[str, ...], name: Callable[[Predictions], Floats]) -> None:
    for path in sorted(folder.glob("*.csv")):
        own = read_predictions(path, classes)
        found = Predictions(classes=classes, images=own.images, probabilities=name(own))
        write_predictions(path, found)


def test_an_opponent_that_knows_even_less_is_no_success(dataset: Dataset, tmp_path: Path) -> None:
    """The method predicts classes at random; the networks that it is compared with always predict
    one class, or are always wrong.
    """
    rng, classes = np.random.default_rng(2), dataset.info.classes
    run = make_run(tmp_path / "run", dataset, seeds=range(5))
    add_comparison(add_cross_phase(add_synthetic(run, dataset), dataset), dataset)

    def at_random(own: Predictions) -> Floats:
        return guessed(rng, own, 0.0).probabilities

    def always_the_first(own: Predictions) -> Floats:
        return np.eye(len(classes))[np.zeros(len(own.labels), dtype=int)]

    def always_wrong(own: Predictions) -> Floats:
        return np.eye(len(classes))[(own.labels + 1) % len(classes)]

    rewrite(run / "predictions", classes, at_random)
    rewrite(run / "predictions" / "without-synthetic", classes, always_the_first)
    rewrite(run / "predictions" / "before-cross", classes, always_wrong)
    for folder in sorted((run / "rows").glob("*/predictions")):
        rewrite(folder, classes, always_the_first)

    info = json.loads(write_report(run).with_suffix(".json").read_text())
    verdict, claims = info["verdict"], info["claims"]
    rows = [row for table in info["comparison"]["tables"] for row in table["rows"][1:]]
    # The test has a point: by its interval alone, every difference would be shown
    assert all(row["difference"]["low"] > 0 for row in rows)
    assert info["synthetic_gain"]["difference"]["low"] > 0
    assert all(row["change"]["low"] > 0 for row in info["retention"]["rows"])

    assert not verdict["learned"]
    assert {row["state"] for row in rows} == {"luck"}
    assert (verdict["comparison"]["state"], verdict["comparison"]["beaten"]) == ("luck", 0)
    assert verdict["synthetic"]["state"] == "luck"
    assert {claims[name]["state"] for name in ("better", "enlarged", "kept")} == {"open"}
    line = verdict_line(verdict)
    assert line.startswith("nothing was learned: macro-F1 0.2")
    assert "synthetic" not in line
    assert "baseline" not in line
    said = shown(write_report(run).read_text())
    assert "Nothing was learned" in said
    assert "says nothing, as nothing was learned" in said
    for boast in (
        "own part helped",
        "beats every",
        "raised the macro-F1",
        "shown to help",
        "better than 3",
    ):
        assert boast not in said
    assert "没有学到任何东西" in write_report(run, lang="zh").read_text()


def test_the_luckiest_of_many_trials_has_learned_nothing(dataset: Dataset, tmp_path: Path) -> None:
    """There is no test part: a search chose on these images the best of 24 recipes without skill.

    The same search among recipes that learned something finds one of them.
    """
    rng, classes = np.random.default_rng(3), dataset.info.classes
    run = make_run(tmp_path / "run", dataset, seeds=[0], trials=24)
    for path in (run / "predictions").glob("test-*.csv"):
        path.unlink()
    assert report_info(read_run(run)).results.learned

    path = run / "predictions" / "validation-seed0.csv"
    own = read_predictions(path, classes)
    tried = [guessed(rng, own, 0.0) for _ in range(24)]
    reached = [macro_f1(own.labels, p.probabilities.argmax(axis=1), len(classes)) for p in tried]
    luckiest = tried[int(np.argmax(reached))]
    write_predictions(path, luckiest)
    named = luckiest.probabilities.argmax(axis=1)[None]
    patients = own.images["patient_id"].to_numpy(dtype=str)
    alone = against_chance(own.labels, named, patients, len(classes), resamples=999)
    assert alone.p_value < 0.05  # as if it had been the only one
    info = report_info(read_run(run))
    assert info.results.chance.tried == 24
    assert not info.results.learned
    assert "used to choose among 24 recipes" in shown(write_report(run).read_text())


@pytest.mark.processors
def test_the_terminal_and_the_model_card_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy, model = write_toy(tmp_path / "toy", images=120), tmp_path / "model"
    fields = [*FEW, "--network.name", "lenet5", "--network.width", "None"]
    for draw in range(DRAWS):
        data, run = shuffled(toy, tmp_path / f"data-{draw}", draw), tmp_path / f"run-{draw}"
        assert main(["train", str(data.folder), str(run), "--seeds", "1", *fields]) == 0
        info = json.loads((run / "report.json").read_text())
        if info["results"]["chance"]["p_value"] > 0.05:
            break
    assert "nothing was learned: macro-F1" in capsys.readouterr().out
    assert not info["verdict"]["learned"]
    assert main(["export", str(run), str(model)]) == 0
    assert "nothing was learned" in capsys.readouterr().out
    assert "**Nothing was learned**" in (model / "README.md").read_text()
