"""`thyroid train`."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, resolved, sources
from thyroid.commands.report import report
from thyroid.configuration import to_json
from thyroid.errors import InputError

if TYPE_CHECKING:
    from thyroid.runs.experiment import Experiment
    from thyroid.storage.store import Store


def train(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    seeds: int = 3,
    test_set: Path | None = None,
    store: Path | None = None,
    weights: Path | None = None,
    vgg19: Path | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    dry_run: bool = False,
) -> None:
    """Train one recipe.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: what the recipe says; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        seeds: trainings, which differ in their random numbers only.
        test_set: a data set that is the test part, such as other centres' images; default: some
            patients of DATASET.
        store: folder of artifacts, or s3://BUCKET/STORE, which runs may share; default: RUN/store.
        weights: torchvision's weights of the network, from which training starts.
        vgg19: torchvision's VGG-19 weights, for super-resolution; default: features of a
            classifier trained here.
        address: a Ray cluster's; `local`: Ray is started here; default: Ray here where trainings
            can run side by side, of several seeds or workers, else this process.
        gpus_per_worker: share of a GPU per training of one worker.
        dry_run: show the recipe and the stages with what the store has, and stop.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.execution.meter import in_process_metered
    from thyroid.machine import at_once, resources
    from thyroid.runs.config import searched_before
    from thyroid.runs.experiment import Experiment
    from thyroid.runs.folder import at_work, write_config
    from thyroid.runs.preflight import preflight
    from thyroid.runs.results import evaluate
    from thyroid.runs.stage_sharing import lineages, write_stages
    from thyroid.runs.usage import UsageRecord
    from thyroid.stages.compute import start
    from thyroid.storage.open_store import open_store

    if seeds < 1:
        raise InputError(f"--seeds is {seeds} but must be at least 1.")
    data = Dataset.open(dataset.absolute())
    given = sources(
        data,
        resolved(fields, data, gpus_per_worker, run),
        test_set=test_set,
        weights=weights,
        vgg19=vgg19,
    )
    chosen, where = given.recipe, given.where
    experiment = Experiment(
        dataset=data,
        recipe=chosen,
        seeds=range(seeds),
        test_set=given.test_set,
        searched=searched_before(recipe, run),
    )
    known = open_store(store or run / "store")
    if dry_run:
        _show_plan(experiment, known)
        return
    preflight(experiment)
    with contextlib.ExitStack() as stack:
        side_by_side = (
            seeds > 1
            and at_once(chosen.execution, gpus_per_worker) > 1
            and any(stage.key not in known for stage in experiment.stages())
        )
        if address is None and chosen.execution.workers == 1 and not side_by_side:
            start(chosen.execution)  # what this machine lacks is found before anything is written
            there = resources
            runner_in = in_process_metered
        else:
            from thyroid.execution.connection import connected, patience
            from thyroid.execution.ray_task import require_room, resources_there
            from thyroid.execution.stage_scheduler import on_ray

            stack.enter_context(connected(address))
            require_room(chosen.execution, gpus_per_worker, patience(address))
            there = resources_there
            runner_in = functools.partial(on_ray, gpus_per_worker=gpus_per_worker)
        artifacts = stack.enter_context(at_work(run, experiment, "train", store))
        write_config(run, experiment, "train")
        with UsageRecord(run, there).counting("final") as meter:
            evaluate(run, experiment, artifacts, runner_in(artifacts, where, meter=meter))
        write_stages(run, lineages(experiment.needs()), artifacts)
    report(run)


def _show_plan(experiment: Experiment, store: Store) -> None:
    """The resolved recipe and the stage graph, with what is in the store already."""
    print(json.dumps(to_json(experiment.recipe), indent=2))
    shown: set[str] = set()
    for final in experiment.stages():
        for stage in final.lineage():
            if stage.key not in shown:
                shown.add(stage.key)
                needs = " ".join(upstream.key[:8] for upstream in stage.inputs.values())
                state = "in the store" if stage.key in store else "to do"
                print(f"{stage.key[:8]}  {stage.kind:<11}{state:<14}{needs}")
