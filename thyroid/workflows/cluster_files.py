"""The folder from which `ray up` starts a cluster, for users without a clone of the repository."""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path

import reports
import thyroid
import tune_spaces
from thyroid.errors import InputError
from thyroid.files import cannot_write

MARK = "cluster/onprem.yaml"
BESIDE = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
"""Files that are needed to install thyroid on a cluster's machines, in addition to the packages."""


def write_cluster_files(folder: Path) -> None:
    """Write `cluster/`, and all files that it sends to a cluster's machines, into a new folder.

    Raises
    ------
    InputError
        When the folder is not empty or cannot be written, or thyroid was installed without these
        files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something else: name a new folder.")
    source = _source()
    with cannot_write(folder):
        shutil.copytree(source / "cluster", folder / "cluster")
        for name in BESIDE:
            shutil.copy(source / name, folder / name)
        for package in (thyroid, tune_spaces, reports):
            own = Path(str(package.__file__)).parent
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(own, folder / own.name, ignore=without)


def _source() -> Path:
    """Return the working copy, or the folder of the files that pip installed (data-files in
    pyproject.toml).
    """
    places = [Path(str(thyroid.__file__)).parents[1] / MARK]
    places += [
        Path(str(file.locate()))
        for file in distribution("thyroid").files or ()
        if file.as_posix().endswith(f"share/thyroid/{MARK}")
    ]
    for place in places:
        if place.is_file():
            return place.parents[1]
    raise InputError(
        "This thyroid was installed without its cluster files: install its wheel with pip."
    )
