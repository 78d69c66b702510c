"""Sentences about all images together, which an import prints at its end."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from thyroid.data.patient_names import without_zeros
from thyroid.data.record import ImageRecord, is_code


def notes_of(records: Sequence[ImageRecord], outside_share: float, *, keyed: bool) -> Iterator[str]:
    """Yield sentences about patients, centres, copies and the kind of images.

    Parameters
    ----------
    keyed : patients are named by the user's key.
    """
    by_study = sum("patient_by_study" in record.flags for record in records)
    if by_study:
        yield (
            f"{_images(by_study, 'name')} a study and no patient: images of one study count as one "
            "patient's. Where a patient was examined twice, name patients in labels.csv."
        )
    alike = _alike({record.patient for record in records})
    if alike:
        yield (
            f"the names of {len(alike)} patients differ from another patient's only by leading "
            "zeros or .0: if they are the same person, write the name in one way, or training and "
            "test data will share patients."
        )
    unnamed = sum(not record.patient for record in records)
    if unnamed:
        yield (
            f"{_images(unnamed, 'name')} no patient; such an image counts as a patient of its own. "
            "If a patient has several, name patients in labels.csv, or training and test data will "
            "share patients."
        )
        if keyed:
            yield (
                "Some patients are not named, so the patients' key cannot show whether another "
                "data set has the same patients."
            )
    elif len(records) > 1 and len({record.patient for record in records}) == 1:
        yield (
            "All images name the same patient, as after anonymisation: name patients in "
            "labels.csv, as images cannot be split otherwise."
        )
    file_of: dict[str, dict[str, str]] = defaultdict(dict)  # image -> patient -> file
    for record in records:
        file_of[record.image_id].setdefault(record.patient, record.file)
    shared = [list(files.values()) for files in file_of.values() if len(files) > 1]
    if shared:
        yield (
            f"{_images(len(shared), 'belong')} to more than one patient, such as {shared[0][0]!r} "
            f"and {shared[0][1]!r}; training will refuse them: give copies the same patient in "
            "labels.csv, or remove them, and import again."
        )
    if any(not is_code(record.centre) for record in records if record.centre):
        yield (
            "Centres with names in labels.csv get numbers instead, as a name may be an "
            "institution's. Codes, such as 'A' or 'site-3', are kept: to know which centre is "
            "which, as for --split.leave-out-centre, write codes and import again."
        )
    simulated = sum("simulated" in record.flags for record in records)
    if simulated:
        yield (
            f"{_images(simulated, 'name')} thyroid's simulator as software: results on simulated "
            "images say nothing about patients."
        )
    if records[0].kind == "display":
        yield (
            "These are pictures, not counts: pixel size, uptake ratios and thinning of counts "
            "are not available."
        )
        yield (
            "Text burnt into pictures (names, dates, scales) is kept as it is: look at all "
            "pictures, and crop it away before import; a network may also learn labels from it."
        )
    if outside_share > 0.5:
        yield (
            f"{outside_share:.0%} of all counts lie outside the stored field; "
            "a larger size or pixel size keeps more of them."
        )


def _images(number: int, verb: str) -> str:
    return f"1 image {verb}s" if number == 1 else f"{number:,} images {verb}"


def _alike(patients: set[str]) -> set[str]:
    """Return the patients whose names are equal up to leading zeros or ".0"."""
    like: dict[str, set[str]] = defaultdict(set)
    for patient in patients:
        like[without_zeros(patient)].add(patient)
    return {patient for group in like.values() if len(group) > 1 for patient in group}
