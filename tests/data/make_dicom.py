"""NM DICOM files as real cameras write them, for the tests of the reader and of import."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from thyroid.data.dicom_reader import read_dicom
from thyroid.data.scintigram import Scintigram, UnusableFile

NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
VIEWS = {"anterior": "399321004", "posterior": "399001007", "lao": "399074003"}

FIELD = np.full((128, 128), 8.0)
FIELD[40:80, 32:52] = FIELD[40:80, 76:96] = 30.0
"""Expected counts of two lobes."""
COUNTS = np.random.default_rng(12).poisson(FIELD).astype(np.uint16)
PAIR = np.random.default_rng(11).poisson([FIELD, FIELD / 2]).astype(np.uint16)
UNCODED: dict[str, Any] = {"DetectorInformationSequence": None}
"""Header elements of a file that has no code of its view."""


def item(**elements: Any) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def coded(value: str, meaning: str = "") -> Sequence:
    code = item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    return Sequence([code])


def detectors(*views: str) -> Sequence:
    return Sequence([item(ViewCodeSequence=coded(VIEWS[view], view)) for view in views])


def windows(*limits: tuple[float, float]) -> Sequence:
    return Sequence(
        [
            item(
                EnergyWindowRangeSequence=Sequence(
                    [item(EnergyWindowLowerLimit=low, EnergyWindowUpperLimit=high)]
                )
            )
            for low, high in limits
        ]
    )


def radionuclide(value: str = "C-163A8", meaning: str = "^99m^Technetium") -> Sequence:
    return Sequence([item(RadionuclideCodeSequence=coded(value, meaning))])


def nm_header(frames: np.ndarray, **elements: Any) -> FileDataset:
    """A planar NM object of (rows, columns) or (frames, rows, columns) integers.

    It names an anterior view and the photopeak of Tc-99m. Elements given as None are left out.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = NM_STORAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    frames = np.asarray(frames)
    if frames.dtype.itemsize > 4:
        frames = frames.astype(np.uint16)
    bits = frames.dtype.itemsize * 8
    settings: dict[str, Any] = {
        "SOPClassUID": NM_STORAGE,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "NM",
        "ImageType": ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"],
        "PatientID": "patient",
        "PixelSpacing": [2.0, 2.0],
        "Rows": frames.shape[-2],
        "Columns": frames.shape[-1],
        "NumberOfFrames": frames.shape[0] if frames.ndim == 3 else 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(frames.dtype.kind == "i"),
        "CountsAccumulated": int(frames.sum()),
        "EnergyWindowInformationSequence": windows((126, 154)),
        "RadiopharmaceuticalInformationSequence": radionuclide(),
    }
    if "DetectorVector" not in elements:
        settings["DetectorInformationSequence"] = detectors("anterior")
    for name, value in (settings | elements).items():
        if value is not None:
            setattr(header, name, value)
    header.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    header["PixelData"].VR = "OW"
    return header


def nm_bytes(frames: np.ndarray, **elements: Any) -> bytes:
    """The content of such a file."""
    file = io.BytesIO()
    nm_header(frames, **elements).save_as(file, enforce_file_format=True)
    return file.getvalue()


def save_nm(path: Path, frames: np.ndarray, **elements: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nm_bytes(frames, **elements))
    return path


def read(frames: np.ndarray = COUNTS, **elements: Any) -> Scintigram:
    """Write frames with a header of these elements, and read the file as import does."""
    return read_dicom(nm_bytes(frames, SpecificCharacterSet="ISO_IR 192", **elements))


def refused(frames: np.ndarray = COUNTS, **elements: Any) -> str:
    """Return the reason for which import refuses the file; fail if it does not."""
    with pytest.raises(UnusableFile) as caught:
        read(frames, **elements)
    return caught.value.reason
