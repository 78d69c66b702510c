"""The SRGAN stage: one segment of the training of super-resolution."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.acquisition import divide, stabilised
from thyroid.data.dataset import Dataset
from thyroid.errors import Diverged
from thyroid.network_input import network_input, sum_pixels
from thyroid.networks.srgan import (
    ClassifierFeatures,
    Discriminator,
    Upscaler,
    Vgg19Features,
    bicubic,
)
from thyroid.stage_config import SrganSegmentConfig
from thyroid.stages import copy_weights, split
from thyroid.stages.checkpoint import load_networks, load_tensors, save_networks
from thyroid.stages.compute import Compute, seed_of, share_of_batch, start
from thyroid.stages.feature_network import load_feature_network
from thyroid.stages.images import detected, images, some_of

CARD = "upscaler.json"
LOTS = 8
"""Lots into which each image's photons are dealt once; each lot goes to the input or the target."""
MOST_DEALT = 8192
"""Maximum of training images that are dealt; it bounds the memory."""
HELD_OUT = 256
"""Maximum of validation images evaluated after each epoch."""
COLLAPSED_DB = 3.0
"""Training has failed if the PSNR is this many dB below that of bicubic interpolation; an untrained
network interpolates bicubically."""


def fit(
    config: SrganSegmentConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Train for `config.epochs` epochs, from `inputs["previous"]` or from the beginning.

    Input and target share no noise: the photons of an image are dealt to two images, which are
    independent shorter acquisitions; one is summed to the low resolution, the other is the target.
    So the network learns the activity, not the noise. Pictures without counts are their own target.

    The perceptual and the adversarial term compare counts that the activity would give (see
    `thyroid.acquisition`) with the target's counts.

    Yields
    ------
    dict
        Per epoch: epoch (from 1, over both parts), part (pixel | adversarial), pixel_loss,
        perceptual_loss, adversarial_loss, discriminator_loss (None in the pixel part),
        validation_psnr_db and bicubic_psnr_db, train_seconds, images_per_second.

        Both PSNR are of the stabilised expected counts against one half of the held-out photons,
        with the other half as input. The noise of the held-out photons bounds both PSNR: even the
        true activity would not reach much higher values.

    Raises
    ------
    InputError
        When the batch cannot be divided evenly among the workers, or the VGG-19 file has no weights
        of VGG-19.
    Diverged
        When a loss is no longer a number, or the result is much worse than bicubic interpolation.
    """
    # Machine, data
    on = start(config.execution)
    gan, size = config.srgan, config.input.size
    dataset, parts = split.open_split(inputs)
    kind = dataset.info.kind
    counts = images(dataset, some_of(parts.train, MOST_DEALT, config.seed), config.input, on)[:]
    lots = deal(counts, LOTS if kind == "counts" else 1, on.generator(config.seed, "srgan lots"))
    batch, share = share_of_batch(gan.batch_size, len(counts), on, "srgan.batch_size")
    crop = size - size // (8 * gan.scale) * gan.scale
    steps = gan.steps_per_epoch
    low_held_out, held_out = _held_out(dataset, parts.validation, config, on)
    bicubic_db = psnr_db(bicubic(low_held_out, gan.scale), held_out)

    # Networks and optimisers, as the previous segment left them
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(config.seed, "srgan"))
        kept = {"upscaler": on.place(Upscaler(gan.scale, gan.width, gan.blocks))}
        if config.adversarial:
            # A quarter of the width separates real from enlarged images, and is cheap
            kept["discriminator"] = on.place(Discriminator(-(-gan.width // 4)))
    optimisers = {
        name: torch.optim.Adam(network.parameters(), lr=gan.learning_rate, fused=True)
        for name, network in kept.items()
    }
    if "previous" in inputs:
        load_networks(kept, optimisers, inputs["previous"])
    upscaler = kept["upscaler"]
    enlarge = on.parallel(upscaler)
    if config.adversarial:
        discriminator = kept["discriminator"]
        discriminate = on.parallel(discriminator)
        features = _features(inputs, on)

    end = config.first_epoch + config.epochs
    for epoch in range(config.first_epoch, end):
        # All workers draw the same and take their share. All draws of an epoch go to the device
        # at once: no step waits for a GPU
        began = time.perf_counter()
        shared = torch.Generator().manual_seed(seed_of(config.seed, "srgan batches", epoch))
        noise = on.generator(config.seed, "srgan noise", epoch, 0)
        sums = torch.zeros(4, device=on.device)
        upscaler.train()
        drawn = [_draw(lots, batch, crop, shared) for _ in range(steps)]
        for places, to_input, to_target in zip(
            *(on.sent(torch.stack(of_steps)[:, share]) for of_steps in zip(*drawn, strict=True)),
            strict=True,
        ):
            low, target = _pairs(lots, places, to_input, to_target, crop, gan.scale)
            with on.autocast():
                activity = enlarge(low)  # (n, crop, crop)
            pixel = pixel_loss(activity, target)
            loss, terms = gan.pixel_weight * pixel, [pixel]

            if config.adversarial:
                # Counts of the enlarged picture: noisy, as the target is
                rate, total = on.gathered(activity), on.gathered(target.sum((1, 2)))
                fake = detected(rate, total, kind, noise)[share]

                loss_d = _discriminator_loss(discriminate, target, fake.detach(), low, on)
                optimisers["discriminator"].zero_grad()
                torch.autograd.backward(loss_d)
                optimisers["discriminator"].step()

                discriminator.requires_grad_(False)
                adversarial = _adversarial_loss(discriminator, fake, low, on)
                discriminator.requires_grad_(True)
                perceptual = _perceptual_loss(features, fake, target, config, on)
                loss = loss + gan.perceptual_weight * perceptual
                loss = loss + gan.adversarial_weight * adversarial
                terms += [perceptual, adversarial, loss_d]

            optimisers["upscaler"].zero_grad()
            torch.autograd.backward(loss)
            optimisers["upscaler"].step()
            sums[: len(terms)] += torch.stack(terms).detach()
        means = on.mean(sums / steps).tolist()
        seconds = time.perf_counter() - began
        result_db = psnr_db(upscale(upscaler, low_held_out, on), held_out) if on.leads else None
        _require_sound(epoch + 1, means, result_db, bicubic_db)

        if on.saves(last=epoch + 1 == end):
            save_networks(kept, optimisers, folder)
            card = {
                "kind": kind,
                "size": size,
                "scale": gan.scale,
                "width": gan.width,
                "blocks": gan.blocks,
            }
            (folder / CARD).write_text(json.dumps(card, indent=2))
            split.mark_trained_on(dataset, parts, folder)

        yield {
            "seed": config.seed,
            "epoch": epoch + 1,
            "part": "adversarial" if config.adversarial else "pixel",
            "pixel_loss": means[0],
            "perceptual_loss": means[1] if config.adversarial else None,
            "adversarial_loss": means[2] if config.adversarial else None,
            "discriminator_loss": means[3] if config.adversarial else None,
            "validation_psnr_db": result_db,
            "bicubic_psnr_db": bicubic_db,
            "train_seconds": seconds,
            "images_per_second": steps * batch / seconds,
        }


def load_upscaler(folder: Path, on: Compute) -> nn.Module:
    """The trained network in `folder`, for `upscale`."""
    card = json.loads((folder / CARD).read_text())
    network = on.place(Upscaler(card["scale"], card["width"], card["blocks"]))
    network.load_state_dict(load_tensors(folder / "upscaler.safetensors"))
    return network


def upscale(network: nn.Module, counts: Tensor, on: Compute, batch: int = 64) -> Tensor:
    """Enlarge counts to an activity free of noise.

    Counts (N, s, s) float32 -> activity (N, S, S) float32, mean 1, not negative; S = scale * s.
    """
    network.eval()
    with torch.inference_mode(), on.autocast():
        return torch.cat([network(some) for some in torch.split(counts, batch)])


def pixel_loss(activity: Tensor, target: Tensor) -> Tensor:
    """Squared error over the variance of a Poisson count: (e - y)^2 / (4 (e + 3/8) (m + 3/8)).

    e are the expected counts, y the target's, m its mean. To first order this is the mean squared
    error of `stabilised`, in its units. But e in the denominator is held fixed, so the best e is
    the mean of y; for the stabilised error it is not. On the phantom, the stabilised error gave the
    air around the neck a quarter fewer counts than there are, and this loss a few per cent fewer,
    at the same PSNR.

    Activity (N, S, S) float32 of mean 1, target (N, S, S) float32 -> scalar.
    """
    level = target.mean((1, 2), keepdim=True)  # (N, 1, 1)
    expected = activity * level
    variance = 4 * (expected.detach() + 0.375) * (level + 0.375)
    return ((expected - target).square() / variance).mean()


def _discriminator_loss(
    discriminate: nn.Module, target: Tensor, fake: Tensor, low: Tensor, on: Compute
) -> Tensor:
    """-log s(D(y, x)) - log(1 - s(D(G(x), x))), means; counts (n, S, S) twice and (n, s, s)."""
    with on.autocast():
        verdict = discriminate(torch.cat([target, fake]), torch.cat([low, low])).float()
    of_real, of_fake = verdict.chunk(2)
    return F.softplus(-of_real).mean() + F.softplus(of_fake).mean()


def _adversarial_loss(discriminator: nn.Module, fake: Tensor, low: Tensor, on: Compute) -> Tensor:
    """-log s(D(G(x), x)), mean."""
    with on.autocast():
        return F.softplus(-discriminator(fake, low).float()).mean()


def _perceptual_loss(
    features: Callable[[Tensor], Tensor],
    fake: Tensor,
    target: Tensor,
    config: SrganSegmentConfig,
    on: Compute,
) -> Tensor:
    """|phi(G(x)) - phi(y)|^2 / |phi(y)|^2, phi the features."""
    with on.autocast():
        seen, wanted = (
            features(network_input(picture + 0.375, config.input.normalisation)).float()
            for picture in (fake, target)  # 3/8: smooth at zero counts
        )
    return relative_error(seen, wanted, on)


def relative_error(seen: Tensor, wanted: Tensor, on: Compute) -> Tensor:
    """|seen - wanted|^2 / |wanted|^2: of features of any scale. (N, ...), (N, ...) -> scalar.

    The mean over the workers is the error of all workers' images.
    """
    return (seen - wanted).square().sum() / on.mean(wanted.square().sum()).clamp_min(1e-12)


def psnr_db(activity: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, mean over images: 10 log10(max(y)^2 / mean (x - y)^2).

    x are the stabilised expected counts, y the target's stabilised counts.
    Activity (N, S, S) float32 of mean 1, target counts (N, S, S) float32.
    """
    x = stabilised(activity * target.mean((1, 2), keepdim=True))
    y = stabilised(target)
    error = (x - y).square().mean((1, 2, 3)).clamp_min(1e-12)
    return (10 * (y.amax((1, 2, 3)).square() / error).log10()).mean().item()


def deal(counts: Tensor, lots: int, generator: torch.Generator) -> Tensor:
    """Deal each photon to one of several images at random: as many short acquisitions.

    Photons are dealt once, and each step combines the lots anew: this is faster than dealing anew.

    (N, S, S) float32 whole numbers -> (N, S, S, lots) that sum to them; with one lot, unchanged.
    """
    if lots == 1:
        return counts.unsqueeze(-1)
    most = torch.iinfo(torch.int16).max
    small = torch.int16 if counts.amax() <= most else torch.int32
    dealt = torch.empty(*counts.shape, lots, dtype=small, device=counts.device)
    places = torch.arange(counts[0].numel(), device=counts.device) * lots
    for image, out in zip(counts, dealt, strict=True):
        photons = places.repeat_interleave(image.flatten().long())  # the pixel of each photon
        photons += torch.randint(lots, photons.shape, generator=generator, device=counts.device)
        out.copy_(photons.bincount(minlength=out.numel()).view_as(out))
    return dealt


def _draw(
    lots: Tensor, batch: int, crop: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch: (n, 4) image, top, left, mirrored; (n, lots) of 0 and 1 for input, for target.

    All are on the CPU. The input gets half of the lots or more, as images that the trained network
    enlarges have all their photons.
    """
    n, size, _, count = lots.shape
    drawn = torch.stack(
        [
            torch.randint(most, (batch,), generator=generator)
            for most in (n, size - crop + 1, size - crop + 1, 2)
        ],
        1,
    )
    if count == 1:
        one = torch.ones(batch, 1)
        return drawn, one, one
    given = torch.randint(count // 2, count, (batch, 1), generator=generator)
    order = torch.rand(batch, count, generator=generator).argsort(1)
    to_input = (order < given).float()
    return drawn, to_input, 1 - to_input


def _pairs(
    lots: Tensor, places: Tensor, to_input: Tensor, to_target: Tensor, crop: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Low-resolution counts (n, crop / scale, crop / scale) and their targets (n, crop, crop)."""
    photons = _crops(lots, places, crop)  # (n, crop, crop, lots)
    low = sum_pixels(_some(photons, to_input), crop // scale)
    return low, _some(photons, to_target)


def _crops(lots: Tensor, drawn: Tensor, crop: int) -> Tensor:
    """(N, S, S, lots), (n, 4) -> (n, crop, crop, lots): whole pixels, so counts stay counts."""
    image, top, left, mirrored = drawn.unsqueeze(-1).unbind(1)  # (n, 1) each
    along = torch.arange(crop, device=lots.device)
    rows = top + along  # (n, crop)
    columns = left + torch.where(mirrored.bool(), along.flip(0), along)
    return lots[image[:, :, None], rows[:, :, None], columns[:, None, :]]


def _some(photons: Tensor, taken: Tensor) -> Tensor:
    """The sum of some lots: (n, H, W, lots), (n, lots) of 0 and 1 -> (n, H, W) float32."""
    return torch.einsum("nhwl,nl->nhw", photons.float(), taken)


def _held_out(
    dataset: Dataset, rows: np.typing.NDArray[np.int64], config: SrganSegmentConfig, on: Compute
) -> tuple[Tensor, Tensor]:
    """Low-resolution counts (n, s, s) and a target (n, S, S) that shares no noise with them."""
    spread = np.linspace(0, len(rows) - 1, min(len(rows), HELD_OUT)).round().astype(int)
    counts = images(dataset, rows[spread], config.input, on)[:]
    first, second = counts, counts
    if dataset.info.kind == "counts":
        half = torch.full((len(counts),), 0.5, device=on.device)
        first, second = divide(counts, half, on.generator(config.seed, "srgan held out"))
    return sum_pixels(first, config.input.size // config.srgan.scale), second


def _features(inputs: Mapping[str, Path], on: Compute) -> Callable[[Tensor], Tensor]:
    """The features that the perceptual term compares: the label filter's, or VGG-19's."""
    if "vgg19" in inputs:
        network: nn.Module = Vgg19Features(inputs["vgg19"] / copy_weights.FILE)
    else:
        network = ClassifierFeatures(load_feature_network(inputs["label_filter"], on))
    return on.place(network).eval().requires_grad_(False)


def _require_sound(
    epoch: int, means: list[float], result_db: float | None, bicubic_db: float
) -> None:
    if not all(map(math.isfinite, [*means, result_db or 0.0])):
        raise Diverged(
            f"The SRGAN diverged in epoch {epoch}: its pixel loss is {means[0]:.3g}; lower "
            "srgan.learning_rate."
        )
    if result_db is not None and result_db < bicubic_db - COLLAPSED_DB:
        raise Diverged(
            f"The SRGAN collapsed in epoch {epoch}: the PSNR of held-out images is {result_db:.1f} "
            f"dB, with bicubic interpolation {bicubic_db:.1f} dB; lower srgan.learning_rate or "
            "srgan.adversarial_weight."
        )
