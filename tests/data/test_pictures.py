"""Pictures become intensities with one full scale, fitted into the square without distortion."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from thyroid.data import pictures
from thyroid.data.pictures import read_picture
from thyroid.data.scintigram import Scintigram, UnusableFile, bring_to_grid

GREY = np.random.default_rng(3).integers(0, 200, (20, 30)).astype(np.uint8)
GREY[0] = GREY[-1] = GREY[:, 0] = GREY[:, -1] = 0


def _bytes(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _levels(content: bytes) -> np.ndarray:
    """Convert intensities back to 0 to 255."""
    return read_picture(content).matrix / 257


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_grey(kind):
    scintigram = read_picture(_bytes(Image.fromarray(GREY), kind, quality=100))
    assert (scintigram.kind, scintigram.pixel_mm, scintigram.flags) == ("display", None, ())
    np.testing.assert_allclose(scintigram.matrix, GREY.astype(int) * 257, atol=257 * 3)
    if kind != "JPEG":
        np.testing.assert_array_equal(scintigram.matrix, GREY.astype(int) * 257)


def test_every_mode_of_a_grey_picture_reads_alike():
    grey = Image.fromarray(GREY)
    for mode in ("RGB", "RGBA", "LA", "P"):
        np.testing.assert_allclose(_levels(_bytes(grey.convert(mode))), GREY, atol=1)
    np.testing.assert_allclose(_levels(_bytes(grey.convert("CMYK"), "TIFF")), GREY, atol=1)
    black_and_white = grey.point(lambda level: 255 * (level > 100)).convert("1")
    assert set(np.unique(_levels(_bytes(black_and_white)))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_values(kind):
    deep = GREY.astype(np.uint16) * 201
    np.testing.assert_array_equal(read_picture(_bytes(Image.fromarray(deep), kind)).matrix, deep)


def _tiff(pixels: np.ndarray, order: str, photometric: int) -> bytes:
    """A TIFF file of one strip, (rows, columns)."""
    rows, columns = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    fields = {
        256: columns, 257: rows, 258: 8 * pixels.dtype.itemsize, 259: 1, 262: photometric,
        273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: rows, 279: len(data),
    }  # fmt: skip
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, len(fields))
    entries = b"".join(struct.pack(f"{order}HHLL", tag, 4, 1, n) for tag, n in fields.items())
    short = struct.pack(f"{order}HHLHH", 262, 3, 1, photometric, 0)
    bits = struct.pack(f"{order}HHLHH", 258, 3, 1, fields[258], 0)
    entries = entries[:24] + bits + entries[36:48] + short + entries[60:]
    return start + entries + struct.pack(f"{order}L", 0) + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_of_either_byte_order_of_which_zero_is_black_or_white(order, kind):
    pixels = GREY.astype(kind) * (1 if kind is np.uint8 else 201)
    full = np.iinfo(kind).max
    shown = pixels.astype(int) * (65535 // full)
    np.testing.assert_array_equal(read_picture(_tiff(pixels, order, 1)).matrix, shown)
    turned = read_picture(_tiff(full - pixels, order, 0))
    np.testing.assert_array_equal(turned.matrix, shown)
    assert "white_is_zero" in turned.flags
    assert "white_is_zero" not in read_picture(_tiff(pixels, order, 1)).flags


def test_sixteen_bits_with_colour_or_transparency_are_refused_and_not_cut_to_eight():
    row = struct.pack(">HHHH", 3000, 3000, 3000, 65535)
    for colours, channels in ((2, 3), (4, 2), (6, 4)):
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, colours, 0, 0, 0))
        line = b"\0" + 2 * row[: 2 * channels]
        data = _chunk(b"IDAT", zlib.compress(2 * line)) + _chunk(b"IEND", b"")
        with pytest.raises(UnusableFile, match="16-bit greyscale without alpha"):
            read_picture(b"\x89PNG\r\n\x1a\n" + header + data)
    content = bytearray(_tiff(GREY.astype(np.uint16), "<", 1))
    struct.pack_into("<H", content, 8 + 2 + 12 * 6 + 8, 2)  # a second sample
    struct.pack_into("<H", content, 8 + 2 + 12 * 6 + 2, 3)
    with pytest.raises(UnusableFile, match="16-bit greyscale without alpha"):
        read_picture(bytes(content))


def test_colour_becomes_luma_and_is_flagged():
    colours = np.zeros((10, 10, 3), np.uint8)
    colours[2:5, 2:5] = (255, 0, 0)
    colours[6:8, 6:8] = (0, 255, 0)
    scintigram = read_picture(_bytes(Image.fromarray(colours)))
    assert scintigram.flags == ("colour",)
    assert scintigram.matrix[3, 3] / 257 == pytest.approx(0.299 * 255, abs=1)
    assert scintigram.matrix[6, 6] / 257 == pytest.approx(0.587 * 255, abs=1)


def test_transparent_is_black_and_exif_orientation_is_followed():
    layered = np.full((4, 4, 4), 200, np.uint8)
    layered[1:3, 1:3, 3] = 255
    layered[0] = 0
    levels = _levels(_bytes(Image.fromarray(layered)))
    assert levels[1, 1] == 200
    assert levels[0, 0] == 0
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned = _levels(_bytes(Image.fromarray(GREY), exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(GREY, -1))


def test_light_background_is_flagged():
    assert read_picture(_bytes(Image.fromarray(255 - GREY))).flags == ("light_background",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "neither DICOM nor"),
        (b"hello, this is text", "neither DICOM nor"),
        (_bytes(Image.fromarray(GREY))[:60], "damaged"),
        (_bytes(Image.fromarray(GREY), "JPEG")[:200], "neither DICOM nor|damaged"),
        (_bytes(Image.new("L", (9, 9), 80)), "every pixel has the same value"),
        (_bytes(Image.fromarray(GREY), "GIF"), "neither DICOM nor"),
        (_bytes(Image.fromarray(GREY / np.float32(9)), "TIFF"), "not 8- or 16-bit"),
        (
            _bytes(Image.fromarray(GREY), "TIFF", save_all=True,
                   append_images=[Image.fromarray(GREY)]),
            "several pages",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used(content, sentence):
    with pytest.raises(UnusableFile, match=sentence):
        read_picture(content)


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_decompression_bombs_are_refused_unread(monkeypatch):
    small = _bytes(Image.fromarray(GREY))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(PngImageFile, "load", lambda *_: pytest.fail("decoded"))
    for side in (4_001, 60_000):  # below and beyond Pillow's own limit
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        data = _chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + _chunk(b"IEND", b"")
        with pytest.raises(UnusableFile, match="more than 16,000,000 pixels; crop or shrink"):
            read_picture(b"\x89PNG\r\n\x1a\n" + header + data)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 599)
    with pytest.raises(UnusableFile, match="crop or shrink"):
        read_picture(small)


def _display(matrix: np.ndarray) -> Scintigram:
    return Scintigram(matrix=matrix.astype(np.int64), kind="display", pixel_mm=None)


def test_fitting_averages_areas_and_keeps_the_aspect():
    matrix = np.random.default_rng(0).integers(0, 60_000, (60, 120))
    matrix[0] = matrix[-1] = matrix[:, 0] = matrix[:, -1] = 77
    stored = bring_to_grid(_display(matrix), size=40, pixel_mm=2.0)
    blocks = matrix.reshape(20, 3, 40, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(stored.matrix[10:30], blocks, atol=1)
    assert (stored.matrix[:10] == 77).all()
    assert (stored.matrix[30:] == 77).all()
    assert stored.outside == 0
    assert stored.flags == ("padded",)


def test_enlarging_stays_within_full_scale_and_the_same_size_changes_nothing():
    steep = np.zeros((8, 8))
    steep[2:6, 2:6] = 65_535
    stored = bring_to_grid(_display(steep), size=32, pixel_mm=2.0)
    assert stored.matrix.dtype == np.uint16
    assert stored.matrix.max() == 65_535  # clipped, not wrapped round
    assert stored.matrix.min() == 0
    assert (np.abs(np.diff(stored.matrix.astype(int), axis=0)) < 30_000).all()
    assert "saturated" in stored.flags
    same = bring_to_grid(_display(steep), size=8, pixel_mm=2.0)
    np.testing.assert_array_equal(same.matrix, steep)
