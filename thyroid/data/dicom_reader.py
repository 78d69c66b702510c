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
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset as Header
from pydicom.encaps import generate_frames
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from thyroid.data.codestream import require_size
from thyroid.data.count_values import counts_of, require_counts
from thyroid.data.energy_windows import photopeak_frames
from thyroid.data.frame_views import anterior_frames
from thyroid.data.header_values import get, integer, tag_of, text, values, vector
from thyroid.data.not_a_patient import shows_no_patient
from thyroid.data.other_examination import other_examination
from thyroid.data.scintigram import SIMULATOR, Scintigram, UnusableFile

# pydicom's log and warnings quote header values, which may be names
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

# no other element is parsed: private elements, addresses and dates stay in the file; a patient's
# name is read only to recognise phantoms
ELEMENTS = (
    "ImageType", "SOPClassUID", "Modality", "InstitutionName", "StationName", "PatientID",
    "PatientName", "PatientSpeciesDescription", "StudyInstanceUID", "StudyDescription",
    "SeriesDescription", "ProtocolName", "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "ImageComments", "BodyPartExamined", "PatientOrientation", "CountsAccumulated", "CountsSource",
    "ViewPosition", "SamplesPerPixel", "PhotometricInterpretation", "PresentationLUTShape",
    "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "PixelIntensityRelationship", "RescaleIntercept",
    "RescaleSlope", "ModalityLUTSequence", "RealWorldValueMappingSequence", "EnergyWindowVector",
    "EnergyWindowInformationSequence", "RadiopharmaceuticalInformationSequence", "DetectorVector",
    "DetectorInformationSequence", "PhaseVector", "TimeSliceVector", "RotationVector",
    "AngularViewVector", "SliceVector", "RRIntervalVector", "TimeSlotVector", "ImageID",
    "ViewCodeSequence", "ImageOrientationPatient", "QualityControlImage", "LossyImageCompression",
    "PixelData", "SoftwareVersions",
)  # fmt: skip
TAGS: list[BaseTag | int | str | tuple[int, int]] = [tag_of(name) for name in ELEMENTS]
# cameras write 1024 x 256 pixels at most, or a few hundred frames of 128 x 128; reading the largest
# 16-bit file takes 100 MB in addition to the file, or 320 MB if its pixels are rescaled
MOST_PIXELS = 2**22  # in a frame: 2048 x 2048
MOST_PIXELS_IN_ALL = 2**24  # 1,024 frames of 128 x 128
MOST_FRAMES = 4096
MOST_BYTES_BESIDES = 2**24  # other than pixels: private copies of them, overlays
NOT_PLANAR_VECTORS = (
    "RotationVector", "AngularViewVector", "SliceVector", "RRIntervalVector", "TimeSlotVector",
)  # fmt: skip


NO_ACQUISITIONS = ("SCREEN", "CAPTURE", "MIP", "RESULT")  # beginnings of a value of ImageType
DYNAMIC_VECTORS = ("PhaseVector", "TimeSliceVector")


def read_dicom(content: bytes) -> Scintigram:
    """Read the anterior planar counts of an NM DICOM file.

    The frame is chosen by its view (frame_views) and its energy window (energy_windows), never by
    its position. count_values decides whether its values are counts.

    Raises
    ------
    UnusableFile : the file cannot be used; the exception has the reason.
    """
    if DeflatedExplicitVRLittleEndian.encode() in content:
        # pydicom would inflate all of it, to any size, before anything can be checked
        raise UnusableFile("it is deflated as a whole; export it uncompressed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=TAGS)
            if len(content) - len(get(header, "PixelData") or b"") > MOST_BYTES_BESIDES:
                raise UnusableFile(
                    f"it has more than {MOST_BYTES_BESIDES:,} bytes beside its pixels"
                )
            return _planar_counts(header)
    except UnusableFile:
        raise
    except Exception as error:  # a decoder may raise any error on damaged bytes
        raise UnusableFile(f"the DICOM file is damaged ({type(error).__name__})") from None


def _planar_counts(header: Header) -> Scintigram:
    acquisition = _acquisition(header)
    reason = shows_no_patient(header)
    if reason:
        raise UnusableFile(reason)
    read = counts_of(header, _decode(header))
    chosen, flags = _chosen(header, len(read.frames), acquisition)
    counts = read.frames[chosen].sum(axis=0, dtype=np.int64)  # (rows, columns)
    if counts.min() == counts.max():
        raise UnusableFile("every pixel has the same value")
    of_counts = require_counts(header, counts, verified=read.verified)
    return Scintigram(
        matrix=counts,
        kind="counts",
        pixel_mm=_pixel_mm(header),
        flags=(*flags, *read.flags, *of_counts),
        patient=text(header, "PatientID").strip(),
        study=text(header, "StudyInstanceUID").strip(),
        institution=text(header, "InstitutionName").strip() or text(header, "StationName").strip(),
    )


def _chosen(header: Header, count: int, acquisition: str) -> tuple[list[int], list[str]]:
    """Return the frames to sum (a single one unless the acquisition is dynamic), and flags."""
    for name in DYNAMIC_VECTORS:
        vector(header, name, count)  # refuses a vector that describes another number of frames
    frames, of_view = anterior_frames(header, count)
    frames, of_window = photopeak_frames(header, count, frames)
    if len(frames) > 1 and acquisition != "DYNAMIC":
        raise UnusableFile(
            "several of its frames could be the anterior view; export the one to use"
        )
    flags = {
        "simulated": text(header, "SoftwareVersions").startswith(SIMULATOR),
        "whole_body": acquisition == "WHOLE BODY",
        "summed_dynamic": acquisition == "DYNAMIC",
        "other_examination": other_examination(header),
    }
    return frames, [*(name for name, holds in flags.items() if holds), *of_view, *of_window]


def _acquisition(header: Header) -> str:
    """Return STATIC, WHOLE BODY or DYNAMIC; refuse everything else."""
    if get(header, "Modality") != "NM":
        raise UnusableFile("its Modality is not NM (nuclear medicine)")
    if "PixelData" not in header:
        raise UnusableFile("it has no pixels")
    image_type = {str(value).upper() for value in values(get(header, "ImageType"))}
    for word in ("TOMO", "GATED"):
        if any(word in value for value in image_type):
            raise UnusableFile(f"it is a {word} acquisition, not a planar scintigram")
    if any(value.startswith(NO_ACQUISITIONS) for value in image_type):
        raise UnusableFile("its ImageType names a screenshot or a result, not an acquisition")
    if any(tag_of(name) in header for name in NOT_PLANAR_VECTORS):
        raise UnusableFile("its frames are angles, slices or gated phases, not a planar scintigram")
    for kind in ("WHOLE BODY", "DYNAMIC"):
        if kind in image_type:
            return kind
    dynamic = any(tag_of(name) in header for name in DYNAMIC_VECTORS)
    return "DYNAMIC" if dynamic and "STATIC" not in image_type else "STATIC"


def _decode(header: Header) -> npt.NDArray[np.integer]:
    """Decode stored values, (frames, rows, columns), in the file's integer type."""
    if header.SamplesPerPixel != 1:
        raise UnusableFile(
            "it is a colour screenshot, not counts; export it as PNG to import it as a picture"
        )
    if get(header, "LossyImageCompression") == "01":
        raise UnusableFile("it was compressed with loss, so its pixels are not counts any more")
    if get(header, "PixelIntensityRelationship") in ("LOG", "SQRT", "DISP"):
        raise UnusableFile("its values were changed by a curve, so they are not counts")
    _require_sizes(header)
    plain = _plain_pixels(header)
    frames: npt.NDArray[Any] = header.pixel_array if plain is None else plain
    return frames.reshape(-1, header.Rows, header.Columns)


def _plain_pixels(header: Header) -> npt.NDArray[Any] | None:
    """Return the pixels, flat, of the most common kind of file; None for other kinds.

    This takes a tenth of the time of pydicom's `pixel_array`.
    """
    bits, count = header.BitsAllocated, integer(get(header, "NumberOfFrames")) or 1
    if (
        header.file_meta.TransferSyntaxUID not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        or bits not in (8, 16, 32)
        or (header.BitsStored, header.HighBit) != (bits, bits - 1)
        or header.PixelRepresentation not in (0, 1)
        or len(header.PixelData) != count * header.Rows * header.Columns * bits // 8
    ):
        return None
    kind = "i" if header.PixelRepresentation else "u"
    return np.frombuffer(header.PixelData, dtype=f"<{kind}{bits // 8}")


def _require_sizes(header: Header) -> None:
    """Refuse pixels that would take too much memory, before decoding anything."""
    count = integer(get(header, "NumberOfFrames")) or 1
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


def _pixel_mm(header: Header) -> tuple[float, float]:
    spacing = [float(value) for value in values(get(header, "PixelSpacing"))]
    if len(spacing) != 2 or not all(0.1 <= value <= 20 for value in spacing):
        raise UnusableFile(
            "it has no PixelSpacing between 0.1 and 20 mm; correct the header, "
            "or export it as PNG to import it as a picture"
        )
    return spacing[0], spacing[1]
