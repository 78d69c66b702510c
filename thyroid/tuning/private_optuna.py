"""The only private name of Optuna 5.0 that this project needs.

tests/tuning/test_tune_search.py guards it: trials left running by a dead process run again.
"""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, Trial


def running_trial(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """Return a study's running trial as one that can report; `Study.ask` only makes new trials."""
    return Trial(study, trial._trial_id)
