"""The commands, as functions whose signatures are their options. Each imports what it needs when it
runs: torch and ray take seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from thyroid.errors import InputError
from thyroid.recipe import RECIPES, Recipe, for_data, read_recipe, to_json

if TYPE_CHECKING:
    from thyroid.data.dataset import Dataset
    from thyroid.distribute.search import SearchConfig
    from thyroid.store import Store

Fields = Annotated[Recipe, arg(name="")]
"""The recipe, each field an option: `--input.size 128`."""

DatasetPath = Annotated[Positional[Path], arg(metavar="DATASET")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]
SourcePath = Annotated[Positional[Path], arg(metavar="SOURCE")]


def phantom(
    folder: DatasetPath,
    *,
    preset: str = "thyroid7",
    images_per_class: int | None = None,
    images_per_cross: int | None = None,
    format: Literal["dataset", "dicom", "png"] = "dataset",
    seed: int = 0,
    size: int = 128,
    pixel_mm: float = 2.0,
) -> None:
    """Simulate scintigrams.

    Args:
        folder: new folder to write.
        preset: thyroid7, or thyroid7-external for the same diseases at other centres.
        images_per_class: scintigrams of each disease alone; default: the preset's.
        images_per_cross: scintigrams of each pair of diseases; default: the preset's.
        format: a data set, NM DICOM files with labels.csv, or 8-bit PNG in class folders.
        seed: the simulated patients' seed.
        size: side of a data set's matrix in pixels.
        pixel_mm: pixel size of a data set in mm.
    """
    from thyroid import progress
    from thyroid.phantom.export import write_phantom
    from thyroid.phantom.presets import PRESETS

    if preset not in PRESETS:
        raise InputError(f"--preset '{preset}' is unknown: choose {' or '.join(PRESETS)}.")
    known = PRESETS[preset]
    per_class = known.images_per_class if images_per_class is None else images_per_class
    per_cross = known.images_per_cross if images_per_cross is None else images_per_cross
    with progress.bar("simulating", "images") as advance:
        write_phantom(
            folder,
            preset=preset,
            images_per_class=per_class,
            images_per_cross=per_cross,
            format=format,
            seed=seed,
            size=size,
            pixel_mm=pixel_mm,
            progress=advance,
        )
    total = per_class * len(known.classes) + per_cross * len(known.crosses)
    print(f"{folder}: {total} simulated scintigrams ({format})")


def import_(
    source: SourcePath,
    dataset: DatasetPath,
    *,
    labels: Path | None = None,
    size: int = 128,
    pixel_mm: float = 2.0,
    name: str | None = None,
    licence: str = "unknown",
) -> None:
    """Read files into a data set.

    Args:
        source: folder of NM DICOM files, or of PNG, JPEG or TIFF pictures.
        dataset: new folder to write.
        labels: CSV with file, label and optionally patient, centre, findings; default:
            SOURCE/labels.csv, or else the class folders' names.
        size: side of the data set's matrix in pixels.
        pixel_mm: pixel size in mm that counts are re-binned to.
        name: what reports call the data set; default: its folder's name.
        licence: under which the images may be used.
    """
    from thyroid import progress
    from thyroid.data.importer import import_folder

    with progress.bar("importing", "files") as advance:
        summary = import_folder(
            source,
            dataset,
            labels=labels,
            size=size,
            pixel_mm=pixel_mm,
            name=name,
            licence=licence,
            progress=advance,
        )
    for line in summary.lines():
        print(line)


def inspect(dataset: DatasetPath, *, out: Path | None = None) -> None:
    """Say what a data set holds.

    Args:
        dataset: a data set's folder.
        out: the page to write; default: DATASET.html beside the folder.
    """
    from reports.inspect_page import inspection_lines, write_inspection
    from thyroid.data.dataset import Dataset

    opened = Dataset.open(dataset)
    for line in inspection_lines(opened):
        print(line)
    page = out or dataset.with_name(f"{dataset.absolute().name}.html")
    print(f"page: {write_inspection(opened, page)}")


def train(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    seeds: int = 3,
    store: Path | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    dry_run: bool = False,
) -> None:
    """Train one recipe.

    Args:
        dataset: a data set's folder.
        run: folder of the results; the same folder again resumes.
        fields: what the recipe says; each field is an option.
        recipe: a preset (small, resnet18) or a JSON file such as another run's recipe.json.
        seeds: trainings, which differ in their random numbers only.
        store: folder of artifacts, which runs may share; default: RUN/store.
        address: a Ray cluster's; default: this process, or with several workers Ray here.
        gpus_per_worker: share of a GPU per training of one worker.
        dry_run: show the recipe and the stages with what the store has, and stop.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.execute import in_process
    from thyroid.run import evaluate, locked, preflight, require_same, write_config
    from thyroid.stages.compute import start
    from thyroid.store import Store

    if seeds < 1:
        raise InputError(f"--seeds is {seeds} but must be at least 1.")
    data = Dataset.open(dataset.absolute())
    chosen = _resolved(fields, data, gpus_per_worker)
    artifacts = Store.at(store or run / "store")
    if dry_run:
        _show_plan(data, chosen, seeds, artifacts)
        return
    preflight(data, chosen)
    with contextlib.ExitStack() as stack:
        where = {data.digest: data.folder}
        if address is None and chosen.execution.workers == 1:
            start(chosen.execution)  # what this machine lacks is found before anything is written
            runner = in_process(artifacts, where)
        else:
            from thyroid.distribute.connection import connected
            from thyroid.distribute.tasks import on_ray, require_room

            stack.enter_context(connected(address))
            require_room(chosen.execution, gpus_per_worker)
            runner = on_ray(artifacts, where, gpus_per_worker)
        stack.enter_context(locked(run))
        require_same(run, data, chosen, "train", None)
        write_config(run, data, chosen, range(seeds), "train", None)
        evaluate(run, data, chosen, range(seeds), artifacts, runner)
    report(run)


def search(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    space: str,
    recipe: str = "small",
    trials: int = 16,
    seeds: int = 1,
    final_seeds: int = 3,
    time_budget: str | None = None,
    concurrent: int | None = None,
    seed: int = 0,
    grace_epochs: int = 8,
    store: Path | None = None,
    address: str | None = None,
    workers_per_stage: int = 1,
    gpus_per_worker: float = 0.0,
) -> None:
    """Search recipes.

    Args:
        dataset: a data set's folder.
        run: folder of the results; the same folder again resumes.
        fields: the recipe that the space starts from; each field is an option.
        space: a file of tune_spaces by its name (augmentation), or FILE.py of your own.
        recipe: a preset (small, resnet18) or a JSON file such as another run's recipe.json.
        trials: recipes to try, earlier ones of this run included.
        seeds: trainings per trial, whose mean is compared.
        final_seeds: trainings of the best recipe for the final evaluation.
        time_budget: such as 90s, 30m or 2h, after which no further trial runs.
        concurrent: trials at once; default: as many as there are processors or GPUs for.
        seed: of the proposals.
        grace_epochs: no trial is stopped before this epoch.
        store: folder of artifacts, which runs may share; default: RUN/store.
        address: a Ray cluster's; default: Ray is started on this machine.
        workers_per_stage: processes that train one network together.
        gpus_per_worker: share of a GPU per worker, for instance 0.25 or 1.
    """
    from thyroid.distribute.search import SearchConfig

    config = SearchConfig(
        trials=trials,
        seeds=seeds,
        seed=seed,
        concurrent=concurrent,
        time_budget_s=None if time_budget is None else _seconds(time_budget),
        grace_epochs=grace_epochs,
        gpus_per_worker=gpus_per_worker,
    )
    execution = dataclasses.replace(
        fields.execution,
        workers=max(workers_per_stage, fields.execution.workers),
    )
    base = dataclasses.replace(fields, execution=execution)
    _search(dataset, run, base, space, config, final_seeds, store, address, "search")


def _search(
    dataset: Path,
    run: Path,
    fields: Recipe,
    space_name: str,
    config: SearchConfig,
    final_seeds: int,
    store: Path | None,
    address: str | None,
    command: str,
) -> None:
    from thyroid.data.dataset import Dataset
    from thyroid.distribute.connection import connected
    from thyroid.distribute.search import best_recipe
    from thyroid.distribute.tasks import on_ray, require_room
    from thyroid.files import sha256_of
    from thyroid.progress import say
    from thyroid.run import evaluate, locked, preflight, require_same, write_config
    from thyroid.space import load_space, space_file
    from thyroid.store import Store

    if final_seeds < 1:
        raise InputError(f"--final-seeds is {final_seeds} but must be at least 1.")
    space = load_space(space_name)
    data = Dataset.open(dataset.absolute())
    base = _resolved(fields, data, config.gpus_per_worker)
    artifacts = Store.at(store or run / "store")
    about = {
        "space": space_name,
        "space_sha256": sha256_of(space_file(space_name)),
        "objective": "validation macro-F1",
        **dataclasses.asdict(config),
        "base": to_json(base),
    }
    seeds = range(final_seeds)
    preflight(data, base)
    where = {data.digest: data.folder}
    with connected(address):
        require_room(base.execution, config.gpus_per_worker)
        with locked(run):
            require_same(run, data, base, command, about)
            if not (run / "config.json").exists():
                write_config(run, data, base, seeds, command, about)
            say(f"searching '{space_name}' for {config.trials} trials")
            best = best_recipe(run, data, base, space, config, artifacts)
            write_config(run, data, best, seeds, command, about)
            say(f"training the best recipe with {len(seeds)} seeds")
            runner = on_ray(artifacts, where, config.gpus_per_worker)
            evaluate(run, data, best, seeds, artifacts, runner)
    print(f"trials: {run / 'trials.csv'}")
    print(f"best recipe: {run / 'recipe.json'}, which differs from the first by")
    print("\n".join(_changes(to_json(base), to_json(best))) or "  nothing")
    report(run)


def report(run: RunPath, *, out: Path | None = None) -> None:
    """Write the report of a run.

    Args:
        run: folder that train or search has filled.
        out: the page to write; default: RUN/report.html.
    """
    from reports.report import write_report
    from reports.verdict import verdict_line

    page = write_report(run, out)
    print(verdict_line(json.loads(page.with_suffix(".json").read_text())["verdict"]))
    print(f"report: {page}")


def demo(*, out: Path = Path("runs/demo"), trials: int = 6) -> None:
    """Simulate, import, inspect, search and report.

    Args:
        out: folder of everything that the demonstration makes.
        trials: recipes that the search tries.
    """
    from thyroid.distribute.search import SearchConfig
    from thyroid.progress import say

    if not (out / "dataset").exists():
        if not (out / "dicom").exists():
            say("1/5 simulating scintigrams as NM DICOM files of several centres")
            phantom(out / "dicom", images_per_class=60, images_per_cross=15, format="dicom")
        say("2/5 importing them")
        name, licence = "simulated scintigrams", "CC0-1.0"
        import_(out / "dicom", out / "dataset", name=name, licence=licence)
    say("3/5 inspecting the data set")
    inspect(out / "dataset")
    say("4/5 searching augmentations with Ray Tune and Optuna")
    config = SearchConfig(trials=trials)
    base = RECIPES["small"]()
    _search(out / "dataset", out / "run", base, "augmentation", config, 3, None, None, "demo")
    say("5/5 done: open the report in a browser")


def base_recipe(argv: Sequence[str]) -> Recipe:
    """The recipe that `--recipe` names among the words of a command line, or `small`.

    Raises
    ------
    InputError
        When it is neither a preset nor a readable JSON file.
    """
    name = "small"
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--recipe":
            name = following
        elif word.startswith("--recipe="):
            name = word.removeprefix("--recipe=")
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise InputError(f"--recipe '{name}' is unknown: choose {', '.join(RECIPES)} or a JSON file.")


def _resolved(recipe: Recipe, dataset: Dataset, gpus_per_worker: float) -> Recipe:
    """The recipe with `auto` replaced by what there is, and without what the data do not allow."""
    from thyroid.machine import resolve
    from thyroid.progress import say

    if dataset.info.kind == "display":
        say("The data are pictures, not counts: thinning of counts is switched off.")
    execution = recipe.execution
    if gpus_per_worker and execution.device == "auto":  # the workers' machines, not this one
        execution = dataclasses.replace(execution, device="cuda")
    return for_data(dataclasses.replace(recipe, execution=resolve(execution)), dataset.info.kind)


def _show_plan(dataset: Dataset, recipe: Recipe, seeds: int, store: Store) -> None:
    """The resolved recipe and the stage graph, with what is in the store already."""
    from thyroid.run import final_stages

    print(json.dumps(to_json(recipe), indent=2))
    shown: set[str] = set()
    for final in final_stages(dataset, recipe, range(seeds)):
        for stage in final.lineage():
            if stage.key not in shown:
                shown.add(stage.key)
                needs = " ".join(upstream.key[:8] for upstream in stage.inputs.values())
                state = "in the store" if stage.key in store else "to do"
                print(f"{stage.key[:8]}  {stage.kind:<11}{state:<14}{needs}")


def _changes(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Fields that differ, as options."""
    for name, value in after.items():
        if isinstance(value, dict):
            yield from _changes(before[name], value, f"{prefix}{name}.")
        elif value != before[name]:
            yield f"  --{prefix}{name.replace('_', '-')} {value}"


def _seconds(text: str) -> float:
    """`90s`, `30m`, `2h` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        seconds = float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"--time-budget '{text}' is no duration: write 90s, 30m or 2h.")
    return seconds
