"""Anterior counts are found by what the file says; what is not a planar scintigram is refused."""

import io
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRBigEndian,
    RLELossless,
)

from tests.data.make_dicom import (
    VIEWS,
    coded,
    detectors,
    item,
    nm_bytes,
    nm_header,
    radionuclide,
    read,
    refused,
    save_nm,
    windows,
)
from thyroid.data.dicom_reader import read_dicom
from thyroid.data.reader import read_scintigram
from thyroid.data.scintigram import UnusableFile, bring_to_grid

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

RNG = np.random.default_rng(5)
ONE = RNG.poisson(4.0, (16, 12)).astype(np.uint16)
TWO = RNG.poisson([[[9.0]], [[4.0]]], (2, 16, 12)).astype(np.uint16)
FOUR = RNG.poisson(4.0, (4, 16, 12)).astype(np.uint16)


def test_the_real_bone_scan():
    scintigram = read_scintigram(Path(get_testdata_file("JPEG-LL.dcm")))
    assert scintigram.matrix.shape == (1024, 256)
    assert scintigram.matrix.sum() == 3_596_452  # its CountsAccumulated
    assert scintigram.matrix.max() == 278
    assert scintigram.pixel_mm == (2.26, 2.26)
    assert scintigram.kind == "counts"
    assert scintigram.flags == ("whole_body", "view_unnamed", "window_unnamed")
    assert scintigram.patient == "8NM1"
    assert "8NM1" not in repr(scintigram)
    assert "John" not in repr(scintigram)
    stored = bring_to_grid(scintigram, size=128, pixel_mm=2.0)
    assert int(stored.matrix.sum()) + stored.outside == 3_596_452
    assert stored.flags == (*scintigram.flags, f"counts_outside={stored.outside}")


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_depths_and_signs(kind):
    scintigram = read(ONE.astype(kind))
    np.testing.assert_array_equal(scintigram.matrix, ONE)
    assert scintigram.flags == ()


def test_twelve_bits():
    scintigram = read(ONE, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(scintigram.matrix, ONE)


@pytest.mark.parametrize("syntax", [RLELossless, ExplicitVRBigEndian])
def test_transfer_syntaxes(syntax):
    header = nm_header(ONE)
    file = io.BytesIO()
    if syntax is RLELossless:
        header.compress(RLELossless)
    else:
        header.file_meta.TransferSyntaxUID = syntax
        header.PixelData = ONE.astype(">u2").tobytes()
    little = syntax is RLELossless
    pydicom.dcmwrite(file, header, implicit_vr=False, little_endian=little, force_encoding=True)
    np.testing.assert_array_equal(read_dicom(file.getvalue()).matrix, ONE)


def test_secondary_capture_class_and_a_file_without_preamble(tmp_path):
    header = nm_header(ONE, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    np.testing.assert_array_equal(read_dicom(nm_bytes(ONE)).matrix, ONE)
    bare = tmp_path / "00000001"
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.preamble = None
    with bare.open("wb") as file:
        header.save_as(file, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_scintigram(bare).matrix, ONE)


def test_the_anterior_frame_is_chosen_by_view_and_never_by_position():
    for views in (("anterior", "posterior"), ("posterior", "anterior"), ("lao", "anterior")):
        scintigram = read(TWO, DetectorVector=[1, 2], DetectorInformationSequence=detectors(*views))
        np.testing.assert_array_equal(scintigram.matrix, TWO[views.index("anterior")])
    swapped = read(
        TWO,
        DetectorVector=[2, 1],
        DetectorInformationSequence=detectors("anterior", "posterior"),
    )
    np.testing.assert_array_equal(swapped.matrix, TWO[1])


def test_older_codes_and_code_meanings():
    def frame_of(*codes):
        seen = [item(ViewCodeSequence=code) for code in codes]
        return read(TWO, DetectorVector=[1, 2], DetectorInformationSequence=seen).matrix

    for code in (coded("G-5215"), coded("R-10206"), coded("X", "Anterior projection")):
        np.testing.assert_array_equal(frame_of(coded("G-5216"), code), TWO[1])
    for code in (coded("R-10214"), coded("X", "postero-anterior")):
        np.testing.assert_array_equal(frame_of(coded("R-10206"), code), TWO[0])


def test_vectors_as_plain_integers_and_missing_durations():
    scintigram = read(
        ONE,
        DetectorVector=1,
        EnergyWindowVector=1,
        DetectorInformationSequence=detectors("anterior"),
        NumberOfFrames=None,
    )
    np.testing.assert_array_equal(scintigram.matrix, ONE)


def test_frames_that_nothing_tells_apart():
    assert "which of its frames is the anterior" in refused(TWO, DetectorVector=[1, 2])
    assert "several of its frames could be the anterior view" in refused(TWO)
    assert "which of its frames is the anterior" in refused(
        TWO,
        DetectorVector=[1, 2],
        DetectorInformationSequence=[item(ViewCodeSequence=coded(VIEWS["posterior"])), item()],
    )
    assert "no anterior view" in refused(DetectorInformationSequence=detectors("posterior"))


def test_the_photopeak_is_chosen_among_energy_windows():
    elements = {
        "EnergyWindowVector": [1, 2],
        "DetectorInformationSequence": detectors("anterior"),
    }
    for limits, isotope, frame in (
        ([(110, 125), (126, 154)], "^99m^Technetium", 1),
        ([(126, 154), (110, 125)], "Tc-99m", 0),
        ([(126, 154), (143, 175)], "123I", 1),
        ([(328, 400), (280, 320)], "I-131", 0),
    ):
        found = read(
            TWO,
            EnergyWindowInformationSequence=windows(*limits),
            RadiopharmaceuticalInformationSequence=radionuclide("", isotope),
            **elements,
        )
        np.testing.assert_array_equal(found.matrix, TWO[frame])
    both = windows((126, 154), (143, 175))
    unnamed = {"RadiopharmaceuticalInformationSequence": None, **elements}
    assert "several energy windows" in refused(TWO, EnergyWindowInformationSequence=both, **unnamed)
    assert "several energy windows" in refused(
        TWO, EnergyWindowInformationSequence=None, **elements
    )


def test_dynamic_frames_of_the_anterior_view_are_summed():
    dynamic = {"ImageType": ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]}
    found = read(FOUR, **dynamic)
    np.testing.assert_array_equal(found.matrix, FOUR.sum(axis=0))
    assert found.flags == ("summed_dynamic",)
    found = read(
        FOUR,
        DetectorVector=[1, 2, 1, 2],
        PhaseVector=[1, 1, 1, 1],
        DetectorInformationSequence=detectors("posterior", "anterior"),
        **dynamic,
    )
    np.testing.assert_array_equal(found.matrix, FOUR[1] + FOUR[3])
    assert "which of its frames" in refused(FOUR, DetectorVector=[1, 2, 1, 2], **dynamic)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "GATED", "EMISSION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY"], "AngularViewVector": [1, 2, 3, 4]},
        {"ImageType": None, "SliceVector": [1, 2, 3, 4]},
    ],
)
def test_what_is_not_planar(elements):
    assert "not a planar scintigram" in refused(FOUR, **elements)


@pytest.mark.parametrize(
    ("sentence", "frames", "elements"),
    [
        ("Modality is not NM", ONE, {"Modality": "CT"}),
        ("Modality is not NM", ONE, {"Modality": None}),
        ("no PixelSpacing", ONE, {"PixelSpacing": None}),
        ("no PixelSpacing", ONE, {"PixelSpacing": [0.0, 2.0]}),
        ("same value", ONE * 0, {}),
        ("negative pixels", ONE.astype(np.int16) - 3, {}),
        (
            "are fractions",
            ONE,
            {"RescaleSlope": 0.3, "RescaleIntercept": 0, "CountsAccumulated": None},
        ),
        ("8-bit pixels", ONE.astype(np.uint8), {"CountsAccumulated": 99_999}),
        ("8-bit pixels", ONE.astype(np.uint8), {"CountsAccumulated": None}),
        ("compressed with loss", ONE, {"LossyImageCompression": "01"}),
        ("damaged", ONE, {"Rows": 17}),
        ("damaged", ONE, {"BitsAllocated": None}),
    ],
)
def test_what_cannot_be_used(sentence, frames, elements):
    assert sentence in refused(frames, **elements)


def test_colour_screenshots():
    shot = np.zeros((16, 12, 3), np.uint8)
    header = nm_header(ONE, SamplesPerPixel=3, PhotometricInterpretation="RGB", BitsAllocated=8)
    header.PixelData = shot.tobytes()
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    with pytest.raises(UnusableFile, match="colour screenshot"):
        read_dicom(file.getvalue())


def test_integral_rescaling_is_followed():
    counts = 2 * ONE.astype(int) + 1
    total = int(counts.sum())
    found = read(ONE, RescaleSlope=2, RescaleIntercept=1, CountsAccumulated=total)
    np.testing.assert_array_equal(found.matrix, counts)
    assert found.flags == ("counts_doubtful",)  # photons come in ones


def test_counts_accumulated_is_a_checksum_where_it_can_be():
    elements = {"DetectorVector": [1, 2]}
    elements["DetectorInformationSequence"] = detectors("posterior", "anterior")
    for stated in (TWO.sum(), TWO[0].sum(), TWO[1].sum(), 0, None):
        given = None if stated is None else int(stated)
        assert read(TWO, CountsAccumulated=given, **elements).flags == ()
    near = int(TWO[1].sum()) - 3
    assert read(TWO, CountsAccumulated=near, **elements).flags == ("counts_accumulated",)


def test_identity_is_kept_apart():
    found = read(ONE, PatientID=" ID-1 ", InstitutionName="Clinic", StationName="cam")
    assert (found.patient, found.institution) == ("ID-1", "Clinic")
    found = read(ONE, PatientID="", StationName="cam")
    assert (found.patient, found.institution) == ("", "cam")


def test_nothing_is_said_of_the_header(caplog):
    """Pydicom's warnings and log messages quote values, which may be names."""
    content = nm_bytes(ONE, CountsAccumulated=None)
    broken = content.replace(b"ISO_IR", b"Jane^D").replace(b"2.0\\2.0", b"Ja\\Doe ")
    assert broken != content
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnusableFile) as caught:
            read_dicom(broken)
    assert "Ja" not in str(caught.value) + caplog.text


def test_read_by_content_and_not_by_name(tmp_path):
    path = save_nm(tmp_path / "image.png", ONE)
    np.testing.assert_array_equal(read_scintigram(path).matrix, ONE)


def test_memory_for_the_largest_that_is_read():
    """Reading such a file takes a few times the memory of its pixels, not eight bytes per pixel."""
    frames = np.ones((256, 256, 256), np.uint8)
    frames[:, 3, 4] = 2
    content = nm_bytes(frames, ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC"])
    tracemalloc.start()
    try:
        scintigram = read_dicom(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scintigram.matrix.max() == 512
    assert peak < 6 * frames.nbytes
