"""Patients of a clinic: how mild, large and uneven each disease is among them.

`pathology.py` has textbook cases. This module has the cases of a clinic: small and mild Graves'
glands, goitres from nearly even to florid, thyroiditis without any trace of a gland. A thyroid is
drawn again until `shows` finds its label in it, so every labelled finding can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from thyroid.phantom.distributions import LogNormal, normal
from thyroid.phantom.gland import contrast, trapped_percent
from thyroid.phantom.pathology import Thyroid, pyramidal, with_nodule

Interval = tuple[float, float]
"""Ends of a uniform distribution."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Ranges of disease: uptake in % of the injected activity, volumes in mL, diameters in mm."""

    normal_uptake: LogNormal
    normal_volume: LogNormal
    graves_uptake: LogNormal
    graves_volume: LogNormal
    thyroiditis_uptake: LogNormal
    thyroiditis_volume: LogNormal
    hashimoto_uptake: LogNormal
    hashimoto_volume: LogNormal
    hashimoto_patchiness: Interval
    """Share of the uptake that patches lose."""
    adenoma_uptake: LogNormal
    """Uptake of a gland with a toxic adenoma."""
    adenoma_diameter: LogNormal
    adenoma_strength: Interval
    """Uptake of the adenoma relative to the gland around it, divided by that of a typical one."""
    cold_diameter: LogNormal
    cold_rest: Interval
    """Uptake that is left in a cold nodule, relative to the gland around it."""
    goitre_uptake: LogNormal
    goitre_volume: LogNormal
    goitre_florid: Interval
    """Multinodular goitres: 0 nearly even with two or three weak nodules, 1 with five to seven
    strong ones."""

    def thyroid_with(self, findings: Sequence[str], rng: np.random.Generator) -> Thyroid:
        """Draw a thyroid that shows these findings, the primary one first."""
        draw = {
            "normal": self._normal,
            "graves": self._graves,
            "subacute_thyroiditis": self._subacute_thyroiditis,
            "hashimoto": self._hashimoto,
            "hot_nodule": self._hot_nodule,
            "cold_nodule": self._cold_nodule,
            "multinodular_goitre": self._multinodular_goitre,
        }[findings[0]]
        while True:
            thyroid = draw(rng)
            for finding in findings[1:]:
                thyroid = self._with_second(thyroid, finding, rng)
            if shows(thyroid, findings):
                return thyroid

    def _normal(self, rng: np.random.Generator) -> Thyroid:
        return Thyroid(
            uptake_percent=self.normal_uptake.draw(rng),
            volume_ml=self.normal_volume.draw(rng),
            lobe_share=normal(rng, 0.52, 0.06, low=0.36, high=0.68),
            isthmus=rng.uniform(0.05, 0.6),
            pyramidal=pyramidal(rng, probability=0.14),
            patchiness=rng.uniform(0.02, 0.12),
            roughness_mm=rng.uniform(0.6, 1.3),
        )

    def _graves(self, rng: np.random.Generator) -> Thyroid:
        return replace(
            self._normal(rng),
            uptake_percent=self.graves_uptake.draw(rng),
            volume_ml=self.graves_volume.draw(rng),
            isthmus=rng.uniform(0.1, 0.9),
            pyramidal=pyramidal(rng, probability=0.35),
            roughness_mm=rng.uniform(0.8, 1.8),
        )

    def _subacute_thyroiditis(self, rng: np.random.Generator) -> Thyroid:
        pattern = rng.choice(("faint", "patchy", "one side"), p=(0.8, 0.12, 0.08))
        thyroid = Thyroid(
            uptake_percent=self.thyroiditis_uptake.draw(rng),
            volume_ml=self.thyroiditis_volume.draw(rng),
            lobe_share=normal(rng, 0.52, 0.06, low=0.35, high=0.68),
            isthmus=rng.uniform(0.05, 0.6),
            patchiness=rng.uniform(0.4, 0.7) if pattern == "patchy" else rng.uniform(0.1, 0.35),
            grain_mm=13.0,
            roughness_mm=2.2,
        )
        if pattern == "one side":
            spared, inflamed = rng.uniform(0.4, 0.9), rng.uniform(0.05, 0.3)
            sides = (1.0, inflamed) if rng.random() < 0.5 else (inflamed, 1.0)
            thyroid = replace(thyroid, uptake_percent=spared, lobe_uptake=sides)
        return thyroid

    def _hashimoto(self, rng: np.random.Generator) -> Thyroid:
        thyroid = Thyroid(
            uptake_percent=self.hashimoto_uptake.draw(rng),
            volume_ml=self.hashimoto_volume.draw(rng),
            lobe_share=normal(rng, 0.52, 0.07, low=0.33, high=0.7),
            isthmus=rng.uniform(0.1, 0.9),
            pyramidal=pyramidal(rng, probability=0.2),
            patchiness=rng.uniform(*self.hashimoto_patchiness),
            grain_mm=rng.uniform(5, 8),
            roughness_mm=2.0,
        )
        if rng.random() < 1 / 3:  # a soft focus, as in `pathology.hashimoto`
            uptake = rng.uniform(1.5, 2.0) if rng.random() < 0.5 else rng.uniform(0.4, 0.6)
            thyroid = with_nodule(thyroid, rng, diameter_mm=rng.uniform(12, 20), uptake=uptake)
        return thyroid

    def _hot_nodule(self, rng: np.random.Generator) -> Thyroid:
        thyroid = replace(self._normal(rng), uptake_percent=self.adenoma_uptake.draw(rng))
        diameter_mm = self.adenoma_diameter.draw(rng)
        strength = rng.uniform(*self.adenoma_strength)
        uptake = 1 + strength * (1.5 + diameter_mm / 6)
        return with_nodule(thyroid, rng, diameter_mm=diameter_mm, uptake=uptake)

    def _cold_nodule(self, rng: np.random.Generator) -> Thyroid:
        return self._with_second(self._normal(rng), "cold_nodule", rng)

    def _multinodular_goitre(self, rng: np.random.Generator) -> Thyroid:
        florid = rng.uniform(*self.goitre_florid)
        thyroid = Thyroid(
            uptake_percent=self.goitre_uptake.draw(rng),
            volume_ml=self.goitre_volume.draw(rng),
            lobe_share=normal(rng, 0.52, 0.11, low=0.28, high=0.74),
            isthmus=rng.uniform(0.1, 1.0),
            pyramidal=pyramidal(rng, probability=0.14),
            patchiness=rng.uniform(0.03, 0.25),
            roughness_mm=rng.uniform(1.2, 2.8),
        )
        for _ in range(2 + int(rng.integers(2)) + round(4 * florid * rng.uniform(0.6, 1))):
            # some nodules are weaker than others, in florid goitres, too
            strength = florid * rng.uniform(0.5, 1)
            hot = 1.35 + 1.9 * strength
            cold = 0.65 - 0.65 * strength
            diameter_mm = LogNormal(22, 6, 14, 40).draw(rng)
            uptake = hot if rng.random() < 0.45 else cold
            thyroid = with_nodule(thyroid, rng, diameter_mm=diameter_mm, uptake=uptake)
        return thyroid

    def _with_second(self, thyroid: Thyroid, finding: str, rng: np.random.Generator) -> Thyroid:
        """Add a nodule to a thyroid."""
        if finding == "hot_nodule":
            diameter_mm, uptake = LogNormal(22, 6, 14, 40).draw(rng), rng.uniform(2.0, 4.5)
        else:
            diameter_mm, uptake = self.cold_diameter.draw(rng), rng.uniform(*self.cold_rest)
        return with_nodule(thyroid, rng, diameter_mm=diameter_mm, uptake=uptake)


def shows(thyroid: Thyroid, findings: Sequence[str]) -> bool:
    """Return whether a reader can see these findings.

    The product of uptake and volume, each relative to an average normal gland, is below 2.8 in
    normal glands and above in Graves'. Glands of thyroiditis are at most 0.7 times as bright as all
    others, unless one lobe is spared; a nodule is seen only in tissue that is not inflamed. Hot and
    cold nodules change the rates at their place by 40 %; in a goitre, at least two do so by 15 %.
    """
    prominence = thyroid.uptake_percent / 1.5 * thyroid.volume_ml / 12
    brightness = trapped_percent(thyroid) / thyroid.volume_ml ** (2 / 3)  # %, per area in view
    one_lobe = min(thyroid.lobe_uptake) < 0.5
    contrasts = [
        contrast(thyroid, nodule)
        for nodule in thyroid.nodules
        if thyroid.lobe_uptake[nodule.side] >= 0.5
    ]
    match findings[0]:
        case "normal" | "cold_nodule":
            seen = brightness > 0.05 and prominence < 2.8
        case "graves":
            seen = brightness > 0.05 and prominence > 2.8
        case "subacute_thyroiditis":
            least = 0.022 if len(findings) > 1 else 0.0
            seen = one_lobe or least <= brightness < 0.035
        case "multinodular_goitre":
            seen = brightness > 0.05 and sum(abs(each) > 0.15 for each in contrasts) >= 2
        case _:
            seen = brightness > 0.05
    return (
        seen
        and ("hot_nodule" not in findings or max(contrasts, default=0) > 0.4)
        and ("cold_nodule" not in findings or min(contrasts, default=0) < -0.4)
    )


CLINIC = Population(
    normal_uptake=LogNormal(1.5, 1.1, 0.5, 4.8),
    normal_volume=LogNormal(12, 3.2, 8, 22),
    graves_uptake=LogNormal(3, 3.2, 0.9, 40),
    graves_volume=LogNormal(22, 12, 12, 120),
    thyroiditis_uptake=LogNormal(0.24, 0.2, 0.13, 1.0),
    thyroiditis_volume=LogNormal(22, 8, 9, 50),
    hashimoto_uptake=LogNormal(1.9, 1.0, 0.6, 4.8),
    hashimoto_volume=LogNormal(32, 12, 16, 75),
    hashimoto_patchiness=(0.65, 0.95),
    adenoma_uptake=LogNormal(4, 4, 0.6, 18),
    adenoma_diameter=LogNormal(27, 10, 14, 60),
    adenoma_strength=(0.4, 1.3),
    cold_diameter=LogNormal(25, 7, 17, 50),
    cold_rest=(0.0, 0.3),
    goitre_uptake=LogNormal(2.8, 1.8, 0.9, 10),
    goitre_volume=LogNormal(44, 22, 18, 140),
    goitre_florid=(0.0, 1.0),
)
"""Patients of the preset `clinic7`."""

ELSEWHERE = replace(
    CLINIC,
    graves_uptake=LogNormal(4, 3, 1.5, 25),
    graves_volume=LogNormal(44, 18, 20, 120),
    thyroiditis_uptake=LogNormal(0.4, 0.2, 0.2, 1.0),
    thyroiditis_volume=LogNormal(28, 9, 14, 50),
    hashimoto_uptake=LogNormal(2.6, 1.2, 0.8, 6),
    hashimoto_patchiness=(0.55, 0.8),
    adenoma_uptake=LogNormal(3, 2, 0.8, 12),
    adenoma_diameter=LogNormal(22, 6, 14, 40),
    adenoma_strength=(0.3, 0.8),
    cold_diameter=LogNormal(22, 4, 17, 35),
    cold_rest=(0.1, 0.35),
    goitre_uptake=LogNormal(3.6, 2, 1.2, 12),
    goitre_volume=LogNormal(62, 28, 28, 160),
    goitre_florid=(0.1, 0.7),
)
"""Patients of `clinic7-external`: milder in diseases in which `CLINIC` is not, and vice versa. They
differ from those of `clinic7` as real patients differ from simulated ones."""
