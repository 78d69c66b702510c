"""Valid files of every kind, one for each way of writing it, to be changed by `mutations`."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.data.make_dicom import detectors, nm_header, windows
from thyroid.phantom.dicom_writer import nm_object
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import addresses, simulate

SIDE = 64
RNG = np.random.default_rng(7)
COUNTS = RNG.poisson(6.0, (SIDE, SIDE)).astype(np.uint16)
UID = "1.2.826.0.1.3680043.8.498.1"  # the same in every run
GREY = RNG.integers(0, 200, (40, 50)).astype(np.uint8)


def originals() -> dict[str, bytes]:
    """The files by names that say how they are written."""
    return {**_dicom(), **_pictures()}


def _dicom() -> dict[str, bytes]:
    files = {"phantom": _phantom()}
    dynamic = nm_header(
        RNG.poisson(4.0, (4, 16, 12)).astype(np.uint16),
        ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"],
        DetectorVector=[1, 2, 1, 2],
        DetectorInformationSequence=detectors("anterior", "posterior"),
        EnergyWindowVector=[1, 1, 1, 1],
        EnergyWindowInformationSequence=windows((126, 154)),
    )
    files["dynamic"] = saved(dynamic)
    bare = io.BytesIO()
    header = nm_header(COUNTS, RescaleSlope=2, RescaleIntercept=1, SOPInstanceUID=UID)
    header.preamble, header.file_meta = None, pydicom.dataset.FileMetaDataset()
    header.save_as(bare, implicit_vr=True, little_endian=True)
    files["implicit"] = bare.getvalue()
    big = nm_header(COUNTS, SOPInstanceUID=UID)
    big.file_meta.MediaStorageSOPInstanceUID = UID
    big.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    big.PixelData = COUNTS.astype(">u2").tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, big, implicit_vr=False, little_endian=False, force_encoding=True)
    files["big endian"] = file.getvalue()
    for name, syntax in (("RLE", RLELossless), ("JPEG 2000", JPEG2000Lossless)):
        header = nm_header(COUNTS)
        header.compress(syntax)
        files[name] = saved(header)
    file = io.BytesIO()
    Image.fromarray(COUNTS.astype(np.uint8) * 8).save(file, "JPEG")
    depth = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    jpeg = encapsulated(JPEGBaseline8Bit, file.getvalue(), **depth)
    total = int(pydicom.dcmread(io.BytesIO(jpeg)).pixel_array.sum())
    files["JPEG"] = encapsulated(
        JPEGBaseline8Bit, file.getvalue(), **depth, CountsAccumulated=total
    )
    for name, syntax, test_file in (
        ("JPEG, lossless", JPEGLosslessSV1, "JPEG-LL.dcm"),
        ("JPEG-LS", JPEGLSLossless, "MR_small_jpeg_ls_lossless.dcm"),
        ("JPEG-LS, with loss", JPEGLSNearLossless, "JPEGLSNearLossless_16.dcm"),
    ):
        source = pydicom.dcmread(get_testdata_file(test_file))
        frame = next(generate_frames(source.PixelData, number_of_frames=1))
        size = {"Rows": source.Rows, "Columns": source.Columns}
        pixels = pydicom.dcmread(io.BytesIO(encapsulated(syntax, frame, **size))).pixel_array
        files[name] = encapsulated(syntax, frame, **size, CountsAccumulated=int(pixels.sum()))
    return files


def _phantom() -> bytes:
    preset = PRESETS["thyroid7"]
    images = addresses(preset, images_per_class=1, images_per_cross=0)[:1]
    return saved(nm_object(next(iter(simulate(preset, images, seed=0, posterior=True)))))


def encapsulated(syntax: str, *frames: bytes, **elements: int) -> bytes:
    """Return a DICOM file of compressed frames."""
    header = nm_header(COUNTS, **elements)
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate(list(frames))
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    return saved(header)


def saved(header: pydicom.Dataset) -> bytes:
    """The bytes of a DICOM file."""
    file = io.BytesIO()
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = UID
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _pictures() -> dict[str, bytes]:
    grey, deep = Image.fromarray(GREY), Image.fromarray(GREY.astype(np.uint16) * 201)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "PNG": _picture(grey, "PNG"),
        "PNG, palette": _picture(grey.convert("P"), "PNG"),
        "PNG, 16 bits": _picture(deep, "PNG", exif=exif),
        "PNG, interlaced": _interlaced(),
        "JPEG picture": _picture(grey, "JPEG", exif=exif),
        "JPEG picture, progressive": _picture(grey.convert("RGB"), "JPEG", progressive=True),
        "TIFF": _picture(deep, "TIFF"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        picture = grey.convert("1") if compression == "group4" else grey
        files[f"TIFF, {compression}"] = _picture(picture, "TIFF", compression=compression)
    return files


def _picture(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _interlaced() -> bytes:
    """8 x 8 in Adam7, which Pillow reads but does not write."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))  # (width, height)
    lines = b"".join(b"\0" + bytes(range(w)) for w, h in passes for _ in range(h))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
