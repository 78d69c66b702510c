"""Weights of torchvision's in networks of one grey channel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import nn

from thyroid.errors import InputError
from thyroid.networks.build import build
from thyroid.networks.pretrained import load_pretrained
from thyroid.networks.registry import NETWORKS
from thyroid.recipe import NetworkConfig
from thyroid.stages.checkpoint import save_tensors


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


def test_the_names_in_torchvisions_files_of_densenets_are_known(tmp_path: Path) -> None:
    """The files are older than the modules: norm.1 for norm1, and no counters of batches."""
    torch.manual_seed(0)
    reference = torchvision.models.densenet121(num_classes=9).eval()
    old = {
        re.sub(r"(denselayer\d+\.)(norm|conv)([12])", r"\1\2.\3", name): tensor
        for name, tensor in reference.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "weights.pth")
    config = NetworkConfig(name="densenet121")
    ours = build(config, classes=9)
    load_pretrained(ours, tmp_path / "weights.pth", config)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = reference(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(ours.eval()(x), expected, atol=1e-5, rtol=1e-4)


def test_weights_of_ones_own_are_taken_as_they_are(tmp_path: Path) -> None:
    config = NetworkConfig(name="googlenet_small")
    trained, ours = build(config, classes=7), build(config, classes=7)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    load_pretrained(ours, tmp_path / "model.safetensors", config)
    given = trained.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    "changed",
    [
        {"conv1.weight": torch.rand(24)},
        {"conv1.weight": torch.rand(24, 4, 3, 3)},
        {"conv1.weight": "text"},
        {"fc.weight": "text"},
        {"more": torch.rand(3)},
    ],
)
def test_weights_that_do_not_fit_are_a_sentence(changed: dict[str, Any], tmp_path: Path) -> None:
    config = NetworkConfig(name="resnet_small")
    network = build(config, classes=7)
    for content in (network.state_dict() | changed, {"model": network.state_dict()}):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(InputError, match="does not hold the weights of resnet_small: give a"):
            load_pretrained(network, tmp_path / "weights.pth", config)


@pytest.mark.parametrize("content", [torch.rand(3, 4), [1, 2], 5, b""])
def test_a_file_of_no_state_dictionary_is_a_sentence(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    if isinstance(content, bytes):
        (tmp_path / "weights.pth").write_bytes(content)
    config = NetworkConfig(name="lenet5")
    with pytest.raises(InputError, match=r"weights\.pth does not hold the weights of lenet5"):
        load_pretrained(build(config, classes=7), tmp_path / "weights.pth", config)


LARGE = ("vgg16", "alexnet", "resnet50")  # half a gigabyte, and tests nothing more


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LARGE])
def test_a_file_of_something_else_is_a_sentence(name: str, tmp_path: Path) -> None:
    config = NetworkConfig(name=name)
    network = build(config, classes=7)
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "other.pth")
    for file in ("text.pth", "other.pth"):
        with pytest.raises(InputError, match=f"does not hold the weights of {name}"):
            load_pretrained(network, tmp_path / file, config)


def test_the_last_layer_goes_by_the_names_of_the_classes(tmp_path: Path) -> None:
    """The file's classes are in another order; one of ours is missing and another one is new."""
    torch.manual_seed(0)
    config = NetworkConfig(name="lenet5")
    reference = build(config, classes=3)
    file = tmp_path / "model.safetensors"
    save_tensors(reference.state_dict(), file, ["normal", "graves", "cold_nodule"])
    ours = build(config, classes=3)
    before, last = ours.state_dict()["fc.weight"].clone(), reference.state_dict()["fc.weight"]
    load_pretrained(ours, file, config, ["cold_nodule", "hashimoto", "normal"])
    found = ours.state_dict()
    assert torch.equal(found["fc.weight"], torch.stack([last[2], before[1], last[0]]))
    assert torch.equal(found["conv1.weight"], reference.state_dict()["conv1.weight"])

    other = build(config, classes=3)
    new = other.state_dict()["fc.weight"].clone()
    load_pretrained(other, file, config, ["left", "right", "below"])  # as many, of other names
    assert torch.equal(other.state_dict()["fc.weight"], new)
    assert torch.equal(other.state_dict()["conv2.weight"], reference.state_dict()["conv2.weight"])


def test_x_i_in_a_file_starts_anew_or_is_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = build(NetworkConfig(name="resnet_small", width=4, cross_feature="input"), classes=3)
    file = tmp_path / "model.safetensors"
    save_tensors(reference.state_dict(), file)
    for source in ("none", "stem"):
        config = NetworkConfig(name="resnet_small", width=4, cross_feature=source)
        ours = build(config, classes=3)
        load_pretrained(ours, file, config)
        name = "layer2.0.conv1.weight"
        assert torch.equal(ours.state_dict()[name], reference.state_dict()[name])


def test_a_network_without_a_linear_layer_cannot_start_from_weights(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 3, 3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="Conv2d has no linear layer, which --weights needs"):
        load_pretrained(network, tmp_path / "weights.pth", NetworkConfig(name="own"))
