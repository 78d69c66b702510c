"""The classifier stage: one segment of a training run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.augment import augment, draw
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged
from thyroid.evaluate.metrics import macro_f1
from thyroid.networks.pretrained import load_pretrained
from thyroid.networks.registry import build
from thyroid.networks.resnet import freeze, train_mode
from thyroid.pipeline import SegmentConfig
from thyroid.recipe import OptimiserConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import (
    OPTIMISER,
    WEIGHTS,
    load_optimiser,
    load_weights,
    optimiser_tensors,
    save_card,
    save_tensors,
)
from thyroid.stages.compute import Compute, seed_of, share_of_batch, start
from thyroid.stages.images import images
from thyroid.stages.prediction import probabilities
from thyroid.stages.training_set import training_set
from thyroid.stages.weights import FILE as WEIGHTS_FILE


def fit(
    config: SegmentConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Train for `config.epochs` epochs, from `inputs["previous"]` or from the beginning.

    Every random number depends on (seed, epoch, rank) only, and the learning rate on the epoch,
    so a run cut into segments is bit for bit the whole run.

    Yields
    ------
    dict
        Per epoch: epoch (from 1), phase, learning_rate, train_loss, validation_loss (cross-entropy,
        nats), validation_accuracy, validation_macro_f1, validation_cross_recall (share of the
        cross images whose primary finding is recognised; None where there is none), train_seconds,
        images_per_second.

    Raises
    ------
    InputError
        When the batch cannot be divided evenly among the workers.
    Diverged
        When the loss is no longer a number.
    """
    # Machine, data
    on = start(config.execution)
    dataset = Dataset.open(inputs["dataset"], verify=False)
    parts = split.load(dataset, inputs["split"])
    classes = len(dataset.info.classes)
    held_out = images(dataset, parts.validation, config.input, on)
    is_cross = dataset.is_cross[parts.validation]
    training = training_set(config, inputs, dataset, parts, on)
    counts, targets = training.counts, training.targets
    # An epoch has as many steps in every phase: compute does not depend on what is trained on
    batch, share = share_of_batch(
        config.optimiser.batch_size, len(parts.train), on, "optimiser.batch_size"
    )
    steps = len(parts.train) // batch

    # Network and optimiser, where the previous segment left them
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(config.seed, "initialise"))
        network = on.place(build(config.network, classes))
    optimiser = adamw(network, config.optimiser)
    if "weights" in inputs:
        load_pretrained(network, inputs["weights"] / WEIGHTS_FILE, config.network)
    if "previous" in inputs:
        load_weights(network, inputs["previous"])
        load_optimiser(network, optimiser, inputs["previous"] / OPTIMISER)
    if config.cross is not None:
        freeze(network, config.cross.trainable)
    parallel = on.parallel(network)

    for epoch in range(config.first_epoch, config.first_epoch + config.epochs):
        # All workers draw the same batches and take their share; thinning is their own
        began = time.perf_counter()
        shared = torch.Generator().manual_seed(seed_of(config.seed, "batches", epoch))
        own = on.generator(config.seed, "thinning", epoch, on.rank)
        order = training.order(epoch, batch, steps, shared)
        draws = draw(steps * batch, config.augmentation, shared)
        total = torch.zeros((), device=on.device)
        rate = config.optimiser.learning_rate
        train_mode(network)
        torch.manual_seed(seed_of(config.seed, "dropout", epoch, on.rank))
        for step in range(steps):
            part = slice(step * batch, (step + 1) * batch)
            chosen, drawn = order[part][share], draws[part][share]
            x = augment(counts[chosen], drawn, config.input.normalisation, own)  # (n, 1, S, S)
            with on.autocast():
                logits = parallel(x.contiguous(memory_format=torch.channels_last))  # (n, C)
            loss = F.cross_entropy(
                logits.float(), targets[chosen], label_smoothing=config.optimiser.label_smoothing
            )

            rate = config.optimiser.learning_rate * config.rate.at(epoch + (step + 0.5) / steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.detach()
        train_loss = on.mean(total).item() / steps
        seconds = time.perf_counter() - began
        validated = _validate(network, held_out, is_cross, config, on) if on.leads else {}
        for value in (train_loss, validated.get("validation_loss")):
            if value is not None and not math.isfinite(value):
                raise Diverged(
                    f"Training diverged in epoch {epoch + 1}: the loss is {value}; "
                    "lower optimiser.learning_rate."
                )

        yield {
            "seed": config.seed,
            "epoch": epoch + 1,
            "phase": config.phase,
            "learning_rate": rate,
            "train_loss": train_loss,
            **validated,
            "train_seconds": seconds,
            "images_per_second": steps * batch / seconds,
        }

    if on.leads:
        save_tensors(network.state_dict(), folder / WEIGHTS)
        save_tensors(optimiser_tensors(network, optimiser), folder / OPTIMISER)
        save_card(dataset, config, folder)


def adamw(network: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, and leaves gains and biases alone."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _validate(
    network: nn.Module,
    held_out: tuple[Tensor, Tensor],
    is_cross: npt.NDArray[np.bool_],
    config: SegmentConfig,
    on: Compute,
) -> dict[str, float | None]:
    counts, labels = held_out
    p = probabilities(network, counts, config.input.normalisation, on)
    truth = labels.cpu()
    predicted = p.argmax(1)
    loss = F.nll_loss(p.clamp_min(1e-12).log(), truth)  # clamping keeps NaN
    right = (predicted == truth).numpy()
    return {
        "validation_loss": loss.item(),
        "validation_accuracy": float(right.mean()),
        "validation_cross_recall": float(right[is_cross].mean()) if is_cross.any() else None,
        "validation_macro_f1": macro_f1(truth.numpy(), predicted.numpy(), p.shape[1]),
    }
