"""Figures of the training."""

from __future__ import annotations

from markupsafe import Markup

from reports.language import gettext as _
from reports.line_chart import epoch_chart
from reports.sections.training import Training


def loss_chart(training: Training) -> Markup:
    """Training and validation loss per epoch, a line for each network."""
    names = {"train_loss": (_("training"), "dashed"), "validation_loss": (_("validation"), "solid")}
    since = training.cross_from
    return epoch_chart(
        training.networks, names, _("loss"), since=since, since_what=_("cross phase")
    )


def macro_f1_chart(training: Training) -> Markup:
    """Validation macro-F1 per epoch, a line for each network."""
    names = {"validation_macro_f1": (_("validation"), "solid")}
    return epoch_chart(
        training.networks,
        names,
        _("macro-F1"),
        floor=0.0,
        roof=1.0,
        since=training.cross_from,
        since_what=_("cross phase"),
    )
