"""Recognises images of other organs and tracers, such as bone scans, by their headers."""

import re

from pydicom import Dataset as Header

from thyroid.data.energy_windows import PERTECHNETATE
from thyroid.data.header_values import items, text

TRACERS = re.compile(
    r"mibi|tetrofosmin|myoview|cardiolite|medron|oxidron|butedron|ceretec|neurolite|choletec"
    r"|(?<![a-z])(?:[hme]dp|hmdp|dpd|maa|mag[\s-]?3|dmsa|\w?ida|hmpao|ecd|rbc|hsa|mibg)(?![a-z])"
    r"|albumin|dtpa|pentetate|mertiat|mercaptoacetyl|succimer|\w+fenin"
    r"|colloid|kolloid|nanoco|exametazime|bicisate|pyrophosph|red\s?cell|焦磷酸"
    r"|leu[kc]o|benguan|datscan|ioflupane|octreot|tektrotyd|depreotide|tilmanocept"
    r"|hippur|phytate|亚甲基|双膦酸|甲氧基异丁基"
)
"""Radiopharmaceuticals of bone, heart, lung, kidney, liver, lymph, brain and tumour scans."""
IODIDE = re.compile(r"iodide|\bnai\b|iodure|jodid|ioduro|碘化")
PARTS = frozenset(
    (
        "ABDOMEN", "ANKLE", "ARM", "BLADDER", "BONE", "BRAIN", "BREAST", "CALF", "ELBOW", "FEMUR",
        "FOOT", "GALLBLADDER", "HAND", "HEART", "HIP", "HUMERUS", "KIDNEY", "KNEE", "LEG", "LIVER",
        "LSPINE", "LUNG", "PELVIS", "SPLEEN", "STOMACH", "TESTIS", "THIGH", "TIBIA", "WRIST",
    )
)  # fmt: skip
"""Values of BodyPartExamined that exclude the neck."""


def other_examination(header: Header) -> bool:
    """Return whether a header names the tracer, or the part of the body, of another examination."""
    said = " | ".join(
        tracer
        for item in items(header, "RadiopharmaceuticalInformationSequence")
        for tracer in (
            text(item, "Radiopharmaceutical"),
            *(text(code, "CodeMeaning") for code in items(item, "RadiopharmaceuticalCodeSequence")),
        )
        if tracer
    ).casefold()
    of_thyroid = PERTECHNETATE.search(said) or IODIDE.search(said)
    part = text(header, "BodyPartExamined").strip().upper()
    return bool(TRACERS.search(said) and not of_thyroid) or part in PARTS
