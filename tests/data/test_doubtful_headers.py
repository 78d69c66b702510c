"""DICOM headers with unusual statements: orientation, window ranges, tracers, names, noise."""

from typing import Any

import numpy as np
import pytest

from tests.data.make_dicom import (
    COUNTS,
    FIELD,
    PAIR,
    UNCODED,
    detectors,
    item,
    nm_header,
    radionuclide,
    read,
    refused,
    windows,
)
from thyroid.data.count_values import require_counts

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

RNG = np.random.default_rng(13)


@pytest.mark.parametrize("of_detector", [True, False])
def test_image_orientation_names_the_view(of_detector: bool) -> None:
    def oriented(*cosines: float) -> dict[str, Any]:
        given = {"ImageOrientationPatient": list(cosines)}
        return {"DetectorInformationSequence": [item(**given)]} if of_detector else UNCODED | given

    for cosines in ((-1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (0.71, -0.7, 0, 0, 0, -1)):
        assert "no anterior view" in refused(**oriented(*cosines))
    for cosines in ((1, 0, 0, 0, 0, -1), (0.99, 0.1, 0, 0, 0, -1), (1, 0, 0, 0, 1, 0)):
        assert read(**oriented(*cosines)).flags == ("view_unnamed",)
    assert read(**oriented()).flags == ("view_unnamed",)
    behind = detectors("anterior")
    behind[0].ImageOrientationPatient = [-1, 0, 0, 0, 0, -1]
    assert "exclude each other" in refused(DetectorInformationSequence=behind)


def test_a_patient_turned_between_front_and_side_is_oblique() -> None:
    for right in ("LA", "LP", "RAH"):
        assert "no anterior view" in refused(**UNCODED, PatientOrientation=[right, "F"])
    assert read(PatientOrientation=["L", "FP"]).flags == ()  # only the neck is extended


def test_vectors_that_count_from_zero_or_of_other_frames_are_refused() -> None:
    both = {"DetectorInformationSequence": detectors("anterior", "posterior")}
    for vector in ([0, 1], [2, 3]):
        reason = refused(PAIR, **both, DetectorVector=vector)
        assert "DetectorVector has numbers that its header does not describe" in reason
    np.testing.assert_array_equal(read(PAIR, **both, DetectorVector=[2, 1]).matrix, PAIR[1])
    two = windows((126, 154), (108, 125))
    reason = refused(PAIR, EnergyWindowInformationSequence=two, EnergyWindowVector=[0, 1])
    assert "EnergyWindowVector has numbers" in reason
    dynamic = {"ImageType": ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]}
    assert "another number of frames" in refused(**dynamic, TimeSliceVector=[1, 2, 3])
    assert "another number of frames" in refused(PhaseVector=[1, 2, 3])
    assert read(**dynamic, TimeSliceVector=[1]).flags == ("summed_dynamic",)


def test_a_window_of_several_ranges_or_with_a_low_limit() -> None:
    def ranges(*limits: tuple[float, float]) -> dict[str, Any]:
        each = [windows(limit)[0].EnergyWindowRangeSequence[0] for limit in limits]
        return {"EnergyWindowInformationSequence": [item(EnergyWindowRangeSequence=each)]}

    assert "beside the photopeak" in refused(**ranges((126, 154), (108, 125)))
    assert read(**ranges((100, 154))).flags == ("window_unnamed",)
    for beside in ((126, 141), (140.5, 165), (141.5, 165)):
        assert read(**ranges(beside)).flags == ("window_unnamed",)
    for usual in ((119, 161), (133, 147), (137, 144)):
        assert read(**ranges(usual)).flags == ()
    both = [*radionuclide(), *radionuclide("21572004", "^123^Iodine")]
    of_two = {"RadiopharmaceuticalInformationSequence": both}
    assert read(**of_two, **ranges((126, 150), (151, 175))).flags == ()


@pytest.mark.parametrize("name", ["Tc99m_SC", "Transmission", "TCT", "Gd-153", "espalhamento"])
def test_names_of_windows_beside_the_photopeak(name: str) -> None:
    named = [item(EnergyWindowName=name)]
    assert "beside the photopeak" in refused(EnergyWindowInformationSequence=named)


def test_tracers_and_parts_of_the_body_of_other_examinations_are_flagged() -> None:
    def of(tracer: str) -> tuple[str, ...]:
        given = radionuclide()
        given[0].Radiopharmaceutical = tracer
        return read(RadiopharmaceuticalInformationSequence=given).flags

    for tracer in (
        "MIBI",
        "Tc-99m HDP",
        "MDP",
        "DTPA",
        "Mebrofenin",
        "Sulfur Colloid",
        "HIDA",
        "MAG-3",
        "MDP骨显像",
        "Choletec",
    ):
        assert of(tracer) == ("other_examination",), tracer
    for tracer in ("Pertechnetate", "Na-99mTcO4", "高锝酸盐", "pertechnetate / MIBI", ""):
        assert of(tracer) == (), tracer
    for part, flags in (("KNEE", ("other_examination",)), ("NECK", ()), ("THYROID", ())):
        assert read(BodyPartExamined=part).flags == flags


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.7])
def test_counts_that_were_divided_have_too_little_noise(factor: float) -> None:
    divided = np.rint(COUNTS * factor).astype(np.uint16)
    assert read(divided, CountsAccumulated=None).flags == ("counts_doubtful",)
    assert read(CountsAccumulated=None).flags == ()


def test_a_constant_or_a_threshold_in_the_counts_is_doubtful() -> None:
    for changed in (RNG.poisson(FIELD / 4) + 1, np.where(COUNTS > 9, COUNTS, 0)):
        found = read(changed.astype(np.uint16), CountsAccumulated=None)
        assert found.flags == ("counts_doubtful",)
    round_field = COUNTS.copy()
    round_field[np.hypot(*np.indices((128, 128)) - 64) > 60] = 0
    assert read(round_field, CountsAccumulated=None).flags == ()


@pytest.mark.parametrize("sides", [64, 128])
def test_photon_counts_are_hardly_ever_doubtful(sides: int) -> None:
    """At most one of 300 simulated images is flagged."""
    header = nm_header(COUNTS, CountsAccumulated=None)
    y, x = np.indices((sides, sides)) / sides
    doubtful = 0
    for _ in range(300):
        glands = sum(np.exp(-((x - c) ** 2 + (y - 0.5) ** 2) / 0.006) for c in (0.4, 0.6))
        mean = RNG.uniform(0.05, 1) + RNG.uniform(3, 8) * (y > 0.3) + RNG.uniform(9, 60) * glands
        doubtful += "counts_doubtful" in require_counts(header, RNG.poisson(mean), verified=False)
    assert doubtful <= 1


def test_people_are_called_like_sources() -> None:
    for name in ("Flood^John", "VIAL^JEAN", "Barras^María", "Doe^Jane"):
        assert read(PatientName=name).flags == ()
    assert read(PatientSpeciesDescription="Homo sapiens", QualityControlImage="NO").flags == ()
