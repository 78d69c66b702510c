"""Starting points: weights of networks trained on simulated scintigrams.

They ship in the folder starting_points, in half precision, and its README says how they were made;
`thyroid pretrain` makes others. The safetensors metadata of each file name its network, classes and
input, the kind of images, and the data that it was trained on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from thyroid import __version__
from thyroid.errors import InputError
from thyroid.files import cannot_write, sha256_of
from thyroid.recipe import Recipe
from thyroid.run_files.config_json import read_config
from thyroid.run_files.features_file import FILE as FEATURES
from thyroid.run_files.network import Network

FOLDER = Path(__file__).parent / "starting_points"
TOLD = ("classes", "kind", "network", "input", "thyroid", "data", "licence")
EARLIER = ("97903b8c73de2d9a655ddcacdede9d60fb52954885afe03bc2d194c1f7684758",)
"""SHA-256 of weights that shipped before: for pictures, trained without windowing (commit
177ce91)."""
CARD, WEIGHTS = "model.json", "model.safetensors"


def file_name(network: str, kind: str) -> str:
    """Return the file name for a network trained on images of a kind, counts or display."""
    return f"{network}-{kind}.safetensors"


def shipped(recipe: Recipe, kind: str) -> Path:
    """Return the starting point of the recipe's network that ships with thyroid.

    Raises
    ------
    InputError
        When there is none, or it expects another input than the recipe's.
    """
    network = recipe.network
    file = FOLDER / file_name(network.name, kind)
    if not file.is_file() or network.width is not None:
        names = sorted(
            {path.stem.rsplit("-", 1)[0] for path in FOLDER.glob(f"*-{kind}.safetensors")}
        )
        raise InputError(
            "thyroid ships no weights trained on simulated scintigrams for "
            f"{network.name}{'' if network.width is None else ' of another width'}: choose "
            f"--network.name {' or '.join(names)}, or make them with `thyroid pretrain OUT "
            f"--network {network.name} --kind {kind}`."
        )
    require_input(recipe, about(file)["input"]["normalisation"], file)
    return file


def is_shipped(sha256: str, *, earlier: bool = False) -> bool:
    """Return True if a digest is that of a starting point that ships with this version of thyroid,
    or, if asked, shipped with an `earlier` one.
    """
    ours = any(sha256_of(file) == sha256 for file in FOLDER.glob("*.safetensors"))
    return ours or (earlier and sha256 in EARLIER)


def about(file: Path) -> dict[str, Any]:
    """Read the metadata of a starting point: classes, kind, network, input, data, licence.

    The result is empty for other files.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            return {name: json.loads(metadata[name]) for name in TOLD if name in metadata}
    except (SafetensorError, ValueError):
        return {}


def features_beside(file: Path) -> Path:
    """Return the file, beside the weights, of the features of their training images."""
    return file.with_name(f"{file.stem}-{FEATURES}")


def require_input(recipe: Recipe, normalisation: str, source: Path) -> None:
    """Check that weights were trained on the recipe's normalisation of the input.

    Raises
    ------
    InputError
        When they were not.
    """
    if normalisation != recipe.input.normalisation:
        raise InputError(
            f"--weights {source} expects input.normalisation {normalisation}, but the recipe has "
            f"{recipe.input.normalisation}: give --input.normalisation {normalisation}."
        )


def write_starting_point(run: Path, file: Path, source: str) -> Path:
    """Write the weights of a run's first network in half precision, and beside them the features of
    its training images.

    Parameters
    ----------
    run : folder of a finished run
    source : where its images come from
    """
    folder = run / "model" / Network(0, 0).name
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    metadata = {
        "classes": card["classes"],
        "kind": card["kind"],
        "network": card["network"],
        "input": card["input"],
        "thyroid": __version__,
        "data": source,
        "licence": read_config(run).dataset.licence,
    }
    weights = {
        name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    with cannot_write(file.parent):
        save_file(weights, file, {name: json.dumps(value) for name, value in metadata.items()})
        shutil.copyfile(folder / FEATURES, features_beside(file))
    return file
