"""The stage of a generator of `thyroid.generators`, which is one file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from thyroid.errors import Diverged, StageFailed
from thyroid.generators import source_of
from thyroid.recipe import InputConfig
from thyroid.stage_config import GeneratorConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_tensors, save_tensors
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import images, some_of
from thyroid.stages.train_dcgan import CARD, GENERATOR, Draw

MOST = 8192
"""Maximum of training images that a generator is given."""


def fit(
    config: GeneratorConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Hand the training images to `fit` of the generator's module, and keep the tensors it gives.

    Yields
    ------
    dict
        Once: how many images it has seen.

    Raises
    ------
    StageFailed
        When the module here is not the one of the stage's key.
    Diverged
        When its tensors are no numbers.
    """
    if source_of(config.name) != config.source:
        raise StageFailed(f"This node has another thyroid/generators/{config.name}.py.")
    on = start(config.execution)
    dataset, parts = split.open_split(inputs)
    counts = images(dataset, parts.train, InputConfig(size=config.size), on)
    chosen = torch.from_numpy(some_of(np.arange(len(counts)), MOST, config.seed))
    findings = torch.from_numpy(dataset.findings[parts.train])[chosen]
    learned = _module(config.name).fit(counts[chosen], findings.to(on.device))
    if not all(tensor.isfinite().all() for tensor in learned.values()):
        raise Diverged(f"The generator {config.name} has values that are not finite.")
    save_tensors(learned, folder / GENERATOR)
    (folder / CARD).write_text(json.dumps({"name": config.name}, indent=2))
    split.mark_trained_on(dataset, parts, folder)
    yield {"seed": config.seed, "images": len(chosen)}


def sampler(folder: Path, on: Compute) -> Draw:
    """A function that draws activities from the generator in `folder`."""
    learned = {n: t.to(on.device) for n, t in load_tensors(folder / GENERATOR).items()}
    module = _module(json.loads((folder / CARD).read_text())["name"])
    return lambda findings, random: module.draw(learned, findings, random)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"thyroid.generators.{name}")
