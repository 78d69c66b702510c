"""Values of a DICOM header, which pydicom gives as lists, plain values or None."""

import functools
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom import Dataset as Header
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from thyroid.data.scintigram import UnusableFile


@functools.cache
def tag_of(name: str) -> BaseTag:
    """Return the tag of an element."""
    return BaseTag(tag_for_keyword(name) or 0)


def get(header: Header, name: str) -> Any:
    """Return an element's value, or None: like Dataset.get, but in a fifth of the time."""
    tag = tag_of(name)
    return header[tag].value if tag in header else None


def text(header: Header, name: str) -> str:
    """Return an element's text, "" if there is none.

    Most texts are plain ASCII; these are read without the conversion of `get`, in a tenth of the
    time.
    """
    tag = tag_of(name)
    if tag not in header:
        return ""
    raw = header.get_item(tag)
    stored = raw.value if isinstance(raw, RawDataElement) else None
    if isinstance(stored, bytes) and stored.isascii() and b"\x1b" not in stored:
        return stored.decode("ascii").strip(" \0")
    value = header[tag].value
    return "" if value is None else str(value)


def values(value: Any) -> Sequence[Any]:
    """Return an element's values as a sequence; pydicom gives a list, a plain value or None."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]


def integer(value: Any) -> int | None:
    """Return an element's value as a number; None if it is empty."""
    return None if value in (None, "") else int(value)


def items(header: Header, name: str) -> Sequence[Header]:
    """Return the items of a sequence; none if there is no such sequence."""
    sequence = get(header, name)
    return sequence if isinstance(sequence, Sequence) else []


def vector(header: Header, name: str, count: int, described: int = 0) -> list[int] | None:
    """Return one number per frame, from 1, or None if the file has no such vector.

    Parameters
    ----------
    described : number of items that the header describes; 0 where it describes none.

    Raises
    ------
    UnusableFile : the vector has another length than `count` and its numbers differ, as after a
        frame was taken out of the file; or it names items that the header does not describe, as a
        vector does that counts from 0.
    """
    numbers = [int(value) for value in values(get(header, name))]
    if len(numbers) == count:
        if (
            described
            and len(set(numbers)) > 1
            and not 1 <= min(numbers) <= max(numbers) <= described
        ):
            raise UnusableFile(
                f"its {name} has numbers that its header does not describe; correct it"
            )
        return numbers
    if len(set(numbers)) > 1:
        raise UnusableFile(
            "its header describes another number of frames than it has, as if frames had been "
            "taken out, and does not say which ones are left; export it again"
        )
    return numbers[:1] * count or None
