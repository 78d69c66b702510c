"""Size checks of compressed frames, made before any decoder sees them.

A decoder allocates what the frame says, whatever the DICOM header says, so a kilobyte can ask for
gigabytes. Only frames that all decoders read in the same way are accepted; others are refused.
"""

import re
import struct
from collections.abc import Iterator

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from thyroid.data.scintigram import UnusableFile

# ITU-T T.81 table B.1, T.87: one frame header (SOF 0-3, 55) among tables, comments and application
# data; DICOM has no hierarchical frames, and no APP11, which may hold another codestream
JPEG_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}
JPEG_TABLES = {0xC4, 0xCC, 0xDB, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)} - {0xEB}
JPEG_SCAN = 0xDA
MOST_SCANS = 100  # a scan of a few bytes makes a decoder go over the whole image
JPEG_SCAN_START = b"\xff\xda"

# ITU-T T.800 table A.2: markers of main and tile headers, and those at their ends: SOT, SOD
JPEG_2000_SEGMENTS = {0x51, 0x52, 0x53, 0x55, 0x57, 0x58, *range(0x5C, 0x62), 0x63, 0x64}
JPEG_2000_ENDS = {0x90, 0x93}
JPEG_2000_TILE = re.compile(rb"(?=\xff\x90\x00\x0a)")  # SOT, 12 bytes; other data never contains it
JPEG_2000_CODING = {0x52: (4, 14), 0x53: (5, 11)}  # COD, COC: offsets of style and precincts
MOST_TILES = 1024  # a decoder keeps kilobytes for each
LEAST_PRECINCT = 4  # 16 x 16 pixels: a decoder keeps hundreds of bytes for each


def require_size(frame: bytes, syntax: UID, *, rows: int, columns: int) -> None:
    """Refuse a frame that does not decode to (rows, columns) pixels of one sample.

    Raises
    ------
    UnusableFile : the frame has another size, or its size is unclear.
    ValueError, IndexError, struct.error, ZeroDivisionError : the frame is damaged.
    """
    if syntax == RLELossless:
        # a segment is one plane of bytes; some writers pad it
        agrees = max(_rle_lengths(frame)) <= 2 * rows * columns
    elif syntax in JPEG2000TransferSyntaxes:
        agrees = _jpeg_2000_size(frame) == (rows, columns, 1)
        if min(_precincts(frame), default=LEAST_PRECINCT) < LEAST_PRECINCT:
            raise UnusableFile("its JPEG 2000 pixels are cut into precincts that are too small")
    elif syntax in JPEGTransferSyntaxes + JPEGLSTransferSyntaxes:
        agrees = _jpeg_sizes(frame) == [(rows, columns, 1)]
        require_few_scans(frame)
    else:
        raise UnusableFile("it is compressed in an unusual way; export it uncompressed")
    if not agrees:
        raise UnusableFile("its compressed pixels are of another size than its header says")


def require_few_scans(jpeg: bytes) -> None:
    """Refuse a JPEG file or frame with more scans than any encoder writes.

    Raises
    ------
    UnusableFile : it has more than MOST_SCANS scans.
    """
    if jpeg.count(JPEG_SCAN_START) > MOST_SCANS:
        raise UnusableFile(f"its JPEG pixels are coded in more than {MOST_SCANS} scans")


def _jpeg_sizes(frame: bytes) -> list[tuple[int, int, int]]:
    """Return (rows, columns, samples) of each frame header before the first scan."""
    sizes, at = [], 2
    while (marker := frame[at + 1]) != JPEG_SCAN:
        if frame[at] != 0xFF or marker not in JPEG_FRAME | JPEG_TABLES:
            raise ValueError("no JPEG marker")
        if marker in JPEG_FRAME:
            sizes.append(struct.unpack_from(">HHB", frame, at + 5))
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return sizes


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int]:
    """Return (rows, columns, samples) of the SIZ marker, which comes first (ITU-T T.800, A.5.1)."""
    if not frame.startswith(b"\xff\x4f\xff\x51"):
        raise UnusableFile(
            "its JPEG 2000 pixels are not the bare codestream that DICOM requires; export it "
            "uncompressed"
        )
    right, bottom, left, top, tile_columns, tile_rows, tile_left, tile_top, samples = (
        struct.unpack_from(">8LH", frame, 8)
    )
    tiles = -(-(right - tile_left) // tile_columns) * -(-(bottom - tile_top) // tile_rows)
    if tiles > MOST_TILES:
        raise UnusableFile(f"its JPEG 2000 pixels are cut into more than {MOST_TILES} tiles")
    return bottom - top, right - left, samples


def _precincts(frame: bytes) -> Iterator[int]:
    """Yield log2 of the widths and heights of precincts, where headers give them (A.6)."""
    for at in (2, *(tile.start() + 12 for tile in JPEG_2000_TILE.finditer(frame))):
        while (marker := frame[at + 1]) not in JPEG_2000_ENDS:
            if frame[at] != 0xFF or marker not in JPEG_2000_SEGMENTS:
                raise ValueError("no JPEG 2000 marker")
            segment = frame[at : at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")]
            if marker in JPEG_2000_CODING:
                style, sizes = JPEG_2000_CODING[marker]
                if segment[style] & 1:
                    for size in segment[sizes:]:
                        yield from (size & 15, size >> 4)
            at += len(segment)


def _rle_lengths(frame: bytes) -> list[int]:
    """Return the number of decoded bytes of each segment (DICOM PS3.5, annex G)."""
    number = int.from_bytes(frame[:4], "little")
    starts = struct.unpack_from(f"<{min(number, 15)}L", frame, 4)
    lengths = []
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        at, length = start, 0
        while at < end:
            code = frame[at]
            if code < 128:  # that many bytes and one more, unchanged
                length += min(code + 1, end - at - 1)
                at += code + 2
            elif code > 128:  # one byte, repeated
                length += 257 - code
                at += 2
            else:
                at += 1
        lengths.append(length)
    return lengths
