"""The result of a trial, from its driver's report to the study, and the rule for its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

State = Literal["complete", "pruned", "failed", "interrupted"]
"""An interrupted trial stays running in the study; the same command runs it again."""

STATES: dict[TrialState, Literal["complete", "pruned", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
"""The states of a finished trial in an Optuna study."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A trial's score at the end of a segment."""

    epoch: int
    """Epochs trained so far."""
    value: float
    """Validation macro-F1, from 0 to 1."""
    part: str
    """Part of the schedule, such as `single` or `mixed-decay`; only scores of the same part are
    compared."""
    training: str
    """Keys of the segment, one for each network; trials with the same keys share one training."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result that a trial's driver reports, at a rung or at the end."""

    number: int
    epochs: int = 0
    """Epochs of the whole schedule; 0 in a result read from a study."""
    macro_f1: float | None = None
    """At a rung: mean of its networks' validation macro-F1. At the end: macro-F1 of all held-out
    images of its folds together. From 0 to 1; None for a failed trial."""
    standard_error: float | None = None
    """Standard error of the macro-F1 at the end, over patients and training sets."""
    rung_macro_f1: float | None = None
    """Mean of its networks' validation macro-F1, which decides early stopping."""
    cross_recall: float | None = None
    """Share of validation cross images whose primary finding is recognised, from 0 to 1."""
    compute: float = 0.0
    """Seconds of all stages so far, as if no stage were shared."""
    epoch: int = 0
    """Epochs trained so far."""
    seconds: float | None = None
    """Seconds since the trial began, including waiting; None for a trial of another run."""
    computed: float = 0.0
    """Seconds of the stages that were computed for this trial."""
    reused_stages: int = 0
    """Stages that were in the store, or computed for another trial."""
    computed_stages: int = 0
    """Stages that were computed for this trial."""
    stages: str = ""
    """Keys of all stages so far."""
    part: str = ""
    """See `Report`."""
    training: str = ""
    """See `Report`."""
    failed: bool = False
    """The recipe cannot be trained."""
    reason: str = ""
    """Why the trial failed or was stopped, or which run it is from."""
    fault: str | None = None
    """A fault outside the recipe, because of which no trial can continue."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrialResult:
        """Read a result from a mapping, which may have other keys, too."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: values[name] for name in names if values.get(name) is not None})

    @property
    def report(self) -> Report | None:
        """The score for early stopping; None for a failed trial."""
        value = self.rung_macro_f1
        if value is None:
            return None
        return Report(epoch=self.epoch, value=value, part=self.part, training=self.training)

    def state(self, *, stopped: bool) -> State:
        """Return the state of the trial, given that this is its last result.

        Parameters
        ----------
        stopped : True if early stopping ended the trial
        """
        if self.failed:
            return "failed"
        if self.macro_f1 is not None and self.epoch == self.epochs:
            return "complete"
        return "pruned" if stopped else "interrupted"


def stored(result: TrialResult) -> dict[str, Any]:
    """Return the part of a trial's last result that the study stores, as plain data."""
    elsewhere = ("number", "epochs", "part", "training", "failed", "fault")
    values = {name: value for name, value in asdict(result).items() if name not in elsewhere}
    return {name: value for name, value in values.items() if value not in (None, "")}


def stored_result(trial: FrozenTrial) -> TrialResult:
    """Return the last result of a finished trial, read from its study."""
    return TrialResult.read(trial.user_attrs.get("outcome", {}) | {"number": trial.number})
