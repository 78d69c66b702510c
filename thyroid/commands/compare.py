"""`thyroid compare`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from thyroid.commands.options import DatasetPath, Fields, RunPath, resolved, sources
from thyroid.commands.report import report
from thyroid.configuration import to_json
from thyroid.errors import InputError

if TYPE_CHECKING:
    from thyroid.stage import Stage


def compare(
    dataset: DatasetPath,
    run: RunPath,
    fields: Fields,
    *,
    recipe: str = "small",
    models: str = "small",
    ablations: bool = False,
    trials_per_model: int = 1,
    space: str = "baselines",
    seeds: int = 5,
    test_set: Path | None = None,
    store: Path | None = None,
    weights: Path | None = None,
    vgg19: Path | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
) -> None:
    """Compare a recipe with other networks, and with itself less one of its parts.

    Args:
        dataset: a data set's folder.
        run: folder of the results, or s3://BUCKET/RUN; the same again resumes.
        fields: the recipe that is compared, the method; each field is an option.
        recipe: a preset (small, resnet18, paper) or a JSON file such as another run's recipe.json.
        models: networks trained on the same images with as many steps: small (those for two
            processors), published (torchvision's), none, or names such as lenet5,vgg_small.
        ablations: also compare the method with itself less one part at a time.
        trials_per_model: recipes tried for the method and for each network, on validation images;
            the given one stays unless the best other is better by more than a standard error.
        space: what is tried, a file of tune_spaces by its name or FILE.py; the recipe comes first.
            Schedule, batch size, split and network stay, and other networks stay plain.
        seeds: trainings of every row for the final comparison.
        test_set: a data set that is the test part, such as other centres' images; default: some
            patients of DATASET.
        store: folder of artifacts, or s3://BUCKET/STORE, which runs may share; default: RUN/store.
        weights: torchvision's weights of the method's network, from which its training starts.
        vgg19: torchvision's VGG-19 weights, for super-resolution; default: features of a
            classifier trained here.
        address: a Ray cluster's; default: Ray is started on this machine.
        gpus_per_worker: share of a GPU per worker, for instance 0.25 or 1.
    """
    from thyroid.data.dataset import Dataset
    from thyroid.execution.connection import connected, patience
    from thyroid.execution.in_process import bring_about
    from thyroid.execution.ray_task import require_room, resources_there
    from thyroid.execution.stage_scheduler import on_ray
    from thyroid.files import sha256_of
    from thyroid.progress import say
    from thyroid.runs.comparison import (
        ablation_rows,
        baseline_names,
        baseline_rows,
        candidates,
        method_row,
    )
    from thyroid.runs.config import searched_before
    from thyroid.runs.experiment import Experiment
    from thyroid.runs.folder import at_work, write_config
    from thyroid.runs.preflight import preflight
    from thyroid.runs.results import write_results
    from thyroid.runs.rows import copy_rows, tuned, write_rows
    from thyroid.runs.stage_sharing import lineages, write_stages
    from thyroid.runs.usage import UsageRecord
    from thyroid.space import load_space, space_file
    from thyroid.speed import fastest
    from thyroid.storage.open_store import open_store

    if seeds < 1 or trials_per_model < 1:
        raise InputError("--seeds and --trials-per-model must be at least 1.")
    data = Dataset.open(dataset.absolute())
    base = resolved(fields, data, gpus_per_worker, run)
    given = sources(data, base, test_set=test_set, weights=weights, vgg19=vgg19)
    base, where = given.recipe, given.where
    method = Experiment(
        dataset=data,
        recipe=base,
        seeds=range(seeds),
        test_set=given.test_set,
        searched=searched_before(recipe, run),
    )
    propose = load_space(space)
    rows = [method_row(base, method.searched)]
    rows += [
        dataclasses.replace(row, recipe=fastest(row.recipe))
        for row in baseline_rows(base, baseline_names(models))
    ]
    tried = [candidates(row, propose, trials_per_model, seed=0) for row in rows]
    for row in [*rows, *(ablation_rows(base) if ablations else [])]:
        preflight(method.of(row.recipe))
    if len(rows) == 1 and not ablations and trials_per_model == 1:
        raise InputError("--models none compares nothing: name networks, or add --ablations.")
    open_store(store or run / "store")  # refused before anything is written
    about = {
        "models": models,
        "ablations": ablations,
        "trials_per_model": trials_per_model,
        "space": space,
        "space_sha256": sha256_of(space_file(space)),
        "base": to_json(base),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(address))
        require_room(base.execution, gpus_per_worker, patience(address))
        artifacts = stack.enter_context(at_work(run, method, "compare", store, about))
        usage = UsageRecord(run, resources_there)
        on_cluster = functools.partial(on_ray, artifacts, where, gpus_per_worker)
        needs: dict[str, list[Stage]] = {}
        if trials_per_model > 1:
            say(f"trying {sum(map(len, tried))} recipes of {len(rows)} networks")
            with usage.counting("search") as meter:
                runner = on_cluster(keep_going=True, meter=meter)
                rows, needs = tuned(rows, tried, data, artifacts, runner)
        method = method.of(rows[0].recipe)
        write_config(run, method, "compare", about)
        rows += ablation_rows(method.recipe) if ablations else []
        say(f"training {len(rows)} recipes with {seeds} seeds each")
        needs |= method.needs()
        for row in rows[1:]:
            for stage in method.of(row.recipe).predictions():
                seed = stage.inputs["model"].config.seed
                needs.setdefault(f"{row.name}, seed {seed}", []).append(stage)
        wanted = [stage for stages in needs.values() for stage in stages]
        write_rows(run, method, rows, None)
        with usage.counting("final") as meter:
            bring_about(wanted, on_cluster(meter=meter))
        write_results(run, method, artifacts)
        copy_rows(run, method, rows, artifacts)
        write_rows(run, method, rows, artifacts)
        write_stages(run, lineages(needs), artifacts)
    report(run)
