"""One network of a run: the training of one fold with one seed, and the name of its files."""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """One training of a recipe."""

    seed: int
    fold: int
    """The fold that validates it; 0 with a single split."""

    @property
    def name(self) -> str:
        """Name of its files and of its folder in RUN/model: `fold2-seed0`."""
        return f"fold{self.fold}-seed{self.seed}"
