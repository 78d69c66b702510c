"""The page of predictions: what it shows, in numbers and in pixels."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reports.explain_page import MOST_IMAGES, colour_map, write_explanation
from thyroid.model.ensemble import Ensemble
from thyroid.model.model_folder import Model
from thyroid.model.predict_files import Prediction, heat_map
from thyroid.recipe import InputConfig
from thyroid.views import Viewed

CLASSES = ("spot", "<script>alert(1)</script>")


class Corner(nn.Module):
    """Predicts the class `spot` from the counts in the upper left quarter and in the rest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        inside = x[..., :half, :half].mean((1, 2, 3))
        return torch.stack([4 * (inside - 1), torch.zeros_like(inside)], dim=1)


def model(size: int = 64, side: int = 32, networks: int = 1) -> Model:
    config = InputConfig(size=side, normalisation="mean")
    return Model(
        name="a <b>model</b>",
        classes=CLASSES,
        kind="counts",
        size=size,
        pixel_mm=4.0,
        input=config,
        threshold=0.4,
        level=0.95,
        total_counts=None,
        training_flags=None,
        network=Ensemble([Viewed(Corner(), config, "one")] * networks, 1.0),
        gate=None,
        card={},
    )


def test_networks_that_disagree_and_images_unlike_all_others_are_told(tmp_path):
    ours = model(networks=5)
    torn = image(0, agreement=0.6, distance=0.5)
    unlike = image(1, outcome="unlike_training", credible=(), agreement=1.0, distance=3.25)
    maps = [heat_map(ours, one) for one in (torn, unlike)]
    html = write_explanation(ours, [torn, unlike], maps, tmp_path / "page.html").read_text()
    read = re.sub(r"<[^>]*>", "", html)
    assert "3 of 5 networks name spot." in read
    assert "5 of 5" not in read
    assert "unlike all training images (distance: 3.250 times the limit)" in read
    shown = json.loads((tmp_path / "page.json").read_text())
    assert [(one["agreeing"], one["distance"]) for one in shown["images"]] == [(3, 0.5), (5, 3.25)]


def test_a_model_that_learned_nothing_is_said_to_be_one(tmp_path):
    lucky = dataclasses.replace(model(), card={"metrics": {"learned": False}})
    for one, said in ((lucky, True), (model(), False)):
        html = write_explanation(one, [], [], tmp_path / "page.html").read_text()
        assert ("This model learned nothing" in html) == said


def image(i: int = 0, size: int = 64, **changes: object) -> Prediction:
    """A bright spot in the upper left quarter."""
    rate = np.full((size, size), 20.0)
    rate[size // 8 : size // 4, size // 8 : size // 4] = 200
    settings = {
        "file": f"patient/{i}.dcm",
        "outcome": "spot",
        "credible": ("spot",),
        "probabilities": (0.75, 0.25),
        "image": np.random.default_rng(i).poisson(rate).astype(np.uint16),
    }
    return Prediction(**(settings | changes))


def pictures(html: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(found)))
        for found in re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    ]


def test_the_map_is_orange_where_the_spot_is(tmp_path):
    one = image()
    heat = heat_map(model(), one)
    assert heat.shape == (32, 32)
    assert np.unravel_index(heat.argmax(), heat.shape) < (10, 10)
    assert heat[4:8, 4:8].min() > 0.1
    assert abs(heat[24:, 24:]).max() < heat.max() / 4

    html = write_explanation(model(), [one], [heat], tmp_path / "page.html").read_text()
    scintigram, again, over = pictures(html)
    assert scintigram.size == over.size == (32, 32)
    grey = np.asarray(scintigram)
    assert grey[4:8, 4:8].mean() < 100 < grey[16:, 16:].mean()  # inverted: uptake is dark
    assert np.array_equal(grey, np.asarray(again))
    red, _, blue, opacity = np.asarray(over.convert("RGBA"))[6, 6]
    assert red > blue
    assert opacity > 100


def test_colours_tell_for_from_against_and_grow_with_the_fall():
    heat = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    pixels = np.asarray(Image.open(io.BytesIO(colour_map(heat, 2.0))).convert("RGBA"))[0]
    opacity = pixels[:, 3].astype(int)
    assert opacity[2] == 0
    assert opacity[0] == opacity[4] > opacity[1] == opacity[3] > 0
    assert (pixels[:2, 2] > pixels[:2, 0]).all()
    assert (pixels[3:, 0] > pixels[3:, 2]).all()


def test_what_hardly_matters_is_hardly_coloured(tmp_path):
    faint = np.full((32, 32), 0.01, dtype=np.float32)
    html = write_explanation(model(), [image()], [faint], tmp_path / "page.html").read_text()
    over = np.asarray(pictures(html)[2].convert("RGBA"))
    assert over[..., 3].max() < 30


def test_the_page_says_what_the_table_says_and_escapes_it(tmp_path):
    shown = [
        image(file="<img src=x onerror=alert(1)>.dcm"),
        image(1, outcome="uncertain", credible=CLASSES, probabilities=(0.5, 0.5)),
        image(2, outcome="uncertain", credible=(), flags=("padded",)),
    ]
    broken = Prediction(file="<b>.txt", outcome="unreadable", reason="it is empty (0 bytes)")
    heat = np.zeros((32, 32), dtype=np.float32)
    out = write_explanation(model(), [*shown, broken], [heat] * 3, tmp_path / "page.html")
    html = out.read_text()
    assert "Not for clinical use" in html
    assert html.count("<script") == 1  # the page's own
    for tag in ("<img src=x", "<b>"):
        assert tag not in html
    assert "http:" not in html
    assert "https:" not in html
    assert str(tmp_path) not in html
    assert "no class is credible" in html
    assert "it is empty (0 bytes)" in html
    info = json.loads(out.with_suffix(".json").read_text())
    assert info["outcomes"] == {"spot": 1, "uncertain": 2, "unreadable": 1}
    assert [one["credible"] for one in info["images"]] == [["spot"], list(CLASSES), []]
    assert info["images"][0]["probabilities"][0] == {
        "name": "spot", "value": 0.75, "credible": True,
    }  # fmt: skip
    for value in re.findall(r'<data value="([^"]+)"', html):
        assert float(value) in set(_numbers(info)) | {len(info["images"])}


def _numbers(content):
    if isinstance(content, dict | list):
        for one in content.values() if isinstance(content, dict) else content:
            yield from _numbers(one)
    elif isinstance(content, int | float):
        yield float(content)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_a_page_of_many_images_stays_small(tmp_path, side):
    """As many images as are shown, as noisy as scintigrams, and five more."""
    found = [image(i, size=side) for i in range(MOST_IMAGES + 5)]
    smooth = np.add.outer(np.sin(np.arange(side) / 9), np.cos(np.arange(side) / 5))
    heat = [smooth.astype(np.float32)] * MOST_IMAGES
    out = write_explanation(model(side, side), found, heat, tmp_path / "page.html")
    html = out.read_text()
    assert len(html) <= 3_000_000
    assert html.count("<article") == MOST_IMAGES
    assert f'The first <data value="{MOST_IMAGES}">' in html
    assert f'of <data value="{MOST_IMAGES + 5}">' in html
