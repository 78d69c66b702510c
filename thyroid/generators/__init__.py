"""Generators of scintigrams besides the DCGAN, one file each: `--generator NAME`.

A module has `fit(counts, findings)`, which returns tensors, and `draw(tensors, findings, random)`,
which returns activities; see `eigen`.

A generator that learns in epochs has a section of the recipe (`Recipe.generator_settings`), which
`fit` and `draw` get as `settings`. Its `fit` trains for one epoch: it takes the tensors of the
epoch before, and returns new tensors and metrics; see `flow`. An epoch depends only on these
tensors and a seed of its own, so 20 epochs are 10 and 10, bit for bit.

The SHA-256 of a module is part of its stage's key. Modules may import torch, `thyroid.acquisition`
and each other; never data, stages or ray. This file imports no torch.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from thyroid.errors import InputError
from thyroid.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor


class Counts(Protocol):
    """N images, perhaps on disk; a tensor of images is of this type, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """Counts (n, S, S) float32 on the device; `chosen` (n,) int64 on the CPU."""


def names() -> list[str]:
    """Return the generators that are files of this package."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


@cache  # trial drivers call it thousands of times
def source_of(name: str) -> str:
    """Return the SHA-256 of a generator's file, combined with those of generators it imports.

    Raises
    ------
    InputError
        When there is no generator of this name.
    """
    if name not in names():
        raise InputError(
            f"generator '{name}' is unknown: choose one of {', '.join(['dcgan', *names()])}."
        )
    folder = Path(__file__).parent
    own = sha256_of(folder / f"{name}.py")
    text = (folder / f"{name}.py").read_text(encoding="utf-8")
    used = re.findall(r"^from thyroid\.generators import (\w+)$", text, re.M)
    return sha256("".join([own, *map(source_of, used)]).encode()).hexdigest() if used else own
