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
TIFF_STARTS = (b"II", b"MM")
BITS, PHOTOMETRIC, SAMPLES = 258, 262, 277  # TIFF tags
TIFF_SHORT = 3
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
            white_is_zero = _is_white_zero(content)
            content, inverted = _black_is_zero(content) if white_is_zero else (content, False)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                flags = ["white_is_zero"] if white_is_zero else []
                return _intensities(picture, flags, inverted=inverted)
    except UnusableFile:
        raise
    except UnidentifiedImageError:
        raise UnusableFile("it is neither DICOM nor a PNG, JPEG or TIFF picture") from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # a decoder may raise any error on damaged bytes
        raise UnusableFile(f"the picture is damaged ({type(error).__name__})") from None


def _too_large() -> UnusableFile:
    return UnusableFile(f"it has more than {MOST_PIXELS:,} pixels; crop or shrink it")


def _require_sensible(content: bytes) -> None:
    """Refuse files that cost far more time or memory than their size suggests."""
    if content.startswith(b"\xff\xd8"):
        require_few_scans(content)
    elif content.startswith(b"\x89PNG"):
        depth, colours = content[24:26]
        if depth == 16 and colours != 0:
            raise _too_deep()
    elif content.startswith(TIFF_STARTS):
        fields = _tiff_fields(content)
        for kind, values, _ in fields.values():
            if kind not in TIFF_BYTES and values > MOST_VALUES:
                raise UnusableFile(f"one of its TIFF fields has more than {MOST_VALUES:,} values")
        samples = _tiff_number(content, fields, SAMPLES)
        if samples != 1 and _tiff_number(content, fields, BITS) == 16:
            raise _too_deep()


def _too_deep() -> UnusableFile:
    return UnusableFile(
        "it has 16 bits with colour or transparency, and 8 of these bits would be lost; "
        "save it as 16-bit greyscale without alpha"
    )


def _tiff_fields(content: bytes) -> dict[int, tuple[int, int, int]]:
    """Return tag -> (type, number of values, offset of its value) of a TIFF file."""
    order = _order(content)
    magic, at = struct.unpack_from(f"{order}HL", content, 2)
    if magic != 42:
        raise UnusableFile("it is an unusual kind of TIFF; save it as PNG")
    fields = {}
    for field in range(struct.unpack_from(f"{order}H", content, at)[0]):
        offset = at + 2 + 12 * field
        tag, kind, values = struct.unpack_from(f"{order}HHL", content, offset)
        fields[tag] = (kind, values, offset + 8)
    return fields


def _order(content: bytes) -> str:
    return "<" if content.startswith(b"II") else ">"


def _tiff_number(content: bytes, fields: dict[int, tuple[int, int, int]], tag: int) -> int:
    """Return the first of a field's 16-bit numbers; 1, its default, where there is none."""
    kind, values, offset = fields.get(tag, (0, 0, 0))
    if kind != TIFF_SHORT or not values:
        return 1
    order = _order(content)
    if values > 2:  # then the field has the offset of the values
        (offset,) = struct.unpack_from(f"{order}L", content, offset)
    return int(struct.unpack_from(f"{order}H", content, offset)[0])


def _is_white_zero(content: bytes) -> bool:
    """Return whether a picture is a TIFF whose zero is white."""
    if not content.startswith(TIFF_STARTS):
        return False
    fields = _tiff_fields(content)
    return PHOTOMETRIC in fields and _tiff_number(content, fields, PHOTOMETRIC) == 0


def _black_is_zero(content: bytes) -> tuple[bytes, bool]:
    """Return the content that Pillow can open, and whether the caller must invert its values.

    `content` is a TIFF whose zero is white. Pillow inverts values of other depths, but leaves
    16-bit values as they are, or cannot open the file. A 16-bit TIFF is therefore returned with its
    zero marked as black.
    """
    fields = _tiff_fields(content)
    if _tiff_number(content, fields, BITS) != 16:
        return content, False
    changed = bytearray(content)
    struct.pack_into(f"{_order(content)}H", changed, fields[PHOTOMETRIC][2], 1)
    return bytes(changed), True


def _require_alone(picture: Image.Image) -> None:
    try:
        picture.seek(1)  # the time of counting pages grows with the square of their number
    except EOFError:
        return
    raise UnusableFile("it has several pages or frames; save the scintigram alone")


def _intensities(picture: Image.Image, flags: list[str], *, inverted: bool) -> Scintigram:
    if picture.width * picture.height > MOST_PIXELS:
        raise _too_large()
    _require_alone(picture)
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if str(picture.info.get("Software", "")).startswith(SIMULATOR):
        flags.append("simulated")
    if picture.mode.startswith("I") or picture.mode == "F":
        matrix = _deep(picture)
        matrix = FULL_SCALE - matrix if inverted else matrix
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
