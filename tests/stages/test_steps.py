"""A training step never waits for the host: its parts compile to one graph each, in which nothing
depends on values of tensors. What synchronises on a GPU is counted in `test_gpu.py`.

Random numbers are drawn between the parts, as torch.compile takes no generators.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.toy import toy_generators, toy_recipe
from thyroid import pipeline
from thyroid.augment import draw, thin
from thyroid.networks.build import build
from thyroid.networks.srgan import ClassifierFeatures, Discriminator, Upscaler
from thyroid.stages import compute, train_classifier, train_dcgan, train_srgan
from thyroid.stages.compute import Compute

ON = Compute(device=torch.device("cpu"), precision=torch.bfloat16, rank=0, workers=1)
N, CLASSES, SIDE = 4, 3, 32


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def counts(side: int = SIDE) -> Tensor:
    return torch.poisson(torch.full((N, side, side), 9.0), generator=random())


def require_one_graph(part: Callable[..., Any], *given: Any, network: nn.Module) -> None:
    """The part compiles to one graph, which gives the same result as without compiling."""
    torch._dynamo.reset()
    before = copy.deepcopy(network.state_dict())
    compiled = torch.compile(part, fullgraph=True, backend="eager")
    found = leaves(compiled(*given))
    network.load_state_dict(before)  # of batch and spectral normalisation
    for one, other in zip(found, leaves(part(*given)), strict=True):
        torch.testing.assert_close(one, other)


def leaves(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_the_classifier_s_step_is_one_graph() -> None:
    recipe = toy_recipe(augmentation__windowing=0.5)
    config = pipeline.classifier(recipe, "d" * 64, 0)[-1].config
    network = ON.place(build(config.network, CLASSES))
    draws = draw(N, config.augmentation, random())
    targets = torch.eye(CLASSES)[torch.arange(N) % CLASSES]
    given = (counts(), draws, targets, config, ON)
    require_one_graph(train_classifier._loss, network, *given, network=network)


@pytest.mark.parametrize("loss", ["hinge", "non_saturating"])
def test_the_dcgan_s_step_is_three_graphs(loss: str) -> None:
    published = {"dcgan__normalisation": "batch" if loss == "non_saturating" else "spectral"}
    recipe = toy_generators(dcgan__loss=loss, **published)
    gan = recipe.dcgan
    generator, discriminator = (
        ON.place(network) for network in train_dcgan.networks(gan, CLASSES, SIDE)
    )
    z, y = torch.randn(N, gan.latent, generator=random()), torch.eye(CLASSES)[torch.arange(N) % 3]
    require_one_graph(train_dcgan._generated, generator, z, y, ON, network=generator)
    pictures = counts().unsqueeze(1)

    def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
        verdicts = train_dcgan._verdicts(discriminator, real, fake, y, gan, ON)
        return train_dcgan._discriminator_loss(*verdicts, gan)

    require_one_graph(discriminator_loss, pictures, pictures.flip(0), network=discriminator)
    given = (pictures, y, gan, ON)
    require_one_graph(train_dcgan._generator_loss, discriminator, *given, network=discriminator)


def test_the_srgan_s_step_is_graphs() -> None:
    config = pipeline.srgan(toy_generators(), "d" * 64, 0)[-1].config
    network: nn.Module = ON.place(build(toy_recipe(network__name="resnet18").network, CLASSES))
    features = ClassifierFeatures(network).eval()
    upscaler, discriminator = ON.place(Upscaler(2, 4, 1)), ON.place(Discriminator(4))
    lots = torch.poisson(torch.full((6, SIDE, SIDE, 4), 3.0), generator=random())
    places, to_input, to_target = train_srgan._draw(lots, N, 24, random())
    pairs = (lots, places, to_input, to_target, 24, 2)
    require_one_graph(train_srgan._pairs, *pairs, network=nn.Identity())
    low, target = train_srgan._pairs(*pairs)
    fake = target.flip(0)

    def pixel_loss(low: Tensor) -> Tensor:
        return train_srgan.pixel_loss(upscaler(low), target)

    require_one_graph(pixel_loss, low, network=upscaler)
    for part, *given in [
        (train_srgan._discriminator_loss, discriminator, target, fake, low, ON),
        (train_srgan._adversarial_loss, discriminator, fake, low, ON),
        (train_srgan._perceptual_loss, features, fake, target, config, ON),
    ]:
        require_one_graph(part, *given, network=discriminator)


def test_thinning_takes_no_random_numbers_for_images_that_keep_their_photons() -> None:
    """The results are those of an earlier version that left these operations out, so trainings keep
    their bits.
    """
    keep = torch.tensor([0.3, 1.0, 0.7, 1.0])
    some = keep < 1
    alone = thin(counts()[some], keep[some], random())
    together = thin(counts(), keep, random())
    assert torch.equal(together[some], alone)
    assert torch.equal(together[~some], counts()[~some])


def test_on_a_gpu_what_is_not_deterministic_raises_and_float32_is_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    compute._same_bits(on_gpu=True)
    assert asked == [True]
    assert compute.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    compute._same_bits(on_gpu=False)
    assert asked == [True]  # on a processor nothing is changed
