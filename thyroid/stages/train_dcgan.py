"""The DCGAN stage: one segment of the training of a conditional generator of scintigrams."""

from __future__ import annotations

import copy
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

from thyroid.acquisition import stabilised
from thyroid.augment import draw, warp
from thyroid.errors import Diverged
from thyroid.networks.dcgan import Discriminator, Generator, activity
from thyroid.recipe import AugmentationConfig, DcganConfig, InputConfig
from thyroid.stage_config import DcganSegmentConfig
from thyroid.stages import split
from thyroid.stages.checkpoint import load_networks, load_tensors, save_networks, save_tensors
from thyroid.stages.compute import Compute, seed_of, share_of_batch, start
from thyroid.stages.images import batches, detected, images, some_of
from thyroid.stages.sample_sheet import write_sheet
from thyroid.stages.weight_average import floats

GENERATOR, CARD = "generator.safetensors", "generator.json"
Draw = Callable[[Tensor, torch.Generator], Tensor]
"""Findings (n, C) and random numbers -> activities (n, S, S) float32, mean 1."""
COLUMNS = 8
"""Pictures per combination of findings on a sample sheet."""
COLLAPSED = 0.1
"""A generator has collapsed if the spread of a sheet's pictures is below this share of the spread
of real ones; sound generators had 0.5 after 6,400 images and 0.9 at the end."""
MOST_SPREAD = 8192
"""Maximum number of real images whose spread is measured."""
GRACE_IMAGES = 10_000
"""Number of images before which no generator counts as collapsed."""


def fit(
    config: DcganSegmentConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Train for `config.epochs` epochs, from `inputs["previous"]` or from the beginning.

    The generator makes activities. Counts drawn from them (see `thyroid.acquisition`), with the
    findings and total counts of real training images, are compared with real counts. Writes the
    moving average of the generator's weights, both networks and their optimisers, and a sample
    sheet per epoch, always of the same latent numbers.

    Yields
    ------
    dict
        Per epoch: epoch (from 1), discriminator_loss, generator_loss, real_score and fake_score
        (mean verdicts of the discriminator), diversity (spread of the sheet's pictures over that
        of real ones), train_seconds, images_per_second.

    Raises
    ------
    Diverged
        When a loss is no longer a number, the verdicts become too large, or the generator makes
        one picture only.
    """
    # Machine, data
    on = start(config.execution)
    gan = config.dcgan
    dataset, parts = split.open_split(inputs)
    counts = images(dataset, parts.train, InputConfig(size=config.size), on)
    findings = torch.from_numpy(dataset.findings[parts.train])  # (N, C)
    kind = dataset.info.kind
    batch, share = share_of_batch(gan.batch_size, len(counts), on, "dcgan.batch_size")

    # Networks, optimisers, moving average: as the previous segment left them
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(config.seed, "dcgan"))
        generator, discriminator = networks(gan, findings.shape[1], config.size)
    generator, discriminator = on.place(generator), on.place(discriminator)
    average = copy.deepcopy(generator).requires_grad_(False)
    kept = {"trained": generator, "discriminator": discriminator}
    optimisers = {
        name: torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.999), fused=True)
        for (name, network), rate in zip(
            kept.items(), (gan.generator_rate, gan.discriminator_rate), strict=True
        )
    }
    if "previous" in inputs:
        average.load_state_dict(load_tensors(inputs["previous"] / GENERATOR))
        load_networks(kept, optimisers, inputs["previous"])
    generate, discriminate = on.parallel(generator), on.parallel(discriminator)
    moving, current = (floats(network.state_dict().values()) for network in (average, generator))
    steps = gan.steps_per_epoch

    # For the sheet of each epoch: the same latent numbers and findings throughout
    combinations = torch.unique(findings, dim=0)  # (K, C)
    sheet_findings = combinations.repeat_interleave(COLUMNS, 0).to(on.device)
    fixed = on.generator(config.seed, "sheet")
    sheet_latent = torch.randn(len(sheet_findings), gan.latent, generator=fixed, device=on.device)
    seen_as_real = torch.from_numpy(some_of(np.arange(len(counts)), MOST_SPREAD, config.seed))
    real_spread = _spread(stabilised(counts[seen_as_real]), findings[seen_as_real])

    end = config.first_epoch + config.epochs
    for epoch in range(config.first_epoch, end):
        # All workers draw the same and take their share. All draws of an epoch go to the device
        # at once: no step waits for a GPU
        began = time.perf_counter()
        shared = torch.Generator().manual_seed(seed_of(config.seed, "dcgan batches", epoch))
        noise = on.generator(config.seed, "dcgan noise", epoch, 0)
        sums = torch.zeros(4, device=on.device)
        generator.train()
        order = _order(len(counts), batch, steps, shared)[:, share]  # (steps, n)
        shown = on.sent(findings[order])  # (steps, n, C)
        drawn = torch.Generator().manual_seed(seed_of(config.seed, "dcgan augmentation", epoch, 0))
        affine = on.sent(_geometry(steps, batch, gan.augmentation, drawn)[:, :, share])
        for step, real in enumerate(batches(counts, order)):  # (n, S, S)
            # Generated counts with the real images' findings and totals
            y, total = shown[step], on.gathered(real.sum((1, 2)))
            z = torch.randn(batch, gan.latent, generator=noise, device=on.device)[share]
            rate = on.gathered(_generated(generate, z, y, on))
            fake = detected(rate, total, kind, noise)[share]
            seen = warp(stabilised(real), affine[step, 0])  # (n, 1, S, S)
            made = warp(stabilised(fake), affine[step, 1])

            verdicts = _verdicts(discriminate, seen, made.detach(), y, gan, on)
            loss_d = _discriminator_loss(*verdicts, gan)
            _step(loss_d, optimisers["discriminator"])

            discriminator.requires_grad_(False)
            loss_g = _generator_loss(discriminator, made, y, gan, on)
            _step(loss_g, optimisers["trained"])
            discriminator.requires_grad_(True)

            # At first the average is over few images (Karras 2020: 5 % of those seen)
            so_far = batch * (epoch * steps + step + 1)
            memory = min(gan.ema_images, 0.05 * so_far)
            decay = 0.5 ** (batch / memory) if memory else 0.0
            with torch.no_grad():
                torch._foreach_lerp_(moving, current, 1 - decay)
                sums += torch.stack([loss_d, loss_g, *(verdict.mean() for verdict in verdicts)])
        means = on.mean(sums / steps).tolist()
        seconds = time.perf_counter() - began
        sheet = generated(average, sheet_latent, sheet_findings, on)  # (K * COLUMNS, S, S)
        diversity = _spread(sheet.sqrt().unsqueeze(1), sheet_findings) / real_spread
        _require_sound(epoch + 1, means, diversity, seen=batch * steps * (epoch + 1))
        if on.leads:
            write_sheet(sheet, COLUMNS, folder / "sheets" / f"epoch-{epoch + 1:04d}.png")

        if on.saves(last=epoch + 1 == end):
            save_tensors(average.state_dict(), folder / GENERATOR)
            save_networks(kept, optimisers, folder)
            card = {
                "classes": dataset.info.classes,
                "kind": kind,
                "size": config.size,
                "latent": gan.latent,
                "width": gan.width,
            }
            (folder / CARD).write_text(json.dumps(card, indent=2))
            split.mark_trained_on(dataset, parts, folder)

        yield {
            "seed": config.seed,
            "epoch": epoch + 1,
            "discriminator_loss": means[0],
            "generator_loss": means[1],
            "real_score": means[2],
            "fake_score": means[3],
            "diversity": diversity,
            "train_seconds": seconds,
            "images_per_second": steps * batch / seconds,
        }


def networks(config: DcganConfig, classes: int, size: int) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator, initialised from torch's global generator."""
    return (
        Generator(config.latent, classes, size, config.width),
        Discriminator(classes, size, config.width, config.normalisation),
    )


def generated(generator: nn.Module, latent: Tensor, findings: Tensor, on: Compute) -> Tensor:
    """Activities (N, S, S) float32, mean 1, of latent numbers (N, latent) and findings (N, C)."""
    generator.eval()
    out = []
    with torch.inference_mode(), on.autocast():
        for z, y in zip(torch.split(latent, 256), torch.split(findings, 256), strict=True):
            out.append(activity(generator(z, y)))
    return torch.cat(out)


def sampler(folder: Path, on: Compute) -> Draw:
    """A function that draws activities from the generator in `folder`."""
    generator, card = load_generator(folder, on)

    def draw(findings: Tensor, random: torch.Generator) -> Tensor:
        z = torch.randn(len(findings), card["latent"], generator=random, device=on.device)
        return generated(generator, z, findings, on)

    return draw


def load_generator(folder: Path, on: Compute) -> tuple[nn.Module, dict[str, Any]]:
    """The trained generator in `folder`, and its card (generator.json)."""
    card = json.loads((folder / CARD).read_text())
    classes = len(card["classes"])
    generator = on.place(Generator(card["latent"], classes, card["size"], card["width"]))
    generator.load_state_dict(load_tensors(folder / GENERATOR))
    return generator, card


def _order(n: int, batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Image numbers, (steps, batch) int64; every image comes once before any comes again."""
    passes = -(-steps * batch // n)
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(passes)])
    return order[: steps * batch].view(steps, batch)


def _geometry(steps: int, batch: int, strength: float, generator: torch.Generator) -> Tensor:
    """Differentiable augmentation (Zhao 2020): geometry only, as brightness shows the disease.

    Returns
    -------
    (steps, 2, batch, 2, 3) maps of the real and of the generated images
    """
    usual = AugmentationConfig()
    config = AugmentationConfig(
        rotation_deg=usual.rotation_deg * strength,
        shift=usual.shift * strength,
        zoom=usual.zoom * strength,
        anisotropy=usual.anisotropy * strength,
        mirror=usual.mirror if strength else 0.0,
    )
    each = [draw(2 * batch, config, generator).affine for _ in range(steps)]
    return torch.stack(each).view(steps, 2, batch, 2, 3)


def _generated(generate: nn.Module, z: Tensor, y: Tensor, on: Compute) -> Tensor:
    """Activities (n, S, S) of latent numbers (n, latent) and findings (n, C)."""
    with on.autocast():
        amplitude = generate(z, y)  # (n, 1, S, S)
    return activity(amplitude)


def _verdicts(
    discriminate: nn.Module, real: Tensor, fake: Tensor, y: Tensor, gan: DcganConfig, on: Compute
) -> tuple[Tensor, Tensor]:
    """The discriminator's verdicts (n,) on real and generated images, both (n, 1, S, S)."""
    # With both kinds in one batch, its statistics showed which images are real, and the generator
    # learned nothing
    groups = 2 if gan.normalisation == "batch" else 1
    with on.autocast():
        verdict = discriminate(torch.cat([real, fake]), torch.cat([y, y]), groups).float()
    of_real, of_fake = verdict.chunk(2)
    return of_real, of_fake


def _discriminator_loss(of_real: Tensor, of_fake: Tensor, gan: DcganConfig) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))), or -log s(D(x)) - log(1 - s(D(G(z)))), means."""
    if gan.loss == "hinge":
        return F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean()
    return F.softplus(-of_real).mean() + F.softplus(of_fake).mean()


def _generator_loss(
    discriminator: nn.Module, fake: Tensor, y: Tensor, gan: DcganConfig, on: Compute
) -> Tensor:
    """-D(G(z)), or as published -log s(D(G(z))), mean."""
    with on.autocast():
        verdict = discriminator(fake, y).float()
    return -verdict.mean() if gan.loss == "hinge" else F.softplus(-verdict).mean()


def _step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()


def _spread(amplitudes: Tensor, findings: Tensor) -> float:
    """Root mean variance of a pixel among pictures (N, 1, S, S) of the same findings (N, C)."""
    combinations, group = torch.unique(findings, dim=0, return_inverse=True)
    variances = [
        amplitudes[group == k].float().var(0, correction=0).mean()
        for k in range(len(combinations))
        if (group == k).sum() > 1
    ]
    return math.sqrt(torch.stack(variances).mean().item()) if variances else 1.0


def _require_sound(epoch: int, means: list[float], diversity: float, seen: int) -> None:
    if not all(map(math.isfinite, [*means, diversity])):
        raise Diverged(
            f"The DCGAN diverged in epoch {epoch}: its losses are {means[0]:.3g} and "
            f"{means[1]:.3g}; lower dcgan.generator_rate and dcgan.discriminator_rate."
        )
    if max(map(abs, means[2:])) > 1e3:
        raise Diverged(
            f"The DCGAN diverged in epoch {epoch}: the discriminator's verdicts reached "
            f"{means[2]:.3g} for real and {means[3]:.3g} for generated pictures; lower "
            "dcgan.discriminator_rate."
        )
    if seen > GRACE_IMAGES and diversity < COLLAPSED:
        raise Diverged(
            f"The DCGAN collapsed in epoch {epoch}: its pictures of one diagnosis differ only "
            f"{diversity:.0%} as much as real ones; lower the learning rates or raise "
            "dcgan.augmentation."
        )
