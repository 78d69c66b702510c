"""Named phantoms: their classes, crosses and centres.

`thyroid7` is for development; `thyroid7-external` has the same diseases at other centres and is for
fresh test sets. CALIBRATION.md, beside this file, records how hard they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thyroid.phantom.centres import DEVELOPMENT, EXTERNAL, Centre
from thyroid.phantom.pathology import CLASSES, CROSSES


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that decides a phantom, except its size and seed."""

    name: str
    classes: tuple[str, ...] = CLASSES
    crosses: tuple[tuple[str, ...], ...] = CROSSES
    """Findings that occur together, the primary one first."""
    centres: tuple[Centre, ...]
    images_per_class: int = 60
    images_per_cross: int = 20

    @property
    def findings(self) -> tuple[tuple[str, ...], ...]:
        """All groups of findings: the single ones, then the crosses."""
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
