"""Make a calibrated model of a run's network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from reports.model_card import metrics, model_card, model_card_info
from reports.run import read_run
from thyroid.files import new_folder
from thyroid.model import make_model
from thyroid.model.model_folder import README, read_model
from thyroid.model.onnx_graph import require_onnx, write_onnx
from thyroid.workflows.predicting import Model
from thyroid.workflows.run import Run


def export(
    run: Run | Path | str,
    model: Path | str,
    *,
    onnx: bool = False,
    seed: int | None = None,
    store: Path | str | None = None,
) -> Model:
    """Make a model of a run's network, calibrated on validation images.

    Parameters
    ----------
    run : or its folder
    model : new folder to write
    onnx : also write model.onnx, for other programs, after checking it against torch
    seed : of the network; default: the run's first
    store : folder of the run's artifacts, for other seeds than the first; default: RUN/store

    Raises
    ------
    InputError
        When the run is not finished, has no network of that seed, or the folder exists.
    """
    if onnx:
        require_onnx()
    folder = run.folder if isinstance(run, Run) else Path(run)
    source = make_model.trained(folder, seed, None if store is None else Path(store))
    with new_folder(Path(model)) as made:
        card = make_model.model_card(source)
        make_model.write_model(source, card, made)
        readable = read_model(made)  # the run may be of a thyroid that built another network
        difference = write_onnx(readable, made) if onnx else None
        info = model_card_info(read_run(folder), source.seed, card, difference)
        make_model.write_model(source, card | {"metrics": metrics(info)}, made)
        (made / README).write_text(model_card(info), encoding="utf-8")
    return dataclasses.replace(Model.open(model), onnx_difference=difference)
