"""Recipes by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from thyroid.recipe.data_config import InputConfig
from thyroid.recipe.generator_config import MixingConfig
from thyroid.recipe.recipe import Recipe
from thyroid.recipe.training_config import (
    CrossConfig,
    NetworkConfig,
    OptimiserConfig,
    ScheduleConfig,
)


def small() -> Recipe:
    """A small residual network on 64-pixel images; a fifth of each batch is synthetic crosses until
    the learning rate decays.

    On `thyroid7` (60 training images per class, 20 per cross, other centres, five seeds) the
    synthetic images changed macro-F1 of an earlier network, with strides, by +0.005 [-0.028,
    +0.038]: no difference could be shown, nor for any other recipe that was tried
    (docs/results/measurements.md).
    """
    crosses = MixingConfig(synthetic_share=0.2, cross_share=1.0)
    return Recipe(mixing=crosses)


def resnet18() -> Recipe:
    """The plain ResNet-18 on 128-pixel images; without a GPU it trains slowly."""
    return Recipe(
        input=InputConfig(size=128),
        network=NetworkConfig(name="resnet18"),
        optimiser=OptimiserConfig(learning_rate=1e-3, batch_size=64),
    )


def paper() -> Recipe:
    """The protocol of Wang & Zhang 2020: DCGAN and SRGAN enlarge the training set, the improved
    ResNet is trained on single-feature images and then retrained on a cross training set, 100
    epochs in all.

    The abstract says no more. Decided here: a ResNet-10 on 64-pixel images, which two processors
    train in minutes (`--network.name resnet18` for a GPU); x_i from the image; 70 epochs of single
    images, all real; then 30 epochs, in which the learning rate decays and three images in ten are
    crosses, half of them synthetic because crosses are scarce. (Crosses as half of each batch
    seemed too many, and synthetic single images showed no gain: docs/results/measurements.md.)
    Data without crosses have no cross phase and no synthetic images.
    """
    return Recipe(
        network=NetworkConfig(cross_feature="input"),
        schedule=ScheduleConfig(warmup_epochs=2, constant_epochs=68, decay_epochs=30),
        cross=CrossConfig(order="retrain", epochs=30, share=0.3, synthetic=0.5),
        mixing=MixingConfig(synthetic_share=0.2, cross_share=1.0),  # for `--cross.order mixed`
        label_filter=ScheduleConfig(warmup_epochs=2, constant_epochs=24, decay_epochs=12),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "small": small,
    "resnet18": resnet18,
    "paper": paper,
}
"""The presets by name."""
