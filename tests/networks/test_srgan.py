"""SRGAN's networks: the untrained one is bicubic, the result is an activity, VGG-19 equals
torchvision's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import vgg19

from thyroid.errors import InputError
from thyroid.networks import srgan
from thyroid.networks.resnet import resnet_small
from thyroid.networks.srgan import (
    ClassifierFeatures,
    Discriminator,
    Upscaler,
    Vgg19Features,
    anscombe_residual,
    bicubic,
)


def poisson(*shape: int, level: float = 5.0, seed: int = 0) -> Tensor:
    return torch.poisson(torch.full(shape, level), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("side", [4, 7, 16])
def test_an_untrained_network_is_bicubic_interpolation(scale: int, side: int) -> None:
    counts = poisson(3, side, side)
    made = Upscaler(scale, 4, 1).eval()(counts)
    assert made.shape == (3, scale * side, scale * side)
    torch.testing.assert_close(made, bicubic(counts, scale))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_result_is_an_activity(scale: int) -> None:
    torch.manual_seed(0)
    network = Upscaler(scale, 4, 1)
    nn.init.normal_(network.tail.weight, std=0.3)
    for counts in (poisson(3, 8, 8), torch.zeros(3, 8, 8), poisson(3, 8, 8, level=2e4)):
        made = network(counts)
        assert made.isfinite().all()
        assert (made >= 0).all()
    torch.testing.assert_close(made.mean((1, 2)), torch.ones(3))
    assert made.dtype == torch.float32
    made.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_bicubic_keeps_a_flat_picture_and_the_share_of_each_region() -> None:
    flat = torch.full((1, 6, 6), 9.0)
    torch.testing.assert_close(bicubic(flat, 2), torch.ones(1, 12, 12))
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    counts = 1 + 40 * torch.exp(-((y - 5) ** 2 + (x - 9) ** 2) / 20).unsqueeze(0)
    made = F.avg_pool2d(bicubic(counts, 2), 2)
    torch.testing.assert_close(made, counts / counts.mean(), atol=0.12, rtol=0.03)


def test_anscombe_residuals_of_poisson_counts_have_unit_variance_for_every_patient() -> None:
    activity = torch.linspace(0.5, 1.5, 64 * 64).view(1, 64, 64).expand(8, -1, -1)
    counts = torch.poisson(activity * 20, generator=torch.Generator().manual_seed(0))
    assert anscombe_residual(counts, activity).std().item() == pytest.approx(1, abs=0.02)
    assert anscombe_residual(counts, activity).mean().item() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("side", [8, 14, 28, 56])
def test_the_discriminator_gives_one_number_per_picture(side: int) -> None:
    torch.manual_seed(0)
    score = Discriminator(2)(poisson(5, side, side), poisson(5, side // 2, side // 2, seed=1))
    assert score.shape == (5,)
    assert score.isfinite().all()
    assert score.unique().numel() == 5


def test_the_features_of_a_classifier_lie_before_its_third_stage() -> None:
    network = resnet_small(7, 4).eval()
    x = torch.rand(2, 1, 32, 32)
    seen = ClassifierFeatures(network)(x)
    assert seen.shape == (2, 8, 8, 8)
    last = network.layer4(network.layer3(seen))
    both = torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)
    torch.testing.assert_close(both, network.features(x))


@pytest.fixture
def tiny_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-19 with 2 to 16 channels: the real one holds 548 MB."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            inputs = 3
            for layer in SHAPE:
                width = max(layer.out_channels // 32, 2) if isinstance(layer, nn.Conv2d) else 0
                layers.append(nn.Conv2d(inputs, width, 3, 1, 1) if width else layer)
                inputs = width or inputs
            self.features = nn.Sequential(*layers)

    monkeypatch.setattr(srgan, "vgg19", Narrow)


with torch.device("meta"):
    SHAPE = vgg19().features


def test_relu5_4_is_the_last_activation_before_the_last_pooling() -> None:
    kept = SHAPE[: srgan.RELU5_4]
    assert [type(layer) for layer in SHAPE[srgan.RELU5_4 - 2 :]] == [
        nn.Conv2d,
        nn.ReLU,
        nn.MaxPool2d,
    ]
    assert sum(isinstance(layer, nn.Conv2d) for layer in kept) == 16


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.usefixtures("tiny_vgg")
def test_vgg19_is_read_from_either_format(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = srgan.vgg19().eval()
    state = {**reference.state_dict(), "classifier.0.weight": torch.zeros(3, 3)}
    file = tmp_path / "weights"
    if form == "pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    network = Vgg19Features(file).requires_grad_(False)
    x = torch.rand(2, 1, 32, 32, requires_grad=True)
    seen = network(x)
    assert seen.shape == (2, 16, 2, 2)
    colours = ((x / 4).expand(-1, 3, -1, -1) - network.mean) / network.std
    torch.testing.assert_close(seen, reference.features[:36](colours))
    seen.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("content", [{}, {"features.0.weight": torch.zeros(2, 2)}, [1, 2]])
def test_a_file_that_is_not_vgg19_is_a_sentence(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights")
    with pytest.raises(InputError, match=r"does not hold the weights of VGG-19: give --vgg19"):
        Vgg19Features(tmp_path / "weights")


def test_a_file_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"GIF89a, not weights at all, but some bytes of a picture")
    with pytest.raises(InputError, match="does not hold the weights of VGG-19"):
        Vgg19Features(tmp_path / "weights")
