"""The state of a thyroid with given findings: uptake, size, evenness and nodules.

Figures come from the literature: uptake at 20 min in % of the injected activity, volumes in mL,
diameters in mm. Classes overlap as they do in patients: a third of thyrotoxic glands have a normal
uptake, Hashimoto's thyroiditis mimics nodular disease, and so on. Only visible findings are
labelled: nodules are larger than the camera's resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thyroid.data.labels import KNOWN_FINDINGS
from thyroid.phantom.distributions import lognormal, normal

CLASSES = KNOWN_FINDINGS

CROSSES = (
    ("graves", "cold_nodule"),
    ("graves", "hot_nodule"),
    ("hashimoto", "cold_nodule"),
    ("hashimoto", "hot_nodule"),
    ("multinodular_goitre", "hot_nodule"),
    ("subacute_thyroiditis", "cold_nodule"),
)


@dataclass(frozen=True, kw_only=True)
class Nodule:
    """A nearly spherical focus in a lobe."""

    side: int
    """0: the patient's right lobe, on the image's left; 1: the left lobe."""
    along: float
    """Position on the lobe's axis: -1 at the lower pole, 1 at the upper pole."""
    across: float
    """Position across, in half-widths of the lobe."""
    diameter_mm: float
    elongation: float
    """Length divided by width."""
    uptake: float
    """Concentration relative to the tissue around it: hot above 1, cold below."""


@dataclass(frozen=True, kw_only=True)
class Thyroid:
    """State of a thyroid."""

    uptake_percent: float
    """Activity in the whole gland, % of the injected activity."""
    volume_ml: float
    """Volume of both lobes without nodules."""
    lobe_share: float
    """Share of the volume that is in the right lobe."""
    lobe_uptake: tuple[float, float] = (1.0, 1.0)
    """Relative concentration, right and left."""
    isthmus: float
    """Thickness relative to the lobes."""
    pyramidal: float = 0.0
    """Brightness of the pyramidal lobe relative to the lobes; 0 for none."""
    patchiness: float
    """Share of the uptake that patches of the tissue lose."""
    grain_mm: float = 11.0
    """Size of the patches."""
    roughness_mm: float = 1.3
    """Standard deviation of the outline's irregularity."""
    nodules: tuple[Nodule, ...] = ()


def thyroid_with(findings: Sequence[str], rng: np.random.Generator) -> Thyroid:
    """Draw a thyroid with these findings, the primary one first."""
    gland = PRIMARY[findings[0]](rng)
    for finding in findings[1:]:
        gland = SECONDARY[finding](gland, rng)
    return gland


def normal_thyroid(rng: np.random.Generator) -> Thyroid:
    """Draw two even lobes and a faint isthmus.

    Uptake is 1.5 +- 1.1 % (0.17 to 4.8), volume 8 to 20 mL. Uptakes below 0.5 % are left out: after
    iodine a normal gland is as invisible as an inflamed one, and no image can tell them apart.
    """
    return Thyroid(
        uptake_percent=lognormal(rng, 1.5, 1.1, low=0.5, high=4.8),
        volume_ml=lognormal(rng, 12, 3.2, low=8, high=20),
        lobe_share=normal(rng, 0.52, 0.05, low=0.38, high=0.66),
        isthmus=lognormal(rng, 0.3, 0.12, high=0.6),
        pyramidal=pyramidal(rng, probability=0.14),
        patchiness=rng.uniform(0.02, 0.1),
        roughness_mm=0.9,
    )


def graves(rng: np.random.Generator) -> Thyroid:
    """Draw an enlarged (52 +- 24 mL), even gland of high uptake (10.6 +- 10 %, here 1.5 to 40)."""
    return Thyroid(
        uptake_percent=lognormal(rng, 11, 10, low=1.5, high=40),
        volume_ml=lognormal(rng, 52, 24, low=18, high=130),
        lobe_share=normal(rng, 0.52, 0.05, low=0.38, high=0.65),
        isthmus=lognormal(rng, 0.5, 0.15, high=0.9),
        pyramidal=pyramidal(rng, probability=0.4),
        patchiness=rng.uniform(0.03, 0.12),
    )


def subacute_thyroiditis(rng: np.random.Generator) -> Thyroid:
    """Draw faint or no uptake (0.5 +- 0.4 %, 0.18 to 1): everywhere, in patches or on one side."""
    pattern = rng.choice(("absent", "patchy", "one side"), p=(0.8, 0.12, 0.08))
    gland = Thyroid(
        uptake_percent=lognormal(rng, 0.34, 0.2, low=0.18, high=1.0),
        volume_ml=lognormal(rng, 22, 6, low=11, high=40),
        lobe_share=normal(rng, 0.52, 0.06, low=0.35, high=0.68),
        isthmus=lognormal(rng, 0.3, 0.12, high=0.6),
        patchiness=rng.uniform(0.15, 0.35),
        grain_mm=13.0,
        roughness_mm=2.2,
    )
    if pattern == "patchy":
        gland = replace(gland, patchiness=rng.uniform(0.4, 0.7))
    if pattern == "one side":
        spared = lognormal(rng, 0.6, 0.15, low=0.4, high=0.9)
        inflamed = rng.uniform(0.08, 0.3)
        sides = (1.0, inflamed) if rng.random() < 0.5 else (inflamed, 1.0)
        gland = replace(gland, uptake_percent=spared, lobe_uptake=sides)
    return gland


def hashimoto(rng: np.random.Generator) -> Thyroid:
    """Draw a patchy, often enlarged gland that mimics other diseases.

    Among 48 published cases 12 looked diffuse, 20 multinodular and 16 solitary. Hyperthyroid glands
    have a median uptake of 0.9 %. Two things are assumed: that one gland in four is hyperthyroid,
    and that the others have a normal uptake.
    """
    pattern = rng.choice(("diffuse", "multinodular", "solitary"), p=(12 / 48, 20 / 48, 16 / 48))
    patchiness, grain_mm = {
        "diffuse": (rng.uniform(0.75, 0.9), 5.5),
        "multinodular": (rng.uniform(0.8, 0.95), 7.5),
        "solitary": (rng.uniform(0.75, 0.9), 6.0),
    }[str(pattern)]
    gland = Thyroid(
        uptake_percent=lognormal(rng, 1.0, 0.3, low=0.7, high=2)
        if rng.random() < 0.25
        else lognormal(rng, 2.2, 0.8, low=1.0, high=4.8),
        volume_ml=lognormal(rng, 38, 9, low=25, high=65),
        lobe_share=normal(rng, 0.52, 0.07, low=0.33, high=0.7),
        isthmus=lognormal(rng, 0.5, 0.18, high=0.9),
        pyramidal=pyramidal(rng, probability=0.2),
        patchiness=patchiness,
        grain_mm=grain_mm,
        roughness_mm=2.0,
    )
    if pattern == "solitary":
        # a soft focus in uneven tissue, not the sharp and single one of an adenoma
        uptake = rng.uniform(1.5, 2.0) if rng.random() < 0.5 else rng.uniform(0.4, 0.6)
        gland = with_nodule(gland, rng, diameter_mm=rng.uniform(12, 20), uptake=uptake)
    return gland


def hot_nodule(rng: np.random.Generator) -> Thyroid:
    """Draw a toxic adenoma (uptake 4.5 +- 4 %, 0.6 to 15) that partly suppresses the gland."""
    gland = replace(normal_thyroid(rng), uptake_percent=lognormal(rng, 4.5, 4, low=0.6, high=15))
    diameter_mm = lognormal(rng, 29, 9, low=14, high=55)
    # a larger adenoma makes more hormone and suppresses the rest of the gland more
    return with_nodule(
        gland,
        rng,
        diameter_mm=diameter_mm,
        uptake=lognormal(rng, 2.5 + diameter_mm / 6, 5, low=2.2, high=40),
    )


def cold_nodule(rng: np.random.Generator) -> Thyroid:
    """Draw a focal defect in an otherwise normal gland."""
    gland = normal_thyroid(rng)
    return _with_cold_nodule(gland, rng, diameter_mm=lognormal(rng, 26, 6, low=18, high=45))


def multinodular_goitre(rng: np.random.Generator) -> Thyroid:
    """Draw an enlarged, asymmetric gland with several hot and cold areas."""
    gland = Thyroid(
        uptake_percent=lognormal(rng, 2.7, 1.4, low=1.2, high=8),
        volume_ml=lognormal(rng, 60, 20, low=34, high=130),
        lobe_share=normal(rng, 0.52, 0.11, low=0.28, high=0.74),
        isthmus=lognormal(rng, 0.5, 0.2, high=1.0),
        pyramidal=pyramidal(rng, probability=0.14),
        patchiness=rng.uniform(0.1, 0.25),
        roughness_mm=2.6,
    )
    hot, cold = int(rng.integers(2, 4)), int(rng.integers(3, 5))
    for kind in ["hot", "cold"] * min(hot, cold) + ["hot"] * (hot - cold) + ["cold"] * (cold - hot):
        uptake = rng.uniform(1.9, 3.2) if kind == "hot" else rng.uniform(0.0, 0.2)
        diameter_mm = lognormal(rng, 23, 5, low=16, high=36)
        gland = with_nodule(gland, rng, diameter_mm=diameter_mm, uptake=uptake)
    return gland


def _add_cold(gland: Thyroid, rng: np.random.Generator) -> Thyroid:
    """Add a defect to diseased tissue, whose uptake is raised so far that the defect shows."""
    gland = replace(gland, uptake_percent=max(gland.uptake_percent, 0.35))
    return _with_cold_nodule(gland, rng, diameter_mm=lognormal(rng, 23, 5, low=17, high=40))


def _add_hot(gland: Thyroid, rng: np.random.Generator) -> Thyroid:
    """Add an autonomous nodule, which suppresses the diseased tissue around it only partly."""
    return with_nodule(
        gland,
        rng,
        diameter_mm=lognormal(rng, 21, 5, low=15, high=36),
        uptake=lognormal(rng, 2.9, 0.6, low=2.2, high=5),
    )


PRIMARY: Mapping[str, Callable[[np.random.Generator], Thyroid]] = {
    "normal": normal_thyroid,
    "graves": graves,
    "subacute_thyroiditis": subacute_thyroiditis,
    "hashimoto": hashimoto,
    "hot_nodule": hot_nodule,
    "cold_nodule": cold_nodule,
    "multinodular_goitre": multinodular_goitre,
}

SECONDARY: Mapping[str, Callable[[Thyroid, np.random.Generator], Thyroid]] = {
    "cold_nodule": _add_cold,
    "hot_nodule": _add_hot,
}


def _with_cold_nodule(gland: Thyroid, rng: np.random.Generator, *, diameter_mm: float) -> Thyroid:
    """Add a cold nodule.

    Defects of 10 mm can be seen; a wide field reliably shows defects of twice its resolution.
    """
    return with_nodule(gland, rng, diameter_mm=diameter_mm, uptake=rng.uniform(0.0, 0.1))


def with_nodule(
    gland: Thyroid, rng: np.random.Generator, *, diameter_mm: float, uptake: float
) -> Thyroid:
    """Add a nodule as far from the others as possible among six random places."""
    candidates = [
        Nodule(
            side=int(rng.integers(2)),
            along=rng.uniform(-0.5, 0.4),
            across=rng.uniform(-0.35, 0.35),
            diameter_mm=diameter_mm,
            elongation=rng.uniform(0.9, 1.3),
            uptake=uptake,
        )
        for _ in range(6)
    ]
    return replace(
        gland,
        nodules=(*gland.nodules, max(candidates, key=lambda new: _distance(new, gland.nodules))),
    )


def _distance(nodule: Nodule, others: Sequence[Nodule]) -> float:
    """Return the distance to the lobe's nearest nodule, in lobe half-lengths; 2 without nodules."""
    return min(
        (
            math.hypot(nodule.along - other.along, 0.4 * (nodule.across - other.across))
            for other in others
            if other.side == nodule.side
        ),
        default=2.0,
    )


def pyramidal(rng: np.random.Generator, *, probability: float) -> float:
    return rng.uniform(0.25, 0.7) if rng.random() < probability else 0.0
