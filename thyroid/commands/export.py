"""`thyroid export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from thyroid.commands.options import RunPath


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
    from reports.model_card import metrics, model_card, model_card_info
    from reports.run import read_run
    from thyroid.files import new_folder
    from thyroid.model import make_model
    from thyroid.model.model_folder import README, read_model
    from thyroid.model.onnx_graph import require_onnx, write_onnx

    if onnx:
        require_onnx()
    source = make_model.trained(run, seed, store)
    with new_folder(model) as folder:
        card = make_model.model_card(source)
        make_model.write_model(source, card, folder)
        readable = read_model(folder)  # the run may be of a thyroid that built another network
        difference = write_onnx(readable, folder) if onnx else None
        info = model_card_info(read_run(run), source.seed, card, difference)
        make_model.write_model(source, card | {"metrics": metrics(info)}, folder)
        (folder / README).write_text(model_card(info), encoding="utf-8")
    f1, sets = info["results"]["overall"]["macro_f1"], info["sets"]
    print(
        f"{model}: seed {source.seed}, calibrated on {card['calibration']['images']} validation "
        f"images (temperature {card['calibration']['temperature']:.2f})"
    )
    print(
        f"on {info['results']['images']} {info['part']} images: macro-F1 {f1['value']:.3f}; "
        f"one class is credible for {sets['named']['value']:.0%}, the true class among the "
        f"credible for {sets['coverage']['value']:.0%}"
    )
    level, calibrated = card["calibration"]["level"], card["calibration"]["images"]
    if calibrated < level / (1 - level):
        print(
            f"{calibrated} validation images are too few to say which classes are credible: every "
            "outcome will be 'uncertain'"
        )
    if not info["results"]["learned"]:
        print("nothing was learned: that is no more than luck")
    if difference is not None:
        print(f"model.onnx gives torch's probabilities within {difference:.0e}")
    print(f"model card: {model / README}; not for clinical use")
