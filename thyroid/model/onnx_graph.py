"""Writes the model as an ONNX graph, for programs without torch."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from thyroid.errors import InputError, StageFailed
from thyroid.model.model_folder import ONNX, Model

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4
"""Largest accepted difference of a probability from torch's."""
CHECKED = 16
"""Number of images in the comparison."""


def require_onnx() -> None:
    """Check that the packages of the extra `onnx` are installed.

    Raises
    ------
    InputError
        When one is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--onnx needs {missing[0]}: install it with `pip install 'thyroid[onnx]'`."
        )


class MaxOfWindows(nn.Module):
    """Adaptive max pooling by its definition; ONNX supports it only if k divides H.

    Output i of k covers rows floor(i H / k) to ceil((i + 1) H / k), and columns likewise.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, side, side)."""
        for axis in (2, 3):
            length, k = x.shape[axis], self.side
            bounds = [(i * length // k, -(-(i + 1) * length // k)) for i in range(k)]
            windows = [x.narrow(axis, start, stop - start) for start, stop in bounds]
            x = torch.stack([window.amax(axis) for window in windows], axis)
        return x


def _exportable(network: nn.Module) -> nn.Module:
    """Copy the network and replace layers that ONNX lacks."""
    copied = copy.deepcopy(network)
    for name, module in list(copied.named_modules()):
        if isinstance(module, nn.AdaptiveMaxPool2d):
            parent, _, attribute = name.rpartition(".")
            windows = MaxOfWindows(int(module.output_size))  # type: ignore[arg-type]  # one number
            setattr(copied.get_submodule(parent), attribute, windows)
    return copied.eval()


def write_onnx(model: Model, folder: Path) -> float:
    """Write model.onnx and compare it with torch.

    Its input `counts` is (images, size, size) float32 on the model's grid, its output
    `probabilities` (images, classes) float32, calibrated: pixel summing, normalisation, views, all
    networks and temperature are part of the graph. Its metadata name classes, pixel size, threshold
    and level, and say that it has no gate.

    Returns
    -------
    The greatest difference of a probability from torch's.

    Raises
    ------
    InputError
        When a package is missing.
    StageFailed
        When the network has no ONNX form, or the graph's probabilities differ from torch's.
    """
    require_onnx()
    import onnx

    example = torch.ones(2, model.size, model.size)
    try:
        with _quiet():
            program = torch.onnx.export(
                _exportable(model.network),
                (example,),
                dynamo=True,
                input_names=["counts"],
                output_names=["probabilities"],
                dynamic_shapes={"counts": {0: torch.export.Dim("images")}},
                external_data=False,
                verbose=False,
            )
            assert program is not None  # None is what the exporter before dynamo returned
            graph = program.model_proto
    except Exception as error:  # the exporter may raise anything
        raise StageFailed(
            f"The network {model.card['network']['name']} has no ONNX form "
            f"({type(error).__name__}): export it without --onnx."
        ) from error
    about = {
        "classes": json.dumps(model.classes),
        "pixel_mm": json.dumps(model.pixel_mm),
        "threshold": json.dumps(model.threshold),
        "level": json.dumps(model.level),
        "networks": json.dumps(model.networks),
        "gate": "none: a picture unlike all training images gets probabilities, too",
        "use": "not for clinical use",
    }
    onnx.helper.set_model_props(graph, about)
    content = graph.SerializeToString()
    difference = _difference(model, content)
    if not difference <= TOLERANCE:
        raise StageFailed(
            f"The ONNX graph's probabilities differ from torch's by {difference:.2g}, more than "
            f"{TOLERANCE:g}: export without --onnx, and report this."
        )
    (folder / ONNX).write_bytes(content)
    return difference


def _difference(model: Model, content: bytes) -> float:
    """Return the greatest difference on random counts, for one image and for several at once."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    shape = (CHECKED, model.size, model.size)
    # From a few photons per pixel to thousands: bright spots on dark grounds
    rate = 10 ** (3 * torch.rand(shape, generator=random) - 1)
    counts = torch.poisson(rate, generator=random)
    differences = []
    for some in (counts[:1], counts[1:]):
        (theirs,) = session.run(["probabilities"], {"counts": some.numpy()})
        differences.append((torch.from_numpy(theirs) - model.probabilities(some)).abs().max())
    return float(torch.stack(differences).max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
