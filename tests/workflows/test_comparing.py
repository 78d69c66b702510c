"""`thyroid compare`: rows, candidates, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.run_files.test_files_md import all_named
from tests.short_trainings import FEW, RETRAIN, artifacts, cross_data
from tests.stub_config import stub_config, stub_search
from thyroid import pipeline
from thyroid.cli import main
from thyroid.configuration import to_json
from thyroid.data.dataset import Dataset
from thyroid.recipe import RECIPES, override, read_recipe
from thyroid.run_files.config_json import write_config
from thyroid.storage.store import Store

COMPARED = [*RETRAIN, "--network.cross-feature", "input", "--schedule.segment-epochs", "2"]
COMPARED += ["--ablations", "--seeds", "2", "--trials-per-model", "2"]


@pytest.mark.usefixtures("ray_here")
def test_compare_fills_a_row_for_every_network_and_ablation_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every network and every ablation has a row with its own predictions of the same images; the
    same command again computes nothing; the method's recipe, trained alone, gives its predictions.
    """
    data, run = cross_data(tmp_path / "data"), tmp_path / "run"
    command = ["compare", str(data), str(run), "--models", "lenet5,resnet_small", *COMPARED]
    searched = tmp_path / "searched"  # where a search of five trials has ended
    searched.mkdir()
    small = to_json(RECIPES["small"]())
    write_config(searched, stub_config(recipe=small, search=stub_search(trials=5)))
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
    assert tried == {"method": 5, "lenet5": 2, "resnet_small": 2}
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
    assert all_named(run)

    made, content = artifacts(run), (run / "rows.json").read_bytes()
    assert main(command) == 0  # again: nothing is computed
    assert artifacts(run) == made
    assert (run / "rows.json").read_bytes() == content
    capsys.readouterr()
    space = tmp_path / "own.py"
    space.write_text("def space(trial, recipe):\n    return recipe\n")
    for other, sentence in [
        ([*command, "--cross.share", "0.25"], "cross.share 0.5 instead of 0.25"),
        ([*command, "--space", str(space)], "with --space baselines instead of"),
        (["train", str(data), str(run), *RETRAIN], "command compare instead of train"),
    ]:
        assert main(other) == 2
        assert sentence in capsys.readouterr().err
    assert artifacts(run) == made

    # The method's own recipe, trained alone, is the method
    again = ["train", str(data), str(tmp_path / "again"), "--recipe", str(run / "recipe.json")]
    assert main([*again, "--seeds", "1", "--store", str(run / "store")]) == 0
    assert artifacts(run) == made
    assert json.loads((tmp_path / "again" / "config.json").read_text())["searched"] == 5
    alone = tmp_path / "again" / "predictions" / "test-seed0.csv"
    assert alone.read_bytes() == (run / "predictions" / "test-seed0.csv").read_bytes()


@pytest.mark.usefixtures("ray_here")
def test_a_candidate_that_diverges_is_left_out(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that cannot be trained leaves the given one, a better one takes its place, and if
    none can be trained the command says so.
    """
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
    toy: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    compare = ["compare", str(toy), str(run), *FEW]
    for command, sentence in [
        ([*compare, "--models", "lenet5,resnet19"], "--models names 'resnet19': choose small"),
        ([*compare, "--space", "none"], "choose augmentation, baselines, cross_training"),
        ([*compare, "--models", "vgg_small", "--input.size", "16"], "too small for vgg_small"),
        ([*compare, "--network.name", "resnet19", "--ablations"], "choose one of alexnet"),
    ]:
        refused(command, sentence)
        assert not run.exists()
