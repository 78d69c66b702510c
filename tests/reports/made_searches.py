"""Trials, stages and hours of a search, made of fixed random numbers."""

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.stub_config import with_config
from thyroid.run_files.race_json import RacedRecipe, write_race
from thyroid.run_files.stages_json import NeededStage, write_stages
from thyroid.run_files.trials_csv import Trial, read_trials, write_trials
from thyroid.run_files.usage_json import Hours, SearchBudget, Usage, write_usage


def make_trials(n: int) -> list[Trial]:
    rng = np.random.default_rng(2)
    states = rng.choice(["complete", "complete", "pruned", "failed"], n).tolist()
    values = (0.55 + 0.25 * rng.random(n) ** 0.5).tolist()
    reasons = {
        "complete": "",
        "pruned": "stopped by the scheduler",
        "failed": "out of memory: the batch is too large",
    }
    thinnings = rng.choice([0.0, 0.25, 0.5], n).tolist()
    epochs, seconds = rng.integers(2, 13, n).tolist(), (60 * rng.random(n)).tolist()
    reused, computed = rng.integers(0, 4, n).tolist(), rng.integers(1, 4, n).tolist()
    rotations, rates = rng.choice([0.0, 10.0, 20.0], n).tolist(), rng.uniform(-4, -2, n)
    return [
        Trial(
            number=i,
            state=states[i],
            macro_f1=None if states[i] == "failed" else values[i],
            standard_error=0.02 + i / 10_000 if states[i] == "complete" else None,
            epochs=epochs[i],
            seconds=seconds[i],
            reused_stages=reused[i],
            computed_stages=computed[i],
            reason=reasons[states[i]],
            parameters={
                "augmentation.rotation_deg": rotations[i],
                "augmentation.thinning": thinnings[i],
                **({"augmentation.thinning_floor": 0.3} if thinnings[i] else {}),
                "optimiser.learning_rate": float(10 ** rates[i]),
            },
        )
        for i in range(n)
    ]


def make_stages(
    trials=1, segments=3, *, generators=True, seeds=(0,), found=(), spread=1, folds=1
) -> list[NeededStage]:
    """The stages of a search; `found` are the kinds that were in the store.

    Trials differ in their pool of synthetic images, in the learning rate (`spread` times two
    values), and in how long the rate stays constant. Some trials are stopped early.
    """
    rng = np.random.default_rng(8)
    stages: dict[str, NeededStage] = {}

    fold: int | None = None

    def need(user, kind, inputs=(), seed=None, first=None, epochs=None, phase=None, what=()) -> str:
        what = (*what, fold) if kind == "split" else what
        text = json.dumps([kind, sorted(inputs), seed, first, epochs, phase, *map(str, what)])
        key = hashlib.sha256(text.encode()).hexdigest()
        new = NeededStage(
            key=key,
            kind=kind,
            seconds=0.5 + (epochs or 2) * (1 + rng.random()),
            inputs=tuple(inputs),
            seed=seed,
            fold=fold,
            first_epoch=first,
            epochs=epochs,
            phase=phase,
            users=(user,),
            found=kind in found,
        )
        known = stages.get(key, new)
        stages[key] = replace(known, users=tuple(dict.fromkeys((*known.users, user))))
        return key

    def chain(user, kind, count, epochs, inputs, seed, what=(), phase=None) -> str:
        last = []
        for i in range(count):
            own = what[: 1 if i < count - 2 else None]  # the last segments differ
            last = [need(user, kind, (*inputs, *last), seed, i * epochs, epochs, phase, own)]
        return last[0]

    for trial in range(trials):
        user = f"trial {trial}"
        scale, rejection = rng.choice([0, 2, 4]), rng.choice([0.3, 0.7, 1.0])
        rate, length = int(rng.integers(2 * spread)), int(rng.integers(max(2, segments // 2)))
        stopped = trial and rng.random() < 0.5
        for seed, own in itertools.product(seeds, range(folds) if folds > 1 else (None,)):
            fold = own
            split = need(user, "split")
            inputs = [split]
            if generators and scale:
                judge = chain(user, "classifier", 1, 6, inputs, seed)
                made = [chain(user, "dcgan", 4, 10, inputs, seed, (scale,)), judge]
                made.append(chain(user, "srgan", 2, 5, (split, judge), seed, (scale,)))
                inputs.append(need(user, "synthesis", (split, *made), seed, what=(rejection,)))
            count = max(1, segments // 3) if stopped else max(2, segments - length)
            what = (rate,) if stopped else (rate, length)
            model = chain(user, "classifier", count, 4, inputs, seed, what, "mixed")
            need(user, "prediction", (split, model))
    return list(stages.values())


def add_stages(run: Path, **about) -> Path:
    """Give a run the stages.json of `make_stages`."""
    write_stages(run, make_stages(**about))
    return run


def add_costs(run: Path, *, gpus=True, ended=None, **limits) -> Path:
    """Give a run the usage.json of a search and its final trainings, on one node or two."""
    purposes = tuple(
        Hours(
            purpose=purpose,
            hours=hours,
            node_hours=2 * hours,
            gpu_node_hours=hours * gpus,
            there_processor_hours=24 * hours,
            there_gpu_hours=4 * hours * gpus,
            stage_hours=3 * hours,
            processor_hours=6 * hours,
            gpu_hours=3.5 * hours * gpus,
        )
        for purpose, hours in (("search", 1.25), ("final", 0.75))
    )
    write_usage(run, Usage(budget=SearchBudget(ended=ended, **limits), purposes=purposes))
    return run


def add_objectives(run: Path, *objectives: str, raced=0) -> Path:
    """Turn a search into one of several objectives, whose best `raced` trials were in the final
    race; the second of them won.
    """
    with_config(run, search__objectives=objectives, search__first_folds=2, search__max_seeds=5)
    rng = np.random.default_rng(9)
    trials = read_trials(run)
    recalls, times = np.round(rng.beta(4, 3, len(trials)), 2), 40 * (1 + rng.random(len(trials)))
    for i, trial in enumerate(trials):
        failed = trial.state == "failed"
        recall, compute = (None, 0.0) if failed else (recalls[i], times[i] * trial.epochs)
        trials[i] = replace(trial, cross_recall=recall, compute=compute)
    complete = [trial for trial in trials if trial.state == "complete"]
    ranked = sorted(complete, key=lambda trial: -trial.macro_f1)
    best = ranked[1 if raced > 1 else 0].number
    trials[best] = replace(trials[best], chosen=1)
    write_trials(run, trials)
    numbers = [best, *(trial.number for trial in ranked[:raced] if trial.number != best), None]
    states = ["chosen", "contender", *["dropped"] * len(numbers)]
    places = enumerate(zip(numbers, states, strict=False))
    write_race(run, [raced_recipe(*each) for each in places] if raced else [])
    return run


def raced_recipe(place: int, about: tuple[int | None, str]) -> RacedRecipe:
    trial, state = about
    return RacedRecipe(
        trial=trial,
        folds=5 if state != "dropped" else 2,
        seeds=1,
        macro_f1=0.71 - 0.01 * place,
        standard_error=0.021 + 0.001 * place,
        behind=0.01 * place,
        behind_error={"chosen": 0.0, "contender": 0.012, "dropped": 0.007}[state],
        state=state,
    )
