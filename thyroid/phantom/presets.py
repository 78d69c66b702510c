"""Named phantoms: their classes, crosses, centres and patients.

`thyroid7` is for training. `thyroid7-development` has the same diseases at other centres and is for
decisions about a method's design. `thyroid7-external` has them at a third set of centres and is for
fresh test sets, read once. docs/results/calibration.md records how hard they are. `clinic7` is for
training networks that will see real images: it has milder and more varied patients, in the numbers
of a published cohort. `clinic7-external` has other centres, and patients with other ranges of
disease.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thyroid.phantom.anatomy import SALIVA, Saliva
from thyroid.phantom.centres import (
    CLINICS,
    DEVELOPMENT,
    EXTERNAL,
    OTHER_CLINICS,
    TRAINING,
    Centre,
)
from thyroid.phantom.distributions import LogNormal
from thyroid.phantom.pathology import CLASSES, CROSSES, Thyroid, thyroid_with
from thyroid.phantom.pictures import Export
from thyroid.phantom.population import CLINIC, ELSEWHERE

DrawThyroid = Callable[[Sequence[str], np.random.Generator], Thyroid]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that decides a phantom, except its size and seed."""

    name: str
    classes: tuple[str, ...] = CLASSES
    crosses: tuple[tuple[str, ...], ...] = CROSSES
    """Findings that occur together, the primary one first."""
    centres: tuple[Centre, ...]
    images_per_class: int | Mapping[str, int] = 60
    """One number for every class, or one for each."""
    images_per_cross: int = 20
    draw_thyroid: DrawThyroid = thyroid_with
    """Draws a thyroid with given findings."""
    saliva: Saliva = SALIVA
    export: Export | None = None
    """Changes of pictures on their way from the camera to a file. None: they are as acquired."""

    @property
    def findings(self) -> tuple[tuple[str, ...], ...]:
        """All groups of findings: the single ones, then the crosses."""
        return (*((name,) for name in self.classes), *self.crosses)


COHORT = {
    "normal": 400,
    "graves": 945,
    "subacute_thyroiditis": 515,
    "hashimoto": 400,
    "hot_nodule": 400,
    "cold_nodule": 400,
    "multinodular_goitre": 1183,
}
"""Diffuse and multinodular goitres and thyroiditis as in a published table of 2,643 patients; the
numbers of the other diseases, which the table leaves out, are assumed."""

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(name="thyroid7", centres=TRAINING),
        Preset(
            name="thyroid7-development",
            centres=DEVELOPMENT,
            images_per_class=60,
            images_per_cross=30,
        ),
        Preset(
            name="thyroid7-external", centres=EXTERNAL, images_per_class=60, images_per_cross=30
        ),
        Preset(
            name="clinic7",
            centres=CLINICS,
            images_per_class=COHORT,
            images_per_cross=50,
            draw_thyroid=CLINIC.thyroid_with,
            saliva=Saliva(
                level=LogNormal(2.2, 1.4, 0.4, 8),
                submandibular=2.3,
                parotid=1.4,
                spread=0.5,
                mouth=LogNormal(2.0, 2.2, 0.1, 13),
            ),
            export=Export(),
        ),
        Preset(
            name="clinic7-external",
            centres=OTHER_CLINICS,
            draw_thyroid=ELSEWHERE.thyroid_with,
            saliva=Saliva(
                level=LogNormal(1.2, 0.5, 0.3, 4),
                submandibular=1.3,
                parotid=1.6,
                spread=0.5,
                mouth=LogNormal(2.2, 1.8, 0.1, 9),
            ),
            export=Export(),
        ),
    )
}


def source_of(name: str, seed: int) -> str:
    """Return the source that is written into a data set of a preset."""
    return f"thyroid phantom, preset {name}, seed {seed}"


def preset_of(source: str) -> Preset | None:
    """Return the preset that a data set of this source was simulated with; None for other data."""
    found = re.fullmatch(r"thyroid phantom, preset (.+), seed -?\d+", source)
    return PRESETS.get(found[1]) if found else None
