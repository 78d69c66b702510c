"""NM DICOM: the anterior planar view of a file, as photon counts.

The reader accepts what gamma cameras and archives really write: Modality NM under any SOP class,
signed and unsigned pixels of any depth, compressed or not, vectors as plain integers.

=====================  ========================================================================
ImageType, value 3     treatment
=====================  ========================================================================
STATIC, or none given  the one anterior frame in the photopeak, or a single frame of unnamed view
WHOLE BODY             the same, flagged: the data set's field is cut from its centre
DYNAMIC                the anterior frames are summed, flagged
TOMO, GATED, ...       unusable: projections, slices and phases are not planar scintigrams
=====================  ========================================================================
"""

import io
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset as Header
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from thyroid.data.codestream import require_size
from thyroid.data.scintigram import SIMULATOR, Scintigram, UnusableFile

# pydicom's log and warnings quote header values, which may be names
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

View = Literal["anterior", "posterior", "other"]

# no other element is parsed: private elements, names and dates stay in the file
ELEMENTS = (
    "ImageType", "SOPClassUID", "Modality", "InstitutionName", "StationName", "PatientID",
    "SeriesDescription", "CountsAccumulated", "ViewPosition", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
    "RescaleIntercept", "RescaleSlope", "EnergyWindowVector", "EnergyWindowInformationSequence",
    "DetectorVector", "DetectorInformationSequence", "PhaseVector", "TimeSliceVector",
    "RotationVector", "AngularViewVector", "SliceVector", "RRIntervalVector", "TimeSlotVector",
    "ImageID", "ViewCodeSequence", "LossyImageCompression", "PixelData", "SoftwareVersions",
)  # fmt: skip
# cameras write 1024 x 256 pixels at most, or a few hundred frames of 128 x 128; to read the largest
# 16-bit file takes 100 MB in addition to the file, or 320 MB if its pixels are rescaled
MOST_PIXELS = 2**22  # in a frame: 2048 x 2048
MOST_PIXELS_IN_ALL = 2**24  # 1,024 frames of 128 x 128
MOST_FRAMES = 4096
MOST_BYTES_BESIDES = 2**24  # other than pixels: private copies of them, overlays
NOT_PLANAR_VECTORS = (
    "RotationVector", "AngularViewVector", "SliceVector", "RRIntervalVector", "TimeSlotVector",
)  # fmt: skip

# SNOMED CT and the older SNOMED RT codes of DICOM context group 26 and of plain projections
VIEW_CODES: dict[str, View] = {
    "399321004": "anterior", "G-5215": "anterior", "399348003": "anterior", "R-10206": "anterior",
    "399001007": "posterior", "G-5216": "posterior", "272479007": "posterior",
    "R-10214": "posterior",
}  # fmt: skip
PHOTOPEAKS_KEV = (140.5, 159.0, 364.5)  # Tc-99m, I-123, I-131


def read_dicom(content: bytes) -> Scintigram:
    """Read the anterior planar counts of an NM DICOM file.

    The frame is chosen by the view of its detector (ViewCodeSequence, through DetectorVector) or,
    if all frames come from one detector, by the words in ImageID, SeriesDescription and
    ViewPosition; never by its position. CountsAccumulated, if given, must equal the pixel sum of
    the chosen frame, of all frames or of the first frame; otherwise the image is flagged, or
    refused if it has 8 bits.

    Raises
    ------
    UnusableFile : the file cannot be used; it has the reason.
    """
    if DeflatedExplicitVRLittleEndian.encode() in content:
        # pydicom would inflate all of it, to any size, before anything can be checked
        raise UnusableFile("it is deflated as a whole; export it uncompressed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(ELEMENTS))
            if len(content) - len(header.get("PixelData") or b"") > MOST_BYTES_BESIDES:
                raise UnusableFile(
                    f"it has more than {MOST_BYTES_BESIDES:,} bytes beside its pixels"
                )
            return _planar_counts(header)
    except UnusableFile:
        raise
    except Exception as error:  # damaged bytes raise whatever the decoder meets
        raise UnusableFile(f"the DICOM file is damaged ({type(error).__name__})") from None


def _planar_counts(header: Header) -> Scintigram:
    acquisition = _acquisition(header)
    frames = _decode(header)  # (frames, rows, columns)
    chosen = _anterior_frames(header, len(frames), acquisition)
    counts = frames[chosen].sum(axis=0, dtype=np.int64)  # (rows, columns)
    if counts.min() == counts.max():
        raise UnusableFile("every pixel has the same value")
    flags = []
    if str(header.get("SoftwareVersions") or "").startswith(SIMULATOR):
        flags.append("simulated")
    if acquisition == "WHOLE BODY":
        flags.append("whole_body")
    if len(chosen) > 1:
        flags.append("summed_dynamic")
    accumulated = _integer(header.get("CountsAccumulated"))
    sums = (counts.sum(), frames.sum(dtype=np.int64), frames[0].sum(dtype=np.int64))
    agrees = accumulated in sums
    if header.BitsStored <= 8 and not agrees:
        raise UnusableFile(
            "its 8-bit pixels do not sum to CountsAccumulated, so they are no counts; "
            "export it as PNG to import it as a picture"
        )
    if accumulated and not agrees:
        flags.append("counts_accumulated")
    return Scintigram(
        matrix=counts,
        kind="counts",
        pixel_mm=_pixel_mm(header),
        flags=tuple(flags),
        patient=str(header.get("PatientID") or "").strip(),
        institution=str(header.get("InstitutionName") or header.get("StationName") or "").strip(),
    )


def _acquisition(header: Header) -> str:
    """Return STATIC, WHOLE BODY or DYNAMIC; refuse everything else."""
    if header.get("Modality") != "NM":
        raise UnusableFile("its Modality is not NM (nuclear medicine)")
    if "PixelData" not in header:
        raise UnusableFile("it has no pixels")
    image_type = {str(value).upper() for value in _values(header.get("ImageType"))}
    for word in ("TOMO", "GATED"):
        if any(word in value for value in image_type):
            raise UnusableFile(f"it is a {word} acquisition, no planar scintigram")
    if any(name in header for name in NOT_PLANAR_VECTORS):
        raise UnusableFile("its frames are angles, slices or gated phases, no planar scintigram")
    for kind in ("WHOLE BODY", "DYNAMIC"):
        if kind in image_type:
            return kind
    dynamic = "PhaseVector" in header or "TimeSliceVector" in header
    return "DYNAMIC" if dynamic and "STATIC" not in image_type else "STATIC"


def _decode(header: Header) -> npt.NDArray[np.integer]:
    """Decode counts, (frames, rows, columns), in the file's integer type unless rescaled."""
    if header.SamplesPerPixel != 1:
        raise UnusableFile(
            "it is a colour screenshot, no counts; export it as PNG to import it as a picture"
        )
    if header.get("LossyImageCompression") == "01":
        raise UnusableFile("it was compressed with loss, so its pixels are no counts any more")
    _require_sizes(header)
    frames: npt.NDArray[Any] = header.pixel_array.reshape(-1, header.Rows, header.Columns)
    slope, intercept = (
        float(default if header.get(name) in (None, "") else header[name].value)
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if (slope, intercept) != (1, 0):
        rescaled = np.unique(frames) * slope + intercept
        if not np.allclose(np.rint(rescaled), rescaled, rtol=0, atol=1e-3):
            raise UnusableFile("its rescaled pixels are fractions, so they are no counts")
        frames = np.rint(frames * slope + intercept).astype(np.int64)
    if frames.min() < 0:
        raise UnusableFile("it has negative pixels, so something was subtracted from the counts")
    return frames


def _require_sizes(header: Header) -> None:
    """Refuse pixels that would take too much memory, before decoding anything."""
    count = _integer(header.get("NumberOfFrames")) or 1
    frame = header.Rows * header.Columns
    if frame > MOST_PIXELS or frame * count > MOST_PIXELS_IN_ALL:
        raise UnusableFile(
            f"it has more than {MOST_PIXELS:,} pixels in a frame, or {MOST_PIXELS_IN_ALL:,} in all"
        )
    if count > MOST_FRAMES:
        raise UnusableFile(f"it has more than {MOST_FRAMES:,} frames")
    if "TransferSyntaxUID" not in header.file_meta:
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        if len(header.PixelData) > count * (2 * frame * header.BitsAllocated // 8 + 2**16):
            raise UnusableFile("its compressed pixels take more room than they would uncompressed")
        frames = generate_frames(header.PixelData, number_of_frames=count)
        for number, compressed in enumerate(frames, start=1):
            if number > count:
                raise UnusableFile("it has more frames than its header says")
            require_size(compressed, syntax, rows=header.Rows, columns=header.Columns)


def _anterior_frames(header: Header, count: int, acquisition: str) -> list[int]:
    """Return the frames to sum: one, or those of a dynamic acquisition."""
    views = _views(header, count)
    frames = [i for i in range(count) if views[i] == "anterior"]
    if not frames:
        if None not in views:
            raise UnusableFile("it shows no anterior view")
        if set(views) != {None} or len(set(_vector(header, "DetectorVector", count))) > 1:
            raise UnusableFile("nothing says which of its frames is the anterior view")
        frames = list(range(count))
    frames = _photopeak(header, count, frames)
    if len(frames) > 1 and acquisition != "DYNAMIC":
        raise UnusableFile(
            f"{len(frames)} of its frames could be the anterior view; export the one to use"
        )
    return frames


def _views(header: Header, count: int) -> list[View | None]:
    """Return the view of each frame, or None where the file does not say."""
    detectors = header.get("DetectorInformationSequence") or []
    vector = _vector(header, "DetectorVector", count)
    by_code: dict[int, View | None] = {
        number: _coded_view(item) for number, item in enumerate(detectors, start=1)
    }
    views = [by_code.get(detector) for detector in vector]
    if set(views) == {None} and len(set(vector)) == 1:
        texts = (header.get(name) for name in ("ImageID", "SeriesDescription", "ViewPosition"))
        named = [_coded_view(header), *(_view_in_words(str(text or "")) for text in texts)]
        views = [next((view for view in named if view), None)] * count
    return views


def _coded_view(item: Header) -> View | None:
    for code in item.get("ViewCodeSequence") or []:
        known = VIEW_CODES.get(str(code.get("CodeValue", "")))
        return known or _view_in_words(str(code.get("CodeMeaning", "")))
    return None


def _view_in_words(text: str) -> View | None:
    """Return the view that a text names, or None if it names none or several.

    "Post" means posterior only at the end of the text, as it also means "after".
    """
    words = re.findall("[A-Z]+", text.upper().replace("POSTERO-ANTERIOR", "PA"))
    oblique = {"RAO", "LAO", "RPO", "LPO", "OBL", "LAT", "LATERAL"} & set(words)
    anterior = {"ANT", "ANTERIOR", "AP"} & set(words)
    posterior = {"POSTERIOR", "PA"} & set(words) or words[-1:] == ["POST"]
    if "OBLIQUE" in words:
        return "other"
    if bool(oblique) + bool(anterior) + bool(posterior) != 1:
        return None
    return "anterior" if anterior else "posterior" if posterior else "other"


def _photopeak(header: Header, count: int, frames: list[int]) -> list[int]:
    """Return the frames counted in the photopeak, if their energy windows differ."""
    window = _vector(header, "EnergyWindowVector", count)
    if len({window[i] for i in frames}) == 1:
        return frames
    windows = header.get("EnergyWindowInformationSequence") or []
    at_peak = [
        number
        for number, item in enumerate(windows, start=1)
        for limits in (item.get("EnergyWindowRangeSequence") or [])[:1]
        if any(
            float(limits.EnergyWindowLowerLimit) <= peak <= float(limits.EnergyWindowUpperLimit)
            for peak in PHOTOPEAKS_KEV
        )
    ]
    if len(at_peak) != 1:
        raise UnusableFile("it has several energy windows and nothing says which is the photopeak")
    return [i for i in frames if window[i] == at_peak[0]]


def _pixel_mm(header: Header) -> tuple[float, float]:
    spacing = [float(value) for value in _values(header.get("PixelSpacing"))]
    if len(spacing) != 2 or not all(0.1 <= value <= 20 for value in spacing):
        raise UnusableFile(
            "it has no PixelSpacing between 0.1 and 20 mm; correct the header, "
            "or export it as PNG to import it as a picture"
        )
    return spacing[0], spacing[1]


def _vector(header: Header, name: str, count: int) -> list[int]:
    """Return one number per frame: 1 for all if the file has no such vector of this length."""
    values = [int(value) for value in _values(header.get(name))]
    return values if len(values) == count else [1] * count


def _values(value: Any) -> Sequence[Any]:
    """Return an element's values as a sequence; pydicom has a list, a plain value or None."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]


def _integer(value: Any) -> int | None:
    return None if value in (None, "") else int(value)
