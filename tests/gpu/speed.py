"""Images per second of real stages on a GPU, and of bare steps of the same networks there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from tests.toy import made, write_toy
from thyroid import pipeline
from thyroid.networks.build import build
from thyroid.recipe import RECIPES, Recipe, override
from thyroid.stage import Stage
from thyroid.stages.compute import start
from thyroid.stages.train_classifier import adamw
from thyroid.stages.train_dcgan import networks

SIDE, IMAGES, EPOCHS, STEPS = 128, 1200, 4, 20


def classifier_rates(precision: str) -> tuple[str, float, float]:
    """Name, and images per second of a stage of ResNet-18 and of bare steps."""
    recipe = _recipe(
        "resnet18",
        {
            "network.precision": precision,
            "network.layout": "channels_last",
            "cross.order": "mixed",
            "mixing.synthetic_share": 0.0,
            "mixing.final_share": 0.0,
            "augmentation.thinning": 0.5,
            "schedule.warmup_epochs": 0,
            "schedule.constant_epochs": EPOCHS,
            "schedule.decay_epochs": 0,
            "schedule.segment_epochs": EPOCHS,
        },
    )
    network, execution = pipeline.computed_in(recipe)
    on = start(execution)
    bare = on.place(build(network, 3)).train()
    optimiser, batch = adamw(bare, recipe.optimiser), recipe.optimiser.batch_size
    x = on.arranged(torch.rand(batch, 1, SIDE, SIDE, device=on.device))
    truth = torch.arange(batch, device=on.device) % 3

    def step() -> None:
        with on.autocast():
            logits = bare(x)
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits.float(), F.one_hot(truth, 3).float()))
        optimiser.step()

    rate = _of_stage(recipe, lambda digest: pipeline.classifier(recipe, digest, 0)[-1])
    return f"ResNet-18, {precision}", rate, _of_steps(step, batch)


def dcgan_rates() -> tuple[str, float, float]:
    """Name, and images per second of a stage of the DCGAN and of bare steps."""
    recipe = _recipe(
        "small",
        {
            "srgan.scale": 1,
            "dcgan.epochs": EPOCHS,
            "dcgan.segment_epochs": EPOCHS,
            "dcgan.steps_per_epoch": STEPS,
        },
    )
    on, gan = start(recipe.execution), recipe.dcgan
    generator, discriminator = (on.place(network) for network in networks(gan, 3, SIDE))
    adams = [
        torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.999), fused=True)
        for network in (generator, discriminator)
    ]
    n = gan.batch_size
    z = torch.randn(n, gan.latent, device=on.device)
    y = F.one_hot(torch.arange(n, device=on.device) % 3, 3).float()
    real = on.arranged(torch.rand(n, 1, SIDE, SIDE, device=on.device))

    def step() -> None:
        with on.autocast():
            fake = generator(z, y)
            verdict = discriminator(torch.cat([real, fake.detach()]), torch.cat([y, y])).float()
        of_real, of_fake = verdict.chunk(2)
        adams[1].zero_grad()
        torch.autograd.backward(F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean())
        adams[1].step()
        discriminator.requires_grad_(False)
        with on.autocast():
            verdict = discriminator(fake, y).float()
        adams[0].zero_grad()
        torch.autograd.backward(-verdict.mean())
        adams[0].step()
        discriminator.requires_grad_(True)

    rate = _of_stage(recipe, lambda digest: pipeline.dcgan(recipe, digest, 0)[-1])
    return f"DCGAN, {recipe.execution.precision}", rate, _of_steps(step, n)


def _recipe(name: str, changes: dict[str, object]) -> Recipe:
    gpu = {"execution.device": "cuda", "execution.precision": "bf16", "input.size": SIDE}
    return override(RECIPES[name](), gpu | changes)


def _of_stage(recipe: Recipe, final: Callable[[str], Stage]) -> float:
    """Images per second of the best epoch; the first one includes the start of libraries."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = write_toy(root / "data", images=IMAGES, size=SIDE)
        _, metrics = made(final(dataset.digest), dataset.folder, root / "store")
    return max(float(m["images_per_second"]) for m in metrics)


def _of_steps(step: Callable[[], None], batch: int) -> float:
    best = 0.0
    for _ in range(3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
        best = max(best, batch * STEPS / (time.perf_counter() - began))
    return best
