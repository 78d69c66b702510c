"""Make a calibrated model from a run's networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.model_card import merged_run, metrics, model_card, model_card_info
from reports.run import read_run
from thyroid.files import new_folder
from thyroid.model import make_model
from thyroid.model.make_model import Members
from thyroid.model.model_folder import README, read_model
from thyroid.model.onnx_graph import require_onnx, write_onnx
from thyroid.workflows.predicting import Model
from thyroid.workflows.run import Run


def export(
    run: Run | Path | str,
    model: Path | str,
    *,
    members: Members = "all",
    merge: Mapping[str, Sequence[str]] | None = None,
    onnx: bool = False,
) -> Model:
    """Make a model from a run's networks, calibrated on images that they were not trained on.

    Parameters
    ----------
    run : the run, or its folder
    model : new folder to write
    members : `all` networks, whose probabilities are averaged, or the `best` one of them
    merge : merged class -> its classes. The model gives a merged class the sum of its classes'
        probabilities, and is calibrated for the merged classes; classes that are not named stay
    onnx : also write model.onnx, for other programs, after checking it against torch

    Raises
    ------
    InputError
        When the run is not finished or lacks a network, the classes cannot be merged like this, or
        the folder exists.
    """
    if onnx:
        require_onnx()
    folder = run.folder if isinstance(run, Run) else Path(run)
    source = make_model.trained(folder, members, merge)
    with new_folder(Path(model)) as made:
        card = make_model.model_card(source)
        make_model.write_model(source, card, made)
        readable = read_model(made)  # another version of thyroid may have built another network
        difference = write_onnx(readable, made) if onnx else None
        tested = source.tested()
        reached = merged_run(read_run(folder), source.merging)
        if tested is None:
            info = model_card_info(reached, "validation", source.held_out, card, difference)
        else:
            info = model_card_info(reached, "test", tested, card, difference)
        make_model.write_model(source, card | {"metrics": metrics(info)}, made)
        (made / README).write_text(model_card(info), encoding="utf-8")
    return dataclasses.replace(Model.open(model), onnx_difference=difference)
