"""Heat maps of networks that are known to use certain pixels."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from thyroid.evaluate.occlusion import occlusion, surroundings

SIDE = 24


def scintigrams(n=3, seed=0, side=SIDE):
    """A gland with noise."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    rate = 2 + 60 * np.exp(-20 * (x**2 + 2 * y**2))
    counts = np.random.default_rng(seed).poisson(rate, (n, side, side))
    return torch.from_numpy(counts.astype(np.float32))


def looks_at(rows, columns, height=30.0):
    """A network that recognises class 1 by the counts in one place."""

    def predict(counts):
        seen = counts[:, rows, columns].mean((-2, -1))
        p = torch.sigmoid((seen - height) / 10)
        return torch.stack([1 - p, p], 1)

    return predict


def with_hot_spot(rows, columns, n=3):
    counts = scintigrams(n)
    counts[:, rows, columns] = 80.0
    return counts


ONES = torch.ones(3, dtype=torch.long)


def test_the_place_that_is_looked_at_is_shown_and_no_other():
    place = slice(8, 12), slice(16, 20)
    counts = with_hot_spot(*place)
    heat = occlusion(looks_at(*place), counts, ONES, patch=4, stride=4)
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[place] = True
    assert (heat[:, inside] > 1).all()
    assert (heat[:, ~inside] == 0).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("corner", [(9, 13), (0, 0), (20, 1), (19, 20)])
def test_overlapping_squares_show_it_most(corner, stride):
    place = tuple(slice(c, c + 4) for c in corner)
    counts = with_hot_spot(*place)
    heat = occlusion(looks_at(*place), counts, ONES, patch=4, stride=stride)
    touched = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    touched[tuple(slice(max(c - 6, 0), c + 10) for c in corner)] = True
    for one in heat:
        assert (one[~touched] == 0).all()
        assert one[place].max() == one.max()
        if stride == 1:  # otherwise neighbours may get the same value
            row, column = divmod(int(one.argmax()), SIDE)
            assert place[0].start <= row < place[0].stop
            assert place[1].start <= column < place[1].stop
        assert one[place].mean() > 3 * one[touched].mean() > 0


def test_one_pixel_is_in_the_middle_of_what_is_shown():
    place = slice(10, 11), slice(14, 15)

    def notices(counts):
        p = torch.where(counts[:, 10, 14] > 70, 0.9, 0.1)
        return torch.stack([1 - p, p], 1)

    heat = occlusion(notices, with_hot_spot(*place), ONES, patch=5, stride=1)
    within = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    within[6:15, 10:19] = True  # the squares that hold it
    for one in heat:
        assert (one[~within] == 0).all()
        assert (one[within] > 0).all()
        assert divmod(int(one.argmax()), SIDE) == (10, 14)
    # 25 squares contain it; all lower p in the same way, except for the pixels that they share
    rows, columns = torch.meshgrid(torch.arange(-4, 5), torch.arange(-4, 5), indexing="ij")
    shared = (5 - rows.abs()) * (5 - columns.abs()) / 25
    expected = heat[:, 10:11, 14:15] * shared
    torch.testing.assert_close(heat[:, 6:15, 10:19], expected, rtol=1e-4, atol=1e-5)


def test_against_covering_by_hand():
    """The map agrees with one by loops over all squares and scipy's blur, also if patches do not
    divide the side.
    """
    counts, side, patch, stride = scintigrams(2, side=11), 11, 4, 3
    classes = torch.tensor([2, 0])
    weights = torch.from_numpy(np.random.default_rng(1).normal(0, 0.01, (11 * 11, 3))).float()

    def predict(images):
        return (images.flatten(1) @ weights).softmax(1)

    got = occlusion(predict, counts, classes, patch=patch, stride=stride)
    for i, c in enumerate(classes):
        image = counts[i].numpy().astype(float)
        before = np.log(predict(counts[i][None])[0, c].item())
        total, times = np.zeros((side, side)), np.zeros((side, side))
        for top in (0, 3, 6, 7):
            for left in (0, 3, 6, 7):
                covered = image.copy()
                square = slice(top, top + patch), slice(left, left + patch)
                seen = np.ones_like(image)
                seen[square] = 0
                around = gaussian_filter(image * seen, patch / 2, mode="reflect")
                covered[square] = (around / gaussian_filter(seen, patch / 2, mode="reflect"))[
                    square
                ]
                after = predict(torch.from_numpy(covered)[None].float())[0, c].item()
                total[square] += before - np.log(after)
                times[square] += 1
        assert np.abs(total).max() > 0.1
        np.testing.assert_allclose(got[i].numpy(), total / times, atol=2e-5)


def test_what_speaks_against_a_class_is_negative():
    place = slice(8, 12), slice(16, 20)
    predict, counts = looks_at(*place), with_hot_spot(*place)
    against = occlusion(predict, counts, torch.zeros(3, dtype=torch.long), patch=4, stride=4)
    assert (against[(slice(None), *place)] < -1).all()
    mixed = occlusion(predict, counts, torch.tensor([0, 1, 0]), patch=4, stride=4)
    assert torch.equal(mixed[0], against[0])
    assert (mixed[1] >= 0).all()
    assert torch.equal(mixed[2], against[2])


def test_what_the_network_is_shown():
    """The network sees the original and images in which one square is smooth, but not empty."""
    counts = torch.poisson(torch.full((1, SIDE, SIDE), 60.0), torch.Generator().manual_seed(0))
    shown = []

    def predict(images):
        shown.append(images.clone())
        return torch.full((len(images), 2), 0.5)

    heat = occlusion(predict, counts, torch.zeros(1, dtype=torch.long), patch=6, stride=3)
    assert (heat == 0).all()
    assert torch.equal(shown[0][0], counts[0])
    assert len(shown[0]) == 1 + 7 * 7
    for image in shown[0][1:]:
        rows, columns = (image != counts[0]).nonzero(as_tuple=True)
        assert rows.max() - rows.min() < 6
        assert columns.max() - columns.min() < 6
        square = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        steps = torch.cat([square.diff(dim=0).flatten(), square.diff(dim=1).flatten()])
        assert steps.abs().max() < 6  # noise makes some of 20
        assert square.min() > 40


def test_what_is_covered_does_not_shine_through():
    """A normal place and a hot one get the same cover, and a flat image stays flat."""
    image = scintigrams(1)[0]
    hot = image.clone()
    cover = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    cover[0, 8:14, 10:16] = True
    hot[cover[0]] = 500.0
    plain = surroundings(image, cover, 3.0)
    torch.testing.assert_close(plain[cover], surroundings(hot, cover, 3.0)[cover])
    flat = torch.full((SIDE, SIDE), 7.0)
    torch.testing.assert_close(surroundings(flat, cover, 3.0)[0], flat)


def test_a_square_as_large_as_the_image_is_its_mean():
    totals = []

    def predict(images):
        totals.append(images.sum((1, 2)))
        return torch.full((len(images), 2), 0.5)

    counts = scintigrams(1)
    heat = occlusion(predict, counts, torch.zeros(1, dtype=torch.long), patch=SIDE, stride=SIDE)
    assert heat.shape == (1, SIDE, SIDE)
    torch.testing.assert_close(totals[0], counts.sum().expand(2), rtol=1e-5, atol=0)


def test_shape_type_and_the_same_again():
    place = slice(8, 12), slice(16, 20)
    counts = with_hot_spot(*place)
    before = counts.clone()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 3))
    torch.manual_seed(0)

    def predict(images):
        return network(images / 100).softmax(1).double()

    heat = occlusion(predict, counts, ONES, patch=5, stride=2)
    assert heat.shape == counts.shape
    assert heat.dtype == torch.float32
    assert not heat.requires_grad
    assert torch.isfinite(heat).all()
    assert torch.equal(heat, occlusion(predict, counts, ONES, patch=5, stride=2))
    assert torch.equal(counts, before)
    alone = occlusion(predict, counts[1:2], ONES[1:2], patch=5, stride=2)
    torch.testing.assert_close(alone[0], heat[1])
    assert occlusion(predict, counts[:0], ONES[:0], patch=5, stride=2).shape == (0, SIDE, SIDE)


def test_probabilities_of_zero_are_survived():
    place = slice(8, 12), slice(16, 20)

    def certain(counts):
        there = (counts[:, place[0], place[1]].mean((-2, -1)) > 60).float()
        return torch.stack([1 - there, there], 1)

    heat = occlusion(certain, with_hot_spot(*place), ONES, patch=4, stride=4)
    assert torch.isfinite(heat).all()
    assert (heat[(slice(None), *place)] > 10).all()


@pytest.mark.parametrize(("patch", "stride"), [(0, 0), (4, 0), (4, 5), (SIDE + 1, 1)])
def test_squares_that_leave_pixels_uncovered_are_refused(patch, stride):
    with pytest.raises(ValueError, match="do not ascend"):
        occlusion(looks_at(slice(1), slice(1)), scintigrams(), ONES, patch=patch, stride=stride)
