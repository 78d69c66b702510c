"""Generators of scintigrams besides the DCGAN, one file each: `--generator NAME`.

A module has `fit(counts, findings)`, which returns tensors, and `draw(tensors, findings, random)`,
which returns activities; see `eigen`. Each file's SHA-256 is part of its stage's key. Modules may
import torch and `thyroid.acquisition`; never data, stages or ray. This file imports no torch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from thyroid.errors import InputError
from thyroid.files import sha256_of


def names() -> list[str]:
    """Return the generators that are files of this package."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


@cache  # trial drivers call it thousands of times
def source_of(name: str) -> str:
    """Return the SHA-256 of a generator's file.

    Raises
    ------
    InputError
        When there is no generator of this name.
    """
    if name not in names():
        raise InputError(
            f"generator '{name}' is unknown: choose one of {', '.join(['dcgan', *names()])}."
        )
    return sha256_of(Path(__file__).parent / f"{name}.py")
