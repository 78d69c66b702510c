"""Finds the frames of a DICOM file that show the anterior view, by its header.

Codes, words, patient orientation and detector angles each allow some views; a frame may show the
views that all of them allow. A file is refused if they contradict each other, or if they name
several views or no anterior one. If no view is named, the file is accepted and flagged.
"""

import math
from collections.abc import Iterable, Sequence

from pydicom import Dataset as Header

from thyroid.data.header_values import get, items, text, values, vector
from thyroid.data.scintigram import UnusableFile
from thyroid.data.view_words import View, views_in

# SNOMED CT and the older SNOMED RT codes of DICOM context group 26 and of plain projections
VIEW_CODES: dict[str, View] = {
    "399321004": "anterior", "G-5215": "anterior", "399348003": "anterior", "R-10206": "anterior",
    "399001007": "posterior", "G-5216": "posterior", "272479007": "posterior",
    "R-10214": "posterior",
}  # fmt: skip
OTHER_CODES = frozenset((
    "399108003", "G-5206", "399074003", "G-5207", "399075002", "G-5208", "399136008",
    "G-5209", "399089007", "G-5210", "399273000", "G-5212", "399012007", "G-5220",
    "399300004", "G-5221", "399297009", "G-5222", "399118008", "G-5223", "399268006",
    "G-5224", "399159002", "G-5225", "49370004", "G-A104", "24422004", "G-A147",
    "81654009", "G-A138", "30730003", "G-A145", "62824007", "G-A117", "131185001",
    "G-A18A", "131186000", "G-A18B", "103340004", "G-A186", "399067008", "R-10202",
    "399069006", "R-10204", "399065000", "R-10208", "399064001", "R-1022D", "272460009",
    "R-10214A", "399356001", "R-10226", "399352003", "R-10228", "399182000", "R-1022A",
    "399361002", "R-1022B", "260421001", "260424009", "260426006", "260427002",
))  # fmt: skip
"""Oblique, lateral and axial views, also as codes of plain projections, and slices."""
EVERY: frozenset[View] = frozenset(("anterior", "posterior", "other"))
TEXTS = ("ImageID", "ViewPosition", "SeriesDescription")
LESS_TEXTS = ("ProtocolName", "ImageComments")
"""Read only if neither codes nor TEXTS name a view: these texts often describe several images."""
TOLERANCE = 25.0
"""Degrees by which an anterior view may differ from 0 or 180; cameras count from either."""
COSINE = math.cos(math.radians(TOLERANCE))


def anterior_frames(header: Header, count: int) -> tuple[list[int], tuple[str, ...]]:
    """Return which of `count` frames show the anterior view, and flags.

    Raises
    ------
    UnusableFile : no frame does, or the header does not say which one.
    """
    detectors = items(header, "DetectorInformationSequence")
    coded = [_coded(item) for item in detectors]
    numbers = vector(header, "DetectorVector", count, len(detectors))
    unsure = numbers is None and (len(set(coded)) > 1 or coded[1:] == coded[:1] == [EVERY])
    numbers = numbers or [0 if unsure else 1] * count
    of_frame = [coded[n - 1] if 1 <= n <= len(coded) else EVERY for n in numbers]
    several = len(set(numbers)) > 1
    said = _said(header, one_view=not several)
    if several:
        frames = [frame for frame, allowed in enumerate(of_frame) if allowed == {"anterior"}]
        if not frames:
            raise _nothing_says_which() if EVERY in of_frame else _no_anterior_view()
        if "anterior" not in said:
            raise _contradicts_itself()
    else:
        frames = list(range(count))
        view = of_frame[0] & said
        if view == EVERY and unsure:
            raise _nothing_says_which()
        if view == EVERY:
            return frames, _unnamed(header, detectors, numbers[0])
        if not view:
            raise _contradicts_itself()
        if "anterior" not in view:
            raise _no_anterior_view()
        if len(view) > 1:
            raise UnusableFile("its header names several views and does not say which one it shows")
    askew = any(_askew(detectors, numbers[frame]) for frame in frames)
    return frames, ("detector_angle",) if askew else ()


def _unnamed(header: Header, detectors: Sequence[Header], number: int) -> tuple[str, ...]:
    """Return the flags of a file whose view neither codes nor the usual texts name."""
    said = _in_texts(header, LESS_TEXTS)
    if "anterior" not in said or _askew(detectors, number):
        raise _no_anterior_view()
    return () if said == {"anterior"} else ("view_unnamed",)


def _no_anterior_view() -> UnusableFile:
    return UnusableFile("it shows no anterior view")


def _contradicts_itself() -> UnusableFile:
    return UnusableFile("its header names two views that exclude each other; correct it")


def _nothing_says_which() -> UnusableFile:
    return UnusableFile("nothing says which of its frames is the anterior view")


def _said(header: Header, *, one_view: bool) -> frozenset[View]:
    """Return the views that all statements about the whole file allow."""
    allowed = _in_texts(header, TEXTS)
    if one_view:
        allowed &= _coded(header) & _oriented(header)
    return allowed


def _in_texts(header: Header, names: Iterable[str]) -> frozenset[View]:
    allowed = EVERY
    for name in names:
        said = text(header, name)
        allowed &= (views_in(said) if said else EVERY) or EVERY
    return allowed


def _coded(item: Header) -> frozenset[View]:
    """Return the views that the view codes of a detector, or of the file, allow."""
    allowed = _facing(item)
    for code in items(item, "ViewCodeSequence"):
        allowed &= _of_code(code)
        for modifier in items(code, "ViewModifierCodeSequence"):
            if _of_code(modifier) == {"other"}:
                return frozenset(("other",))
    return allowed


def _of_code(code: Header) -> frozenset[View]:
    value = text(code, "CodeValue")
    known = VIEW_CODES.get(value, "other" if value in OTHER_CODES else None)
    in_words = views_in(text(code, "CodeMeaning")) or EVERY
    return in_words if known is None else in_words & {known}


def _oriented(header: Header) -> frozenset[View]:
    """Return the views that PatientOrientation allows.

    It names the patient's side at the right and at the bottom of the image. An anterior view has
    the patient's left at the right and the feet at the bottom: L, F.
    """
    sides = [str(value).upper() for value in values(get(header, "PatientOrientation"))]
    if len(sides) != 2 or not all(sides):
        return EVERY
    right, below = sides
    if {"A", "P"} & set(right) or below[0] in "AP":
        return frozenset(("other",))
    if right[0] not in "LR" or below[0] != "F":
        raise UnusableFile("by its PatientOrientation it is turned or upside down; correct it")
    return EVERY if right[0] == "L" else frozenset(("posterior",))


def _facing(item: Header) -> frozenset[View]:
    """Return the views that the ImageOrientationPatient of a detector, or of the file, allows.

    An orientation whose columns do not run along the patient is ignored: it is that of a slice.
    """
    given = [
        value for value in values(get(item, "ImageOrientationPatient")) if value not in ("", None)
    ]
    cosines = [float(value) for value in given]
    if len(cosines) != 6 or abs(cosines[5]) < COSINE:
        return EVERY
    if abs(cosines[0]) < COSINE:
        return frozenset(("other",))
    return EVERY if cosines[0] > 0 else frozenset(("posterior",))


def _askew(detectors: Sequence[Header], number: int) -> bool:
    """Return whether the detector looked at the patient from the side."""
    if not 1 <= number <= len(detectors):
        return False
    angle = values(get(detectors[number - 1], "StartAngle"))
    beyond = float(angle[0]) % 180 if angle else 0.0
    return min(beyond, 180 - beyond) > TOLERANCE
