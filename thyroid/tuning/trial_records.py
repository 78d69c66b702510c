"""The finished trials of a study, as rows of trials.csv."""

from __future__ import annotations

from pathlib import Path

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
    chosen: int | None = None,
) -> None:
    """Write trials.csv.

    Parameters
    ----------
    chosen : the trial whose recipe was chosen; None: no trial
    """
    trials_csv.write_trials(run, [_record(trial, chosen) for trial in finished(study)])


def _record(trial: FrozenTrial, chosen: int | None) -> Trial:
    result = stored_result(trial)
    return Trial(
        number=trial.number,
        state=STATES[trial.state],
        epochs=result.epoch,
        standard_error=result.standard_error,
        **{name: getattr(result, name) for name in (*OBJECTIVES, *SPENT)},
        chosen=int(trial.number == chosen),
        reason=result.reason,
        parameters=trial.params,
    )
