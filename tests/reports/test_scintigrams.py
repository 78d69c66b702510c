"""Pictures show the counts pixel by pixel, in inverted grey."""

import base64
import io

import numpy as np
from PIL import Image

from reports.scintigrams import PIXEL_BUDGET, contact_sheet, inverted_grey
from tests.reports.made_runs import make_dataset


def decode(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_black_is_hot_and_white_is_nothing():
    counts = np.zeros((16, 16), dtype=np.uint16)
    counts[4:8, 4:8] = 50
    counts[8, 8] = 25
    grey = decode(inverted_grey(counts))
    assert grey.shape == (16, 16)
    assert grey.dtype == np.uint8
    assert (grey[4:8, 4:8] == 0).all()
    assert grey[8, 8] == 127
    assert grey[0, 0] == 255


def test_an_empty_image_is_white():
    assert (decode(inverted_grey(np.zeros((4, 4), dtype=np.uint16))) == 255).all()


def test_order_of_grey_is_the_order_of_counts():
    counts = np.random.default_rng(0).poisson(20, (32, 32)).astype(np.uint16)
    grey = decode(inverted_grey(counts)).astype(int)
    order = np.argsort(counts, axis=None)
    assert (np.diff(grey.ravel()[order]) <= 0).all()


def test_sheet_has_classes_then_crosses_of_the_chosen_images(dataset):
    chosen = np.arange(len(dataset)) % 2 == 0
    sheet = contact_sheet(dataset, chosen, per_group=3)
    assert [g.name for g in sheet] == [
        "normal",
        "graves",
        "hot_nodule",
        "cold_nodule",
        "graves;cold_nodule",
        "graves;hot_nodule",
    ]
    assert [g.cross for g in sheet] == [False] * 4 + [True] * 2
    assert all(len(g.images) == 3 and g.total == 15 for g in sheet)
    first = decode(base64.b64decode(sheet[0].images[0].partition(",")[2]))
    assert np.array_equal(first, decode(inverted_grey(dataset.counts[0])))


def test_large_images_are_fewer(tmp_path):
    dataset = make_dataset(tmp_path / "large", per_group=12, size=256)
    sheet = contact_sheet(dataset, per_group=12)
    assert 1 <= len(sheet[0].images) < 12
    assert sum(len(g.images) for g in sheet) * 256**2 <= PIXEL_BUDGET
