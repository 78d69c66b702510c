"""The Python API as a notebook uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import thyroid
from tests.toy import toy_recipe, write_toy
from thyroid.cli import main
from thyroid.workflows.options import CompareOptions, RunOptions

README = Path(__file__).parents[1] / "README.md"
SHORT: dict[str, Any] = {
    "input.size": 32,
    "network.width": 4,
    "schedule.warmup_epochs": 0,
    "schedule.constant_epochs": 1,
    "schedule.decay_epochs": 1,
    "mixing.synthetic_share": 0.0,
    "mixing.final_share": 0.0,
    "srgan.steps_per_epoch": 2,
    "dcgan.epochs": 1,
    "dcgan.steps_per_epoch": 2,
    "synthesis.images_per_class": 8,
    "synthesis.images_per_cross": 6,
    "synthesis.rejection": 1.0,
    "label_filter.constant_epochs": 1,
    "label_filter.decay_epochs": 0,
}


@pytest.mark.ray
def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example in Python runs from pictures to predictions, prints nothing, leaves Ray and
    torch's threads as they were, and gives the same numbers as the files and the command line.
    """
    import ray

    monkeypatch.chdir(tmp_path)
    few = ["--images-per-class", "6", "--images-per-cross", "0", "--format", "png"]
    assert main(["phantom", "scintigrams", *few]) == 0
    labels = Path("scintigrams/labels.csv")
    pd.read_csv(labels).replace("graves", "<i>graves").to_csv(labels, index=False)
    assert main(["phantom", "new-scans", *few, "--seed", "1"]) == 0
    capsys.readouterr()
    (example,) = re.findall(r"```python\n(import thyroid\n.*?)```", README.read_text(), re.S)
    shorter = "trials=2, max_seeds=1, final_seeds=1, changes=SHORT"
    assert "trials=32" in example
    connected, threads = ray.is_initialized(), torch.get_num_threads()
    torch.set_num_threads(3)
    names: dict[str, Any] = {"SHORT": SHORT}
    try:
        exec(example.replace("trials=32", shorter), names)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert ray.is_initialized() == connected
    assert capsys.readouterr().out == ""

    run, model = names["run"], names["model"]
    assert list(run.trials["number"]) == [0, 1]
    (result,) = run.results.to_dict("records")
    assert (result["recipe"], result["part"], result["seeds"]) == ("method", "test", 1)
    assert result["macro_f1_low"] <= result["macro_f1"] <= result["macro_f1_high"]
    page = run.report()
    assert page == Path("run/report.html")
    predicted = run.predictions
    assert set(predicted["part"]) == {"validation", "test"}
    named = [f"p_{name}" for name in model.classes]
    np.testing.assert_allclose(predicted[named].sum(axis=1), 1, atol=1e-5)
    tested = predicted[predicted["part"] == "test"]
    chosen = tested[named].to_numpy().argmax(axis=1)
    right = np.mean(tested["label"].to_numpy() == np.array(model.classes)[chosen])
    assert right == pytest.approx(result["accuracy"])
    given_stays = not run.trials["chosen"].any()
    assert (run.best_recipe == run.recipe) == given_stays
    assert run.recipe.input.size == 32

    said = model.predict("new-scans")
    assert main(["predict", "model", "new-scans"]) == 0
    text = ("file", "outcome", "credible", "flags", "reason")
    written = pd.read_csv("predictions.csv").fillna(dict.fromkeys(text, ""))
    pd.testing.assert_frame_equal(said, written, check_dtype=False)
    for shown in (names["data"], run, model):
        assert "<i>" not in shown._repr_html_()
    assert "&lt;i&gt;graves" in names["data"]._repr_html_()
    assert "&lt;i&gt;graves" in model._repr_html_()
    assert f"{result['macro_f1']:.3f}" in run._repr_html_()
    assert "42 pictures of 42 patients" in names["data"]._repr_html_()


def test_a_training_and_its_recipe_by_keywords(toy: Path, tmp_path: Path) -> None:
    run = thyroid.train(str(toy), tmp_path / "run", toy_recipe(), folds=1, seeds=1)
    again = thyroid.train(toy, tmp_path / "run", toy_recipe(), {"split.seed": 0}, folds=1, seeds=1)
    assert again.recipe == run.best_recipe == run.recipe
    assert thyroid.Run.open(tmp_path / "run").results.equals(run.results)
    assert run.trials.empty
    store = tmp_path / "run" / "store"
    other = thyroid.train(toy, tmp_path / "other", run, folds=1, store=store, seeds=1)
    assert other.results.equals(run.results)
    assert other.config.searched == 0
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"toy"', '"<b>toy"'))
    assert "&lt;b&gt;toy" in thyroid.Run.open(config.parent)._repr_html_()


def test_mistakes_are_input_errors_and_leave_nothing(toy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for mistake, sentence in [
        (lambda: thyroid.train(tmp_path, run), "is not a data set"),
        (lambda: thyroid.train(toy, run, "large"), "choose small, resnet18, paper"),
        (lambda: thyroid.train(toy, run, changes={"input.sise": 32}), "no field 'input.sise'"),
        (lambda: thyroid.train(toy, run, seeds=0), "--seeds is 0"),
        (lambda: thyroid.search(toy, run, space="none"), "choose augmentation"),
        (lambda: thyroid.compare(toy, run, models="resnet19"), "names 'resnet19'"),
        (lambda: thyroid.train(toy, "s3://bucket/run"), "use the command line"),
        (lambda: thyroid.Run.open(run), "is not a run"),
        (lambda: thyroid.Model.open(run), "is not a model"),
        (lambda: thyroid.export(run, tmp_path / "model"), "is not a run"),
    ]:
        with pytest.raises(thyroid.InputError, match=sentence):
            mistake()
    with pytest.raises(TypeError, match="trails"):
        thyroid.search(toy, run, space="augmentation", trails=3)  # type: ignore[call-arg]
    assert not list(tmp_path.iterdir())


def test_a_run_at_work_has_no_results_yet(toy: Path, tmp_path: Path) -> None:
    run = thyroid.train(toy, tmp_path / "run", toy_recipe(), folds=1, seeds=1)
    for file in (run.folder / "predictions").rglob("*.csv"):
        file.unlink()
    assert thyroid.Run(run.folder).results.empty
    assert run.predictions.empty
    assert "train on toy, 90 images" in thyroid.Run(run.folder)._repr_html_()


def test_import_is_light_and_everything_named_is_there() -> None:
    code = (
        "import sys, thyroid; assert set(thyroid.__all__) <= set(dir(thyroid));"
        "heavy = {'torch', 'ray', 'pandas', 'numpy', 'optuna', 'rich', 'tyro'} & set(sys.modules);"
        "assert not heavy, heavy; [getattr(thyroid, name) for name in thyroid.__all__];"
        "assert callable(thyroid.search); import thyroid.tuning.tune_search as _;"
        "assert callable(thyroid.search) and thyroid.search.__name__ == 'search'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        thyroid.serch  # noqa: B018


def test_help_says_what_each_option_means() -> None:
    told = thyroid.compare.__doc__
    assert told is not None
    for name in CompareOptions.__dataclass_fields__:
        assert re.search(rf"^{name} : \w.{{9,}}", told, re.M), name
    assert set(RunOptions.__dataclass_fields__) < set(CompareOptions.__dataclass_fields__)


def test_a_data_set_shows_its_classes_and_centres(tmp_path: Path) -> None:
    shown = write_toy(tmp_path / "data", crosses=24)._repr_html_()
    assert "114 images with counts of 57 patients, 32 x 32 pixels" in shown
    assert "centre-1, centre-2" in shown
    assert "<th>left</th>" in shown
    assert 'src="data:image/png;base64,' in shown
