import pytest
import torch
import torchvision.models
from torch import nn

from thyroid.errors import InputError
from thyroid.networks.registry import NETWORKS, build
from thyroid.recipe import NetworkConfig


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [32, 64])
def test_every_network_gives_finite_logits_and_gradients(name: str, size: int) -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(name=name, width=8), classes=5)
    logits = network(torch.rand(4, 1, size, size))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    for parameter, values in network.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.isfinite().all(), parameter
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_resnet_equals_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(num_classes=7)
    reference.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    ours = build(NetworkConfig(name=name), classes=7)
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(2, 1, 64, 64)
    for network in (ours, reference):
        network.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), reference(x), atol=1e-6, rtol=1e-6)


def test_an_unknown_network_is_refused_with_those_known() -> None:
    with pytest.raises(InputError, match="choose one of lenet5, resnet_small"):
        build(NetworkConfig(name="resnet19"), classes=3)
