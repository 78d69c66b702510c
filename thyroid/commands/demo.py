"""`thyroid demo`."""

from __future__ import annotations

from pathlib import Path

from thyroid.commands.import_ import import_
from thyroid.commands.inspect import inspect
from thyroid.commands.phantom import phantom
from thyroid.commands.report import tell_report
from thyroid.commands.search import tell_search
from thyroid.errors import InputError
from thyroid.workflows.options import SearchOptions

SHORTER = {
    "schedule.constant_epochs": 9,
    "schedule.decay_epochs": 5,
    "label_filter.constant_epochs": 8,
    "label_filter.decay_epochs": 4,
    "dcgan.epochs": 3,
    "srgan.pixel_epochs": 1,
    "srgan.adversarial_epochs": 1,
}
"""Trainings of minutes: they show every step, but not the performance that longer ones reach."""


def demo(*, out: Path = Path("runs/demo"), trials: int = 5) -> None:
    """Simulate, import, inspect, search, synthesise, compare and report.

    Args:
        out: folder of all results.
        trials: number of recipes that the search tries.
    """
    from thyroid.execution.connection import connected
    from thyroid.progress import say
    from thyroid.runs.run_place import require_place
    from thyroid.workflows.comparing import compare
    from thyroid.workflows.searching import search_recipes
    from thyroid.workflows.setup import inputs

    options = SearchOptions(space="demo", trials=trials, folds=3)
    if out.is_dir() and any(out.iterdir()) and not (out / "dicom").exists():
        raise InputError(f"{out} is not the folder of a demonstration: name a new folder.")
    require_place(out)
    data = out / "dataset"
    if not data.exists():
        if not (out / "dicom").exists():
            say("1/6 simulating scintigrams as NM DICOM files of several centres")
            phantom(out / "dicom", images_per_class=40, images_per_cross=10, format="dicom")
        say("2/6 importing them")
        import_(out / "dicom", data, name="simulated scintigrams", licence="CC0-1.0")
    say("3/6 inspecting the data set")
    inspect(data)
    with connected():  # search and comparison share one Ray
        say("4/6 searching how many synthetic images to train on, with Ray Tune and Optuna")
        run = search_recipes(inputs(data, out / "run", "small", SHORTER), options, command="demo")
        tell_search(run)
        say("5/6 comparing the chosen recipe with two other networks, which are not tuned")
        compared = compare(
            data,
            out / "compared",
            run,
            models="lenet5,alexnet_small",
            trials_per_model=1,
            store=run.folder / "store",
        )
    tell_report(compared.folder)
    say("6/6 done: open the two reports in a browser")
