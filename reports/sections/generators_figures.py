"""Figures of the generators' training."""

from __future__ import annotations

from markupsafe import Markup

from reports.language import gettext as _
from reports.line_chart import epoch_chart
from reports.sections.generators import Dcgan, Srgan


def dcgan_loss_chart(dcgan: Dcgan) -> Markup:
    """Losses of generators and discriminators per epoch."""
    names = {
        "discriminator_loss": (_("discriminator"), "solid"),
        "generator_loss": (_("generator"), "dashed"),
    }
    return epoch_chart(dcgan.networks, names, _("loss"))


def diversity_chart(dcgan: Dcgan) -> Markup:
    """Diversity of generated pictures per epoch, with a line at the diversity of real ones."""
    return epoch_chart(
        dcgan.networks, {"diversity": (_("generated"), "solid")}, _("diversity"), 0.0, level=1.0
    )


def psnr_chart(srgan: Srgan) -> Markup:
    """PSNR on validation images per epoch, with a line at that of bicubic interpolation."""
    names = {"validation_psnr_db": ("SRGAN", "solid"), "bicubic_psnr_db": (_("bicubic"), "dashed")}
    return epoch_chart(srgan.networks, names, "PSNR, dB", since=srgan.adversarial_from)
