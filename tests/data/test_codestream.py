"""A compressed frame that does not decode to its header's size is refused before it is decoded."""

import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    MPEG4HP41,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.data.make_dicom import nm_header
from tests.security.originals import COUNTS, encapsulated
from thyroid.data.dicom_reader import read_dicom
from thyroid.data.scintigram import UnusableFile

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


def _jpeg_2000() -> bytes:
    header = nm_header(COUNTS)
    header.compress(JPEG2000Lossless)
    return next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))


def _jpeg(rows: int = 64, columns: int = 64, frame_header: int = 0xC0) -> bytes:
    """A JPEG file of 64 x 64 pixels, whose frame header is changed to the given size."""
    file = io.BytesIO()
    Image.fromarray(COUNTS.astype(np.uint8)).save(file, "JPEG")
    start = file.getvalue().index(b"\xff\xc0")
    said = struct.pack(">HBHH", 11, 8, rows, columns)
    return _with(file.getvalue(), start, b"\xff" + bytes([frame_header]) + said)


def _with(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _rle(inflated: int) -> bytes:
    """Two segments of zeros."""
    segment = b"\x81\x00" * (inflated // 128)
    offsets = [2, 64, 64 + len(segment)]
    return struct.pack("<16L", *offsets, *[0] * 13) + 2 * segment


def test_jpeg_2000_and_padded_rle():
    np.testing.assert_array_equal(
        read_dicom(encapsulated(JPEG2000Lossless, _jpeg_2000())).matrix, COUNTS
    )
    header = nm_header(COUNTS)
    header.compress(RLELossless)
    frame = next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))
    np.testing.assert_array_equal(
        read_dicom(encapsulated(RLELossless, frame + bytes(8))).matrix, COUNTS
    )


def _long(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}L", *numbers)


BOMBS = {
    "JPEG 2000, 9000 x 9000": (
        "another size", JPEG2000Lossless,
        lambda: _with(_jpeg_2000(), 8, _long(9000, 9000, 0, 0, 9000, 9000)),
    ),
    "JPEG 2000, moved": (
        "another size", JPEG2000Lossless,
        lambda: _with(_jpeg_2000(), 8, _long(9000, 9000, 8936, 0, 9000, 9000)),
    ),
    "JPEG 2000, 16,384 samples": (
        "another size", JPEG2000Lossless, lambda: _with(_jpeg_2000(), 40, b"\x40\x00"),
    ),
    "JPEG 2000, 4,096 tiles": (
        "more than 1024 tiles", JPEG2000Lossless, lambda: _with(_jpeg_2000(), 24, _long(1, 1)),
    ),
    "JPEG 2000, no tiles": (
        "damaged", JPEG2000Lossless, lambda: _with(_jpeg_2000(), 24, _long(0, 0)),
    ),
    "JPEG 2000, wrapped": (
        "not the bare codestream", JPEG2000Lossless,
        lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + _jpeg_2000(),
    ),
    "JPEG": ("another size", JPEGBaseline8Bit, lambda: _jpeg(60_000, 60_000)),
    "JPEG, lossless": ("another size", JPEGLosslessSV1, lambda: _jpeg(60_000, 64, 0xC3)),
    "JPEG, lines told later": ("another size", JPEGLosslessSV1, lambda: _jpeg(0, 64, 0xC3)),
    "JPEG, hierarchical": ("damaged", JPEGLosslessSV1, lambda: _jpeg(64, 64, 0xDE)),
    "JPEG, two frame headers": (
        "another size", JPEGLosslessSV1, lambda: _jpeg()[:2] + b"\xff\xc3\0\x0b\x08"
        + struct.pack(">HH", 60_000, 60_000) + b"\1\1\x11\0" + _jpeg()[2:],
    ),
    "JPEG, hidden behind a marker without length": (
        "damaged", JPEGLosslessSV1, lambda: _jpeg()[:2] + b"\xff\xd0\0\x0d" + _jpeg()[2:],
    ),
    "JPEG, no end": ("damaged", JPEGBaseline8Bit, lambda: _jpeg()[:150]),
    "JPEG-LS": ("another size", JPEGLSLossless, lambda: _jpeg(60_000, 60_000, 0xF7)),
    "RLE": ("another size", RLELossless, lambda: _rle(2**20)),
    "RLE, no segments": ("damaged", RLELossless, lambda: bytes(64)),
    "MPEG": ("in an unusual way", MPEG4HP41, lambda: bytes(64)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(name, monkeypatch):
    sentence, syntax, frame = BOMBS[name]
    content = encapsulated(syntax, frame())
    decoded = property(lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", decoded)
    with pytest.raises(UnusableFile, match=sentence):
        read_dicom(content)


def test_more_frames_than_the_header_says_are_not_decoded(monkeypatch):
    content = encapsulated(JPEG2000Lossless, *[_jpeg_2000()] * 3)
    decoded = property(lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", decoded)
    with pytest.raises(UnusableFile, match="more frames than its header says"):
        read_dicom(content)
