"""Simulated scintigrams as NM Image Storage objects: planar static, anterior and posterior.

Names, birth dates and numbers are made up. An import that lets any of them through has failed.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, NuclearMedicineImageStorage, generate_uid

from thyroid import __version__
from thyroid.data.scintigram import SIMULATOR
from thyroid.phantom.simulator import SimulatedScintigram

FAMILY_NAMES = (
    "Achterberg", "Bellweather", "Castellan", "Dunmoor", "Eskildsen", "Fairwind", "Gansevoort",
    "Halloran", "Imhofen", "Jorgendal", "Kirschbaumer", "Lindqvister", "Montefalco", "Norringham",
    "Ostrovany", "Pemberley", "Quillfeather", "Rosenquist", "Silberhain", "Trevanion",
)  # fmt: skip
GIVEN_NAMES = (
    "Adelheid", "Benedikta", "Cassandra", "Dorothea", "Emmeline", "Florentine", "Gwendolyn",
    "Hildegund", "Iphigenia", "Josephine", "Konstantin", "Leopoldine", "Maximiliane", "Nathaniel",
    "Ottokar", "Persephone", "Roderick", "Seraphina", "Thaddaeus", "Valentina",
)  # fmt: skip

# Nuclear medicine projections (DICOM PS3.16, context group 26): the current code, and the older
# one that many cameras still write
VIEW_CODES = {
    "anterior": (
        ("399321004", "SCT", "Anterior projection"),
        ("G-5215", "SRT", "Anterior projection"),
    ),
    "posterior": (
        ("399001007", "SCT", "Posterior projection"),
        ("G-5216", "SRT", "Posterior projection"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A made-up person."""

    name: str
    number: str
    birth: datetime.date
    sex: str
    first_visit: datetime.datetime

    @classmethod
    def of(cls, patient: str) -> Identity:
        """Make up a person; the same patient always gets the same one."""
        digest = hashlib.sha256(f"identity\x1f{patient}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        family, given = rng.choice(FAMILY_NAMES), rng.choice(GIVEN_NAMES)
        birth = datetime.date(1935, 1, 1) + datetime.timedelta(days=int(rng.integers(25_000)))
        day = datetime.datetime(2019, 1, 7, 8) + datetime.timedelta(days=int(rng.integers(1500)))
        return cls(
            name=f"{family}^{given}",
            number=f"TH{rng.integers(10**9):09d}",
            birth=birth,
            sex="F" if rng.random() < 0.78 else "M",
            first_visit=day + datetime.timedelta(minutes=int(rng.integers(540))),
        )


def nm_object(scintigram: SimulatedScintigram) -> FileDataset:
    """Return a valid NM Image object with both views (DICOM PS3.3 A.5).

    Raises
    ------
    ValueError : the scintigram has no posterior view.
    """
    if scintigram.posterior is None:
        raise ValueError("simulate with posterior=True to write both views")
    centre, key = scintigram.centre, f"{scintigram.patient}/{scintigram.address.number}"
    identity = Identity.of(scintigram.patient)
    visit = identity.first_visit + datetime.timedelta(days=182 * scintigram.address.visit)
    views = [("anterior", scintigram.anterior), ("posterior", scintigram.posterior)]
    if centre.posterior_first:
        views.reverse()
    frames = np.stack([counts for _, counts in views])  # (2, H, W)

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    meta.MediaStorageSOPInstanceUID = _uid("image", key)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    nm = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)

    # patient, study, series, equipment
    nm.PatientName = identity.name
    nm.PatientID = identity.number
    nm.PatientBirthDate = f"{identity.birth:%Y%m%d}"
    nm.PatientSex = identity.sex
    nm.StudyInstanceUID = _uid("study", key)
    nm.SeriesInstanceUID = _uid("series", key)
    for part in ("Study", "Series", "Acquisition", "Content"):
        setattr(nm, f"{part}Date", f"{visit:%Y%m%d}")
        setattr(nm, f"{part}Time", f"{visit:%H%M%S}")
    nm.ReferringPhysicianName = ""
    nm.StudyID = "1"
    nm.AccessionNumber = ""
    nm.StudyDescription = "Thyroid scintigraphy"
    nm.SeriesDescription = "Thyroid static"
    nm.SeriesNumber = 1
    nm.Modality = "NM"
    nm.Manufacturer = centre.manufacturer
    nm.InstitutionName = centre.institution
    nm.SoftwareVersions = f"{SIMULATOR} {__version__}"
    nm.PatientOrientationCodeSequence = _code("102538003", "SCT", "recumbent")
    nm.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = _code(
        "40199007", "SCT", "supine"
    )
    nm.PatientGantryRelationshipCodeSequence = _code("102540001", "SCT", "headfirst")

    # image
    nm.SOPClassUID = NuclearMedicineImageStorage
    nm.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    nm.ImageType = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]
    nm.InstanceNumber = 1
    nm.PatientOrientation = []  # differs between the two views
    nm.CountsAccumulated = int(frames.sum(dtype=np.int64))
    nm.ActualFrameDuration = centre.seconds * 1000  # ms
    nm.AcquisitionTerminationCondition = "TIME"
    nm.BurnedInAnnotation = "NO"
    nm.LossyImageCompression = "00"
    nm.SamplesPerPixel = 1
    nm.PhotometricInterpretation = "MONOCHROME2"
    nm.NumberOfFrames, nm.Rows, nm.Columns = frames.shape
    nm.PixelSpacing = [centre.pixel_mm, centre.pixel_mm]
    nm.BitsAllocated = nm.BitsStored = 16
    nm.HighBit = 15
    nm.PixelRepresentation = 0
    nm.PixelData = frames.astype("<u2").tobytes()

    # frames: one energy window, two detectors
    nm.FrameIncrementPointer = [Tag("EnergyWindowVector"), Tag("DetectorVector")]
    nm.EnergyWindowVector = [1, 1]
    nm.NumberOfEnergyWindows = 1
    nm.DetectorVector = [1, 2]
    nm.NumberOfDetectors = 2
    nm.EnergyWindowInformationSequence = Sequence([_tc99m_window()])
    nm.RadiopharmaceuticalInformationSequence = Sequence([_pertechnetate(visit)])
    nm.DetectorInformationSequence = Sequence([_detector(scintigram, view) for view, _ in views])
    return nm


def _tc99m_window() -> Dataset:
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = 126, 154  # keV: 140 +- 10 %
    window = Dataset()
    window.EnergyWindowName = "Tc99m"
    window.EnergyWindowRangeSequence = Sequence([limits])
    return window


def _pertechnetate(visit: datetime.datetime) -> Dataset:
    item = Dataset()
    item.RadionuclideCodeSequence = _code("C-163A8", "SRT", "^99m^Technetium")
    item.Radiopharmaceutical = "Tc-99m pertechnetate"
    item.RadiopharmaceuticalRoute = "Intravenous route"
    item.RadiopharmaceuticalStartTime = f"{visit - datetime.timedelta(minutes=20):%H%M%S}"
    item.RadionuclideTotalDose = 74  # MBq
    return item


def _detector(scintigram: SimulatedScintigram, view: str) -> Dataset:
    centre = scintigram.centre
    item = Dataset()
    item.CollimatorGridName = "PINHOLE" if centre.collimator == "PINH" else "LEHR"
    item.CollimatorType = centre.collimator
    item.FieldOfViewShape = "ROUND" if centre.collimator == "PINH" else "RECTANGLE"
    item.FieldOfViewDimensions = (
        [round(centre.field_mm)] if centre.collimator == "PINH" else [round(centre.field_mm)] * 2
    )
    item.FocalDistance = [0]
    item.XFocusCenter = item.YFocusCenter = [0]
    item.ZoomCenter = [0, 0]
    item.ZoomFactor = [1, 1]
    item.CenterOfRotationOffset = 0
    item.GantryDetectorTilt = 0
    item.DistanceSourceToDetector = None
    item.StartAngle = 0 if view == "anterior" else 180
    item.RadialPosition = None
    item.ImageOrientationPatient = None
    item.ImagePositionPatient = None
    item.ViewCodeSequence = _code(*VIEW_CODES[view][centre.old_codes])
    return item


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return Sequence([code])


def _uid(kind: str, key: str) -> str:
    return str(generate_uid(entropy_srcs=["thyroid phantom", kind, key]))
