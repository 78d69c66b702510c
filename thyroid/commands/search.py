"""`thyroid search`."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, Sources, resolved, sources
from thyroid.commands.options import seconds as in_seconds
from thyroid.commands.report import report
from thyroid.configuration import to_json
from thyroid.errors import InputError

if TYPE_CHECKING:
    from thyroid.data.dataset import Dataset
    from thyroid.tuning.search_config import SearchConfig


def search(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    space: str,
    recipe: str = "small",
    trials: int = 16,
    objectives: str = "macro_f1",
    seeds: int = 1,
    max_seeds: int = 3,
    final_seeds: int = 3,
    time_budget: str | None = None,
    gpu_hours: float | None = None,
    report_every: str | None = None,
    concurrent: int | None = None,
    seed: int = 0,
    grace_epochs: int = 8,
    warm_start: tuple[Path, ...] = (),
    storage: str | None = None,
    test_set: Path | None = None,
    store: Path | None = None,
    weights: Path | None = None,
    vgg19: Path | None = None,
    address: str | None = None,
    workers_per_stage: int = 1,
    gpus_per_worker: float = 0.0,
) -> None:
    """Search recipes.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: the recipe that the space starts from; each field is an option.
        space: a file of tune_spaces by its name (augmentation, cross_training, joint, baselines),
            or FILE.py of your own.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        trials: recipes to try, earlier ones of this run included.
        objectives: what is optimised, one or several of macro_f1, cross_recall (of validation
            images that show several diseases) and compute (stage-seconds); trials are stopped
            early, and the best one is chosen, by the first.
        seeds: trainings per trial, whose mean is compared.
        max_seeds: trainings that the best trials by macro-F1, where that is the first objective,
            get at the end while they are too close to call.
        final_seeds: trainings of the best recipe for the final evaluation.
        time_budget: such as 90s, 30m or 2h, after which no further trial runs; the same command
            goes on, for as long again. What is chosen is trained afterwards.
        gpu_hours: hours times GPUs that stages of the search may hold, after which no further trial
            runs; interruptions included, so that the same command goes on where they are raised. A
            stage of several workers counts while it waits for room, too.
            What is chosen is trained afterwards, beyond them.
        report_every: such as 60s, after which the report is rebuilt, and again, while the search
            runs; by a process of low priority.
        concurrent: trials at once; default: as many as there are processors or GPUs for.
        seed: of the proposals.
        grace_epochs: no trial is stopped before this epoch.
        warm_start: runs of earlier searches, whose trials count where the store has their stages.
        storage: URL of a database for the study, such as sqlite:///studies.db; default: the file
            RUN/study.journal. optuna-dashboard opens both.
        test_set: a data set that is the test part, such as other centres' images; default: some
            patients of DATASET.
        store: folder of artifacts, or s3://BUCKET/STORE, which runs may share; default: RUN/store.
        weights: torchvision's weights of the network, from which training starts.
        vgg19: torchvision's VGG-19 weights, for super-resolution; default: features of a
            classifier trained here.
        address: a Ray cluster's; default: Ray is started on this machine.
        workers_per_stage: processes that train one network together.
        gpus_per_worker: share of a GPU per worker, for instance 0.25 or 1.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.runs.config import searched_before
    from thyroid.tuning.search_config import SearchConfig

    config = SearchConfig(
        trials=trials,
        objectives=tuple(name.strip() for name in objectives.split(",")),
        seeds=seeds,
        max_seeds=max_seeds,
        seed=seed,
        concurrent=concurrent,
        time_budget_s=None if time_budget is None else in_seconds(time_budget),
        gpu_hours=gpu_hours,
        grace_epochs=grace_epochs,
        gpus_per_worker=gpus_per_worker,
        storage=storage,
        warm_start=tuple(str(run) for run in warm_start),
    )
    every_s = None if report_every is None else in_seconds(report_every, "--report-every")
    execution = dataclasses.replace(
        fields.execution,
        workers=max(workers_per_stage, fields.execution.workers),
    )
    data = Dataset.open(dataset.absolute())
    asked = dataclasses.replace(fields, execution=execution)
    base = resolved(asked, data, gpus_per_worker, run)
    if gpu_hours is not None and base.execution.device == "cpu":
        raise InputError(
            "--gpu-hours limits GPUs, and the recipe trains on the processor: use --time-budget."
        )
    given = sources(data, base, test_set=test_set, weights=weights, vgg19=vgg19)
    search_and_evaluate(
        data,
        run,
        given,
        config,
        command="search",
        space_name=space,
        final_seeds=final_seeds,
        searched=searched_before(recipe, run),
        store=store,
        address=address,
        report_every_s=every_s,
    )


def search_and_evaluate(
    data: Dataset,
    run: Path,
    given: Sources,
    config: SearchConfig,
    *,
    command: str,
    space_name: str,
    final_seeds: int,
    searched: int = 0,
    store: Path | None = None,
    address: str | None = None,
    report_every_s: float | None = None,
) -> None:
    """What `search` and `demo` have in common."""
    from thyroid.execution.connection import connected, patience
    from thyroid.execution.ray_task import require_room
    from thyroid.execution.stage_scheduler import on_ray
    from thyroid.files import sha256_of
    from thyroid.progress import say
    from thyroid.runs.comparison import changes_of
    from thyroid.runs.experiment import Experiment
    from thyroid.runs.folder import at_work, write_config
    from thyroid.runs.live_report import LiveReport
    from thyroid.runs.preflight import preflight
    from thyroid.runs.results import evaluate
    from thyroid.runs.stage_sharing import lineages, write_stages
    from thyroid.space import load_space, space_file
    from thyroid.storage.open_store import open_store
    from thyroid.tuning.space_validation import validate_space
    from thyroid.tuning.study import database, find_study
    from thyroid.tuning.tune_search import Search

    if final_seeds < 1:
        raise InputError(f"--final-seeds is {final_seeds} but must be at least 1.")
    space = load_space(space_name)
    base, where = given.recipe, given.where
    first = Experiment(
        dataset=data,
        recipe=base,
        seeds=range(final_seeds),
        test_set=given.test_set,
        searched=searched,
    )
    open_store(store or run / "store")  # refused before anything is written
    about = {
        "space": space_name,
        "space_sha256": sha256_of(space_file(space_name)),
        **dataclasses.asdict(config),
        "objectives": list(config.objectives),
        "warm_start": list(config.warm_start),
        "base": to_json(base),
    }
    validate_space(space, base, data, config.trials, config.seed)
    preflight(first)
    for earlier in config.warm_start:
        find_study(Path(earlier))
    if config.storage is not None:
        database(config.storage)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(address))
        require_room(base.execution, config.gpus_per_worker, patience(address))
        artifacts = stack.enter_context(at_work(run, first, command, store, about))
        with contextlib.ExitStack() as while_searching:
            live = None
            if report_every_s is not None:
                live = while_searching.enter_context(LiveReport(run, report_every_s))
            say(f"searching '{space_name}' for {config.trials} trials")
            search = Search(
                run=run,
                dataset=data,
                base=base,
                space=space,
                config=config,
                store=artifacts,
                datasets=where,
                report=live,
            )
            best = search.best()
        found = first.of(best)
        write_config(run, found, command, about)
        say(f"training the best recipe with {final_seeds} seed{'s' if final_seeds > 1 else ''}")
        with search.usage.counting("final") as meter:
            runner = on_ray(artifacts, where, config.gpus_per_worker, meter=meter)
            evaluate(run, found, artifacts, runner)
        write_stages(run, search.needs() | lineages(found.needs()), artifacts)
    print(f"trials: {run / 'trials.csv'}")
    print(f"best recipe: {run / 'recipe.json'}, which differs from the first by")
    changed = changes_of(base, best)
    for name, value in changed.items():
        shown = f"{value:.6g}" if isinstance(value, float) else value
        print(f"  --{name.replace('_', '-')} {shown}")
    if not changed:
        print("  nothing")
    report(run)
