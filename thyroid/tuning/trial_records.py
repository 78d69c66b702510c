"""The finished trials of a study, as trials.csv has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial

from thyroid.run_files import trials_csv
from thyroid.run_files.trials_csv import Trial
from thyroid.tuning.search_config import OBJECTIVES
from thyroid.tuning.study import finished
from thyroid.tuning.trial_result import STATES, stored_result

SPENT = ("seconds", "computed", "reused_stages", "computed_stages")


def write_trials(
    run: Path,
    study: optuna.Study,
    raced: Mapping[int, Sequence[float]] | None = None,
    chosen: int | None = None,
) -> None:
    """Write trials.csv.

    Parameters
    ----------
    raced : trial number -> macro-F1 of every seed, of the trials in the seed race
    chosen : the trial whose recipe is taken
    """
    trials = finished(study)
    trials_csv.write_trials(run, [_record(trial, raced or {}, chosen) for trial in trials])


def _record(trial: FrozenTrial, raced: Mapping[int, Sequence[float]], chosen: int | None) -> Trial:
    result, seeds = stored_result(trial), raced.get(trial.number)
    return Trial(
        number=trial.number,
        state=STATES[trial.state],
        epochs=result.epoch,
        **{name: getattr(result, name) for name in (*OBJECTIVES, *SPENT)},
        raced_seeds=None if seeds is None else len(seeds),
        raced_macro_f1=None if seeds is None else fmean(seeds),
        chosen=int(trial.number == chosen),
        reason=result.reason,
        parameters=trial.params,
    )
