"""DICOM files of real departments: wrong headers are refused, incomplete ones are flagged."""

from typing import Any

import numpy as np
import pytest

from tests.data.make_dicom import (
    COUNTS,
    PAIR,
    UNCODED,
    coded,
    detectors,
    item,
    radionuclide,
    read,
    refused,
    windows,
)
from thyroid.data.energy_windows import isotopes_in
from thyroid.data.view_words import views_in

# pydicom warns of the odd headers that these tests write
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

ANTERIOR = (
    "THYROID ANT", "Thyroid_anterior 5min", "ANT post inj 20 MIN", "A.P.", "AP", "ThyroidAnt",
    "Antero-posterior", "Anterior left lobe", "Face antérieure", "incidence de face", "von vorn",
    "Vorderansicht", "ventral", "Proiezione anteriore", "frente", "anterior, cuello", "前位",
    "甲状腺正位", "Ant 30 min", "PINHOLE ANT", "STATIC[ANT]", "ANT W/ MARKER",
    "Anterior post injection",
)  # fmt: skip
POSTERIOR = (
    "Posterior", "THYROID_POST", "P.A.", "Postero-anterior", "Face postérieure", "dorsal",
    "von hinten", "Hinteransicht", "Rückansicht", "posteriore", "costas", "后位", "後位", "后前位",
    "POST VIEW", "Static POST", "Rückseite", "Derrière", "Vue de dos", "hintere Aufnahme", "背侧",
    "STATIC POST EM", "vista de espaldas",
)  # fmt: skip
OTHER = (
    "L ANT OBL", "Ant Obl Left", "LEFT ANT LAT", "OAD", "OAG", "OAI", "OAE", "OPS", "LAO", "RPO",
    "Oblicua anterior izq", "R LAT", "LLAT", "Profil gauche", "Latérale droite", "seitlich links",
    "schräg links vorne", "LVO", "obliqua anteriore destra", "perfil", "Oblíqua anterior esquerda",
    "Schilddrüse RVS", "Vértice",
    "左前斜位", "右侧位", "LT ANT", "ANT R", "Antérieure gauche", "LAO45", "ThyroidRAO", "L45 ANT",
    "LtAntObl", "ANTOBL", "vertex", "Schrägaufnahme", "anterolateral", "ANT 45°", "L.A.O.",
    "Seitl. links", "Left side view", "右前斜30度", "RAO", "Left anterior oblique",
    "von der Seite", "Linkslateral", "3/4 gauche", "trois quarts droit", "halbschräg rechts",
)  # fmt: skip
SEVERAL = ("ANT/POST", "ANT POSTERIOR", "A/P", "ANT, LAO, RAO", "前、后位")
NONE = (
    "THYROID", "post I-131 therapy", "治疗后", "双侧甲状腺", "左侧叶", "Later images", "Problem",
    "20 min post", "static 20 min p.i.", "POST 20 MIN", "Flat", "Tc99m PINHOLE", "",
    "gammagrafía de dos fases", "image 3/4", "tiroides dos horas",
)  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "named"),
    [(ANTERIOR, {"anterior"}), (POSTERIOR, {"posterior"}), (OTHER, {"other"}), (NONE, set())],
)
def test_views_in_seven_languages(texts: tuple[str, ...], named: set[str]) -> None:
    assert {text: set(views_in(text)) for text in texts} == dict.fromkeys(texts, named)
    assert all(len(views_in(text)) == 2 for text in SEVERAL)


@pytest.mark.parametrize("element", ["SeriesDescription", "ImageID", "ProtocolName"])
def test_a_view_in_words_is_taken_refused_or_flagged(element: str) -> None:
    for text in ANTERIOR:
        assert read(**UNCODED, **{element: text}).flags == ()
    for text in (*POSTERIOR, *OTHER):
        assert "no anterior view" in refused(**UNCODED, **{element: text})
    for text in NONE:
        assert read(**UNCODED, **{element: text}).flags == ("view_unnamed",)
    if element != "ProtocolName":  # a protocol has several names
        for text in SEVERAL:
            assert "names several views" in refused(**UNCODED, **{element: text})


def test_texts_narrow_each_other_and_contradictions_are_refused() -> None:
    assert read(**UNCODED, ImageID="ANT", SeriesDescription="ANT, LAO, RAO").flags == ()
    assert "exclude each other" in refused(**UNCODED, ImageID="ANT", SeriesDescription="LAO")
    assert "exclude each other" in refused(SeriesDescription="Oblicua anterior izq")
    assert "exclude each other" in refused(PatientOrientation=["R", "F"])
    assert read(SeriesDescription="ANT/POST", PatientOrientation=["L", "F"]).flags == ()


def test_codes_of_views() -> None:
    for code, meaning in (("399074003", ""), ("G-5206", ""), ("X", "Anterior oblique, left")):
        of_view = [item(ViewCodeSequence=coded(code, meaning))]
        assert "no anterior view" in refused(DetectorInformationSequence=of_view)
    disputed = [item(ViewCodeSequence=coded("399321004", "Left anterior oblique"))]
    assert "exclude each other" in refused(DetectorInformationSequence=disputed)
    view = coded("399321004", "Anterior")
    view[0].ViewModifierCodeSequence = coded("399074003", "Oblique")
    assert "no anterior view" in refused(DetectorInformationSequence=[item(ViewCodeSequence=view)])


def test_detectors_and_patients_at_an_angle() -> None:
    for angle, flags in ((0.0, ()), (180.0, ()), (358.5, ()), (270.0, ("detector_angle",))):
        of_view = detectors("anterior")
        of_view[0].StartAngle = angle
        assert read(DetectorInformationSequence=of_view).flags == flags
    assert "no anterior view" in refused(DetectorInformationSequence=[item(StartAngle=45.0)])
    assert read(DetectorInformationSequence=[item(StartAngle=180.0)]).flags == ("view_unnamed",)
    for sides in (["A", "F"], ["P", "F"]):
        assert "no anterior view" in refused(**UNCODED, PatientOrientation=sides)
    assert "upside down" in refused(PatientOrientation=["L", "H"])


@pytest.mark.parametrize(
    ("limits", "isotope", "reason"),
    [
        ((108, 129), "^99m^Technetium", "beside the photopeak of Tc-99m"),
        ((154, 170), "Tc-99m", "beside the photopeak of Tc-99m"),
        ((110, 134), "Tc-99m", "beside the photopeak of Tc-99m"),
        ((126, 154), "Iodine I^123^", "beside the photopeak of I-123"),
        ((126, 154), "131I", "beside the photopeak of I-131"),
        ((110, 134), "^57^Cobalt", "not one that thyroid scintigrams"),
        ((63, 77), "Thallium-201", "not one that thyroid scintigrams"),
        ((108, 129), "", "in no photopeak of Tc-99m, I-123 or I-131"),
    ],
)
def test_other_windows_and_radionuclides_are_refused(
    limits: tuple[float, float], isotope: str, reason: str
) -> None:
    assert reason in refused(
        EnergyWindowInformationSequence=windows(limits),
        RadiopharmaceuticalInformationSequence=radionuclide("", isotope),
    )


def test_windows_of_a_photopeak_are_taken_and_unnamed_ones_flagged() -> None:
    for limits, isotope in (((126, 154), "Tc-99m"), ((143, 175), "123-I"), ((328, 400), "I 131")):
        elements: dict[str, Any] = {
            "EnergyWindowInformationSequence": windows(limits),
            "RadiopharmaceuticalInformationSequence": radionuclide("", isotope),
        }
        assert read(**elements).flags == ()
        for missing in elements:
            assert read(**elements | {missing: None}).flags == ("window_unnamed",)
    wide = windows((20, 300))
    assert read(EnergyWindowInformationSequence=wide).flags == ("window_unnamed",)
    named = windows((126, 154))
    named[0].EnergyWindowName = "Tc99m"
    unnamed = {"RadiopharmaceuticalInformationSequence": None}
    assert read(EnergyWindowInformationSequence=named, **unnamed).flags == ()
    for name in ("SC1", "Compton", "Streustrahlung", "lower scatter", "散射"):
        named[0].EnergyWindowName = name
        assert "beside the photopeak" in refused(EnergyWindowInformationSequence=named)


@pytest.mark.parametrize(
    ("text", "isotope"),
    [
        ("Tc-99m", "Tc-99m"), ("99mTc", "Tc-99m"), ("Technetium Tc^99m^", "Tc-99m"),
        ("Na pertechnetate", "Tc-99m"), ("锝-99m", "Tc-99m"), ("I-123", "I-123"),
        ("123 Iod", "I-123"), ("Jod-131", "I-131"), ("碘131", "I-131"), ("Co57 flood", "Co-57"),
        ("in 120 min", None), ("thyroid 123", None), ("I 20 min", None),
    ],
)  # fmt: skip
def test_radionuclides_in_words(text: str, isotope: str | None) -> None:
    assert isotopes_in(text) == ({isotope} if isotope else set())


def mapping(slope: float, unit: str, intercept: float = 0.0) -> list[Any]:
    return [
        item(
            RealWorldValueSlope=slope,
            RealWorldValueIntercept=intercept,
            MeasurementUnitsCodeSequence=coded(unit, unit),
        )
    ]


def test_scales_to_counts_are_followed() -> None:
    slope = COUNTS.max() / 32767
    stored = np.rint(COUNTS / slope).astype(np.uint16)
    for given in (int(COUNTS.sum()), 0, None):
        found = read(
            stored,
            CountsAccumulated=given,
            RealWorldValueMappingSequence=mapping(slope, "{counts}"),
        )
        np.testing.assert_array_equal(found.matrix, COUNTS)
        assert found.flags == ()
        found = read(stored, CountsAccumulated=given, RescaleSlope=f"{slope:.12f}")
        np.testing.assert_array_equal(found.matrix, COUNTS)
    quantified = mapping(17.5, "Bq/ml")
    assert read(RealWorldValueMappingSequence=quantified).flags == ()  # the sum is right
    assert "another unit" in refused(
        RealWorldValueMappingSequence=quantified, CountsAccumulated=None
    )
    display = read(RescaleSlope=381, RescaleIntercept=0)  # of counts, for display
    np.testing.assert_array_equal(display.matrix, COUNTS)


@pytest.mark.parametrize("peak", [32767, 65535, 4095, 1023, 300, 140])
@pytest.mark.parametrize("given", [int(COUNTS.sum()), 0, None])
def test_rescaled_pixels_are_no_counts(peak: int, given: int | None) -> None:
    scaled = np.rint(COUNTS * (peak / COUNTS.max())).astype(np.uint16)
    for kind in (["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]):
        reason = refused(scaled, CountsAccumulated=given, ImageType=kind)
        assert "not counts" in reason


def test_smoothed_or_derived_values_are_flagged_and_sums_in_thousands_are_understood() -> None:
    smooth = sum(np.roll(COUNTS.astype(int), (i, j), (0, 1)) for i in (0, 1) for j in (0, 1))
    smooth = (smooth / 4).round().astype(np.uint16)
    assert read(smooth, CountsAccumulated=None).flags == ("counts_doubtful",)
    derived = ["DERIVED", "SECONDARY"]
    assert read(CountsAccumulated=None, ImageType=derived).flags == ("counts_doubtful",)
    assert read(ImageType=derived).flags == ()
    thousands = round(int(COUNTS.sum()) / 1000)
    assert read(CountsAccumulated=thousands).flags == ("counts_accumulated",)
    assert read(CountsAccumulated=4 * int(COUNTS.sum())).flags == ("counts_accumulated",)
    assert "more than twice" in refused(CountsAccumulated=int(COUNTS.sum()) // 3)


@pytest.mark.parametrize(
    "inverted", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
)
def test_inverted_values_are_turned_back_where_the_sum_shows_how(inverted: dict[str, Any]) -> None:
    total = int(COUNTS.sum())
    for stored in (COUNTS, 65535 - COUNTS, COUNTS.max() - COUNTS):
        np.testing.assert_array_equal(
            read(stored, CountsAccumulated=total, **inverted).matrix, COUNTS
        )
        for given in (None, 0, total + 9):
            reason = refused(stored, CountsAccumulated=given, **inverted)
            assert "displayed inverted" in reason
    for stored in (65535 - COUNTS, COUNTS.max() - COUNTS):  # the header says nothing
        assert "not counts" in refused(stored, CountsAccumulated=None) or "inverted" in refused(
            stored, CountsAccumulated=None
        )


@pytest.mark.parametrize("name", ["DetectorVector", "EnergyWindowVector"])
def test_a_frame_whose_vectors_are_those_of_all_frames_is_refused(name: str) -> None:
    both = detectors("anterior", "posterior")
    reason = refused(**{"DetectorVector": [1], "DetectorInformationSequence": both, name: [1, 2]})
    assert "another number of frames" in reason
    assert "nothing says which" in refused(PAIR[1], DetectorInformationSequence=both)
    assert "nothing says which" in refused(DetectorInformationSequence=[item(), item()])
    same = read(**{name: [1, 1]}, DetectorInformationSequence=detectors("anterior"))
    np.testing.assert_array_equal(same.matrix, COUNTS)
    two = windows((126, 154), (92, 125))
    assert "several energy windows" in refused(EnergyWindowInformationSequence=two)


@pytest.mark.parametrize(
    "elements",
    [
        *(
            {"SeriesDescription": text}
            for text in (
                "Full syringe", "Seringue pleine", "Vollspritze", "Intrinsic Uniformity",
                "Uniformité", "4-quadrant bar phantom", "均匀性", "BAR_QUADRANT", "满针",
                "Uniformität intrinsisch", "Background", "Residual dose", "jeringuilla",
                "Gleichmässigkeit", "Bleistreifenphantom", "Hine-Duley", "Testquelle ANT",
                "TRANS Co57", "Co57 sheet ANT", "甲状腺模型", "CQ quotidien", "Spritzenmessung",
            )
        ),
        {"StudyDescription": "DAILY QC"}, {"StudyDescription": "Contrôle de qualité"},
        {"StudyDescription": "Qualitätskontrolle"}, {"RequestedProcedureDescription": "Flood"},
        {"ImageID": "Resolution phantom"}, {"ProtocolName": "COR calibration"},
        {"PatientID": "FLOOD_2024"}, {"PatientID": "20190304QC"}, {"PatientID": "DAILYQC"},
        {"PatientName": "Phantom^Jaszczak"}, {"PatientName": "Test^Patient"},
        {"PatientName": "TEST"}, {"PatientName": "FLOOD"}, {"PatientName": "Flood^Intrinsic"},
        {"PatientName": "Flood^1"}, {"PatientSpeciesDescription": "Felis catus"},
        {"QualityControlImage": "YES"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "STATIC", "TRANSMISSION"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "FLOOD", "EMISSION"]},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        {"DetectorInformationSequence": [item(CollimatorType="NONE")]},
        *(
            {"DetectorInformationSequence": [
                item(CollimatorGridName=name, ViewCodeSequence=coded("399321004"))
            ]}
            for name in ("No collimator", "ohne", "Sans collimateur", "open", "无准直器")
        ),
    ],
)  # fmt: skip
def test_what_shows_no_patient_is_refused(elements: dict[str, Any]) -> None:
    reason = refused(**elements)
    said = ("source", "quality", "collimator", "animal", "screenshot")
    assert any(word in reason for word in said)
    assert not any(str(value) in reason for value in elements.values())


def test_words_of_usual_protocols_are_no_quality_control() -> None:
    for text in (
        "Thyroid High Resolution", "LEHR static", "Uniformity corrected", "Thyroid uptake low dose",
        "Tc-99m pertechnetate", "Bilateral", "Thyroid 4h background region", "Barbara",
    ):  # fmt: skip
        assert read(SeriesDescription=text).flags == ()
