"""The classifier stage: one segment of a training run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.augment import Draws, augment, draw, thin
from thyroid.errors import Diverged
from thyroid.evaluate.metrics import macro_f1
from thyroid.networks.build import build
from thyroid.networks.pretrained import came_with_weights, load_pretrained
from thyroid.networks.resnet import freeze, train_mode
from thyroid.recipe import OptimiserConfig
from thyroid.stage_config import SegmentConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import (
    OPTIMISER,
    TRAINING,
    WEIGHTS,
    load_optimiser,
    load_weights,
    optimiser_tensors,
    save_card,
    save_tensors,
)
from thyroid.stages.compute import Compute, seed_of, share_of_batch, start
from thyroid.stages.copy_weights import FILE as WEIGHTS_FILE
from thyroid.stages.images import Images, batches, images
from thyroid.stages.predict_part import probabilities
from thyroid.stages.training_set import training_set
from thyroid.stages.weight_average import WeightAverage


def fit(
    config: SegmentConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Train for `config.epochs` epochs, from `inputs["previous"]` or from the beginning.

    Every random number depends on (seed, epoch) only, and the learning rate on the epoch, so a run
    cut into segments is bit for bit the whole run. Several workers train as one does, up to
    rounding; only dropout differs from worker to worker.

    The network that is validated, and stored as the model, has the moving average of the weights,
    if the recipe asks for it. It sees each validation image once, without the views that
    predictions average, as this takes a tenth of the time.

    Yields
    ------
    dict
        Per epoch: epoch (from 1), phase, learning_rate, train_loss, images (that the batches drew),
        synthetic_images (among them), validation_loss (cross-entropy, nats), validation_accuracy,
        validation_macro_f1, validation_cross_recall (share of the cross images whose primary
        finding is recognised; None without cross images), train_seconds, images_per_second.

    Raises
    ------
    InputError
        When the batch cannot be divided evenly among the workers.
    Diverged
        When the loss is no longer a number.
    LeakError
        When the segment before, or synthetic images, come from other images than the training part.
    """
    # Machine, data
    on = start(config.execution)
    dataset, parts = split.open_split(inputs)
    classes = len(dataset.info.classes)
    held_out = images(dataset, parts.validation, config.input, on)
    truth = dataset.labels[parts.validation]
    is_cross = dataset.is_cross[parts.validation]
    training = training_set(config, inputs, dataset, parts, on)
    # An epoch has the same number of steps in every phase, so phases cost the same compute
    batch, share = share_of_batch(
        config.optimiser.batch_size, parts.epoch_images, on, "optimiser.batch_size"
    )
    steps = parts.epoch_images // batch

    # Network and optimiser, as the previous segment left them
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(config.seed, "initialise"))
        network = on.place(build(config.network, classes))
    optimiser = adamw(network, config.optimiser, config.pretrained_rate, config.rates)
    if "weights" in inputs:
        file = inputs["weights"] / WEIGHTS_FILE
        load_pretrained(network, file, config.network, dataset.info.classes)
    decay = config.optimiser.weight_average
    average = WeightAverage(network, decay) if decay else None
    predicting = network if average is None else average.network
    if "previous" in inputs:
        load_weights(predicting, inputs["previous"] / WEIGHTS)
        if average is not None:
            load_weights(network, inputs["previous"] / TRAINING)
        load_optimiser(network, optimiser, inputs["previous"] / OPTIMISER)
    if config.cross is not None:
        freeze(network, config.cross.trainable)
        if average is not None:
            average.settle(network)
    if config.pretrained_rate == 0:
        for parameter in came_with_weights(network):
            parameter.requires_grad_(False)
    parallel = on.parallel(network, compiled=config.network.compile == "on")

    every = torch.arange(steps * batch).view(steps, batch)  # all workers' images
    end = config.first_epoch + config.epochs
    for epoch in range(config.first_epoch, end):
        # All workers draw the same and take their share. All draws of an epoch go to the device
        # at once: no step waits for a GPU
        began = time.perf_counter()
        shared = torch.Generator().manual_seed(seed_of(config.seed, "batches", epoch))
        photons = on.generator(config.seed, "thinning", epoch, 0)
        drawn = training.order(epoch, batch, steps, shared)
        order = drawn[every[:, share]]  # (steps, n)
        draws = draw(steps * batch, config.augmentation, shared)[every].each(on.sent)
        targets = on.sent(training.targets[order])  # (steps, n, C)
        total = torch.zeros((), device=on.device)
        rate = config.optimiser.learning_rate
        train_mode(network, config.statistics)
        torch.manual_seed(seed_of(config.seed, "dropout", epoch, on.rank))
        for step, counts in enumerate(batches(training.counts, order)):  # (n, S, S)
            given = draws[step]
            if given.keep is not None:
                counts = thin(on.gathered(counts), given.keep, photons)[share]
            loss = _loss(parallel, counts, given[share], targets[step], config, on)

            rate = config.optimiser.learning_rate * config.rate.at(epoch + (step + 0.5) / steps)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            if average is not None:
                average.update(network, epoch * steps + step)
            total += loss.detach()
        train_loss = on.mean(total).item() / steps
        seconds = time.perf_counter() - began
        validated = _validate(predicting, held_out, truth, is_cross, config, on) if on.leads else {}
        for value in (train_loss, validated.get("validation_loss")):
            if value is not None and not math.isfinite(value):
                raise Diverged(
                    f"Training diverged in epoch {epoch + 1}: the loss is {value}; "
                    "lower optimiser.learning_rate."
                )

        if on.saves(last=epoch + 1 == end):
            save_tensors(predicting.state_dict(), folder / WEIGHTS, dataset.info.classes)
            if average is not None:
                save_tensors(network.state_dict(), folder / TRAINING)
            save_tensors(optimiser_tensors(network, optimiser), folder / OPTIMISER)
            save_card(dataset, config, folder)
            split.mark_trained_on(dataset, parts, folder)

        yield {
            "seed": config.seed,
            "epoch": epoch + 1,
            "phase": config.phase,
            "learning_rate": rate,
            "train_loss": train_loss,
            "images": steps * batch,
            "synthetic_images": training.count_synthetic(drawn),
            **validated,
            "train_seconds": seconds,
            "images_per_second": steps * batch / seconds,
        }


def _loss(
    network: nn.Module,
    counts: Tensor,
    draws: Draws,
    targets: Tensor,
    config: SegmentConfig,
    on: Compute,
) -> Tensor:
    """Cross-entropy of counts (n, S, S), thinned already, and targets (n, C)."""
    x = augment(counts, draws, config.input.normalisation)  # (n, 1, S, S)
    with on.autocast():
        logits = network(on.arranged(x))  # (n, C)
    return F.cross_entropy(
        logits.float(), targets, label_smoothing=config.optimiser.label_smoothing
    )


PARTS = 8
"""Number of parts of a network, from the input to the output, whose learning rates differ if they
are graded; each has equally many parameter tensors."""


def adamw(
    network: nn.Module,
    config: OptimiserConfig,
    pretrained_rate: float = 1.0,
    rates: Literal["equal", "graded"] = "equal",
) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, and leaves gains and biases alone.

    A group's `factor` multiplies the learning rate. For layers that came with weights it is
    `pretrained_rate`; or, if the rates are graded, `pretrained_rate` ** (1 - k / 8) in part k = 0,
    1, ..., 7 of these layers (discriminative fine-tuning, Howard & Ruder 2018).
    """
    factors = dict.fromkeys(network.parameters(), 1.0)
    layers = [] if pretrained_rate == 1 else came_with_weights(network)  # from the input on
    for place, parameter in enumerate(layers):
        part = place * PARTS // len(layers) if rates == "graded" else 0
        factors[parameter] = pretrained_rate ** (1 - part / PARTS)
    groups = []
    for factor in sorted(set(factors.values()), reverse=True):
        of_factor = [parameter for parameter, own in factors.items() if own == factor]
        for decay, matrices in ((config.weight_decay, True), (0.0, False)):
            params = [p for p in of_factor if (p.ndim > 1) == matrices]
            groups.append({"params": params, "weight_decay": decay, "factor": factor})
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _validate(
    network: nn.Module,
    counts: Images,
    truth: npt.NDArray[np.int64],
    is_cross: npt.NDArray[np.bool_],
    config: SegmentConfig,
    on: Compute,
) -> dict[str, float | None]:
    p = probabilities(network, counts, config.input.normalisation, on)
    predicted = p.argmax(1).numpy()
    loss = F.nll_loss(p.clamp_min(1e-12).log(), torch.from_numpy(truth))  # clamping keeps NaN
    right = predicted == truth
    return {
        "validation_loss": loss.item(),
        "validation_accuracy": float(right.mean()),
        "validation_cross_recall": float(right[is_cross].mean()) if is_cross.any() else None,
        "validation_macro_f1": macro_f1(truth, predicted, p.shape[1]),
    }
