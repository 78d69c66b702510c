"""Generators of scintigrams beside the DCGAN, each one file: `--generator NAME`.

A module has `fit(counts, findings)`, which gives tensors, and `draw(tensors, findings, random)`,
which gives activities; see `eigen`. They see tensors of training images and nothing else: they may
import torch and `thyroid.acquisition`; never data, stages or ray. This file imports no torch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from thyroid.errors import InputError
from thyroid.files import sha256_of


@cache  # trial drivers ask for it by the thousand
def source_of(name: str) -> str:
    """SHA-256 of a generator's file.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    folder = Path(__file__).parent
    names = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    if name not in names:
        raise InputError(
            f"generator '{name}' is unknown: choose one of {', '.join(['dcgan', *names])}."
        )
    return sha256_of(folder / f"{name}.py")
