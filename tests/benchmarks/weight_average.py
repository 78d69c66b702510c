"""Moving averages of weights: their decay, and the statistics of batch normalisation.

One training yields the averages of all decays, since averaging changes nothing in what is averaged.
Each is tested with three kinds of statistics: averaged like the weights, copied from the network
that trains, and estimated anew on an epoch of training batches (`torch.optim.swa_utils.update_bn`),
at the end of every segment. Macro-F1 on another phantom of the same preset, one view.

    python -m tests.benchmarks.weight_average --seeds 3 --epochs 24 --decays 0.98 > averages.csv
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from thyroid import machine, pipeline
from thyroid.augment import augment, draw, thin
from thyroid.data.dataset import Dataset
from thyroid.data.splits import make_split
from thyroid.evaluate.metrics import macro_f1
from thyroid.execution.in_process import bring_about, in_process
from thyroid.phantom.write_files import write_phantom
from thyroid.precision import resolve_precision
from thyroid.recipe import Recipe, override
from thyroid.stages import train_classifier
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import images
from thyroid.stages.predict_part import probabilities
from thyroid.stages.weight_average import WeightAverage
from thyroid.storage.store import Store

DATA_SEED, TEST_SEED = 101, 202


class Averages(WeightAverage):
    """Averages of all decays through all segments of one training."""

    decays: Sequence[float]
    averages: dict[float, WeightAverage]
    """Averages of the training that is under way, by decay."""
    current: nn.Module
    """The network that trains, as it is after the last step."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, decay)
        if not Averages.averages:
            Averages.averages |= {d: WeightAverage(network, d) for d in Averages.decays}

    def update(self, network: nn.Module, step: int) -> None:
        super().update(network, step)
        for average in Averages.averages.values():
            average.update(network, step)
        Averages.current = network


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--epochs", type=int, default=24)
    asked.add_argument("--decay-epochs", type=int, default=8)
    asked.add_argument("--decays", type=float, nargs="+", default=[0.95, 0.98, 0.99])
    given = asked.parse_args()
    Averages.decays = given.decays
    changes = {
        "schedule.constant_epochs": given.epochs - 2 - given.decay_epochs,
        "schedule.decay_epochs": given.decay_epochs,
        "schedule.segment_epochs": 8,
        "split.test": 0.0,
        "split.folds": 1,
    }
    recipe = override(Recipe(), changes)
    recipe = resolve_precision(replace(recipe, execution=machine.resolve(recipe.execution)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, seed, per_class, per_cross in [
            ("train", DATA_SEED, 75, 25),
            ("test", TEST_SEED, 50, 25),
        ]:
            write_phantom(
                root / name,
                preset="thyroid7",
                format="dataset",
                images_per_class=per_class,
                images_per_cross=per_cross,
                seed=seed,
            )
        datasets = [Dataset.open(root / name) for name in ("train", "test")]
        print("seed,epoch,decay,statistics,macro_f1")
        for seed in range(given.seeds):
            for row in measured(recipe, seed, datasets[0], datasets[1], root / "store"):
                print(*row, sep=",", flush=True)


def measured(
    recipe: Recipe, seed: int, dataset: Dataset, test: Dataset, store: Path
) -> Iterator[tuple[object, ...]]:
    """Train once; test every average at the end of each segment."""
    Averages.averages = {}
    train_classifier.WeightAverage = Averages  # type: ignore[misc]  # for this process
    runner = in_process(Store(store), {dataset.digest: dataset.folder})
    for stage in pipeline.classifier(recipe, dataset.digest, seed):
        bring_about([stage], runner)
        if stage.config.first_epoch == 0:
            continue  # the warm-up
        on = start(stage.config.execution)
        epoch = stage.config.first_epoch + stage.config.epochs
        batches = training_batches(dataset, recipe, on)
        kinds = {"none": (0.0, Averages.current)}
        for decay, average in Averages.averages.items():
            kinds[f"averaged {decay}"] = (decay, average.network)
            copied = copy.deepcopy(average.network)
            for mine, theirs in zip(copied.buffers(), Averages.current.buffers(), strict=True):
                mine.copy_(theirs)
            kinds[f"copied {decay}"] = (decay, copied)
            anew = copy.deepcopy(average.network)
            with torch.no_grad(), on.autocast():
                update_bn(batches, anew)
            kinds[f"estimated {decay}"] = (decay, anew)
        counts = images(test, np.arange(len(test)), recipe.input, on)
        for name, (decay, network) in kinds.items():
            # A copy: evaluation mode would stay
            p = probabilities(copy.deepcopy(network), counts, recipe.input.normalisation, on)
            value = macro_f1(test.labels, p.argmax(1).numpy(), p.shape[1])
            yield seed, epoch, decay, name.split()[0], f"{value:.4f}"


def training_batches(dataset: Dataset, recipe: Recipe, on: Compute) -> list[Tensor]:
    """One epoch of augmented training batches, (32, 1, S, S) each."""
    rows = make_split(dataset, recipe.split).train
    random = torch.Generator().manual_seed(0)
    counts = images(dataset, rows, recipe.input, on)[torch.randperm(len(rows), generator=random)]
    draws = draw(len(rows), recipe.augmentation, random).each(on.sent)
    if draws.keep is not None:
        counts = thin(counts, draws.keep, on.generator(0))
    x = augment(counts, draws, recipe.input.normalisation)
    return [on.arranged(batch) for batch in torch.split(x, 32) if len(batch) == 32]


if __name__ == "__main__":
    main()
