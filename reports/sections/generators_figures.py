"""The curves of the generators' training, drawn."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reports.language import gettext as _
from reports.line_chart import epoch_chart


def dcgan_loss_chart(dcgan: dict[str, Any]) -> Markup:
    """Both networks' losses per epoch, a line for each seed."""
    names = {
        "discriminator_loss": (_("discriminator"), "solid"),
        "generator_loss": (_("generator"), "dashed"),
    }
    return epoch_chart(dcgan, names, _("loss"))


def diversity_chart(dcgan: dict[str, Any]) -> Markup:
    """How far generated pictures differ, per epoch, beside a line where real ones are."""
    return epoch_chart(
        dcgan, {"diversity": (_("generated"), "solid")}, _("diversity"), 0.0, level=1.0
    )


def psnr_chart(srgan: dict[str, Any]) -> Markup:
    """PSNR on validation images per epoch, beside bicubic interpolation's."""
    names = {"validation_psnr_db": ("SRGAN", "solid"), "bicubic_psnr_db": (_("bicubic"), "dashed")}
    begins = srgan["adversarial_from"]
    return epoch_chart(srgan, names, "PSNR, dB", since=None if begins is None else begins - 0.5)
