"""The simulator: one scintigram at a time, decided by its address alone.

An image is addressed by preset, seed, findings and its number within these findings. It is rendered
by itself, by elementwise operations, from random numbers seeded by that address. So its bits do not
depend on the number of images, nor on batches, processes and threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thyroid.phantom.anatomy import surroundings
from thyroid.phantom.camera import count, expected_rates, patient_grid
from thyroid.phantom.centres import Centre
from thyroid.phantom.distributions import lognormal, normal
from thyroid.phantom.gland import project
from thyroid.phantom.pathology import Thyroid
from thyroid.phantom.presets import Preset

Counts = npt.NDArray[np.uint16]

IMAGES_PER_ROUND = 10
"""The last of every ten images of a group is a follow-up of the image before it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of one image."""

    findings: tuple[str, ...]
    """The primary one first."""
    number: int
    """Number among the images of these findings, from 0."""

    @property
    def visit(self) -> int:
        """0, or 1 for a follow-up."""
        return int(self.number % IMAGES_PER_ROUND == IMAGES_PER_ROUND - 1)

    @property
    def patient(self) -> int:
        """Number among the patients with these findings, without gaps."""
        rounds, place = divmod(self.number, IMAGES_PER_ROUND)
        return rounds * (IMAGES_PER_ROUND - 1) + min(place, IMAGES_PER_ROUND - 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedScintigram:
    """The stored views of one acquisition, at the centre's own matrix and pixel size."""

    address: Address
    patient: str
    """Made-up identifier, unique among all presets and seeds."""
    centre: Centre
    thyroid: Thyroid
    isthmus: tuple[float, float]
    """Row and column of the isthmus in the anterior view, pixels; 0 is the first pixel's edge."""
    anterior: Counts
    """(H, W)."""
    posterior: Counts | None
    """(H, W), mirrored, as the camera behind the patient sees it."""


def addresses(
    preset: Preset, *, images_per_class: int | Mapping[str, int], images_per_cross: int
) -> list[Address]:
    """Return the addresses of all images of a phantom of this size, in order."""
    per_class = (
        dict.fromkeys(preset.classes, images_per_class)
        if isinstance(images_per_class, int)
        else images_per_class
    )
    return [
        Address(findings=findings, number=number)
        for findings in preset.findings
        for number in range(per_class[findings[0]] if len(findings) == 1 else images_per_cross)
    ]


def simulate(
    preset: Preset, images: Sequence[Address], *, seed: int, posterior: bool = False
) -> Iterator[SimulatedScintigram]:
    """Yield the images at these addresses, one at a time, in this order."""
    for address in images:
        yield _simulate_one(preset, address, seed, posterior)


def _simulate_one(
    preset: Preset, address: Address, seed: int, posterior: bool
) -> SimulatedScintigram:
    group = "+".join(address.findings)
    patient = (preset.name, seed, group, address.patient)
    disease_rng, shape_rng, body_rng = _generator("patient", *patient).spawn(3)
    visit_rng, front_rng, back_rng = _generator("visit", *patient, address.visit).spawn(3)

    centre = preset.centres[address.patient % len(preset.centres)]
    if len(centre.zooms) > 1:
        zoom = _generator("zoom", *patient, address.visit).choice(centre.zooms)
        centre = replace(centre, pixel_mm=centre.pixel_mm / float(zoom))
    thyroid = preset.draw_thyroid(address.findings, disease_rng)
    row_mm, column_mm = (
        share * centre.field_mm + normal(visit_rng, 0, centre.positioning_mm, low=-25, high=25)
        for share in (centre.gland_from_top, 0.5)
    )
    grid = patient_grid(centre, column_mm=column_mm, row_mm=row_mm)
    gland, window = project(thyroid, grid, shape_rng)
    gland *= np.float32(lognormal(visit_rng, 1, 0.15))
    patient_seen = surroundings(grid, body_rng, preset.saliva)
    views = expected_rates(patient_seen, gland, window, centre, posterior=posterior)
    total = lognormal(
        visit_rng,
        centre.counts,
        centre.counts_cv * centre.counts,
        low=60_000,
        high=centre.most_counts,
    )
    return SimulatedScintigram(
        address=address,
        patient=f"{preset.name}/{seed}/{group}-{address.patient}",
        centre=centre,
        thyroid=thyroid,
        isthmus=(row_mm / centre.pixel_mm, column_mm / centre.pixel_mm),
        anterior=count(views.anterior, total, front_rng),
        posterior=None
        if views.posterior is None
        else count(views.posterior, 0.8 * total, back_rng),
    )


def _generator(*key: object) -> np.random.Generator:
    """Return a generator that the key alone seeds."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
