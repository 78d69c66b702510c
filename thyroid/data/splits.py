"""Split into training, validation and test parts by patient, and the check that nothing leaks."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from thyroid.data.dataset import PARTS, Dataset
from thyroid.errors import InputError
from thyroid.recipe import SplitConfig

DEFAULT_FOLDS = 5
"""Folds of a run whose recipe leaves their number open, if there are enough patients."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers of each part, int64, sorted."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    unused: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Images of the training part that are not trained on."""
    unvalidated: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Images of the validation part that are not validated on."""

    @property
    def epoch_images(self) -> int:
        """Images that an epoch draws: as many as the training part has, used or not."""
        return len(self.train) + len(self.unused)


class LeakError(AssertionError):
    """An image or a patient is in more than one part: a fault of the program, not of the user."""


def make_split(dataset: Dataset, config: SplitConfig) -> Split:
    """Deal patients to parts, class by class, with single and cross images alike.

    With one fold, fractions are shares of patients. Each class gets a training patient first, then
    a test patient, then a validation patient, then as many as the fractions say (largest
    remainder). With several folds, the test part is dealt likewise; the other patients are dealt to
    the folds, one class after the other. Fold `config.fold` is the validation part, and the other
    folds are the training part. With `folds_by` centre, the patients of a centre are one fold.

    A patient with images of several labels is dealt once, under the rarest label. With
    `leave_out_centre`, the test part is everyone ever seen at that centre.

    If the data set has an official split, this decides the test part, whatever the fractions say.
    With one fold it also decides the validation part, if it has one; with several folds, its
    validation patients are dealt to the folds like the others.

    Patients who show the combination `unseen` leave the training and the validation part, and
    those beyond `images_per_class` leave the training part; the test part keeps all.

    The result depends on the seed and the patients, not on the order of rows. The test part is the
    same in every fold.

    Raises
    ------
    InputError : there is only one class, a class has fewer than two patients or no training
        patient, the centre is unknown, there are more folds than patients, a patient belongs to
        the folds of two centres, a centre is left out of an official split, or the unseen
        combination names an unknown class.
    """
    _require_learnable(dataset)
    several = (config.folds or 1) > 1
    shares = {"validation": 0.0 if several else config.validation, "test": config.test}
    part_of: dict[str, str] = {}
    if config.leave_out_centre is not None:
        part_of = dict.fromkeys(_patients_at(dataset, config.leave_out_centre), "test")
        shares["test"] = 0.0
    official = _official(dataset, config, several=several)
    if official:
        part_of = official
        shares["test"] = 0.0
    strata = _strata(dataset, config.seed)
    for patients in strata.values():
        free = [patient for patient in patients if patient not in part_of]
        part_of.update(zip(free, _deal(len(free), shares), strict=True))
    if several:
        developing = [p for patients in strata.values() for p in patients if part_of[p] == "train"]
        if config.folds_by == "patient" and len(developing) < (config.folds or 1):
            raise InputError(
                f"{config.folds} folds are more than the {len(developing)} patients outside of the "
                "test part; choose fewer, or --folds 1"
            )
        fold_of = _folds(dataset, developing, config)
        part_of |= {p: "validation" for p in developing if fold_of[p] == config.fold}

    part_of |= _left_out(dataset, part_of, strata, config)
    parts = np.array([part_of[patient] for patient in dataset.patients])
    split = Split(**{part.name: np.flatnonzero(parts == part.name) for part in fields(Split)})
    untrained = set(range(len(dataset.info.classes))) & set(dataset.labels.tolist())
    untrained -= set(dataset.labels[split.train].tolist())
    if untrained:
        if config.leave_out_centre is not None:
            where = (
                f"all patients of this class are seen at centre {config.leave_out_centre!r}; "
                "leave out another centre"
            )
        elif official:
            where = "its images are in other official parts; leave the class out"
        elif several:
            where = f"all its patients are in fold {config.fold}; choose fewer folds, or --folds 1"
        else:
            where = (
                "its patients also show rarer classes; choose another split seed or add patients"
            )
        raise InputError(
            f"class {dataset.info.classes[min(untrained)]!r} has no patient in the training part: "
            + where
        )
    assert_disjoint(dataset, split)
    return split


def _left_out(
    dataset: Dataset, part_of: dict[str, str], strata: dict[str, list[str]], config: SplitConfig
) -> dict[str, str]:
    """Return `unused` or `unvalidated` for each patient who leaves training or validation."""
    left: dict[str, str] = {}
    if config.unseen is not None:
        hidden = set(dataset.patients[shows(dataset, config.unseen_findings)])
        names = {"train": "unused", "validation": "unvalidated"}
        left = {patient: names[part_of[patient]] for patient in hidden if part_of[patient] in names}
    if config.images_per_class is not None:
        for label, patients in strata.items():
            training = [p for p in patients if part_of[p] == "train" and p not in left]
            kept = _first_of_each(dataset, label, training, config.images_per_class)
            left |= {p: "unused" for p in training if p not in kept}
    return left


def shows(dataset: Dataset, findings: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return whether each image shows all of these findings, and perhaps others, (N,).

    Raises
    ------
    InputError : a finding is no class of the data set.
    """
    unknown = [name for name in findings if name not in dataset.info.classes]
    if unknown:
        raise InputError(
            f"split.unseen names {unknown[0]!r}, but the classes of data set {dataset.info.name!r} "
            f"are {', '.join(dataset.info.classes)}"
        )
    columns = [dataset.info.classes.index(name) for name in findings]
    return np.asarray(dataset.findings[:, columns].all(axis=1), dtype=np.bool_)


def _first_of_each(dataset: Dataset, label: str, patients: list[str], images: int) -> set[str]:
    """Choose patients who together have this many images of a class; all of them if there are
    fewer.

    The proportion of single and cross images is that of all patients. A smaller number of images
    keeps some of the patients that a larger number keeps, and no others.
    """
    rows = dataset.images[(dataset.images["label"] == label).to_numpy()]
    number = rows["patient_id"].value_counts()
    group = rows.groupby("patient_id")["findings"].min()
    size = Counter(group[patient] for patient in patients)
    before: Counter[str] = Counter()
    place = {}
    for patient in patients:  # within a group in the order of a hash, see `_strata`
        place[patient] = ((before[group[patient]] + 0.5) / size[group[patient]], patient)
        before[group[patient]] += 1
    kept: set[str] = set()
    there = 0
    for patient in sorted(patients, key=lambda each: place[each]):
        if there >= images:
            break
        kept.add(patient)
        there += int(number[patient])
    return kept


def _official(dataset: Dataset, config: SplitConfig, *, several: bool) -> dict[str, str]:
    """Return the parts that an official split decides, by patient; empty without such a split."""
    parts = dataset.official_parts
    if parts is None:
        return {}
    if config.leave_out_centre is not None:
        raise InputError(
            f"data set {dataset.info.name!r} has an official split, which is always kept; do not "
            "leave a centre out"
        )
    decided = {"test"} if several or "validation" not in parts else set(PARTS)
    return {
        patient: part
        for patient, part in zip(dataset.patients, parts, strict=True)
        if part in decided
    }


def with_folds(dataset: Dataset, config: SplitConfig) -> SplitConfig:
    """Decide the number of folds if the configuration leaves it open.

    Raises
    ------
    InputError : the folds are centres, and all patients outside of the test part are of one centre.
    """
    if config.folds_by == "centre":
        test = set(make_split(dataset, replace(config, folds=1, folds_by="patient")).test.tolist())
        developing = [row for row in range(len(dataset)) if row not in test]
        centres = sorted(set(dataset.images["centre"].iloc[developing]))
        if len(centres) < 2:
            raise InputError(
                f"--folds centre needs patients of two centres: data set {dataset.info.name!r} "
                f"has those of {', '.join(map(repr, centres))} outside of the test part"
            )
        return replace(config, folds=len(centres))
    if config.folds is not None:
        return config
    return replace(config, folds=DEFAULT_FOLDS if _can_be_validated(dataset, config) else 1)


def _can_be_validated(dataset: Dataset, config: SplitConfig) -> bool:
    """Return True if the default number of folds leaves each class something to train on."""
    try:
        for fold in range(DEFAULT_FOLDS):
            make_split(dataset, replace(config, folds=DEFAULT_FOLDS, fold=fold))
    except InputError:
        return False
    return True


def _folds(dataset: Dataset, patients: list[str], config: SplitConfig) -> dict[str, int]:
    """Return the fold of each patient; `patients` is ordered by class."""
    assert config.folds is not None
    if config.folds_by == "patient":
        return {patient: place % config.folds for place, patient in enumerate(patients)}
    chosen = set(patients)
    seen_at: dict[str, set[str]] = defaultdict(set)
    for patient, centre in zip(dataset.patients, dataset.images["centre"], strict=True):
        if patient in chosen:
            seen_at[patient].add(centre)
    travelled = [patient for patient in patients if len(seen_at[patient]) > 1]
    if travelled:
        raise InputError(
            f"patient {travelled[0]!r} was seen at centres "
            f"{', '.join(map(repr, sorted(seen_at[travelled[0]])))}, so centres cannot be the "
            "folds: use --folds 5"
        )
    centres = sorted({centre for of_patient in seen_at.values() for centre in of_patient})
    number = {centre: place for place, centre in enumerate(centres)}
    return {patient: number[min(seen_at[patient])] for patient in patients}


def assert_disjoint(dataset: Dataset, split: Split) -> None:
    """Check that no image and no patient is in two parts; every stage begins with this check.

    Raises
    ------
    LeakError : two parts share an image or a patient; it names them.
    """
    seen_image: dict[int, str] = {}
    seen_patient: dict[str, str] = {}
    for part in fields(split):
        rows = getattr(split, part.name).tolist()
        for row in rows:
            if not 0 <= row < len(dataset):
                raise LeakError(f"{part.name} names row {row} of {len(dataset)} images")
            if row in seen_image:
                raise LeakError(f"row {row} is in {seen_image[row]} and again in {part.name}")
            seen_image[row] = part.name
        for patient in set(dataset.patients[rows]):
            if patient in seen_patient:
                raise LeakError(
                    f"patient {patient} is in {seen_patient[patient]} and in {part.name}"
                )
            seen_patient[patient] = part.name


def _require_learnable(dataset: Dataset) -> None:
    patients = defaultdict(set)
    for label, patient in zip(dataset.images["label"], dataset.patients, strict=True):
        patients[label].add(patient)
    if len(patients) < 2:
        raise InputError(
            f"data set {dataset.info.name!r} has images of one class only "
            f"({', '.join(map(repr, patients))}), and nothing can be learned from that; "
            "import images of at least two classes"
        )
    for label in sorted(patients):
        if len(patients[label]) < 2:
            raise InputError(
                f"class {label!r} of data set {dataset.info.name!r} has images of one patient only "
                "and cannot be split by patient; add patients (the patient column of labels.csv "
                "tells them apart) or leave the class out"
            )


def _patients_at(dataset: Dataset, centre: str) -> set[str]:
    there = (dataset.images["centre"] == centre).to_numpy()
    if not there.any() or there.all():
        centres = sorted(dataset.images["centre"].unique())
        raise InputError(
            f"cannot leave out centre {centre!r}: the centres of data set {dataset.info.name!r} "
            f"are {', '.join(map(repr, centres))}; name one of them (a data set needs at least "
            "two)"
        )
    return set(dataset.patients[there])


def _strata(dataset: Dataset, seed: int) -> dict[str, list[str]]:
    """Return class -> patients, sorted by findings; equal findings are shuffled by the seed."""
    shown: dict[str, set[tuple[str, str]]] = defaultdict(set)  # patient -> (label, findings)
    rows = zip(dataset.patients, dataset.images["label"], dataset.images["findings"], strict=True)
    for patient, label, findings in rows:
        shown[patient].add((label, findings))
    patients_with = Counter(label for seen in shown.values() for label in {s[0] for s in seen})

    def order(patient: str) -> tuple[list[str], str]:
        key = hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()
        return sorted(findings for _, findings in shown[patient]), key

    strata = defaultdict(list)
    for patient in sorted(shown, key=order):
        labels = sorted({label for label, _ in shown[patient]})
        strata[min(labels, key=lambda label: (patients_with[label], label))].append(patient)
    return dict(sorted(strata.items()))


def _deal(patients: int, shares: dict[str, float]) -> list[str]:
    """Return a part for each patient; the patients of a part are spread evenly over the list."""
    shares = {"train": 1 - sum(shares.values()), "test": shares["test"]} | shares
    wanted = {part: share * patients for part, share in shares.items()}
    quota = {part: int(wanted[part]) for part in shares}
    for part in shares:  # in the order train, test, validation
        if shares[part] > 0 and quota[part] == 0 and sum(quota.values()) < patients:
            quota[part] = 1
    while sum(quota.values()) < patients:
        quota[max(shares, key=lambda part: wanted[part] - quota[part])] += 1
    dealt: list[str] = []
    given = dict.fromkeys(shares, 0)
    for position in range(1, patients + 1):
        open_parts = [part for part in shares if given[part] < quota[part]]
        part = max(open_parts, key=lambda part: quota[part] * position / patients - given[part])
        given[part] += 1
        dealt.append(part)
    return dealt
