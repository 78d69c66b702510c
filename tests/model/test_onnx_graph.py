"""A model as an ONNX graph: pixels, normalisation, pooling."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.toy import CLASSES
from thyroid.model import onnx_graph
from thyroid.model.ensemble import Ensemble
from thyroid.model.model_folder import Model
from thyroid.networks.build import build
from thyroid.recipe import InputConfig, NetworkConfig
from thyroid.views import Viewed


@pytest.mark.parametrize("normalisation", ["log_mean", "maximum"])
def test_onnx_sums_pixels_and_normalises(normalisation: str, tmp_path: Path) -> None:
    """A grid of 64 for a network that sees 32, with x_i, which averages its source."""
    config = InputConfig(size=32, normalisation=normalisation)
    torch.manual_seed(0)
    own = NetworkConfig(name="resnet_small", width=4, cross_feature="input")
    networks = [build(own, 3) for _ in range(2)]
    for network in networks:
        for name, parameter in network.named_parameters():
            if name.endswith("gain"):
                torch.nn.init.normal_(parameter)
    viewed = [Viewed(network, config, "mirrored_shifts") for network in networks]
    model = Model(
        name="m", classes=CLASSES, kind="counts", size=64, pixel_mm=2.0, input=config,
        threshold=0.9, level=0.95, total_counts=None, training_flags=None, gate=None,
        network=Ensemble(viewed, 1.5).eval(), card={"network": {"name": own.name}},
    )  # fmt: skip
    assert onnx_graph.write_onnx(model, tmp_path) <= 1e-4
    fewer = dataclasses.replace(model, network=Ensemble(viewed[:1], 1.5).eval())
    assert onnx_graph._difference(fewer, (tmp_path / "model.onnx").read_bytes()) > 1e-3
    warmer = dataclasses.replace(model, network=Ensemble(viewed, 1.6).eval())
    assert onnx_graph._difference(warmer, (tmp_path / "model.onnx").read_bytes()) > 1e-3


@pytest.mark.parametrize("side", [4, 5, 7])
def test_max_of_windows_is_adaptive_max_pooling(side: int) -> None:
    x = torch.rand(2, 3, 26, 13, generator=torch.Generator().manual_seed(side))
    expected = torch.nn.functional.adaptive_max_pool2d(x, side)
    torch.testing.assert_close(onnx_graph.MaxOfWindows(side)(x), expected, rtol=0, atol=0)


def test_a_network_whose_pooling_onnx_lacks_has_a_graph(tmp_path: Path) -> None:
    """LeNet-5 pools 26 pixels to 5."""
    config = InputConfig(size=64)
    lenet = build(NetworkConfig(name="lenet5"), 3)
    model = Model(
        name="m", classes=CLASSES, kind="counts", size=64, pixel_mm=2.0, input=config,
        threshold=0.9, level=0.95, total_counts=None, training_flags=None,
        card={"network": {"name": "lenet5"}},
        network=Ensemble([Viewed(lenet, config, "shifts")], 0.3).eval(), gate=None,
    )  # fmt: skip
    assert onnx_graph.write_onnx(model, tmp_path) <= 1e-4
    assert isinstance(lenet.pool, torch.nn.AdaptiveMaxPool2d)
