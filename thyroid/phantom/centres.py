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
    most_counts: float = 600_000
    """Most total counts of a view."""
    seconds: int
    """Frame duration."""
    gland_from_top: float
    """Mean position of the isthmus, as a share of the field's height."""
    zooms: tuple[float, ...] = (1.0,)
    """Magnifications in use, equally often; a zoomed field has smaller pixels."""
    positioning_mm: float = 9.0
    """Standard deviation of the gland's position, per axis."""
    tilt_deg: float = 2.5
    """Standard deviation of the patient's lean."""
    scatter: float = 0.18
    """Scattered photons per primary photon, inside the energy window."""
    background: float = 1.0
    """Ratio of soft tissue to gland, relative to that at 20 min after injection; higher earlier."""
    posterior_first: bool = False
    """The files hold the posterior view before the anterior one."""
    old_codes: bool = False
    """The files name views by SNOMED RT instead of SNOMED CT codes."""

    @property
    def field_mm(self) -> float:
        """Width and height of the field of view."""
        return self.matrix * self.pixel_mm


TRAINING = (
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

DEVELOPMENT = (
    Centre(
        name="Y1", institution="Hospital Ferrolund", manufacturer="Aurica",
        pixel_mm=2.5, fwhm_mm=8.7, counts=210_000, seconds=300, gland_from_top=0.57,
        positioning_mm=10.0, scatter=0.2,
    ),
    Centre(
        name="Y2", institution="Nuclear Medicine Sainte Aubine", manufacturer="Lumenta",
        pixel_mm=1.7, fwhm_mm=7.2, counts=150_000, seconds=240, gland_from_top=0.63,
        background=1.05, posterior_first=True,
    ),
    Centre(
        name="Y3", institution="Regional Clinic Drevna", manufacturer="Kestrel Medical",
        pixel_mm=2.3, fwhm_mm=9.1, counts=140_000, seconds=180, gland_from_top=0.72,
        background=0.9,
    ),
    Centre(
        name="Y4", institution="Harrowgate Thyroid Unit", manufacturer="Orbis",
        matrix=256, pixel_mm=1.12, fwhm_mm=6.9, counts=280_000, seconds=600, gland_from_top=0.65,
        scatter=0.15, old_codes=True,
    ),
)  # fmt: skip
"""For decisions about a method's design: neither the training's centres nor those of a test."""

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

CLINICS = (
    Centre(
        name="G", institution="Municipal Hospital Rabenau", manufacturer="Orbis",
        pixel_mm=2.16, fwhm_mm=8.2, counts=380_000, counts_cv=0.6, most_counts=1_500_000,
        seconds=600, gland_from_top=0.72, zooms=(1.0, 1.0, 1.0, 1.45),
    ),
    Centre(
        name="H", institution="Endocrine Institute Valdemar", manufacturer="Lumenta",
        pixel_mm=3.29, fwhm_mm=9.5, counts=450_000, counts_cv=0.6, most_counts=1_500_000,
        seconds=600, gland_from_top=0.6, positioning_mm=14.0, scatter=0.22, background=1.15,
        zooms=(1.0, 1.0, 1.45),
    ),
    Centre(
        name="I", institution="Saint Brannoc's Infirmary", manufacturer="Aurica",
        matrix=256, pixel_mm=1.2, fwhm_mm=7.6, counts=500_000, counts_cv=0.5,
        most_counts=1_500_000, seconds=600, gland_from_top=0.68, scatter=0.14, background=0.9,
    ),
    Centre(
        name="J", institution="Policlinic Monteverro", manufacturer="Kestrel Medical",
        pixel_mm=2.4, fwhm_mm=8.6, counts=350_000, counts_cv=0.5, seconds=300,
        gland_from_top=0.58, posterior_first=True, zooms=(1.0, 1.0, 1.33),
    ),
    Centre(
        name="K", institution="Northgate Medical Centre", manufacturer="Lumenta",
        pixel_mm=1.15, fwhm_mm=6.0, counts=200_000, counts_cv=0.5, seconds=600,
        gland_from_top=0.55, positioning_mm=6.0, scatter=0.15,
    ),
    Centre(
        name="L", institution="Hospital of Ulverholm", manufacturer="Orbis",
        pixel_mm=2.8, fwhm_mm=10.0, counts=500_000, counts_cv=0.5, most_counts=1_500_000,
        seconds=900, gland_from_top=0.7, positioning_mm=12.0, scatter=0.24, background=1.1,
        old_codes=True, zooms=(1.0, 1.0, 1.6),
    ),
    Centre(
        name="M", institution="Clinic Oberlinden", manufacturer="Kestrel Medical",
        pixel_mm=1.7, fwhm_mm=7.2, counts=160_000, counts_cv=0.4, seconds=300,
        gland_from_top=0.64, zooms=(1.0, 1.0, 1.0, 1.5),
    ),
    Centre(
        name="N", institution="University Clinic Torvaara", manufacturer="Aurica",
        pixel_mm=2.3, fwhm_mm=8.0, counts=500_000, counts_cv=0.5, most_counts=1_500_000,
        seconds=900, gland_from_top=0.61, posterior_first=True,
    ),
    Centre(
        name="O", institution="Thyroid Practice Almenara", manufacturer="Orbis",
        collimator="PINH", pixel_mm=1.4, fwhm_mm=5.8, counts=140_000, counts_cv=0.4, seconds=600,
        gland_from_top=0.53, positioning_mm=7.0, scatter=0.12,
    ),
)  # fmt: skip

OTHER_CLINICS = (
    Centre(
        name="T", institution="Hospital Casterby", manufacturer="Lumenta",
        pixel_mm=2.55, fwhm_mm=9.2, counts=220_000, counts_cv=0.4, seconds=300,
        gland_from_top=0.69, positioning_mm=11.0, scatter=0.2, zooms=(1.0, 1.0, 1.3),
    ),
    Centre(
        name="U", institution="Institute Sankt Aurel", manufacturer="Aurica",
        pixel_mm=1.95, fwhm_mm=7.8, counts=350_000, counts_cv=0.5, most_counts=1_500_000,
        seconds=600, gland_from_top=0.64, background=1.1,
    ),
    Centre(
        name="V", institution="Radiology Group Pinemoor", manufacturer="Orbis",
        matrix=256, pixel_mm=1.35, fwhm_mm=8.4, counts=280_000, counts_cv=0.4, seconds=600,
        gland_from_top=0.73, posterior_first=True,
    ),
    Centre(
        name="W", institution="District Hospital Vereda", manufacturer="Kestrel Medical",
        pixel_mm=1.45, fwhm_mm=6.6, counts=180_000, counts_cv=0.4, seconds=420,
        gland_from_top=0.57, positioning_mm=7.0, background=0.9,
    ),
    Centre(
        name="X", institution="Medical Academy Lozere", manufacturer="Lumenta",
        pixel_mm=3.0, fwhm_mm=9.8, counts=420_000, counts_cv=0.5, most_counts=1_500_000,
        seconds=600, gland_from_top=0.67, positioning_mm=13.0, scatter=0.23, zooms=(1.0, 1.5),
    ),
)  # fmt: skip
