"""A recipe, the images on which it is trained and tested, its folds and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.recipe import MixingConfig, Recipe
from thyroid.run_files.network import Network
from thyroid.stage import Stage


def network_of(predicted: Stage) -> Network:
    """Return the network whose predictions a stage makes."""
    model = predicted.inputs["model"]
    return Network(seed=model.config.seed, fold=model.inputs["split"].config.fold)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """One recipe, trained once for each fold and seed; `recipe.execution` is resolved."""

    dataset: Dataset
    recipe: Recipe
    seeds: Sequence[int]
    test_set: Dataset | None = None
    """The separate data set that is the test part; None: patients of `dataset` are."""
    searched: int = 0
    """Number of recipes that an earlier run tried to find the given one; 0: none that is known."""

    def of(self, recipe: Recipe) -> Experiment:
        """Return the experiment with another recipe."""
        return dataclasses.replace(self, recipe=recipe)

    @property
    def real_only(self) -> Experiment:
        """The experiment on real images alone, with the same number of steps."""
        return self.of(without_synthetic(self.recipe))

    @property
    def networks(self) -> list[Network]:
        """The trainings, those of the first seed first."""
        return [Network(s, fold) for s in self.seeds for fold in range(self.recipe.folds)]

    def stages(self) -> list[Stage]:
        """All stages of the final evaluation."""
        return [stage for stages in self.needs().values() for stage in stages]

    def needs(self) -> dict[str, list[Stage]]:
        """Return the stages of the final evaluation by user, such as `seed 0` or `seed 0, fold 2`.

        A recipe with synthetic images is also trained without them, to measure their gain, and the
        first network's synthetic images are compared with real ones. With a cross phase, the
        networks are also tested before it, to measure what they forget. The first network's errors
        are examined in detail. Distances are for the exported model, which detects images that are
        unlike all training images.
        """
        needs: dict[str, list[Stage]] = {}
        for network in self.networks:
            named = self.name_of(network)
            needs[named] = self.predictions([network])
            needs[named].append(self.distances(network))
            if self.recipe.cross.order == "retrain":
                needs[named] += self.predictions([network], before_cross=True)
            if self.recipe.synthetic:
                needs[f"{named}, without synthetic images"] = self.real_only.predictions([network])
        first = needs[self.name_of(self.networks[0])]
        if self.recipe.synthetic:
            first.append(self.quality())
        first.append(self.cases())
        return needs

    def name_of(self, network: Network) -> str:
        """Return a network's name for readers: `seed 0`, or `seed 0, fold 2`."""
        fold = f", fold {network.fold}" if self.recipe.folds > 1 else ""
        return f"seed {network.seed}{fold}"

    def predictions(
        self, networks: Sequence[Network] | None = None, *, before_cross: bool = False
    ) -> list[Stage]:
        """Return the predictions of networks for their validation part and, if any, the test part.

        Nothing else reads the test part. With `before_cross`, the predictions are those at the end
        of the single phase.

        Parameters
        ----------
        networks : default: all networks
        """
        digest, split = self.dataset.digest, self.recipe.split
        parts = ["validation"]
        official = self.dataset.official_parts is not None
        given = self.test_set is not None or split.leave_out_centre is not None
        if given or official or split.test > 0:
            parts.append("test")
        found = []
        for seed, fold in self.networks if networks is None else networks:
            recipe = self.recipe.in_fold(fold)
            model = pipeline.before_cross(recipe, digest, seed) if before_cross else None
            test_set = None if self.test_set is None else self.test_set.digest
            found += [
                pipeline.prediction(recipe, digest, seed, part, model=model, test_set=test_set)
                for part in parts
            ]
        return found

    def distances(self, network: Network) -> Stage:
        """Return the stage that measures how far a network's validation images are from its
        training images.
        """
        recipe = self.recipe.in_fold(network.fold)
        return pipeline.distances(recipe, self.dataset.digest, network.seed)

    def quality(self) -> Stage:
        """Quality of the first network's synthetic images."""
        return pipeline.quality(self.recipe.in_fold(0), self.dataset.digest, self.seeds[0])

    def cases(self) -> Stage:
        """Cases of the first network: test images if there are any, else validation images."""
        return pipeline.cases(self.predictions(self.networks[:1])[-1])


def without_synthetic(recipe: Recipe) -> Recipe:
    """Return the recipe on real images alone."""
    cross = dataclasses.replace(recipe.cross, synthetic=0.0)
    return dataclasses.replace(recipe, mixing=MixingConfig(), cross=cross)


def grid(seeds: int, folds: int) -> list[Network]:
    """Return the networks of the first seeds in the first folds."""
    return [Network(seed, fold) for seed in range(seeds) for fold in range(folds)]
