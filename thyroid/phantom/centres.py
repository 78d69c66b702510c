"""The simulated centres: cameras and habits of hospitals that see the same diseases.

Ranges follow a table of nine centres (matrix 128, one of nine 256; pixels 0.75 to 3.3 mm,
fields 141 to 422 mm; 100,000 to 500,000 counts; system resolution 5 to 11 mm).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Centre:
    """One gamma camera and the habits of those who use it."""

    name: str
    """Code in the data set."""
    institution: str
    """Name in DICOM headers, made up."""
    manufacturer: str
    """Name in DICOM headers, made up."""
    collimator: str = "PARA"
    """DICOM (0018,1181): PARA or PINH."""
    matrix: int = 128
    """Rows and columns, pixels."""
    pixel_mm: float
    fwhm_mm: float
    """System resolution at the gland's distance."""
    counts: float
    """Mean total counts of the anterior view of a normal thyroid."""
    counts_cv: float = 0.25
    """Coefficient of variation of `counts` from patient to patient."""
    seconds: int
    """Frame duration."""
    gland_from_top: float
    """Mean position of the isthmus, as a share of the field's height."""
    positioning_mm: float = 9.0
    """Standard deviation of the gland's position, per axis."""
    tilt_deg: float = 2.5
    """Standard deviation of the patient's lean."""
    scatter: float = 0.18
    """Scattered photons per primary photon, inside the energy window."""
    background: float = 1.0
    """Ratio of soft tissue to gland, relative to 20 min after injection; higher when earlier."""
    posterior_first: bool = False
    """The files hold the posterior view before the anterior one."""
    old_codes: bool = False
    """The files name views by SNOMED RT instead of SNOMED CT codes."""

    @property
    def field_mm(self) -> float:
        """Width and height of the field of view."""
        return self.matrix * self.pixel_mm


DEVELOPMENT = (
    Centre(
        name="A", institution="Birkenfeld University Hospital", manufacturer="Orbis",
        pixel_mm=2.4, fwhm_mm=8.5, counts=200_000, seconds=300, gland_from_top=0.71, old_codes=True,
    ),
    Centre(
        name="B", institution="Lakeview Nuclear Medicine", manufacturer="Lumenta",
        pixel_mm=2.16, fwhm_mm=8.0, counts=240_000, seconds=420, gland_from_top=0.64,
        background=1.1, posterior_first=True,
    ),
    Centre(
        name="C", institution="Thyroid Centre Norrmark", manufacturer="Orbis",
        pixel_mm=1.55, fwhm_mm=7.0, counts=150_000, seconds=300, gland_from_top=0.58,
        positioning_mm=7.0, background=0.9,
    ),
    Centre(
        name="D", institution="Hospital Santa Oliva", manufacturer="Kestrel Medical",
        matrix=256, pixel_mm=1.195, fwhm_mm=7.6, counts=200_000, seconds=168, gland_from_top=0.6,
        scatter=0.14,
    ),
    Centre(
        name="E", institution="Endocrine Clinic Tarnow Park", manufacturer="Lumenta",
        collimator="PINH", pixel_mm=1.25, fwhm_mm=5.6, counts=110_000, seconds=600,
        gland_from_top=0.53, positioning_mm=6.0, scatter=0.12, background=1.05,
    ),
    Centre(
        name="F", institution="General Hospital Westmoor", manufacturer="Kestrel Medical",
        pixel_mm=2.9, fwhm_mm=9.5, counts=320_000, seconds=600, gland_from_top=0.68,
        positioning_mm=14.0, scatter=0.24, background=1.2,
    ),
)  # fmt: skip

EXTERNAL = (
    Centre(
        name="P", institution="Institute Bellmere", manufacturer="Kestrel Medical",
        pixel_mm=2.65, fwhm_mm=9.0, counts=260_000, seconds=300, gland_from_top=0.55,
        positioning_mm=11.0, scatter=0.2, background=1.1,
    ),
    Centre(
        name="Q", institution="Hopital du Grand Pre", manufacturer="Orbis",
        pixel_mm=1.8, fwhm_mm=7.4, counts=170_000, seconds=240, gland_from_top=0.66,
        posterior_first=True,
    ),
    Centre(
        name="R", institution="Sundby Regional Hospital", manufacturer="Aurica",
        pixel_mm=2.21, fwhm_mm=8.8, counts=130_000, seconds=180, gland_from_top=0.74,
        background=0.9,
    ),
    Centre(
        name="S", institution="Clinic am Rosengarten", manufacturer="Aurica",
        matrix=256, pixel_mm=1.08, fwhm_mm=6.8, counts=300_000, seconds=600, gland_from_top=0.62,
        scatter=0.15, background=0.95,
    ),
)  # fmt: skip
