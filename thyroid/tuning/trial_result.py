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
"""The states of a trial that is finished in an Optuna study."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A trial's score at the end of a segment."""

    epoch: int
    """Epochs trained so far."""
    value: float
    """Validation macro-F1, from 0 to 1."""
    part: str
    """Part of the schedule, such as `single` or `mixed-decay`: scores are compared within one."""
    training: str
    """Keys of the segment, one for each network: trials that share them are one training."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A trial as its driver reports it, at a rung or at the end."""

    number: int
    epochs: int = 0
    """Epochs of the whole schedule; 0 in a result that is read from a study."""
    macro_f1: float | None = None
    """Mean of its networks' validation macro-F1; at the end macro-F1 of all held-out images of its
    folds together; from 0 to 1; None for a failed trial."""
    standard_error: float | None = None
    """Standard error of the macro-F1 at the end, over patients and training sets."""
    rung_macro_f1: float | None = None
    """Mean of its networks' validation macro-F1, by which trials are stopped early."""
    cross_recall: float | None = None
    """Share of validation cross images whose primary finding is recognised, from 0 to 1."""
    compute: float = 0.0
    """Seconds of all stages so far, as if nothing were shared."""
    epoch: int = 0
    """Epochs trained so far."""
    seconds: float | None = None
    """Seconds since the trial began, waiting included; None for one of an earlier run."""
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
    """Why no trial can go on, which is not the recipe's fault."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrialResult:
        """Read a result from a mapping that holds other things, too."""
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
        """Decide the state of a trial whose last result this is.

        Parameters
        ----------
        stopped : early stopping ended the trial
        """
        if self.failed:
            return "failed"
        if self.macro_f1 is not None and self.epoch == self.epochs:
            return "complete"
        return "pruned" if stopped else "interrupted"


def stored(result: TrialResult) -> dict[str, Any]:
    """Return what the study keeps of a trial's last result, as plain data."""
    elsewhere = ("number", "epochs", "part", "training", "failed", "fault")
    values = {name: value for name, value in asdict(result).items() if name not in elsewhere}
    return {name: value for name, value in values.items() if value not in (None, "")}


def stored_result(trial: FrozenTrial) -> TrialResult:
    """Return the last result of a finished trial, read from its study."""
    return TrialResult.read(trial.user_attrs.get("outcome", {}) | {"number": trial.number})
