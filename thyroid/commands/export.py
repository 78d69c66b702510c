"""`thyroid export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from thyroid.commands.options import RunPath, run_here


def export(
    run: RunPath,
    model: Annotated[Positional[Path], arg(metavar="MODEL")],
    *,
    members: Literal["all", "best"] = "all",
    merge: str | None = None,
    onnx: bool = False,
) -> None:
    """Make a calibrated model from a run's networks, for `thyroid predict`.

    Args:
        run: folder that train, search or compare has filled.
        model: new folder to write.
        members: all networks of the run, whose probabilities are averaged, or only the one with the
            best macro-F1 on its own fold.
        merge: classes to merge, such as diffuse=graves+hashimoto,nodular=hot_nodule+cold_nodule;
            the other classes stay as they are.
        onnx: also write model.onnx, for other programs, after checking it against torch.
    """
    from thyroid.model.gate import ENOUGH
    from thyroid.model.merging import parse_merge
    from thyroid.workflows import exporting

    merged = None if merge is None else parse_merge(merge)
    with run_here(run, alone=False) as folder:
        made = exporting.export(folder, model, members=members, merge=merged, onnx=onnx)
    reached, calibration = made.card["metrics"], made.card["calibration"]
    f1, sets = reached["overall"]["macro_f1"], reached["sets"]
    number = made.network.networks
    print(
        f"{model}: {number} network{'s' if number > 1 else ''}, calibrated on "
        f"{calibration['images']} {calibration['part'].replace(' ', '-')} images (temperature "
        f"{calibration['temperature']:.2f})"
    )
    single = ", by networks not trained on them" if reached["out_of_fold"] else ""
    print(
        f"on {reached['images']} {reached['part']} images{single}: macro-F1 {f1['value']:.3f}; "
        f"exactly one class is credible for {sets['named']['value']:.0%} of images, and the true "
        f"class is credible for {sets['coverage']['value']:.0%}"
    )
    level, calibrated = calibration["level"], calibration["images"]
    if calibrated < level / (1 - level):
        print(
            f"{calibrated} images are too few to say which classes are credible: every outcome "
            "will be 'uncertain'"
        )
    gate = made.card["gate"]
    if gate["images"] < ENOUGH:
        print(
            f"{gate['images']} images are too few to set the limit of 'unlike_training' well: try "
            "some scintigrams of your own, and some other pictures"
        )
    if made.network.training_hashes is None:
        print(
            "the data set of the run is not in its place: `predict` will not mark images that the "
            "model was trained on"
        )
    if not reached["learned"]:
        print("nothing was learned: this macro-F1 is no better than chance")
    if made.onnx_difference is not None:
        print(
            f"model.onnx: probabilities differ from torch's by at most {made.onnx_difference:.0e}"
        )
    print(f"model card: {model / 'README.md'}; not for clinical use")
