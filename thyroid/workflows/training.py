"""Train one recipe in several folds, or over several seeds, and evaluate it."""

from __future__ import annotations

import contextlib
import functools
from contextlib import AbstractContextManager

from thyroid.execution.meter import in_process_metered
from thyroid.machine import at_once, resources, unused_gpus
from thyroid.progress import say
from thyroid.runs.experiment import Experiment
from thyroid.runs.final_evaluation import evaluate
from thyroid.runs.preflight import preflight
from thyroid.runs.run_folder import at_work, describe
from thyroid.runs.stage_sharing import lineages, tell_stages
from thyroid.runs.usage import UsageRecord
from thyroid.stages.compute import start
from thyroid.storage.open_store import open_store
from thyroid.storage.store import Store
from thyroid.workflows.options import TrainOptions
from thyroid.workflows.run import Run
from thyroid.workflows.setup import Inputs, Setup, set_up, with_keywords


def train_recipe(inputs: Inputs, options: TrainOptions) -> Run:
    """Train one recipe in every fold and evaluate it; to resume, make the same call again.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used.
    StageFailed
        When a training cannot finish.
    """
    setup = set_up(inputs, options)
    run, recipe = setup.run, setup.recipe
    experiment = setup.experiment(options.seeds, of_one_split=3)
    known = open_store(setup.store)
    preflight(experiment, **options.allowed)
    cluster: AbstractContextManager[None] = contextlib.nullcontext()
    with contextlib.ExitStack() as stack:
        here = options.address is None and not options.joins_cluster
        if here and not _side_by_side(setup, experiment, options, known):
            start(
                recipe.execution
            )  # fails before anything is written if the machine lacks something
            if recipe.execution.device == "cpu" and setup.machine.gpus:
                say(unused_gpus(setup.machine.gpus))
            there, runner_in = resources, in_process_metered
        else:
            # A training in this process needs no Ray.
            from thyroid.execution.nodes import node_resources
            from thyroid.execution.stage_scheduler import on_ray
            from thyroid.workflows.cluster import ray_with_room

            cluster = ray_with_room(recipe.execution, options)
            there = node_resources
            runner_in = functools.partial(on_ray, gpus_per_worker=options.gpus_per_worker)
        store = stack.enter_context(
            at_work(run, experiment, "train", setup.store, connected=cluster)
        )
        describe(run, experiment, "train")
        with UsageRecord(run, there).counting("final") as meter:
            evaluate(run, experiment, store, runner_in(store, setup.where, meter=meter))
        tell_stages(run, lineages(experiment.needs()), store)
    return Run(run)


def _side_by_side(
    setup: Setup, experiment: Experiment, options: TrainOptions, known: Store
) -> bool:
    """Return True if Ray makes training faster: several workers or networks, and room for them."""
    execution = setup.recipe.execution
    return execution.workers > 1 or (
        len(experiment.networks) > 1
        and at_once(execution, options.gpus_per_worker) > 1
        and any(stage.key not in known for stage in experiment.stages())
    )


train = with_keywords("train", train_recipe, TrainOptions)
