"""PNG, JPEG and TIFF: display-scaled intensities, of unknown pixel size."""

import io
import struct
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from thyroid.data.codestream import require_few_scans
from thyroid.data.scintigram import FULL_SCALE, SIMULATOR, Scintigram, UnusableFile, border

FORMATS = ("PNG", "JPEG", "TIFF")
MOST_PIXELS = 16_000_000  # a screenshot of a 4K display has 8 million; 400 MB while it is read
TIFF_BYTES = (1, 2, 7)  # kinds of fields that are bytes and stay so: text, profiles
MOST_VALUES = 2**18  # of a TIFF field: strips, tiles of 16 x 16, a palette of 16 bits
COLOUR_TOLERANCE = 24  # levels of 255 by which JPEG's channels of a grey picture may differ


def read_picture(content: bytes) -> Scintigram:
    """Brightness of a picture, full scale at 65,535 whatever its depth.

    Colour is reduced to luma (ITU-R 601) and flagged, transparency is laid over black, EXIF
    orientation is followed.

    Raises
    ------
    UnusableFile : no picture, a damaged or blank one, several pages, or too many pixels.
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
    """Refuse what costs far more time or memory than its size tells, before it is opened."""
    if content.startswith(b"\xff\xd8"):
        require_few_scans(content)
    elif content.startswith((b"II", b"MM")):
        order = "<" if content.startswith(b"II") else ">"
        magic, at = struct.unpack_from(f"{order}HL", content, 2)
        if magic != 42:
            raise UnusableFile("it is no TIFF of the usual kind; save it as PNG")
        for field in range(struct.unpack_from(f"{order}H", content, at)[0]):
            kind, values = struct.unpack_from(f"{order}HL", content, at + 4 + 12 * field)
            if kind not in TIFF_BYTES and values > MOST_VALUES:
                raise UnusableFile(f"a field of it has more than {MOST_VALUES:,} values")


def _require_alone(picture: Image.Image) -> None:
    try:
        picture.seek(1)  # to count the pages takes as long as their number squared
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
            if _is_coloured(np.asarray(colours)):
                flags.append("colour")
            grey = colours.convert("L")
        matrix = np.asarray(grey).astype(np.int64) * (FULL_SCALE // 255)
    if matrix.min() == matrix.max():
        raise UnusableFile("every pixel has the same value")
    if np.median(border(matrix)) > matrix.max() / 2:
        flags.append("light_background")
    return Scintigram(matrix=matrix, kind="display", pixel_mm=None, flags=tuple(flags))


def _deep(picture: Image.Image) -> npt.NDArray[np.int64]:
    """16-bit values as they are. Deeper ones have no known full scale."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > FULL_SCALE:
        raise UnusableFile("its values are not 8- or 16-bit intensities; save it as 16-bit PNG")
    return values.astype(np.int64)


def _is_coloured(colours: npt.NDArray[np.uint8]) -> bool:
    """(rows, columns, 3): whether more than a hundredth of the pixels are clearly not grey."""
    spread = colours.max(axis=2).astype(np.int16) - colours.min(axis=2)
    return bool((spread > COLOUR_TOLERANCE).mean() > 0.01)
