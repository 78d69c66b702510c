"""Reader for all supported files, which are recognised by their content."""

from pathlib import Path

from thyroid.data.dicom_reader import read_dicom
from thyroid.data.pictures import read_picture
from thyroid.data.scintigram import Scintigram, UnusableFile

PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8", b"II", b"MM")
BARE_DICOM_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # files without the DICM preamble
ABSENT, UNREADABLE = "there is no such file", "it cannot be read"  # may be temporary
MOST_BYTES = 128 * 2**20  # as large as the largest uncompressed picture or DICOM file


def read_scintigram(path: Path) -> Scintigram:
    """Read an NM DICOM file or a PNG, JPEG or TIFF picture, whatever its name.

    Raises
    ------
    UnusableFile : the file cannot be used; the exception has the path and the reason.
    """
    return parse_scintigram(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Read all bytes of a file.

    Raises
    ------
    UnusableFile : the file cannot be read, is empty, or is too large to be a scintigram.
    """
    try:
        if not path.is_file():
            raise UnusableFile(ABSENT, path)
        if path.stat().st_size > MOST_BYTES:
            raise UnusableFile(f"it is larger than {MOST_BYTES // 2**20} MiB", path)
        content = path.read_bytes()
    except OSError as error:
        raise UnusableFile(f"{UNREADABLE} ({error.strerror})", path) from None
    if not content:
        raise UnusableFile("it is empty (0 bytes)", path)
    return content


def parse_scintigram(content: bytes, path: Path) -> Scintigram:
    """Parse a file's bytes as read_scintigram does; `path` only names it in errors."""
    try:
        if content[128:132] == b"DICM" or content.startswith(BARE_DICOM_STARTS):
            return read_dicom(content)
        if content.startswith(PICTURE_STARTS):
            return read_picture(content)
        raise UnusableFile("it is neither DICOM nor a PNG, JPEG or TIFF picture")
    except UnusableFile as unusable:
        raise UnusableFile(unusable.reason, path) from None
