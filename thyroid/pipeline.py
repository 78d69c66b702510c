"""The stage graph: which stage needs which. Imports no torch and no ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from thyroid.errors import InputError
from thyroid.generators import source_of
from thyroid.recipe import (
    ExecutionConfig,
    MixingConfig,
    NetworkConfig,
    Recipe,
    SplitConfig,
)
from thyroid.segments import (
    cross_phase,
    phase_of,
    pieces,
    pretrained_rate,
    rates,
    segment_epochs,
    statistics,
    synthetic_share,
)
from thyroid.stage import Stage
from thyroid.stage_config import (
    CasesConfig,
    DcganSegmentConfig,
    DistancesConfig,
    GeneratorConfig,
    OracleConfig,
    PredictionConfig,
    ProbeConfig,
    QualityConfig,
    SegmentConfig,
    SrganSegmentConfig,
    SynthesisStageConfig,
    WeightsConfig,
)

ORACLE = "oracle"
"""Generator that only simulated data have: further patients of the same simulator."""
DCGAN_SIZES = (8, 16, 32, 64, 128)
"""Possible sides of the DCGAN's pictures, pixels."""
FLOW_BLOCK = 4
"""Pixels of which the sides of the flow's pictures are multiples."""


def split(config: SplitConfig, dataset: str) -> Stage:
    """The patients of each part, where one fold is the validation part."""
    counted = dataclasses.replace(config, folds=config.folds or 1)
    return Stage(kind="split", config=counted, dataset=dataset)


def classifier(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of one training run, each an input of the next; a probe has one stage.

    `recipe.execution` must be resolved: `auto` would give two machines one key.
    """
    _require_resolved(recipe)
    inputs = {"split": split(recipe.split, dataset)}
    network, execution = computed_in(recipe)
    weights = {} if network.weights is None else {"weights": _weights(network.weights)}
    if recipe.training == "probe":
        plain = dataclasses.replace(network, cross_feature="none", compile="off")
        fitted = ProbeConfig(
            input=recipe.input, network=plain, execution=_alone(execution), seed=seed
        )
        return [Stage(kind="probe", config=fitted, dataset=dataset, inputs=inputs | weights)]
    segments: list[Stage] = []
    frozen = recipe.fine_tuning.frozen_epochs if network.weights is not None else 0
    for first, epochs, rate in segment_epochs(recipe.schedule, recipe.cross, frozen):
        phase = phase_of(recipe, first)
        synthetic = synthetic_share(recipe, first)
        config = SegmentConfig(
            input=recipe.input,
            augmentation=recipe.augmentation,
            # Without cross images the network has no x_i, so all sources of x_i share its stages
            network=dataclasses.replace(network, cross_feature="none")
            if phase == "single"
            else network,
            optimiser=recipe.optimiser,
            execution=execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
            rate=rate,
            phase=phase,
            cross=cross_phase(recipe) if phase == "cross" else None,
            secondary=0.0 if phase == "single" else recipe.cross.secondary,
            synthetic=synthetic,
            pretrained_rate=pretrained_rate(recipe, first),
            rates=rates(recipe, first),
            statistics=statistics(recipe, first),
        )
        needed = dict(inputs)
        if synthetic is not None:
            pool = len(segments) % recipe.synthesis.pools
            needed["synthetic"] = synthesis(recipe, dataset, seed, pool)
        if not segments:
            needed |= weights
        segments.append(_after(segments, "classifier", config, dataset, needed))
    return segments


def computed_in(recipe: Recipe) -> tuple[NetworkConfig, ExecutionConfig]:
    """The classifier and its execution; precision and layout set in `network` take precedence.

    A probe is computed in float32: its last layer also standardises features, and bf16 has three
    digits.
    """
    network = recipe.network
    own = {name: getattr(network, name) for name in ("precision", "layout")}
    if recipe.training == "probe":
        own["precision"] = "fp32"
    named = {name: value for name, value in own.items() if value != "auto"}
    plain = dataclasses.replace(network, precision="auto", layout="auto")
    return plain, dataclasses.replace(recipe.execution, **named)


def before_cross(recipe: Recipe, dataset: str, seed: int) -> Stage:
    """The classifier at the end of its single phase; the recipe's order is `retrain`."""
    return [s for s in classifier(recipe, dataset, seed) if s.config.phase == "single"][-1]


@lru_cache(maxsize=8)  # every segment of a training asks for the same one
def label_filter(recipe: Recipe, dataset: str, seed: int, *, synthetic: bool = False) -> Stage:
    """The small network that filters synthetic images by label, and whose features measure them.

    It is trained on real training images with settings that no search changes, so that trials
    share it; with `synthetic`, it is trained on synthetic images alone.
    """
    plain = Recipe(
        split=recipe.split,
        input=recipe.input,
        schedule=recipe.label_filter,
        execution=recipe.execution,
    )
    if synthetic:  # from the first pool only, since only this one is measured
        share = MixingConfig(synthetic_share=1.0, final_share=1.0)
        plain = dataclasses.replace(
            plain,
            mixing=share,
            generator=recipe.generator,
            dcgan=recipe.dcgan,
            flow=recipe.flow,
            srgan=recipe.srgan,
            synthesis=dataclasses.replace(recipe.synthesis, pools=1),
            label_filter=recipe.label_filter,
        )
    return classifier(plain, dataset, seed)[-1]


def dcgan(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of the DCGAN's training."""
    _require_resolved(recipe)
    size, rest = divmod(recipe.input.size, recipe.srgan.scale)
    if rest or size not in DCGAN_SIZES:
        raise InputError(
            f"input.size {recipe.input.size} divided by srgan.scale {recipe.srgan.scale} is the "
            "side of the DCGAN's pictures, which must be one of "
            f"{', '.join(map(str, DCGAN_SIZES))}."
        )
    fixed = dataclasses.replace(recipe.dcgan, epochs=1, segment_epochs=1)
    segments: list[Stage] = []
    for first, epochs in pieces(0, recipe.dcgan.epochs, recipe.dcgan.segment_epochs):
        config = DcganSegmentConfig(
            dcgan=fixed,
            size=size,
            execution=recipe.execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
        )
        inputs = {"split": split(recipe.split, dataset)}
        segments.append(_after(segments, "dcgan", config, dataset, inputs))
    return segments


def generator(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """A generator beside the DCGAN: the segments of its training, or its only stage."""
    _require_resolved(recipe)
    size, rest = divmod(recipe.input.size, recipe.srgan.scale)
    if rest:
        raise InputError(
            f"input.size {recipe.input.size} is not a multiple of srgan.scale {recipe.srgan.scale}."
        )
    config = GeneratorConfig(
        name=recipe.generator,
        source=source_of(recipe.generator),
        size=size,
        execution=_alone(recipe.execution),
        seed=seed,
    )
    inputs = {"split": split(recipe.split, dataset)}
    settings = recipe.generator_settings
    if settings is None:
        return [Stage(kind="generator", config=config, dataset=dataset, inputs=inputs)]
    if size % FLOW_BLOCK:
        raise InputError(
            f"input.size {recipe.input.size} divided by srgan.scale {recipe.srgan.scale} is the "
            f"side of the flow's pictures, which must be a multiple of {FLOW_BLOCK}."
        )
    segments: list[Stage] = []
    for first, epochs in pieces(0, settings.epochs, settings.segment_epochs):
        part = dataclasses.replace(
            config, settings=settings.of_training, first_epoch=first, epochs=epochs
        )
        segments.append(_after(segments, "generator", part, dataset, inputs))
    return segments


def srgan(recipe: Recipe, dataset: str, seed: int) -> list[Stage]:
    """The segments of the SRGAN's training, those of the pixel loss first.

    There are none at scale 1, or if bicubic interpolation enlarges the pictures.
    """
    _require_resolved(recipe)
    given = recipe.srgan
    if given.scale == 1 or not given.pixel_epochs:
        return []
    fixed = dataclasses.replace(given, pixel_epochs=1, adversarial_epochs=0, segment_epochs=1)
    inputs = {"split": split(recipe.split, dataset)}
    if given.vgg19 is None:
        features = {"label_filter": label_filter(recipe, dataset, seed)}
    else:
        features = {"vgg19": _weights(given.vgg19)}
    pixel = pieces(0, given.pixel_epochs, given.segment_epochs)
    adversarial = pieces(given.pixel_epochs, given.adversarial_epochs, given.segment_epochs)
    segments: list[Stage] = []
    for first, epochs in [*pixel, *adversarial]:
        is_adversarial = first >= given.pixel_epochs
        config = SrganSegmentConfig(
            srgan=fixed,
            input=recipe.input,
            execution=recipe.execution,
            seed=seed,
            first_epoch=first,
            epochs=epochs,
            adversarial=is_adversarial,
        )
        needed = inputs | (features if is_adversarial else {})
        segments.append(_after(segments, "srgan", config, dataset, needed))
    return segments


@lru_cache(maxsize=64)  # segments of a training ask for the same ones
def synthesis(recipe: Recipe, dataset: str, seed: int, pool: int = 0) -> Stage:
    """A pool of synthetic scintigrams: from a generator, SRGAN, Poisson noise and label filter.

    The oracle's pool has simulated scintigrams as they are.
    """
    if recipe.generator == ORACLE:
        _require_resolved(recipe)
        simulated = OracleConfig(
            synthesis=dataclasses.replace(recipe.synthesis, rejection=1.0, pools=1),
            size=recipe.input.size,
            execution=_alone(recipe.execution),
            seed=seed,
            pool=pool,
        )
        given = {"split": split(recipe.split, dataset)}
        return Stage(kind="oracle", config=simulated, dataset=dataset, inputs=given)
    inputs = {
        "split": split(recipe.split, dataset),
        "label_filter": label_filter(recipe, dataset, seed),
    }
    if recipe.generator == "dcgan":
        inputs["dcgan"] = dcgan(recipe, dataset, seed)[-1]
    else:
        inputs["generator"] = generator(recipe, dataset, seed)[-1]
    enlarging = srgan(recipe, dataset, seed)
    if enlarging:
        inputs["srgan"] = enlarging[-1]
    settings = recipe.generator_settings
    config = SynthesisStageConfig(
        synthesis=dataclasses.replace(recipe.synthesis, pools=1),
        size=recipe.input.size,
        execution=_alone(recipe.execution),
        seed=seed,
        pool=pool,
        drawing=None if settings is None else settings.of_drawing,
    )
    return Stage(kind="synthesis", config=config, dataset=dataset, inputs=inputs)


def quality(recipe: Recipe, dataset: str, seed: int) -> Stage:
    """Measure the synthetic scintigrams against real ones of the validation part.

    The feature network is the label filter of another seed. The one of this seed filtered the
    images, and its features trained the SRGAN: by them the images would look too good.
    """
    inputs = {
        "split": split(recipe.split, dataset),
        "synthetic": synthesis(recipe, dataset, seed),
        "feature_network": label_filter(recipe, dataset, seed + 1),
        "trained_on_real": label_filter(recipe, dataset, seed),
        "trained_on_synthetic": label_filter(recipe, dataset, seed, synthetic=True),
    }
    enlarging = srgan(recipe, dataset, seed)
    if enlarging:
        inputs["srgan"] = enlarging[-1]
        inputs["srgan_pixel"] = [s for s in enlarging if not s.config.adversarial][-1]
    config = QualityConfig(input=recipe.input, execution=_alone(recipe.execution), seed=seed)
    return Stage(kind="quality", config=config, dataset=dataset, inputs=inputs)


def prediction(
    recipe: Recipe,
    dataset: str,
    seed: int,
    part: str,
    *,
    model: Stage | None = None,
    test_set: str | None = None,
) -> Stage:
    """The trained classifier's probabilities for one part of the data set.

    Parameters
    ----------
    model : another state of the classifier, such as `before_cross`
    test_set : digest of a separate data set, which is the test part as a whole
    """
    trained = classifier(recipe, dataset, seed)[-1] if model is None else model
    execution = _alone(computed_in(recipe)[1])
    if part == "test" and test_set is not None:
        config = PredictionConfig(execution=execution, part="all", views=recipe.allowed_views)
        return Stage(kind="prediction", config=config, dataset=test_set, inputs={"model": trained})
    return Stage(
        kind="prediction",
        config=PredictionConfig(execution=execution, part=part, views=recipe.allowed_views),
        dataset=dataset,
        inputs={"split": split(recipe.split, dataset), "model": trained},
    )


def distances(recipe: Recipe, dataset: str, seed: int) -> Stage:
    """How far the trained classifier's validation images lie from its training images."""
    return Stage(
        kind="distances",
        config=DistancesConfig(execution=_alone(computed_in(recipe)[1])),
        dataset=dataset,
        inputs={
            "split": split(recipe.split, dataset),
            "model": classifier(recipe, dataset, seed)[-1],
        },
    )


def cases(predicted: Stage) -> Stage:
    """The classifier's confident errors and uncertain images, with occlusion maps."""
    return Stage(
        kind="cases",
        config=CasesConfig(execution=predicted.config.execution),
        dataset=predicted.dataset,
        inputs={"model": predicted.inputs["model"], "prediction": predicted},
    )


def _weights(digest: str) -> Stage:
    return Stage(kind="weights", config=WeightsConfig(), dataset=digest)


def _after(
    segments: list[Stage], kind: str, config: Any, dataset: str, inputs: Mapping[str, Stage]
) -> Stage:
    """The next segment, with the last one as its input."""
    previous = {"previous": segments[-1]} if segments else {}
    stage = Stage(kind=kind, config=config, dataset=dataset, inputs={**inputs, **previous})
    _ = stage.key  # now, as the keys before it are known: a long chain is too deep to recurse
    return stage


def _alone(execution: ExecutionConfig) -> ExecutionConfig:
    """The same execution with one worker, which suffices for a forward pass."""
    return dataclasses.replace(execution, workers=1)


def _require_resolved(recipe: Recipe) -> None:
    if "auto" in (recipe.execution.device, recipe.execution.precision):
        raise ValueError("resolve recipe.execution with thyroid.machine.resolve first")
