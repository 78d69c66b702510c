"""`clinic7` covers the measurements on real panels, and its labels can be seen in the images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.phantom.panel_figures import Panel
from thyroid.data.dataset import Dataset
from thyroid.data.importer import import_folder
from thyroid.phantom.gland import _lobe, _lobe_rates, contrast, trapped_percent
from thyroid.phantom.pathology import CLASSES, CROSSES, Nodule, Thyroid, normal_thyroid
from thyroid.phantom.pictures import Export, picture_of
from thyroid.phantom.population import CLINIC, ELSEWHERE, Population, shows
from thyroid.phantom.presets import PRESETS
from thyroid.phantom.simulator import Address, addresses, simulate
from thyroid.phantom.write_files import write_phantom

CLINIC7 = PRESETS["clinic7"]
PANELS = 90  # of each class: nine centres, nine patients of each, one of them seen twice

panels_of: dict[tuple[str, str], list[Panel]] = {}


def panels(name: str, preset: str = "clinic7") -> list[Panel]:
    if (name, preset) not in panels_of:
        images = [Address(findings=(name,), number=number) for number in range(PANELS)]
        panels_of[name, preset] = [
            Panel.of(scintigram, PRESETS[preset].export)
            for scintigram in simulate(PRESETS[preset], images, seed=7)
        ]
    return panels_of[name, preset]


Figure = Callable[[Panel], float]

# measured on real panels: of a class, the figure, its values
REAL: dict[str, tuple[str, Figure, tuple[float, ...]]] = {
    "mild and strong Graves' glands": (
        "graves", Panel.outside_over_gland, (0.15, 0.31, 0.52, 0.52, 0.56),
    ),
    "small Graves' glands": ("graves", Panel.gland_area, (247,)),
    "normal glands": ("normal", Panel.outside_over_gland, (0.47, 0.69)),
    "thyroiditis": ("subacute_thyroiditis", Panel.upper_over_lower, (1.4, 1.5, 1.8, 2.0, 4.4)),
    "mouth and parotids": ("normal", Panel.hottest_above, (35, 50)),
    "noise": ("multinodular_goitre", Panel.chest_noise, (0.09, 0.21)),
    "goitres against salivary glands": (
        "multinodular_goitre", Panel.outside_over_gland, (0.34, 0.9),
    ),
    "salivary glands in thyroiditis": (
        "subacute_thyroiditis", Panel.outside_over_gland, (2.2, 5.2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REAL)
def test_real_figures_lie_between_the_5th_and_the_95th_percentile(what: str) -> None:
    name, figure, real = REAL[what]
    low, high = np.nanquantile([figure(panel) for panel in panels(name)], [0.05, 0.95])
    assert low <= min(real)
    assert max(real) <= high


def test_thyroid7_does_not_cover_them() -> None:
    """When real panels were measured, these medians of it were 0.15, 397 and 1.1."""
    graves = [panel.outside_over_gland() for panel in panels("graves", "thyroid7")]
    area = [panel.gland_area() for panel in panels("graves", "thyroid7")]
    halves = [panel.upper_over_lower() for panel in panels("subacute_thyroiditis", "thyroid7")]
    assert np.median(graves) == pytest.approx(0.15, abs=0.03)
    assert np.median(area) == pytest.approx(397, rel=0.15)
    assert np.median(halves) == pytest.approx(1.1, abs=0.1)
    assert np.quantile(graves, 0.9) < 0.52
    assert np.quantile(halves, 0.95) < 4.4


def test_multinodular_goitres_are_nearly_even_to_florid() -> None:
    goitre = [panel.unevenness() for panel in panels("multinodular_goitre")]
    even = [panel.unevenness() for panel in panels("graves")]
    florid = [panel.unevenness() for panel in panels("multinodular_goitre", "thyroid7")]
    assert np.nanquantile(goitre, 0.1) < np.nanmedian(even)
    assert np.nanquantile(goitre, 0.95) > np.nanmedian(florid)
    numbers = [len(thyroid.nodules) for thyroid in draws(CLINIC, ("multinodular_goitre",))]
    assert set(numbers) >= {2, 3, 4, 5, 6, 7}
    assert np.mean([number <= 3 for number in numbers]) > 0.25


def test_mouth_and_parotids_are_the_hottest_as_often_as_not() -> None:
    """Submandibular glands lie 60 mm above the isthmus, mouth and parotids 110 mm."""
    wide = [panel for panel in panels("normal") if panel.pixel_mm * 128 > 250]
    far = np.mean([panel.hottest_above() * panel.pixel_mm > 85 for panel in wide])
    assert 0.35 < far < 0.65


def test_classes_and_centres_are_those_of_the_cohort() -> None:
    images = addresses(CLINIC7, images_per_class=CLINIC7.images_per_class, images_per_cross=0)
    number = {name: sum(a.findings == (name,) for a in images) for name in CLASSES}
    assert number["multinodular_goitre"] == 1183
    assert number["subacute_thyroiditis"] == 515
    assert number["graves"] == 945
    assert min(number.values()) >= 100
    assert len(CLINIC7.centres) == 9
    assert sorted(centre.matrix for centre in CLINIC7.centres) == [128] * 8 + [256]
    even = addresses(CLINIC7, images_per_class=3, images_per_cross=1)
    assert len(even) == 7 * 3 + 6


# what can be seen


def draws(population: Population, findings: tuple[str, ...], number: int = 150) -> list[Thyroid]:
    rng = np.random.default_rng(0)
    return [population.thyroid_with(findings, rng) for _ in range(number)]


@pytest.mark.parametrize("population", [CLINIC, ELSEWHERE], ids=["clinic", "elsewhere"])
@pytest.mark.parametrize("findings", [*((name,) for name in CLASSES), *CROSSES], ids="+".join)
def test_the_label_is_what_can_be_seen(findings: tuple[str, ...], population: Population) -> None:
    for thyroid in draws(population, findings, 60):
        changes = [contrast(thyroid, nodule) for nodule in thyroid.nodules]
        assert all(nodule.diameter_mm >= 12 for nodule in thyroid.nodules)
        if "hot_nodule" in findings:
            assert max(changes) > 0.4
        if "cold_nodule" in findings:
            assert any(n.uptake < 0.4 and n.diameter_mm >= 17 for n in thyroid.nodules)
            assert min(changes) < -0.4
        if "multinodular_goitre" in findings:
            assert sum(abs(change) > 0.15 for change in changes) >= 2
        if findings in (("normal",), ("graves",), ("subacute_thyroiditis",)):
            assert not thyroid.nodules
        if findings == ("hashimoto",):
            assert thyroid.patchiness > 0.5
            assert all(0.3 < nodule.uptake <= 2 for nodule in thyroid.nodules)


def test_neither_a_small_mild_gland_is_graves_nor_a_bright_one_thyroiditis() -> None:
    normal = normal_thyroid(np.random.default_rng(0))
    mild = replace(normal, uptake_percent=1.6, volume_ml=14)
    assert not shows(mild, ("graves",))
    assert shows(mild, ("normal",))
    assert not shows(mild, ("subacute_thyroiditis",))
    assert not shows(replace(mild, uptake_percent=9), ("normal",))
    faint = replace(mild, uptake_percent=0.25)
    assert shows(faint, ("subacute_thyroiditis",))
    assert not shows(faint, ("normal",))


def test_a_defect_in_the_inflamed_lobe_is_no_label() -> None:
    defect = Nodule(side=0, along=0.0, across=0.0, diameter_mm=20, elongation=1, uptake=0.0)
    normal = normal_thyroid(np.random.default_rng(0))
    thyroid = replace(normal, uptake_percent=0.6, nodules=(defect,), lobe_uptake=(0.1, 1.0))
    assert not shows(thyroid, ("subacute_thyroiditis", "cold_nodule"))
    spared = replace(thyroid, lobe_uptake=(1.0, 0.1))
    assert shows(spared, ("subacute_thyroiditis", "cold_nodule"))


@pytest.mark.parametrize("uptake", [0.0, 0.5, 1.6])
def test_contrast_is_the_change_of_the_rates(uptake: float) -> None:
    nodule = Nodule(side=0, along=0.1, across=-0.2, diameter_mm=14, elongation=1, uptake=uptake)
    thyroid = replace(normal_thyroid(np.random.default_rng(1)), volume_ml=60, nodules=(nodule,))
    lobe = replace(_lobe(thyroid, 0, np.random.default_rng(1)), bend=0.0, lean_deg=0.0, taper=0.0)
    x = np.full((1, 1), lobe.x - 0.2 * lobe.half_width, dtype=np.float32)
    y = np.full((1, 1), lobe.y + 0.1 * lobe.half_length, dtype=np.float32)
    tissue = np.ones((1, 1), dtype=np.float32)
    even = _lobe_rates(lobe, [], x, y, tissue)
    seen = _lobe_rates(lobe, [nodule], x, y, tissue)
    assert contrast(thyroid, nodule) == pytest.approx(float((seen / even)[0, 0]) - 1, abs=0.02)


def test_patients_elsewhere_differ() -> None:
    def median(population: Population, name: str, what: str) -> float:
        return float(np.median([getattr(t, what) for t in draws(population, (name,))]))

    for name, what in (
        ("graves", "volume_ml"),
        ("hashimoto", "patchiness"),
        ("multinodular_goitre", "volume_ml"),
    ):
        here, there = (median(population, name, what) for population in (CLINIC, ELSEWHERE))
        assert abs(here / there - 1) > 0.1
    trapped = [
        np.median([trapped_percent(t) for t in draws(population, ("subacute_thyroiditis",))])
        for population in (CLINIC, ELSEWHERE)
    ]
    assert trapped[1] > trapped[0]


# pictures and files


def test_an_exported_picture_is_shrunk_turned_and_smoothed() -> None:
    counts = np.random.default_rng(0).poisson(30, (64, 64)).astype(np.uint16)
    as_acquired = picture_of(counts, None, key="a")
    np.testing.assert_array_equal(as_acquired, np.rint(255 * (counts / counts.max())))
    shrunk = picture_of(counts, Export(smoothed=0, shrunk=1, rotated=0), key="a")
    rows = np.nonzero(shrunk)[0]
    assert 0.55 * 64 <= np.ptp(rows) <= 64
    assert (shrunk == 0).mean() > 0.02
    # only pixels that a shift moves beyond the edge are lost
    turned = picture_of(counts, Export(smoothed=0, shrunk=0, rotated=1), key="a")
    assert 0 in (turned[0, 0], turned[-1, -1], turned[0, -1], turned[-1, 0])
    smoothed = picture_of(counts, Export(smoothed=1, shrunk=0, rotated=0), key="a")
    assert smoothed.std() / smoothed.mean() < 0.7 * as_acquired.std() / as_acquired.mean()
    for picture in (as_acquired, shrunk, turned, smoothed):
        assert picture.dtype == np.uint8
        assert picture.shape == (64, 64)
        assert picture.max() == 255
    again = picture_of(counts, Export(smoothed=0, shrunk=1, rotated=0), key="a")
    np.testing.assert_array_equal(again, shrunk)
    other = picture_of(counts, Export(smoothed=0, shrunk=1, rotated=0), key="b")
    assert not np.array_equal(other, shrunk)


def test_zoomed_fields_are_written_as_they_are(tmp_path: Path) -> None:
    for format in ("dataset", "dicom"):
        write_phantom(
            tmp_path / format, preset="clinic7", images_per_class=dict.fromkeys(CLASSES, 2),
            images_per_cross=0, format=format, seed=5,
        )  # fmt: skip
    import_folder(tmp_path / "dicom", tmp_path / "imported")
    direct, imported = (Dataset.open(tmp_path / name) for name in ("dataset", "imported"))
    np.testing.assert_array_equal(direct.counts, imported.counts)
    images = addresses(CLINIC7, images_per_class=9, images_per_cross=0)[:18]
    own = {centre.name: centre.pixel_mm for centre in CLINIC7.centres}
    seen = [s.centre.pixel_mm / own[s.centre.name] for s in simulate(CLINIC7, images, seed=5)]
    assert min(seen) < 0.8
    assert max(seen) == 1


# counts of an image of each group in the upper left quarter, from before there was `clinic7`
FROZEN = {
    "thyroid7": (
        46363, 16698, 64016, 25977, 26101, 32977, 27261, 45705, 24565, 32229, 38507, 30296, 46915,
    ),
    "thyroid7-external": (
        26876, 42247, 27319, 75017, 61435, 53623, 28074, 42572, 54391, 65689, 26756, 46951, 28813,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FROZEN)
def test_thyroid7_is_frozen(name: str) -> None:
    """One random number more or less would change all of them."""
    images = addresses(PRESETS[name], images_per_class=1, images_per_cross=1)
    quarters = [
        int(s.anterior[: s.centre.matrix // 2, : s.centre.matrix // 2].sum())
        for s in simulate(PRESETS[name], images, seed=3)
    ]
    assert quarters == pytest.approx(FROZEN[name], rel=1e-4)
