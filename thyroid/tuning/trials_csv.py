"""What trials.csv says of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import optuna
import pandas as pd
from optuna.trial import TrialState

from thyroid.files import replace_text
from thyroid.tuning.search_config import OBJECTIVES
from thyroid.tuning.study import finished, outcome

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
SPENT = ("seconds", "computed", "reused_stages", "computed_stages")


def write_trials(
    run: Path,
    study: optuna.Study,
    raced: Mapping[int, Sequence[float]] | None = None,
    chosen: int | None = None,
) -> None:
    """Write trials.csv: a row per finished trial, a column `param_NAME` per parameter.

    Parameters
    ----------
    raced : values of every seed of the trials that were given more
    chosen : the trial whose recipe is taken
    """
    seeds = raced or {}
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
                "raced_seeds": len(seeds[trial.number]) if trial.number in seeds else None,
                "raced_macro_f1": fmean(seeds[trial.number]) if trial.number in seeds else None,
                "chosen": int(trial.number == chosen),
                "reason": came_to.get("reason", ""),
                **{f"param_{name}": setting for name, setting in trial.params.items()},
            }
        )
    replace_text(run / "trials.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
