"""The frames of a DICOM file that were counted in the photopeak of a thyroid's radionuclide."""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence

from pydicom import Dataset as Header

from thyroid.data.header_values import get, items, text, vector
from thyroid.data.scintigram import UnusableFile

PHOTOPEAKS_KEV = {"Tc-99m": 140.5, "I-123": 159.0, "I-131": 364.5}
"""Main photopeaks of the radionuclides that thyroid scintigrams are made with."""
ROUNDED = 1.0
"""keV by which a window may miss the peak, since files have rounded limits."""
WIDEST = 0.6
"""Width of a photopeak's window, as a share of its energy; 0.2 is usual."""
LOWEST = 0.75
"""Least lower limit of a photopeak's window, as a share of its energy: scatter is below."""
INSIDE = 0.02
"""Least distance of a photopeak from the limits of its window, as a share of its energy."""
MOST_KEV = 2000.0

# SNOMED CT and SNOMED RT codes of DICOM context group 18
ISOTOPE_CODES = {
    "72454006": "Tc-99m", "C-163A8": "Tc-99m", "21572004": "I-123", "C-114A4": "I-123",
    "1368003": "I-131", "C-114B1": "I-131", "27054007": "Co-57", "C-144A3": "Co-57",
    "68630002": "I-125", "C-114A6": "I-125", "60057003": "Tl-201", "C-138A9": "Tl-201",
    "2008008": "Ga-67", "C-131A2": "Ga-67", "56609000": "In-111", "C-145A4": "In-111",
    "14529005": "Gd-153", "C-178A8": "Gd-153", "3027009": "Ba-133", "C-122A5": "Ba-133",
    "80751004": "Xe-133", "C-172A8": "Xe-133", "61716009": "Kr-81m", "C-173A5": "Kr-81m",
    "447553000": "Lu-177", "C-101ED": "Lu-177", "77004003": "F-18", "C-111A1": "F-18",
}  # fmt: skip
ELEMENTS = {
    "tc": ("tc", "technetium", "technetium-tc", "tecnecio", "tecnezio", "technecium", "锝", "鍀"),
    "i": ("i", "j", "iod", "iode", "jod", "iodine", "iodide", "iodo", "yodo", "iodio", "碘"),
    "co": ("co", "cobalt", "kobalt", "cobalto", "钴"),
    "tl": ("tl", "thallium", "talio", "tallio", "铊"),
    "ga": ("ga", "gallium", "galio", "gallio", "镓"),
    "in": ("in", "indium", "indio", "铟"),
    "ge": ("ge", "germanium"),
    "re": ("re", "rhenium"),
    "gd": ("gd", "gadolinium"),
    "ba": ("ba", "barium"),
    "cs": ("cs", "caesium", "cesium"),
    "am": ("am", "americium"),
    "xe": ("xe", "xenon"),
    "kr": ("kr", "krypton"),
    "lu": ("lu", "lutetium"),
    "sm": ("sm", "samarium"),
    "f": ("f", "fluor", "fluorine"),
}
MASSES = {
    "tc": "99m?", "i": "12[345]|131", "co": "57", "tl": "201", "ga": "67", "in": "111", "gd": "153",
    "ge": "68", "ba": "133", "cs": "137", "am": "241", "xe": "133", "kr": "81m?", "lu": "177",
    "sm": "153", "f": "18", "re": "18[68]",
}  # fmt: skip
NAMED = {
    element: re.compile(
        rf"(?<![a-z])(?:{'|'.join(ELEMENTS[element])})[\s^_-]*({mass})(?![0-9])"
        rf"|(?<![0-9])({mass})[\s^_-]*(?:{'|'.join(ELEMENTS[element])})(?![a-z])"
    )
    for element, mass in MASSES.items()
}
PERTECHNETATE = re.compile("pertec?h?net|pertecn|过锝|高锝")
SCATTER = re.compile(
    r"scat|compton|streu|diffus|dispers|espalh|background|down|lower|upper|transm|散射|康普顿|透射"
    r"|(?<![a-z])(?:sc\d*|tew|tct)(?![a-z])"
)


def photopeak_frames(
    header: Header, count: int, frames: list[int]
) -> tuple[list[int], tuple[str, ...]]:
    """Return which of `frames` were counted in the photopeak, and flags.

    `count` is the number of all frames of the file.

    Raises
    ------
    UnusableFile : no frame was, the header does not say which was, or the radionuclide is not used
        for thyroid scintigrams.
    """
    windows = items(header, "EnergyWindowInformationSequence")
    isotopes = _isotopes(header, windows)
    if isotopes and not isotopes & set(PHOTOPEAKS_KEV):
        raise UnusableFile("its radionuclide is not one that thyroid scintigrams are made with")
    peaks = [kev for name, kev in PHOTOPEAKS_KEV.items() if not isotopes or name in isotopes]
    at_peak = [_at_peak(window, peaks) for window in windows]
    numbers = vector(header, "EnergyWindowVector", count, len(windows))
    if numbers is None and len(set(at_peak)) > 1:
        raise _nothing_says_which()
    numbers = numbers or [1] * count
    used = {numbers[frame] for frame in frames}
    state = {n: at_peak[n - 1] if 1 <= n <= len(at_peak) else None for n in used}
    chosen = {n for n in used if state[n]} or {n for n in used if state[n] is None}
    if not chosen:
        raise UnusableFile(
            f"it was counted beside the photopeak of {' or '.join(sorted(isotopes))}"
            if isotopes
            else "it was counted in no photopeak of Tc-99m, I-123 or I-131"
        )
    if len(chosen) > 1 or (len(used) > 1 and not any(state.values())):
        raise _nothing_says_which()
    named = isotopes and all(state[n] for n in chosen)
    return [f for f in frames if numbers[f] in chosen], () if named else ("window_unnamed",)


def _nothing_says_which() -> UnusableFile:
    return UnusableFile("it has several energy windows and nothing says which is the photopeak")


def _at_peak(window: Header, peaks: Iterable[float]) -> bool | None:
    """Return whether a window contains one of the peaks, keV; None if its values leave it open."""
    name = text(window, "EnergyWindowName")
    of_another = isotopes_in(name) and not isotopes_in(name) & set(PHOTOPEAKS_KEV)
    if of_another or SCATTER.search(name.casefold()):
        return False
    limits = [
        (float(each.EnergyWindowLowerLimit), float(each.EnergyWindowUpperLimit))
        for each in items(window, "EnergyWindowRangeSequence")
        if get(each, "EnergyWindowLowerLimit") and get(each, "EnergyWindowUpperLimit")
    ]
    limits = [(low, high) for low, high in limits if low < high <= MOST_KEV]
    if any(all(high < peak - ROUNDED for peak in peaks) for _, high in limits):
        return False
    held = [
        high - low <= WIDEST * peak
        and LOWEST * peak <= low <= (1 - INSIDE) * peak
        and high >= (1 + INSIDE) * peak
        for low, high in limits
        for peak in peaks
        if low - ROUNDED <= peak <= high + ROUNDED
    ]
    if not limits or (held and not any(held)):
        return None
    return bool(held)


def _isotopes(header: Header, windows: Sequence[Header]) -> set[str]:
    """Return the radionuclides that the header gives, or else those that windows and texts name."""
    given = items(header, "RadiopharmaceuticalInformationSequence")
    found = {isotope for each in given for isotope in _of_pharmaceutical(each)}
    if found:
        return found
    texts = [text(window, "EnergyWindowName") for window in windows]
    texts += [text(header, name) for name in ("SeriesDescription", "ProtocolName", "ImageID")]
    return {isotope for said in texts if said for isotope in isotopes_in(said)}


def _of_pharmaceutical(item: Header) -> Iterator[str]:
    for name in ("RadionuclideCodeSequence", "RadiopharmaceuticalCodeSequence"):
        for code in items(item, name):
            known = ISOTOPE_CODES.get(text(code, "CodeValue"))
            if known:
                yield known
            yield from isotopes_in(text(code, "CodeMeaning"))
    yield from isotopes_in(text(item, "Radiopharmaceutical"))


@functools.lru_cache(maxsize=1024)
def isotopes_in(text: str) -> frozenset[str]:
    """Return the radionuclides that a text names, as in "Tc-99m", "^99m^Technetium" or "123I"."""
    plain = text.casefold()
    found = {
        f"{element.capitalize()}-{match[1] or match[2]}"
        for element, pattern in NAMED.items()
        for match in pattern.finditer(plain)
    }
    if PERTECHNETATE.search(plain):
        found.add("Tc-99m")
    return frozenset("Tc-99m" if name == "Tc-99" else name for name in found)
