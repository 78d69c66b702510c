"""The reading of one file. Imports no pandas, so that processes that read files start fast."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from thyroid.data.labels import LabelledFile
from thyroid.data.patient_names import spelled
from thyroid.data.reader import parse_scintigram, read_bytes
from thyroid.data.scintigram import UnusableFile, bring_to_grid, image_id
from thyroid.errors import InputError

UNKNOWN_CENTRE = "unknown"
# up to 3 characters, or up to 16 with a digit: hospitals have other names
CENTRE_CODE = re.compile(r"(?=.*[0-9]|.{1,3}$)[A-Za-z0-9_.-]{1,16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A file that was not imported."""

    file: str
    """Path relative to the source folder."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """Facts about an imported file. They include identities; see thyroid.data.unfinished."""

    image_id: str
    """Identifier; copies of an image have the same one until they are numbered."""
    file: str = field(repr=False)
    """Path relative to the source folder."""
    kind: Literal["counts", "display"]
    total_counts: int
    outside: int
    flags: tuple[str, ...]
    findings: tuple[str, ...]
    centre: str = field(repr=False)
    """Centre in labels.csv, or empty."""
    patient: str = field(repr=False)
    """Patient in one spelling; else the study, if that is named; else empty."""
    institution: str = field(repr=False)
    file_sha256: str = field(repr=False)


Reading = tuple[ImageRecord, npt.NDArray[np.uint16]] | Rejection
"""An image and its (size, size) matrix, or the reason why the file was not imported."""


def read_image(file: LabelledFile, *, size: int, pixel_mm: float) -> Reading:
    """Read one file and bring it to the data set's grid; depends on the arguments alone."""
    try:
        content = read_bytes(file.path)
        scintigram = parse_scintigram(content, file.path)
        stored = bring_to_grid(scintigram, size=size, pixel_mm=pixel_mm)
    except UnusableFile as unusable:
        return Rejection(file=file.name, reason=unusable.reason)
    except InputError as error:
        return Rejection(file=file.name, reason=str(error))
    if stored.matrix.min() == stored.matrix.max():
        return Rejection(file=file.name, reason="nothing of it lies in the stored field")
    own_patient = file.patient if file.patient_is_known else ""
    patient = spelled(own_patient or spelled(scintigram.patient) or file.patient)
    by_study = not patient and bool(scintigram.study)
    record = ImageRecord(
        image_id=image_id(stored.matrix),
        file=file.name,
        kind=scintigram.kind,
        total_counts=int(stored.matrix.sum()) if scintigram.kind == "counts" else 0,
        outside=stored.outside,
        flags=(*stored.flags, *(["patient_by_study"] if by_study else [])),
        findings=file.findings,
        centre=file.centre if is_code(file.centre) else _folded(file.centre),
        patient=f"study {scintigram.study}" if by_study else patient,
        institution=_folded(scintigram.institution),
        file_sha256=hashlib.sha256(content).hexdigest(),
    )
    return record, stored.matrix


def is_code(centre: str) -> bool:
    """Return whether the name of a centre is a code and not an institution's."""
    return centre == UNKNOWN_CENTRE or CENTRE_CODE.fullmatch(centre) is not None


def pack(reading: Reading) -> bytes:
    """Return a reading as bytes: a line of JSON and, for an image, its matrix."""
    result, matrix = reading if isinstance(reading, tuple) else (reading, np.empty(0))
    line = json.dumps(asdict(result)).encode() + b"\n"
    return line + matrix.astype("<u2").tobytes()


def unpack(content: bytes) -> Reading:
    """Return the reading that `pack` was given."""
    line, _, matrix = content.partition(b"\n")
    fields: dict[str, Any] = json.loads(line)
    if "reason" in fields:
        return Rejection(**fields)
    fields |= {name: tuple(fields[name]) for name in ("flags", "findings")}
    size = math.isqrt(len(matrix) // 2)
    return ImageRecord(**fields), np.frombuffer(matrix, dtype="<u2").reshape(size, size)


def _folded(name: str) -> str:
    """Return the name with its case folded and its white space normalised."""
    return " ".join(name.casefold().split())
