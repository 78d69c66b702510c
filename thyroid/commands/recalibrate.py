"""`thyroid recalibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from thyroid.commands.options import DatasetPath


def recalibrate(
    model: Annotated[Positional[Path], arg(metavar="MODEL")],
    dataset: DatasetPath,
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    *,
    onnx: bool = False,
) -> None:
    """Fit a model's calibration to your own labelled images; its networks do not change.

    Args:
        model: folder that export wrote.
        dataset: data set that import wrote, of at least 20 patients that the model was not trained
            on; each disease must be as frequent as in practice.
        out: new folder of the recalibrated model.
        onnx: also write model.onnx, for other programs, after checking it against torch.
    """
    from thyroid.workflows import recalibrating

    made = recalibrating.recalibrate(model, dataset, out, onnx=onnx)
    of = made.card["recalibration"]
    data, reached = of["data"], of["cross_validated"]
    print(
        f"{out}: recalibrated on {data['images']} images of {data['patients']} patients of "
        f"{data['name']}: temperature {of['before']['temperature']:.2f} before, "
        f"{made.card['calibration']['temperature']:.2f} now"
    )
    change = reached["log_loss_change"]
    print(
        "cross-validated over patients: log loss "
        f"{reached['before_log_loss']['value']:.3f} before, "
        f"{reached['after_log_loss']['value']:.3f} now (change {change['value']:+.3f}, 95 % "
        f"interval {change['low']:+.3f} to {change['high']:+.3f}); the true class is credible for "
        f"{reached['before_coverage']['value']:.0%} before, "
        f"{reached['after_coverage']['value']:.0%} now"
    )
    if change["low"] <= 0 <= change["high"]:
        print("no change of the log loss could be shown")
    if change["low"] > 0:
        print("the probabilities are worse than before: use the model without recalibration")
    if data["unlike_training"]:
        print(
            f"{data['unlike_training']} more images are unlike the model's training images: they "
            "get no diagnosis and were not used"
        )
    if data["unnamed_patients"]:
        print(
            f"{data['unnamed_patients']} images name no patient: if one patient has several of "
            "them, the figures are too good"
        )
    if made.onnx_difference is not None:
        print(
            f"model.onnx: probabilities differ from torch's by at most {made.onnx_difference:.0e}"
        )
    print(f"model card: {out / 'README.md'}; not for clinical use")
