"""`thyroid demo`."""

from __future__ import annotations

from pathlib import Path

from thyroid.commands.compare import compare
from thyroid.commands.import_ import import_
from thyroid.commands.inspect import inspect
from thyroid.commands.options import resolved, sources
from thyroid.commands.phantom import phantom
from thyroid.commands.search import search_and_evaluate
from thyroid.errors import InputError
from thyroid.recipe import RECIPES, override, read_recipe

SHORTER = {
    "schedule.constant_epochs": 24,
    "schedule.decay_epochs": 12,
    "label_filter.constant_epochs": 12,
    "label_filter.decay_epochs": 6,
    "dcgan.epochs": 9,
    "srgan.pixel_epochs": 3,
    "srgan.adversarial_epochs": 2,
}
"""Trainings of minutes: enough to show what happens, not enough to reach what can be reached."""


def demo(*, out: Path = Path("runs/demo"), trials: int = 6) -> None:
    """Simulate, import, inspect, search, synthesise, compare and report.

    Args:
        out: folder of everything that the demonstration makes.
        trials: recipes that the search tries.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.progress import say
    from thyroid.tuning.search_config import SearchConfig

    config = SearchConfig(trials=trials, max_seeds=1)  # no seed race: minutes
    if out.is_dir() and any(out.iterdir()) and not (out / "dicom").exists():
        raise InputError(f"{out} holds something else: name a new folder.")
    if not (out / "dataset").exists():
        if not (out / "dicom").exists():
            say("1/6 simulating scintigrams as NM DICOM files of several centres")
            phantom(out / "dicom", images_per_class=50, images_per_cross=12, format="dicom")
        say("2/6 importing them")
        name, licence = "simulated scintigrams", "CC0-1.0"
        import_(out / "dicom", out / "dataset", name=name, licence=licence)
    say("3/6 inspecting the data set")
    inspect(out / "dataset")
    say("4/6 searching how many synthetic images to train on, with Ray Tune and Optuna")
    data = Dataset.open((out / "dataset").absolute())
    given = sources(data, resolved(override(RECIPES["small"](), SHORTER), data, 0.0))
    search_and_evaluate(
        data, out / "run", given, config, command="demo", space_name="demo", final_seeds=3
    )
    say("5/6 comparing what was found with two networks as they are, not searched for")
    found = out / "run" / "recipe.json"
    compare(
        out / "dataset",
        out / "compared",
        read_recipe(found),
        recipe=str(found),  # of which it is told that a search chose it
        models="lenet5,googlenet_small",
        seeds=3,
        store=out / "run" / "store",
    )
    say("6/6 done: open the two reports in a browser")
