"""Weights of torchvision's in networks of one grey channel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import nn

from thyroid.errors import InputError
from thyroid.networks.pretrained import load_pretrained
from thyroid.networks.registry import NETWORKS, build
from thyroid.recipe import NetworkConfig


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "efficientnet_b0"])
def test_a_grey_picture_gives_what_its_copy_in_three_colours_gives(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sides = {"init_weights": False} if name == "googlenet" else {}
    reference = getattr(torchvision.models, name)(num_classes=9, **sides).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    config = NetworkConfig(name=name)
    ours = build(config, classes=9)
    load_pretrained(ours, tmp_path / "weights.pth", config)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = reference(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(ours.eval()(x), expected, atol=1e-5, rtol=1e-4)


def test_a_head_of_other_classes_and_x_i_stay_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=1000)
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    config = NetworkConfig(name="resnet18", cross_feature="input")
    ours = build(config, classes=7)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    load_pretrained(ours, tmp_path / "weights.safetensors", config)
    for name, tensor in ours.state_dict().items():
        kept = name.startswith("fc.") or ".cross." in name
        assert torch.equal(tensor, before[name]) or not kept, name
    assert torch.equal(ours.state_dict()["layer3.0.conv1.weight"],
                       reference.state_dict()["layer3.0.conv1.weight"])  # fmt: skip


LARGE = ("vgg16", "alexnet", "resnet50")  # half a gigabyte, and no different


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LARGE])
def test_a_file_of_something_else_is_a_sentence(name: str, tmp_path: Path) -> None:
    config = NetworkConfig(name=name)
    network = build(config, classes=7)
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "other.pth")
    for file in ("text.pth", "other.pth"):
        with pytest.raises(InputError, match=f"does not hold the weights of {name}"):
            load_pretrained(network, tmp_path / file, config)
