"""Views of an image, and the average of a network's probabilities over them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from tests.toy import toy_recipe
from thyroid.augment import warp
from thyroid.network_input import NORMALISATIONS, network_input
from thyroid.recipe import InputConfig, Views
from thyroid.views import NUMBER, SHIFTS, Viewed, mean_of_views, views_of

ALL: tuple[Views, ...] = get_args(Views)


class Columns(nn.Module):
    """Logits that show where an image is bright: the sums of its first columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2))[:, :3]


@pytest.mark.parametrize("views", ALL)
def test_there_are_as_many_views_as_are_said_the_image_itself_first(views: Views) -> None:
    x = torch.rand(3, 1, 6, 6)
    seen = views_of(x, views).unflatten(0, (NUMBER[views], 3))
    assert torch.equal(seen[0], x)
    kept = views_of(x, "mirrored_shifts").unflatten(0, (10, 3))
    assert torch.equal(seen, kept[: NUMBER[views]])
    assert len({tuple(view.flatten().tolist()) for view in seen}) == NUMBER[views]


def test_a_shift_moves_each_pixel_by_one_and_brings_zeros_in() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 5.0
    x[0, 0, 0, 0] = 3.0
    for view, (down, right) in zip(views_of(x, "shifts"), SHIFTS, strict=True):
        assert view[0, 1 + down, 2 + right] == 5.0
        stays = down >= 0 and right >= 0  # else the corner's pixel leaves the image
        assert view.sum() == (8.0 if stays else 5.0)
        if stays:
            assert view[0, down, right] == 3.0


def test_a_shift_is_the_one_of_training() -> None:
    """Whole pixels through the resampling of `augment`: the same picture, zeros at the edge."""
    x = torch.rand(1, 1, 8, 8)
    for view, (down, right) in zip(views_of(x, "shifts"), SHIFTS, strict=True):
        affine = torch.tensor([[[1.0, 0.0, -right / 4], [0.0, 1.0, -down / 4]]])
        assert torch.allclose(view, warp(x, affine)[0], atol=1e-6)


def test_the_views_of_a_mirror_image_are_the_views_of_the_image() -> None:
    x = torch.rand(2, 1, 5, 5)
    given, mirrored = (views_of(image, "mirrored_shifts") for image in (x, x.flip(3)))
    as_set = [{tuple(v.flatten().tolist()) for v in views[::2]} for views in (given, mirrored)]
    assert as_set[0] == as_set[1]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("views", ALL)
def test_probabilities_are_the_mean_of_those_of_each_view(views: Views, normalisation: str) -> None:
    counts = torch.poisson(torch.full((3, 8, 8), 4.0))  # summed to 4 pixels, 2 by 2
    config = InputConfig(size=16)
    object.__setattr__(config, "size", 4)
    object.__setattr__(config, "normalisation", normalisation)
    network = Columns()
    x = network_input(counts.view(3, 4, 2, 4, 2).sum((2, 4)), normalisation)
    sides = [x, x.flip(3)] if views == "mirrored_shifts" else [x]
    by_hand = []
    for side in sides:
        for down, right in SHIFTS if views != "one" else [(0, 0)]:
            moved = torch.zeros_like(side)
            for row in range(4):
                for column in range(4):
                    r, c = row - down, column - right
                    if 0 <= r < 4 and 0 <= c < 4:
                        moved[:, :, row, column] = side[:, :, r, c]
            by_hand.append(network(moved).softmax(1))
    p = Viewed(network, config, views)(counts)
    assert torch.allclose(p, torch.stack(by_hand).mean(0), atol=1e-6)
    assert torch.allclose(p.sum(1), torch.ones(3))


def test_a_mirror_image_has_the_same_probabilities() -> None:
    counts = torch.poisson(torch.full((2, 16, 16), 4.0))
    viewed = Viewed(Columns(), InputConfig(size=16), "mirrored_shifts")
    assert torch.allclose(viewed(counts), viewed(counts.flip(2)), atol=1e-6)
    assert not torch.allclose(
        Viewed(Columns(), InputConfig(size=16), "shifts")(counts), viewed(counts)
    )


def test_one_view_is_the_network_itself() -> None:
    p = torch.rand(4, 3)
    assert mean_of_views(p, "one") is p
    assert views_of(p, "one") is p


def test_mirror_images_are_viewed_where_training_mirrors() -> None:
    for mirror, asked, given in [
        (0.5, "mirrored_shifts", "mirrored_shifts"),
        (0.0, "mirrored_shifts", "shifts"),
        (0.0, "shifts", "shifts"),
        (0.5, "one", "one"),
        (0.0, "one", "one"),
    ]:
        recipe = toy_recipe(augmentation__mirror=mirror, views=asked)
        assert recipe.allowed_views == given
