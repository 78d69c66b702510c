"""Search recipes with Ray Tune and Optuna, then evaluate the best."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.execution.stage_scheduler import on_ray
from thyroid.files import sha256_of
from thyroid.progress import say
from thyroid.quantities import seconds
from thyroid.recipe import override
from thyroid.run_files.config_json import SearchSettings
from thyroid.runs.final_evaluation import evaluate
from thyroid.runs.live_report import LiveReport
from thyroid.runs.preflight import preflight
from thyroid.runs.run_folder import at_work, describe
from thyroid.runs.stage_sharing import lineages, tell_stages
from thyroid.space import load_space, space_file
from thyroid.storage.open_store import open_store
from thyroid.tuning.journal import sound_lines
from thyroid.tuning.space_validation import validate_space
from thyroid.tuning.study import database, find_study
from thyroid.tuning.tune_search import Search
from thyroid.workflows.cluster import ray_with_room
from thyroid.workflows.options import SearchOptions
from thyroid.workflows.run import Run
from thyroid.workflows.setup import Inputs, set_up, with_keywords


def search_recipes(inputs: Inputs, options: SearchOptions, command: str = "search") -> Run:
    """Search recipes, then train the best with more seeds and evaluate it; to resume, make the same
    call again.

    Parameters
    ----------
    command : name of the command, which config.json records

    Raises
    ------
    InputError
        When data, recipe, space or folder cannot be used.
    StageFailed
        When no trial, or the final training, can finish.
    """
    space, config = load_space(options.space), options.config
    workers = max(options.workers_per_stage, inputs.recipe.execution.workers)
    asked = override(inputs.recipe, {"execution.workers": workers})
    setup = set_up(dataclasses.replace(inputs, recipe=asked), options)
    run, base = setup.run, setup.recipe
    if config.gpu_hours is not None and base.execution.device == "cpu":
        raise InputError(
            "--gpu-hours limits the use of GPUs, but the recipe trains on the processor: use "
            "--time-budget."
        )
    first = setup.experiment(options.final_seeds, of_one_split=3)
    open_store(setup.store)  # a bad store is refused before anything is written
    lists = {name: tuple(map(str, getattr(config, name))) for name in ("objectives", "warm_start")}
    settings = SearchSettings(
        space=options.space,
        space_sha256=sha256_of(space_file(options.space)),
        **vars(config) | lists,
        base=to_json(base),
    )
    validate_space(space, base, setup.dataset, config.trials, config.seed)
    preflight(first, **options.allowed)
    for earlier in config.warm_start:
        find_study(Path(earlier))
    if config.storage is not None:
        database(config.storage)
    elif (journal := setup.run / "study.journal").exists():
        sound_lines(journal)  # a damaged journal is reported before Ray starts
    with contextlib.ExitStack() as stack:
        cluster = ray_with_room(base.execution, options)
        store = stack.enter_context(at_work(run, first, command, setup.store, settings, cluster))
        with contextlib.ExitStack() as while_searching:
            live = None
            if options.report_every is not None:
                every_s = seconds(options.report_every, "--report-every")
                live = while_searching.enter_context(LiveReport(run, every_s))
            say(f"searching '{options.space}' for {config.trials} trials")
            search = Search(
                run=run,
                dataset=setup.dataset,
                base=base,
                space=space,
                config=config,
                store=store,
                datasets=setup.where,
                report=live,
            )
            best = search.best()
        found = first.of(best)
        describe(run, found, command, settings)
        number = len(found.networks)
        say(f"training the chosen recipe{f' {number} times' if number > 1 else ''}")
        with search.usage.counting("final") as meter:
            runner = on_ray(store, setup.where, config.gpus_per_worker, meter=meter)
            evaluate(run, found, store, runner)
        tell_stages(run, search.needs() | lineages(found.needs()), store)
    return Run(run)


search = with_keywords("search", search_recipes, SearchOptions)
