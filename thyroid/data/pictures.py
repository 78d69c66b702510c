"""PNG, JPEG and TIFF: display-scaled intensities with unknown pixel size."""

import io
import struct
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from thyroid.data.codestream import require_few_scans
from thyroid.data.scintigram import FULL_SCALE, SIMULATOR, Scintigram, UnusableFile, border

FORMATS = ("PNG", "JPEG", "TIFF")
MOST_PIXELS = 16_000_000  # a 4K screenshot has 8 million; reading it takes 400 MB
TIFF_BYTES = (1, 2, 7)  # types of fields that stay bytes: text, profiles
MOST_VALUES = 2**18  # in a TIFF field: strips, tiles of 16 x 16, a palette of 16 bits
COLOUR_TOLERANCE = 24  # levels of 255 by which channels of a grey JPEG may differ


def read_picture(content: bytes) -> Scintigram:
    """Read the brightness of a picture; full scale is 65,535 at any depth.

    Colour is reduced to luma (ITU-R 601) and flagged, transparency is laid over black, and EXIF
    orientation is applied.

    Raises
    ------
    UnusableFile : it is not a picture, is damaged or blank, or has several pages or too many
        pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings may quote metadata
            _require_sensible(content)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                return _intensities(picture)
    except UnusableFile:
        raise
    except UnidentifiedImageError:
        raise UnusableFile("it is neither DICOM nor a PNG, JPEG or TIFF picture") from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # damaged bytes raise whatever the decoder meets
        raise UnusableFile(f"the picture is damaged ({type(error).__name__})") from None


def _too_large() -> UnusableFile:
    return UnusableFile(f"it has more than {MOST_PIXELS:,} pixels; crop or shrink it")


def _require_sensible(content: bytes) -> None:
    """Refuse files that cost far more time or memory than their size suggests."""
    if content.startswith(b"\xff\xd8"):
        require_few_scans(content)
    elif content.startswith((b"II", b"MM")):
        order = "<" if content.startswith(b"II") else ">"
        magic, at = struct.unpack_from(f"{order}HL", content, 2)
        if magic != 42:
            raise UnusableFile("it is an unusual kind of TIFF; save it as PNG")
        for field in range(struct.unpack_from(f"{order}H", content, at)[0]):
            kind, values = struct.unpack_from(f"{order}HL", content, at + 4 + 12 * field)
            if kind not in TIFF_BYTES and values > MOST_VALUES:
                raise UnusableFile(f"one of its TIFF fields has more than {MOST_VALUES:,} values")


def _require_alone(picture: Image.Image) -> None:
    try:
        picture.seek(1)  # counting the pages takes time with the square of their number
    except EOFError:
        return
    raise UnusableFile("it has several pages or frames; save the scintigram alone")


def _intensities(picture: Image.Image) -> Scintigram:
    if picture.width * picture.height > MOST_PIXELS:
        raise _too_large()
    _require_alone(picture)
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    flags = []
    if str(picture.info.get("Software", "")).startswith(SIMULATOR):
        flags.append("simulated")
    if picture.mode.startswith("I") or picture.mode == "F":
        matrix = _deep(picture)
    else:
        if picture.mode in ("1", "L"):
            grey = picture.convert("L")
        else:
            colours = picture.convert("RGBA")
            black = Image.new("RGBA", colours.size, (0, 0, 0, 255))
            colours = Image.alpha_composite(black, colours).convert("RGB")
            if is_coloured(np.asarray(colours)):
                flags.append("colour")
            grey = colours.convert("L")
        matrix = np.asarray(grey).astype(np.int64) * (FULL_SCALE // 255)
    if matrix.min() == matrix.max():
        raise UnusableFile("every pixel has the same value")
    if np.median(border(matrix)) > matrix.max() / 2:
        flags.append("light_background")
    return Scintigram(matrix=matrix, kind="display", pixel_mm=None, flags=tuple(flags))


def _deep(picture: Image.Image) -> npt.NDArray[np.int64]:
    """Return 16-bit values unchanged; deeper ones have no known full scale and are refused."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > FULL_SCALE:
        raise UnusableFile("its values are not 8- or 16-bit intensities; save it as 16-bit PNG")
    return values.astype(np.int64)


def is_coloured(colours: npt.NDArray[np.uint8]) -> bool:
    """Return whether more than 1 % of the pixels, (rows, columns, 3), are clearly not grey."""
    spread = colours.max(axis=2).astype(np.int16) - colours.min(axis=2)
    return bool((spread > COLOUR_TOLERANCE).mean() > 0.01)
