"""The curves of training, drawn."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reports.language import gettext as _
from reports.line_chart import epoch_chart
from reports.sections.training import Training


def loss_chart(training: Training) -> Markup:
    """Training and validation loss per epoch, a line for each seed."""
    names = {"train_loss": (_("training"), "dashed"), "validation_loss": (_("validation"), "solid")}
    return epoch_chart(training.seeds, names, _("loss"), **_switch(training))


def macro_f1_chart(training: Training) -> Markup:
    """Validation macro-F1 per epoch, a line for each seed."""
    names = {"validation_macro_f1": (_("validation"), "solid")}
    return epoch_chart(
        training.seeds, names, _("macro-F1"), floor=0.0, roof=1.0, **_switch(training)
    )


def _switch(training: Training) -> dict[str, Any]:
    """The upright line where the cross phase begins."""
    begins = training.cross_from
    return {} if begins is None else {"since": begins - 0.5, "since_what": _("cross phase")}
