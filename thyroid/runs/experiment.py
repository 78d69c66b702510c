"""A recipe, the images that it is trained and tested on, and the seeds: what a run evaluates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.recipe import MixingConfig, Recipe
from thyroid.stage import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """One recipe, trained once with each seed; `recipe.execution` is resolved."""

    dataset: Dataset
    recipe: Recipe
    seeds: Sequence[int]
    test_set: Dataset | None = None
    """The test part as a whole; None: patients of `dataset`."""
    searched: int = 0
    """Recipes that an earlier run had tried for the one that this run was given; 0: none that is
    known of."""

    def of(self, recipe: Recipe) -> Experiment:
        """The same with another recipe."""
        return dataclasses.replace(self, recipe=recipe)

    @property
    def real_only(self) -> Experiment:
        """The same on real images alone, of as many steps."""
        return self.of(without_synthetic(self.recipe))

    def stages(self) -> list[Stage]:
        """All stages of the final evaluation."""
        return [stage for stages in self.needs().values() for stage in stages]

    def needs(self) -> dict[str, list[Stage]]:
        """Stages of the final evaluation, by their user, such as `seed 0`.

        A recipe with synthetic images is also trained without them, which measures their gain, and
        the first seed's synthetic images are compared with real ones. With a cross phase, the
        networks are also tested before it, which measures what they forget. The first seed's
        errors are looked at closely.
        """
        needs: dict[str, list[Stage]] = {}
        for seed in self.seeds:
            one = dataclasses.replace(self, seeds=[seed])
            needs[f"seed {seed}"] = one.predictions()
            if self.recipe.cross.order == "retrain":
                needs[f"seed {seed}"] += one.predictions(before_cross=True)
            if self.recipe.synthetic:
                needs[f"seed {seed}, without synthetic images"] = one.real_only.predictions()
        first = needs[f"seed {self.seeds[0]}"]
        if self.recipe.synthetic:
            first.append(self.quality())
        first.append(self.cases())
        return needs

    def predictions(self, *, before_cross: bool = False) -> list[Stage]:
        """Predictions of every seed for the validation part and, if there is one, the test part.

        Nothing else reads the test part. With `before_cross`, the networks are those at the end of
        their single phase.
        """
        recipe, digest = self.recipe, self.dataset.digest
        parts = ["validation"]
        split = recipe.split
        if self.test_set is not None or split.test > 0 or split.leave_out_centre is not None:
            parts.append("test")
        return [
            pipeline.prediction(
                recipe,
                digest,
                seed,
                part,
                model=pipeline.before_cross(recipe, digest, seed) if before_cross else None,
                test_set=None if self.test_set is None else self.test_set.digest,
            )
            for seed in self.seeds
            for part in parts
        ]

    def quality(self) -> Stage:
        """Quality of the first seed's synthetic images."""
        return pipeline.quality(self.recipe, self.dataset.digest, self.seeds[0])

    def cases(self) -> Stage:
        """Cases of the first seed, on test images if there are any, else on validation images."""
        return pipeline.cases(dataclasses.replace(self, seeds=self.seeds[:1]).predictions()[-1])


def without_synthetic(recipe: Recipe) -> Recipe:
    """The same recipe on real images alone."""
    cross = dataclasses.replace(recipe.cross, synthetic=0.0)
    return dataclasses.replace(recipe, mixing=MixingConfig(), cross=cross)
