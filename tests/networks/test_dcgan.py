from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thyroid.networks.dcgan import (
    ConditionalBatchNorm,
    Discriminator,
    Generator,
    activity,
    channels,
)
from thyroid.pipeline import DCGAN_SIZES


def shapes(network: nn.Module, *inputs: Tensor) -> list[tuple[int, ...]]:
    """(channels, height, width) after each convolution."""
    seen: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        network(*inputs)
    return seen


def kernels(network: nn.Module) -> list[tuple[object, ...]]:
    return [
        (m.kernel_size[0], m.stride[0], m.padding[0])
        for m in network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_the_published_generator() -> None:
    """Radford 2015, figure 1: 100 numbers, then 4x4x1024 to 64x64."""
    generator = Generator(latent=100, findings=1, size=64, width=128)
    assert shapes(generator, torch.randn(2, 100), torch.ones(2, 1)) == [
        (1024, 4, 4),
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (1, 64, 64),
    ]
    assert kernels(generator) == [(4, 1, 0), *[(4, 2, 1)] * 4]
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [1024, 512, 256, 128]
    assert not any(isinstance(m, nn.Linear) for m in generator.modules())
    # 4x4 kernels, two numbers per normalised channel, one bias
    planes = [100, 1024, 512, 256, 128, 1]
    numbers = sum(16 * a * b for a, b in pairwise(planes)) + 2 * sum(planes[1:-1]) + 1
    assert sum(p.numel() for p in generator.parameters()) == numbers


def test_the_published_generator_is_its_layers_in_a_row() -> None:
    """The same weights in plain layers give the same pictures."""
    torch.manual_seed(0)
    ours = Generator(latent=10, findings=1, size=64, width=4)
    layers: list[nn.Module] = []
    for before, after, stride, padding in [
        (10, 32, 1, 0),
        (32, 16, 2, 1),
        (16, 8, 2, 1),
        (8, 4, 2, 1),
    ]:
        layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    plain = nn.Sequential(*layers, nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh())
    parametrised = [m for m in plain if list(m.parameters())]
    theirs = [*zip(ours.convs, ours.bns, strict=True)]
    mine = [part for conv, bn in theirs for part in (conv, bn.bn)] + [ours.out]
    for to, given in zip(parametrised, mine, strict=True):
        to.load_state_dict(given.state_dict())
    z = torch.randn(6, 10)
    with torch.no_grad():
        expected, got = plain(z[:, :, None, None]), ours(z, torch.ones(6, 1))
    torch.testing.assert_close(got, expected)
    assert got.std() > 0.01


def test_the_published_discriminator_mirrors_it() -> None:
    network = Discriminator(findings=1, size=64, width=128, normalisation="batch")
    assert shapes(network, torch.randn(2, 1, 64, 64), torch.ones(2, 1)) == [
        (128, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (1024, 4, 4),
        (1, 1, 1),
    ]
    assert kernels(network) == [*[(4, 2, 1)] * 4, (4, 1, 0)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [256, 512, 1024]  # none on the first layer
    assert not any(isinstance(m, nn.Linear) for m in network.modules())


def test_the_published_discriminator_is_its_layers_in_a_row() -> None:
    torch.manual_seed(0)
    ours = Discriminator(findings=1, size=32, width=4, normalisation="batch")
    plain = nn.Sequential(
        *(nn.Conv2d(1, 4, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(8, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)),
        nn.Conv2d(16, 1, 4, 1, 0),
    )
    parametrised = [m for m in plain if list(m.parameters())]
    mine = [ours.convs[0], ours.convs[1], ours.bns[1], ours.convs[2], ours.bns[2], ours.out]
    for to, given in zip(parametrised, mine, strict=True):
        to.load_state_dict(given.state_dict())
    x = torch.randn(6, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, torch.ones(6, 1)), plain(x).flatten())


def test_the_published_start() -> None:
    """All weights from N(0, 0.02)."""
    torch.manual_seed(0)
    generator = Generator(latent=100, findings=7, size=64, width=32)
    network = Discriminator(findings=7, size=64, width=32, normalisation="batch")
    for module in [*generator.modules(), *network.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.2)
            assert abs(module.weight.mean().item()) < 0.004
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.5)
            assert not module.bias.any()


@pytest.mark.parametrize("size", DCGAN_SIZES)
@pytest.mark.parametrize("findings", [1, 3])
@pytest.mark.parametrize("normalisation", ["spectral", "batch"])
def test_every_form_gives_finite_pictures_verdicts_and_gradients(
    size: int, findings: int, normalisation: str
) -> None:
    torch.manual_seed(0)
    generator = Generator(latent=5, findings=findings, size=size, width=4)
    network = Discriminator(findings, size, 4, normalisation)
    y = torch.ones(4, findings)
    picture = generator(torch.randn(4, 5), y)
    assert picture.shape == (4, 1, size, size)
    assert picture.abs().max() <= 1
    score = network(picture, y)
    assert score.shape == (4,)
    torch.autograd.backward(score.square().sum())
    for parameter in [*generator.parameters(), *network.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(("size", "planes"), [(8, [4]), (16, [8, 4]), (128, [32, 32, 16, 8, 4])])
def test_channels_double_towards_the_smallest_layer_up_to_eight_times(
    size: int, planes: list[int]
) -> None:
    assert channels(size, 4) == planes


def test_other_findings_give_other_pictures_and_other_verdicts() -> None:
    torch.manual_seed(0)
    generator = Generator(latent=5, findings=3, size=16, width=4)
    network = Discriminator(3, 16, 4, "spectral")
    z = torch.randn(1, 5).expand(8, -1)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)  # (8, 3): all combinations
    with torch.no_grad():
        pictures = generator.eval()(z, every)
        assert len(torch.unique(pictures, dim=0)) == 8
        verdicts = network(pictures[:1].expand(8, -1, -1, -1), every)
        assert len(verdicts.unique()) == 8


def test_findings_compose() -> None:
    """A finding's effect on gain, bias and score does not depend on the other findings."""
    torch.manual_seed(0)
    layer = ConditionalBatchNorm(4, findings=3)
    x = torch.randn(32, 4, 6, 6)
    y = torch.randint(0, 2, (32, 3)).float()
    assert layer.condition is not None
    gain, bias = layer.condition.weight.T[:, :4], layer.condition.weight.T[:, 4:]  # (findings, C)
    plain = F.batch_norm(x, None, None, layer.bn.weight, layer.bn.bias, training=True)
    for i in range(32):
        one = sum((gain[k] for k in range(3) if y[i, k]), torch.zeros(4))
        two = sum((bias[k] for k in range(3) if y[i, k]), torch.zeros(4))
        expected = (1 + one)[:, None, None] * plain[i] + two[:, None, None]
        torch.testing.assert_close(layer(x, y)[i], expected)


def test_the_projection_is_the_inner_product_with_the_features() -> None:
    """Miyato & Koyama 2018: D(x, y) = f(phi(x)) + y^T V phi(x)."""
    torch.manual_seed(0)
    network = Discriminator(3, 16, 4, "spectral").eval()
    features: list[Tensor] = []
    network.out.register_forward_hook(lambda _m, given, _o: features.append(given[0]))
    x, y = torch.randn(5, 1, 16, 16), torch.randint(0, 2, (5, 3)).float()
    with torch.no_grad():
        added = network(x, y) - network(x, torch.zeros(5, 3))
        assert network.condition is not None
        V = network.condition.weight  # (C, findings)
        expected = torch.stack(
            [y[i] @ V.T @ features[0][i].sum((1, 2)) for i in range(5)],
        )
    torch.testing.assert_close(added, expected, atol=1e-6, rtol=1e-4)


def test_spectral_normalisation_bounds_every_layer_but_the_condition() -> None:
    """Miyato 2018: the largest singular value of each kernel, as a matrix, becomes one."""
    torch.manual_seed(0)
    network = Discriminator(3, 32, 8, "spectral")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    x, y = torch.randn(4, 1, 32, 32), torch.ones(4, 3)
    for _ in range(50):
        network(x, y)
    for layer in [*network.convs, network.out]:
        singular = torch.linalg.svdvals(layer.weight.flatten(1))
        assert singular[0].item() == pytest.approx(1, abs=0.02)
    assert not any("condition.parametrizations" in name for name in network.state_dict())


def test_an_activity_is_the_squared_amplitude_over_its_mean() -> None:
    torch.manual_seed(0)
    amplitude = torch.rand(5, 1, 8, 8) * 2 - 1
    rate = activity(amplitude)
    assert rate.shape == (5, 8, 8)
    assert rate.min() >= 0
    torch.testing.assert_close(rate.mean((1, 2)), torch.ones(5))
    for i in range(5):
        ratio = rate[i] / ((amplitude[i, 0] + 1) / 2) ** 2
        assert ratio.std() / ratio.mean() < 1e-4
    assert activity(amplitude.bfloat16()).dtype == torch.float32


def test_a_dark_picture_has_an_activity_and_a_gradient() -> None:
    amplitude = torch.full((2, 1, 8, 8), -1.0, requires_grad=True)
    rate = activity(amplitude)
    torch.autograd.backward(rate.sum())
    assert rate.isfinite().all()
    assert amplitude.grad is not None
    assert amplitude.grad.isfinite().all()
