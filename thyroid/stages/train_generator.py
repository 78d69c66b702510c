"""The stage that trains a generator of `thyroid.generators`."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thyroid.errors import Diverged, StageFailed
from thyroid.generators import source_of
from thyroid.recipe import FlowConfig, InputConfig
from thyroid.stage_config import GeneratorConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_tensors, save_tensors
from thyroid.stages.compute import Compute, seed_of, start
from thyroid.stages.images import images, some_of
from thyroid.stages.sample_sheet import write_sheet
from thyroid.stages.train_dcgan import CARD, COLUMNS, GENERATOR, Draw

MOST = 8192
"""Most training images that a generator gets if it does not learn in epochs."""


def fit(
    config: GeneratorConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Call `fit` of the generator's module with the training images, and store its tensors.

    A generator that learns in epochs continues from the tensors of `inputs["previous"]`, or from
    none; its segment ends with a sample sheet.

    Yields
    ------
    dict
        Per epoch, or once: epoch (from 1), images (number that `fit` got); per epoch also
        train_seconds and the module's metrics.

    Raises
    ------
    StageFailed
        When the module on this machine is not the one of the stage's key.
    Diverged
        When its tensors are not finite.
    """
    if source_of(config.name) != config.source:
        raise StageFailed(f"This node has another thyroid/generators/{config.name}.py.")
    on = start(config.execution)
    dataset, parts = split.open_split(inputs)
    counts = images(dataset, parts.train, InputConfig(size=config.size), on)
    findings = torch.from_numpy(dataset.findings[parts.train])  # (N, C)
    module = _module(config.name)
    if config.settings is None:
        chosen = torch.from_numpy(some_of(np.arange(len(counts)), MOST, config.seed))
        learned = module.fit(counts[chosen], findings[chosen].to(on.device))
        _require_finite(learned, config.name)
        yield {"seed": config.seed, "epoch": 1, "images": len(chosen)}
    else:
        previous = inputs.get("previous")
        learned = {} if previous is None else _load(previous, on)
        for epoch in range(config.first_epoch, config.first_epoch + config.epochs):
            began = time.perf_counter()
            learned, measured = module.fit(
                counts,
                findings.to(on.device),
                settings=config.settings,
                learned=learned,
                seed=seed_of(config.seed, config.name, epoch),
                kind=dataset.info.kind,
                precision=on.precision,
            )
            seconds = time.perf_counter() - began
            _require_finite(learned, config.name)
            yield {
                "seed": config.seed,
                "epoch": epoch + 1,
                "images": len(counts),
                "loss": measured["loss"],
                "train_seconds": seconds,
                "images_per_second": measured["images"] / seconds,
            }
    save_tensors(learned, folder / GENERATOR)
    (folder / CARD).write_text(json.dumps({"name": config.name}, indent=2))
    split.mark_trained_on(dataset, parts, folder)
    if config.settings is not None:
        asked = torch.unique(findings, dim=0).repeat_interleave(COLUMNS, 0)  # (K * COLUMNS, C)
        draw = sampler(folder, config.settings, on)
        made = draw(asked.to(on.device), on.generator(config.seed, "sheet"))
        last = config.first_epoch + config.epochs
        write_sheet(made, COLUMNS, folder / "sheets" / f"epoch-{last:04d}.png")


def sampler(folder: Path, settings: FlowConfig | None, on: Compute) -> Draw:
    """A function that draws activities from the generator in `folder`."""
    learned = _load(folder, on)
    module = _module(json.loads((folder / CARD).read_text())["name"])
    if settings is None:
        return lambda findings, random: module.draw(learned, findings, random)

    def draw(findings: Tensor, random: torch.Generator) -> Tensor:
        with torch.inference_mode(), on.autocast():
            drawn: Tensor = module.draw(learned, findings, random, settings=settings)
        return drawn

    return draw


def _load(folder: Path, on: Compute) -> dict[str, Tensor]:
    return {name: t.to(on.device) for name, t in load_tensors(folder / GENERATOR).items()}


def _require_finite(learned: Mapping[str, Tensor], name: str) -> None:
    if not all(tensor.isfinite().all() for tensor in learned.values()):
        raise Diverged(f"The generator {name} has values that are not finite.")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"thyroid.generators.{name}")
