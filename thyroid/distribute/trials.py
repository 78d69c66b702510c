"""What trials.csv says of a study."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from thyroid.distribute.study import finished
from thyroid.files import replace_text

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def write_trials(run: Path, study: optuna.Study) -> None:
    """Write trials.csv: a row per finished trial, a column `param_NAME` per parameter."""
    rows = []
    for trial in finished(study):
        value = trial.value
        if value is None and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        about = trial.user_attrs
        rows.append(
            {
                "number": trial.number,
                "state": STATES[trial.state],
                "macro_f1": value,
                "epochs": max(trial.intermediate_values, default=0),
                "seconds": about.get("seconds"),
                "reused_stages": about.get("reused_stages"),
                "computed_stages": about.get("computed_stages"),
                "reason": about.get("reason", ""),
                **{f"param_{name}": setting for name, setting in trial.params.items()},
            }
        )
    replace_text(run / "trials.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
