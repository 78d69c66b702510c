"""Apply a model to scintigrams."""

from __future__ import annotations

import dataclasses
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from thyroid import progress
from thyroid.errors import InputError
from thyroid.model import model_folder, predict_files
from thyroid.model.predict_files import Prediction

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model that export wrote."""

    folder: Path
    network: model_folder.Model
    """The networks behind their input, with calibrated probabilities."""
    onnx_difference: float | None = None
    """Largest difference between the probabilities of model.onnx and torch, if export has just
    written model.onnx.
    """

    @classmethod
    def open(cls, folder: Path | str) -> Model:
        """Read and verify a model.

        Raises
        ------
        InputError
            When the folder holds no model, a damaged model, or a model of a newer format.
        """
        return cls(folder=Path(folder), network=model_folder.read_model(Path(folder)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.network.classes

    @property
    def card(self) -> dict[str, Any]:
        """Content of model.json: the model's training and calibration data, and its performance."""
        return self.network.card

    def predict(
        self, images: Sequence[Path | str] | Path | str, *, threads: int = 1
    ) -> pd.DataFrame:
        """Predict what scintigrams show; return one row per file.

        Parameters
        ----------
        images : NM DICOM files, PNG, JPEG or TIFF pictures, or folders of them
        threads : number of processor threads; torch's own setting is restored afterwards

        Returns
        -------
        DataFrame
            The columns of predictions.csv: `file`, `outcome` (a class, `uncertain`,
            `unlike_training` or `unreadable`), `credible` (classes, ";"-joined), `agreement`
            (share of the networks that name the most probable class), `distance` (from the
            training images; an image above 1 gets no class), `p_CLASS` of each class, `flags`,
            `reason` (why a file is unreadable or gets no class).

        Raises
        ------
        InputError
            When no file is named.
        """
        import pandas as pd  # the command does not need it

        given = [images] if isinstance(images, Path | str) else images
        found, _ = predict(self, [Path(each) for each in given], threads=threads)
        named = [*predict_files.MEASURES, *(f"p_{name}" for name in self.classes)]
        numbers = {column: [""] for column in named}
        table = io.StringIO(predict_files.table(self.network, found))
        return pd.read_csv(table, keep_default_na=False, na_values=numbers)

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        data, reached = self.card["data"], self.card["metrics"]
        f1 = reached["overall"]["macro_f1"]
        calibration, single = self.card["calibration"], reached.get("out_of_fold", False)
        part = calibration["part"].replace(" ", "-")
        facts = {
            "model": self.network.name,
            "classes": ", ".join(self.classes),
            "trained on": f"{data['name']}, {data['images']} images of {data['patients']} patients",
            "calibrated on": f"{calibration['images']} {part} images",
            "macro-F1": f"{f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}) "
            f"on {reached['images']} {reached['part']} images"
            + (", by networks not trained on them" if single else ""),
        }
        rows = "".join(f"<tr><th>{n}</th><td>{html.escape(v)}</td></tr>" for n, v in facts.items())
        note = "" if self.network.learned else "<p>It learned nothing: its answers are random.</p>"
        return (
            f"<p><b>{html.escape(str(self.folder))}</b></p><table>{rows}</table>{note}"
            "<p>Not for clinical use.</p>"
        )


def predict(
    model: Model, images: Sequence[Path], *, threads: int = 1, heat_maps: int = 0
) -> tuple[list[Prediction], list[npt.NDArray[np.float32]]]:
    """Predict what each file shows, and where the model looked in the first `heat_maps` images;
    only their pixels are kept.

    Raises
    ------
    InputError
        When no file is named.
    """
    if threads < 1:
        raise InputError(f"--threads is {threads} but must be at least 1.")
    if not images:
        raise InputError("No image is named: name files or folders.")
    files = predict_files.files_below(images)
    if not files:
        raise InputError(f"There is no file in {', '.join(map(str, images))}: name others.")
    found: list[Prediction] = []
    maps: list[npt.NDArray[np.float32]] = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with progress.bar("predicting", "files") as advance:
            for one in predict_files.predict(model.network, files):
                if one.image is not None:
                    if len(maps) < heat_maps:
                        maps.append(predict_files.heat_map(model.network, one))
                    else:
                        one = dataclasses.replace(one, image=None)  # to save memory
                found.append(one)
                advance(len(found), len(files))
    finally:
        torch.set_num_threads(before)
    return found, maps
