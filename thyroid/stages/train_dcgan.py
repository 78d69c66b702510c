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
from thyroid.stages.images import detected, images, some_of
from thyroid.stages.sample_sheet import write_sheet

GENERATOR, CARD = "generator.safetensors", "generator.json"
Draw = Callable[[Tensor, torch.Generator], Tensor]
"""Findings (n, C) and random numbers -> activities (n, S, S) float32, mean 1."""
COLUMNS = 8
"""Pictures per combination of findings on a sample sheet."""
COLLAPSED = 0.1
"""Spread over a sheet's pictures, as a share of the real ones', below which a generator has
collapsed; sound ones had 0.5 after 6,400 images and 0.9 at the end."""
MOST_SPREAD = 8192
"""Maximum of real images whose spread is measured."""
GRACE_IMAGES = 10_000
"""Images seen before a generator counts as collapsed."""


def fit(
    config: DcganSegmentConfig, inputs: Mapping[str, Path], folder: Path
) -> Iterator[dict[str, Any]]:
    """Train for `config.epochs` epochs, from `inputs["previous"]` or from the beginning.

    The generator makes an activity; it and the real images are compared as counts (see
    `thyroid.acquisition`), each generated picture with the findings and the total counts of a real
    training image. Writes the moving average of the generator's weights, both networks and their
    optimisers, and a sample sheet per epoch, always of the same latent numbers.

    Yields
    ------
    dict
        Per epoch: epoch (from 1), discriminator_loss, generator_loss, real_score and fake_score
        (mean verdicts of the discriminator), diversity (spread of the sheet's pictures over that
        of real ones), train_seconds, images_per_second.

    Raises
    ------
    Diverged
        When a loss is no longer a number, the verdicts run away, or the generator makes one
        picture only.
    """
    # Machine, data
    on = start(config.execution)
    gan = config.dcgan
    dataset, parts = split.open_split(inputs)
    counts = images(dataset, parts.train, InputConfig(size=config.size), on)
    findings = torch.from_numpy(dataset.findings[parts.train])  # (N, C)
    batch, share = share_of_batch(gan.batch_size, len(counts), on, "dcgan.batch_size")

    # Networks, optimisers, moving average: where the previous segment left them
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
    steps = gan.steps_per_epoch
    # Statistics of a batch of both kinds would tell which is which: the generator learned nothing
    groups = 2 if gan.normalisation == "batch" else 1

    # What is looked at after each epoch: the same latent numbers and findings throughout
    combinations = torch.unique(findings, dim=0)  # (K, C)
    sheet_findings = combinations.repeat_interleave(COLUMNS, 0).to(on.device)
    fixed = on.generator(config.seed, "sheet")
    sheet_latent = torch.randn(len(sheet_findings), gan.latent, generator=fixed, device=on.device)
    seen_as_real = torch.from_numpy(some_of(np.arange(len(counts)), MOST_SPREAD, config.seed))
    real_spread = _spread(stabilised(counts[seen_as_real]), findings[seen_as_real])

    for epoch in range(config.first_epoch, config.first_epoch + config.epochs):
        # All workers draw the same real images and take their share; the rest is their own
        began = time.perf_counter()
        shared = torch.Generator().manual_seed(seed_of(config.seed, "dcgan batches", epoch))
        own = on.generator(config.seed, "dcgan noise", epoch, on.rank)
        own_draws = torch.Generator().manual_seed(
            seed_of(config.seed, "dcgan augmentation", epoch, on.rank)
        )
        sums = torch.zeros(4, device=on.device)
        generator.train()
        order = _order(len(counts), batch, steps, shared)[:, share]  # (steps, n)
        for step, chosen in enumerate(order):
            real, y = counts[chosen], findings[chosen].to(on.device)
            counts.expect(order[(step + 1) % steps])
            total = real.sum((1, 2))

            # Generated counts with the real images' findings and totals
            z = torch.randn(len(y), gan.latent, generator=own, device=on.device)
            with on.autocast():
                amplitude = generate(z, y)  # (n, 1, S, S)
            fake = detected(activity(amplitude), total, dataset.info.kind, own)
            affine = _geometry(2 * len(y), gan.augmentation, own_draws).to(on.device)
            shown = warp(stabilised(real), affine[: len(y)])  # (n, 1, S, S)
            made = warp(stabilised(fake), affine[len(y) :])
            both = torch.cat([shown, made.detach()])

            # Discriminator: max(0, 1 - D(x)) + max(0, 1 + D(G(z)))
            with on.autocast():
                verdict = discriminate(both, torch.cat([y, y]), groups).float()
            real_verdict, fake_verdict = verdict.chunk(2)
            if gan.loss == "hinge":
                loss_d = F.relu(1 - real_verdict).mean() + F.relu(1 + fake_verdict).mean()
            else:  # -log s(D(x)) - log(1 - s(D(G(z))))
                loss_d = F.softplus(-real_verdict).mean() + F.softplus(fake_verdict).mean()
            _step(loss_d, optimisers["discriminator"])

            # Generator: -D(G(z)), or as published -log s(D(G(z)))
            discriminator.requires_grad_(False)
            with on.autocast():
                verdict = discriminator(made, y).float()
            loss_g = -verdict.mean() if gan.loss == "hinge" else F.softplus(-verdict).mean()
            _step(loss_g, optimisers["trained"])
            discriminator.requires_grad_(True)

            # A short memory while there is little to remember (Karras 2020: 5 % of what was seen)
            seen = batch * (epoch * steps + step + 1)
            memory = min(gan.ema_images, 0.05 * seen)
            decay = 0.5 ** (batch / memory) if memory else 0.0
            with torch.no_grad():
                for mean, now in zip(
                    average.state_dict().values(), generator.state_dict().values(), strict=True
                ):
                    if mean.is_floating_point():
                        mean.lerp_(now, 1 - decay)
                sums += torch.stack([loss_d, loss_g, real_verdict.mean(), fake_verdict.mean()])
        means = on.mean(sums / steps).tolist()
        seconds = time.perf_counter() - began
        sheet = generated(average, sheet_latent, sheet_findings, on)  # (K * COLUMNS, S, S)
        diversity = _spread(sheet.sqrt().unsqueeze(1), sheet_findings) / real_spread
        _require_sound(epoch + 1, means, diversity, seen=batch * steps * (epoch + 1))
        if on.leads:
            write_sheet(sheet, COLUMNS, folder / "sheets" / f"epoch-{epoch + 1:04d}.png")

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

    if on.leads:
        save_tensors(average.state_dict(), folder / GENERATOR)
        save_networks(kept, optimisers, folder)
        card = {
            "classes": dataset.info.classes,
            "kind": dataset.info.kind,
            "size": config.size,
            "latent": gan.latent,
            "width": gan.width,
        }
        (folder / CARD).write_text(json.dumps(card, indent=2))
        split.mark_trained_on(dataset, parts, folder)


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


def _geometry(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """Differentiable augmentation (Zhao 2020): geometry alone, as brightness is the diagnosis."""
    usual = AugmentationConfig()
    config = AugmentationConfig(
        rotation_deg=usual.rotation_deg * strength,
        shift=usual.shift * strength,
        zoom=usual.zoom * strength,
        anisotropy=usual.anisotropy * strength,
        mirror=usual.mirror if strength else 0.0,
    )
    return draw(n, config, generator).affine


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
            f"The DCGAN collapsed in epoch {epoch}: its pictures of one diagnosis differ by "
            f"{diversity:.0%} of what real ones do; lower the learning rates or raise "
            "dcgan.augmentation."
        )
