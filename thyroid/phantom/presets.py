"""Named phantoms: which classes, which crosses, at which centres.

`thyroid7` is for development, `thyroid7-external` holds the same diseases at other centres and is
for fresh test sets. How hard they are is recorded in CALIBRATION.md, beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thyroid.phantom.centres import DEVELOPMENT, EXTERNAL, Centre
from thyroid.phantom.pathology import CLASSES, CROSSES


@dataclass(frozen=True, kw_only=True)
class Preset:
    """All that decides a phantom but its size and seed."""

    name: str
    classes: tuple[str, ...] = CLASSES
    crosses: tuple[tuple[str, ...], ...] = CROSSES
    """Findings that occur together, the primary first."""
    centres: tuple[Centre, ...]
    images_per_class: int = 60
    images_per_cross: int = 20

    @property
    def findings(self) -> tuple[tuple[str, ...], ...]:
        """Every group of findings: the single ones, then the crosses."""
        return (*((name,) for name in self.classes), *self.crosses)


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(name="thyroid7", centres=DEVELOPMENT),
        Preset(
            name="thyroid7-external", centres=EXTERNAL, images_per_class=60, images_per_cross=30
        ),
    )
}
