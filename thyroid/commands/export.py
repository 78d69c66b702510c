"""`thyroid export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from thyroid.commands.options import RunPath, run_here


def export(
    run: RunPath,
    model: Annotated[Positional[Path], arg(metavar="MODEL")],
    *,
    onnx: bool = False,
    seed: int | None = None,
    store: Path | None = None,
) -> None:
    """Make a model of a run's network, calibrated, that `thyroid predict` applies.

    Args:
        run: folder that train, search or compare has filled.
        model: new folder to write.
        onnx: also write model.onnx, for other programs, after checking it against torch.
        seed: which of the run's networks; default: the first.
        store: where the run keeps its artifacts, for other seeds than the first; default:
            RUN/store.
    """
    from thyroid.workflows import exporting

    with run_here(run, alone=False) as folder:
        made = exporting.export(folder, model, onnx=onnx, seed=seed, store=store or run / "store")
    reached, calibration = made.card["metrics"], made.card["calibration"]
    f1, sets = reached["overall"]["macro_f1"], reached["sets"]
    print(
        f"{model}: seed {made.card['seed']}, calibrated on {calibration['images']} validation "
        f"images (temperature {calibration['temperature']:.2f})"
    )
    print(
        f"on {reached['images']} {reached['part']} images: macro-F1 {f1['value']:.3f}; "
        f"one class is credible for {sets['named']['value']:.0%}, the true class among the "
        f"credible for {sets['coverage']['value']:.0%}"
    )
    level, calibrated = calibration["level"], calibration["images"]
    if calibrated < level / (1 - level):
        print(
            f"{calibrated} validation images are too few to say which classes are credible: every "
            "outcome will be 'uncertain'"
        )
    if not reached["learned"]:
        print("nothing was learned: that is no more than luck")
    if made.onnx_difference is not None:
        print(f"model.onnx gives torch's probabilities within {made.onnx_difference:.0e}")
    print(f"model card: {model / 'README.md'}; not for clinical use")
