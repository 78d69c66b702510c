"""What trials.csv says of a study."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from thyroid.distribute.study import OBJECTIVES, finished, outcome
from thyroid.files import replace_text

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
SPENT = ("seconds", "computed", "reused_stages", "computed_stages")


def write_trials(run: Path, study: optuna.Study) -> None:
    """Write trials.csv: a row per finished trial, a column `param_NAME` per parameter."""
    rows = []
    for trial in finished(study):
        came_to = outcome(trial)
        rows.append(
            {
                "number": trial.number,
                "state": STATES[trial.state],
                **{name: came_to.get(name) for name in OBJECTIVES},
                "epochs": came_to.get("epoch", 0),
                **{name: came_to.get(name) for name in SPENT},
                "reason": came_to.get("reason", ""),
                **{f"param_{name}": setting for name, setting in trial.params.items()},
            }
        )
    replace_text(run / "trials.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
