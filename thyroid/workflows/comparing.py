"""Compare a recipe with other networks, and with versions of itself that lack one part each."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from thyroid.configuration import to_json
from thyroid.errors import InputError
from thyroid.execution.nodes import node_resources
from thyroid.execution.stage_scheduler import on_ray
from thyroid.files import sha256_of
from thyroid.precision import resolve_precision
from thyroid.progress import say
from thyroid.recipe import Recipe, override
from thyroid.run_files.config_json import ComparisonSettings, Doses
from thyroid.runs.compared_recipes import (
    PLAIN,
    PROPOSALS,
    Models,
    Row,
    ablation_rows,
    baseline_rows,
    candidates,
    method_row,
    named_models,
    network_called,
)
from thyroid.runs.compared_rows import copy_rows, tuned, write_rows
from thyroid.runs.dosed_recipes import asked_doses, dose_rows
from thyroid.runs.experiment import Experiment
from thyroid.runs.failed_trainings import repeated, train_rows
from thyroid.runs.final_evaluation import write_results
from thyroid.runs.preflight import preflight
from thyroid.runs.run_folder import at_work, describe
from thyroid.runs.stage_sharing import lineages, tell_stages
from thyroid.runs.unseen_recipes import require_testable, unseen_rows
from thyroid.runs.usage import UsageRecord
from thyroid.space import load_space, space_file
from thyroid.stage import Stage
from thyroid.storage.open_store import open_store
from thyroid.workflows.cluster import ray_with_room
from thyroid.workflows.options import CompareOptions
from thyroid.workflows.run import Run
from thyroid.workflows.setup import Inputs, Setup, set_up, started, with_keywords


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A comparison before anything is trained."""

    setup: Setup
    method: Experiment
    """The method before tuning."""
    rows: list[Row]
    """The method and the networks that it is compared with, before tuning."""
    tried: list[list[Recipe]]
    """Recipes to try for each of these rows; the first is the row's own."""
    number: int
    """Number of recipes to try per row."""
    models: Models
    files: dict[str, Path]
    """Files of weights, by their digests."""
    ablations: bool
    doses: Doses | None
    """None: no dose-response curve."""
    unseen: str | None
    """Combination of findings that is left out of training; None: no combination is."""
    generators: tuple[str, ...]
    """Generators that make synthetic images of it, or those of the dose-response curve."""

    def following(self, recipe: Recipe) -> list[Row]:
        """Return the rows that are made from the method's recipe: ablations, doses, unseen."""
        rows = ablation_rows(recipe, every=self.ablations)
        if self.doses is not None:
            rows += dose_rows(recipe, self.doses)
        if self.unseen is not None:
            rows += unseen_rows(recipe, self.unseen, self.generators, self.setup.dataset.info.kind)
        return rows

    def needs(self) -> dict[str, list[Stage]]:
        """Map each training of the final comparison to its last stages, with untuned recipes."""
        return _needs(self.method, [*self.rows, *self.following(self.method.recipe)])


def planned(inputs: Inputs, options: CompareOptions) -> Plan:
    """Plan a comparison; nothing is written.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used, or nothing is compared.
    """
    setup = set_up(inputs, options)
    models = named_models(options.models)
    doses = asked_doses(options.shares, options.generators, options.sizes, setup.dataset)
    drawn = options.dose or options.unseen is not None
    needed = {"shares": options.dose, "sizes": options.dose, "generators": drawn}
    for name, given in needed.items():
        if not given and getattr(options, name) != getattr(CompareOptions, name):
            raise InputError(f"--{name} belongs to a dose-response curve: add --dose.")
    rows, files = _rows(setup, models, options)
    propose = load_space(options.space)
    trained = any(row.kind == "baseline" and row.recipe.training == "network" for row in rows)
    default = PROPOSALS if trained and options.unseen is None else 1
    number = options.trials_per_model or default
    plan = Plan(
        setup=setup,
        method=setup.experiment(options.seeds, of_one_split=5),
        rows=rows,
        tried=[candidates(row, propose, number) for row in rows],
        number=number,
        models=models,
        files=files,
        ablations=options.ablations,
        doses=doses if options.dose else None,
        unseen=options.unseen,
        generators=doses.generators if drawn else (),
    )
    if options.unseen is not None:
        if number > 1 or setup.searched > 1:
            raise InputError(
                "--unseen needs a recipe that was chosen without images of the combination: leave "
                "out --trials-per-model, and do not give a recipe that a search found."
            )
        require_testable(plan.method, options.unseen)
    following = plan.following(setup.recipe)
    for row in [*rows, *following]:
        preflight(plan.method.of(row.recipe), **options.allowed)
    if len([*rows, *following]) == 1 and not options.ablations and number == 1:
        raise InputError(
            "--models none compares nothing: name networks, or add --ablations, --dose or --unseen."
        )
    return plan


def compare_recipe(inputs: Inputs, options: CompareOptions) -> Run:
    """Compare a recipe (the method) with other networks, and with versions of itself that lack one
    part each. To resume, make the same call again.

    Raises
    ------
    InputError
        When data, recipe or folder cannot be used, or nothing is compared.
    StageFailed
        When a training cannot finish.
    """
    plan = planned(inputs, options)
    setup, method, rows = plan.setup, plan.method, plan.rows
    run, base = setup.run, setup.recipe
    open_store(setup.store)  # a bad store is refused before anything is written
    settings = ComparisonSettings(
        models=plan.models.asked,
        ablations=options.ablations,
        trials_per_model=plan.number,
        space=options.space,
        space_sha256=sha256_of(space_file(options.space)),
        dose=plan.doses,
        unseen=plan.unseen,
        generators=plan.generators,
        base=to_json(base),
    )
    with contextlib.ExitStack() as stack:
        cluster = ray_with_room(base.execution, options)
        at = at_work(run, method, "compare", setup.store, settings, cluster)
        store = stack.enter_context(at)
        usage = UsageRecord(run, node_resources)
        where = {**setup.where, **plan.files}
        on_cluster = functools.partial(on_ray, store, where, options.gpus_per_worker)
        needs: dict[str, list[Stage]] = {}
        if plan.number > 1:
            say(f"trying {sum(map(len, plan.tried))} recipes of {len(rows)} networks")
            with usage.counting("search") as meter:
                runner = on_cluster(keep_going=True, meter=meter)
                rows, needs = tuned(rows, plan.tried, setup.dataset, store, runner)
        method = method.of(rows[0].recipe)
        describe(run, method, "compare", settings)
        rows = [*rows, *plan.following(method.recipe)]
        say(f"training {len(rows)} recipes, each {len(method.networks)} times")
        needs |= _needs(method, rows)
        write_rows(run, method, rows, None)
        with usage.counting("final") as meter:
            wanted = [stage for stages in needs.values() for stage in stages]
            tolerant = on_cluster(keep_going=True, meter=meter)
            train_rows(wanted, method, store, tolerant, on_cluster(meter=meter))
            rows, again = repeated(rows, method, store, tolerant)
        needs |= again
        write_results(run, method, store)
        copy_rows(run, method, rows, store)
        write_rows(run, method, rows, store)
        tell_stages(run, lineages(needs), store)
    return Run(run)


def _rows(
    setup: Setup, models: Models, options: CompareOptions
) -> tuple[list[Row], dict[str, Path]]:
    """Return the method and the networks that it is compared with, before tuning; and the files of
    weights, by their digests.
    """
    own, rows = setup.recipe.network, [method_row(setup.recipe, setup.searched)]
    names = {own.weights: Path(str(options.weights)).name} if own.weights else {}
    files: dict[str, Path] = {}
    pretrained = []
    for name, given in models.pretrained:
        network = dataclasses.replace(network_called(name, own), weights=None)
        recipe = override(dataclasses.replace(setup.recipe, network=network), PLAIN)
        try:
            recipe, file = started(recipe, given, setup.dataset, setup.test_set)
        except InputError as error:
            raise InputError(f"--models {name}={given}: {error}") from None
        pretrained.append(recipe.network)
        files |= file
        names |= {digest: Path(given).name for digest in file if digest not in names}
    for row in baseline_rows(setup.recipe, models.names, pretrained, names, probe=models.probe):
        recipe = resolve_precision(row.recipe, there=setup.machine)
        rows.append(dataclasses.replace(row, recipe=recipe))
    return rows, files


def _needs(method: Experiment, rows: list[Row]) -> dict[str, list[Stage]]:
    """Map each training of the final comparison to its last stages."""
    needs = method.needs()
    for row in rows[1:]:
        own = method.of(row.recipe)
        for network in own.networks:
            needs[f"{row.name}, {own.name_of(network)}"] = own.predictions([network])
    return needs


compare = with_keywords("compare", compare_recipe, CompareOptions)
