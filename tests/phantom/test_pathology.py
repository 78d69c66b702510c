"""Thyroids agree with published figures, and labels with what was simulated."""

from collections.abc import Sequence

import numpy as np
import pytest

from thyroid.phantom.pathology import CLASSES, CROSSES, Thyroid, thyroid_with

DRAWS = 1500


def draws(findings: Sequence[str]) -> list[Thyroid]:
    rng = np.random.default_rng(0)
    return [thyroid_with(findings, rng) for _ in range(DRAWS)]


# uptake at 20 min in %: mean, least, most (published), and how far our mean may lie from it
UPTAKE = {
    "normal": (1.5, 0.17, 4.8, 0.3),
    "graves": (10.6, 0.43, 40, 1.5),
    "hot_nodule": (4.5, 0.6, 15, 0.8),
    "subacute_thyroiditis": (0.5, 0.18, 1.0, 0.15),
}


@pytest.mark.parametrize("name", UPTAKE)
def test_uptake_is_as_published(name: str) -> None:
    mean, least, most, tolerance = UPTAKE[name]
    uptake = np.array([thyroid.uptake_percent for thyroid in draws([name])])
    assert least <= uptake.min()
    assert uptake.max() <= most
    assert abs(uptake.mean() - mean) < tolerance


def test_hyperthyroid_autoimmune_thyroiditis() -> None:
    """A quarter of the patients are hyperthyroid, with a median uptake of 0.9 %; all others have a
    normal uptake.
    """
    uptake = np.array([thyroid.uptake_percent for thyroid in draws(["hashimoto"])])
    assert np.quantile(uptake, 0.12) == pytest.approx(0.9, abs=0.2)
    assert uptake.max() <= 4.8


def test_a_third_of_hyperfunctioning_glands_overlap_with_normal_ones() -> None:
    """One third of thyrotoxic cases lie below the highest normal uptake of 4.8 %."""
    hyper = [t.uptake_percent for name in ("graves", "hot_nodule") for t in draws([name])]
    assert 0.25 < np.mean(np.array(hyper) < 4.8) < 0.6


def test_volumes() -> None:
    normal = np.array([thyroid.volume_ml for thyroid in draws(["normal"])])
    assert normal.min() >= 8
    assert normal.max() <= 20
    graves = np.array([thyroid.volume_ml for thyroid in draws(["graves"])])
    assert abs(graves.mean() - 52) < 4
    assert abs(graves.std() - 24) < 5
    for enlarged in ("hashimoto", "multinodular_goitre"):
        assert np.median([thyroid.volume_ml for thyroid in draws([enlarged])]) > 20


def test_pyramidal_lobes() -> None:
    """A pyramidal lobe is seen in 14 % of scans, and more often in Graves' disease."""
    share = {
        name: np.mean([thyroid.pyramidal > 0 for thyroid in draws([name])])
        for name in ("normal", "graves")
    }
    assert share["normal"] == pytest.approx(0.14, abs=0.03)
    assert share["graves"] > 0.25


@pytest.mark.parametrize("findings", [*((name,) for name in CLASSES), *CROSSES], ids="+".join)
def test_the_label_is_what_was_simulated(findings: tuple[str, ...]) -> None:
    for thyroid in draws(findings)[:300]:
        hot = [nodule for nodule in thyroid.nodules if nodule.uptake > 2]
        cold = [nodule for nodule in thyroid.nodules if nodule.uptake < 0.3]
        if "multinodular_goitre" in findings:
            assert len(thyroid.nodules) >= 4
            assert sum(nodule.uptake > 1.8 for nodule in thyroid.nodules) >= 2
            assert len(cold) >= 2
        else:
            assert bool(hot) == ("hot_nodule" in findings)
            assert bool(cold) == ("cold_nodule" in findings)
        if findings in (("normal",), ("graves",), ("subacute_thyroiditis",)):
            assert not thyroid.nodules
        # below 10 mm a defect is easily missed, so it is no label
        assert all(nodule.diameter_mm >= 10 for nodule in thyroid.nodules)
        if findings[0] in ("normal", "graves", "hot_nodule", "cold_nodule"):
            assert thyroid.patchiness < 0.15
        if findings[0] == "hashimoto":
            assert thyroid.patchiness > 0.25


def test_overt_adenomas_are_large_and_suppress_the_rest() -> None:
    nodules = [thyroid.nodules[0] for thyroid in draws(["hot_nodule"])]
    diameter = np.array([nodule.diameter_mm for nodule in nodules])
    uptake = np.array([nodule.uptake for nodule in nodules])
    assert 0.3 < np.mean(diameter > 30) < 0.7
    assert np.median(uptake[diameter > 30]) > np.median(uptake[diameter < 25])
