"""Small files that would need gigabytes or hours are refused before they do."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.data.make_dicom import nm_header
from tests.security.originals import COUNTS, chunk, encapsulated, saved
from tests.security.reading import MOST_MEGABYTES, outcomes

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

LARGE = {"Rows": 2048, "Columns": 2048}
BYTES = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def _png(side: int, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data


def _scans(side: int, number: int) -> bytes:
    """A progressive JPEG whose last scan, a few bytes about the whole image, is repeated."""
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "JPEG", progressive=True)
    jpeg, end = file.getvalue()[:-2], b"\xff\xd9"
    return jpeg + jpeg[jpeg.rindex(b"\xff\xda") :] * number + end


def _tiff(*fields: tuple[int, int, int, int]) -> bytes:
    """Fields are (tag, kind, number of values, value)."""
    packed = b"".join(struct.pack("<HHLL", *field) for field in fields)
    header = struct.pack("<2sHLH", b"II", 42, 8, len(fields))
    return header + packed + bytes(4)  # no other page


def _pages(number: int) -> bytes:
    """Many pages of one pixel."""
    fields = ((256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8))
    page = _tiff(*fields)[8:-4]
    size = len(page) + 4
    places = range(8 + size, 8 + size * (number + 1), size)
    pages = b"".join(page + struct.pack("<L", following) for following in places)
    return struct.pack("<2sHL", b"II", 42, 8) + pages + page + bytes(4)


def _strips(number: int) -> bytes:
    size = [(256, 3, 1, 4000), (257, 3, 1, 4000), (258, 3, 1, 8), (262, 3, 1, 1)]
    return _tiff(*size, (273, 4, number, 74)) + bytes(4 * number)


def _jpeg_2000(coding: bytes) -> bytes:
    """A codestream of 2048 x 2048 pixels with other coding parameters (COD)."""
    header = nm_header(np.tile(COUNTS, (32, 32)))
    header.compress(JPEG2000Lossless)
    frame = header.PixelData[header.PixelData.index(b"\xff\x4f\xff\x51") :]
    start = frame.index(b"\xff\x52")
    end = start + 2 + int.from_bytes(frame[start + 2 : start + 4], "big")
    segment = b"\xff\x52" + struct.pack(">H", len(coding) + 2) + coding
    return frame[:start] + segment + frame[end:]


def _deflated() -> bytes:
    header = nm_header(COUNTS)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = saved(header)
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return content[:400] + deflate.compress(bytes(100_000_000)) + deflate.flush()


def _with_fragments(number: int) -> bytes:
    content = encapsulated(RLELossless, bytes(64))
    end = content.rindex(b"\xfe\xff\xdd\xe0")
    return content[:end] + b"\xfe\xff\x00\xe0\0\0\0\0" * number + content[end:]


def _rle(segment: bytes) -> bytes:
    return struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + 2 * segment


PRECINCTS = bytes([1, 0, 0, 1, 0, 5, 4, 4, 0, 1]) + bytes([0x11] * 6)
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png of 50,000 x 50,000": ("more than 16,000,000 pixels", lambda: _png(50_000)),
    "png with text of 100 MB": (
        "damaged",
        lambda: _png(10, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))),
    ),
    "jpeg of 60,000 x 60,000": (
        "more than 16,000,000 pixels",
        lambda: _scans(64, 0).replace(b"\0\x40\0\x40", b"\xea\x60\xea\x60"),
    ),
    "jpeg of 4,000 scans": ("more than 100 scans", lambda: _scans(4000, 4000)),
    "tiff of 50,000 x 50,000": (
        "more than 16,000,000 pixels",
        lambda: _tiff((256, 4, 1, 50_000), (257, 4, 1, 50_000), (258, 3, 1, 8), (262, 3, 1, 1),
                      (273, 4, 1, 8)),
    ),
    "tiff of 50,000 pages": ("several pages", lambda: _pages(50_000)),
    "tiff of 1,000,000 strips": ("more than 262,144 values", lambda: _strips(1_000_000)),
    "dicom of 65,535 x 65,535": (
        "more than 4,194,304 pixels in a frame",
        lambda: saved(nm_header(COUNTS, Rows=65_535, Columns=65_535)),
    ),
    "dicom of 2,147,483,647 frames": (
        "16,777,216 in all",
        lambda: saved(nm_header(COUNTS, NumberOfFrames=2**31 - 1)),
    ),
    "dicom of 5,000 frames of a pixel": (
        "more than 4,096 frames",
        lambda: saved(nm_header(np.zeros((5000, 1, 1), np.uint8))),
    ),
    "dicom with 50 MB of text": (
        "more than 16,777,216 bytes beside its pixels",
        lambda: saved(nm_header(COUNTS, ImageComments="ANT " * 12_500_000)),
    ),
    "dicom, deflated": ("deflated as a whole", _deflated),
    "dicom, rle of 4 GB": (
        "another size",
        lambda: encapsulated(RLELossless, _rle(b"\x81\0" * 4_000_000), **LARGE),
    ),
    "dicom, rle of nothing": (
        "more room than they would uncompressed",
        lambda: encapsulated(RLELossless, _rle(b"\x80" * 20_000_000), **LARGE),
    ),
    "dicom of 5,000,000 fragments": (
        "more room than they would uncompressed", lambda: _with_fragments(5_000_000),
    ),
    "dicom, jpeg of 4,000 scans": (
        "more than 100 scans",
        lambda: encapsulated(JPEGBaseline8Bit, _scans(2048, 4000), **LARGE, **BYTES),
    ),
    "dicom, jpeg 2000 of 5,000,000 precincts": (
        "precincts that are too small",
        lambda: encapsulated(JPEG2000Lossless, _jpeg_2000(PRECINCTS), **LARGE),
    ),
}  # fmt: skip


def test_bombs(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    for name, (_, content) in BOMBS.items():
        (folder / name).write_bytes(content())
    said, peak = outcomes(tmp_path / "work", str(folder))  # within SECONDS each
    for name, sentence in zip(sorted(BOMBS), said, strict=True):
        assert BOMBS[name][0] in sentence, f"{name}: {sentence}"
    assert peak < MOST_MEGABYTES


def test_what_the_limits_let_through(tmp_path: Path) -> None:
    """The largest files that are accepted, and those with the most parts."""
    folder = tmp_path / "large"
    folder.mkdir()
    counts = np.tile(COUNTS, (63, 63))[:4000, :4000]
    for kind in ("PNG", "TIFF"):
        Image.fromarray(counts * 3000).save(folder / kind, kind, compress_level=1)
    (folder / "JPEG of 90 scans").write_bytes(_scans(1000, 84))
    frames = np.tile(np.eye(16, dtype=np.uint16), (4096, 1, 1))
    dynamic = nm_header(frames, ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"])
    (folder / "dynamic").write_bytes(saved(dynamic))
    for name, syntax in (("RLE", RLELossless), ("JPEG 2000", JPEG2000Lossless)):
        static = nm_header(counts[:2048, :2048], PixelSpacing=[0.1, 0.1])
        static.compress(syntax)
        (folder / name).write_bytes(saved(static))
    said, peak = outcomes(tmp_path / "work", str(folder))
    outcome = dict(zip(sorted(path.name for path in folder.iterdir()), said, strict=True))
    assert outcome.pop("JPEG of 90 scans") == "'every pixel has the same value'"
    assert set(outcome.values()) == {"'read'"}, outcome
    assert peak < MOST_MEGABYTES
