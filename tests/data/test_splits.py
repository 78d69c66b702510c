"""Parts are disjoint by patient, balanced by class, and the same for the same seed."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.make import dataset_in_memory
from thyroid.data.dataset import PARTS, Dataset
from thyroid.data.splits import LeakError, Split, assert_disjoint, make_split, with_folds
from thyroid.errors import InputError
from thyroid.recipe import SplitConfig

FINDINGS = ("a", "b", "c", "a;b", "b;c", "c;a")


def _dataset(rows) -> Dataset:
    return dataset_in_memory(rows, ("a", "b", "c"))


def _patients(dataset, rows) -> set[str]:
    return set(dataset.patients[rows])


@st.composite
def _rows(draw):
    """At least two patients in each of three classes, most with several images, some with several
    labels.
    """
    patients = {
        f"p{number}": draw(st.lists(st.sampled_from(FINDINGS), min_size=1, max_size=3))
        for number in range(draw(st.integers(0, 25)))
    }
    patients |= {f"q{name}{i}": [name] for name in "abc" for i in range(2)}
    rows = [
        (p, draw(st.sampled_from(["c1", "c2"])), f) for p, shown in patients.items() for f in shown
    ]
    return draw(st.permutations(rows))


@given(
    rows=_rows(),
    fractions=st.sampled_from([(0.2, 0.2), (0.2, 0.0), (0.1, 0.4), (0.45, 0.45)]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_properties(rows, fractions, seed):
    dataset = _dataset(rows)
    validation, test = fractions
    config = SplitConfig(validation=validation, test=test, seed=seed)
    split = make_split(dataset, config)

    everything = np.concatenate([split.train, split.validation, split.test])
    assert sorted(everything.tolist()) == list(range(len(dataset)))
    parts = [_patients(dataset, getattr(split, name)) for name in PARTS]
    assert sum(map(len, parts)) == len(set.union(*parts))
    for name in PARTS:
        part = getattr(split, name)
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    # up to one patient per class and part, or the one that each class must have
    total = sum(map(len, parts))
    for part, share in zip(parts, (1 - validation - test, validation, test), strict=True):
        assert abs(len(part) - share * total) <= 3 * 1.5
    assert set(dataset.labels[split.train]) == {0, 1, 2}

    again = make_split(dataset, config)
    reordered = _dataset(rows[::-1])
    other = make_split(reordered, config)
    for name, patients in zip(PARTS, parts, strict=True):
        np.testing.assert_array_equal(getattr(split, name), getattr(again, name))
        assert _patients(reordered, getattr(other, name)) == patients


def test_each_kind_of_image_gets_its_share():
    kinds = {"a": 60, "b": 60, "c": 30, "a;b": 20, "b;c": 10}
    rows = [(f"{kind}{i}", "c", kind) for kind, number in kinds.items() for i in range(number)]
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig(validation=0.2, test=0.3, seed=4))
    for name, share in zip(PARTS, (0.5, 0.2, 0.3), strict=True):
        shown = dataset.images["findings"].iloc[getattr(split, name)].value_counts()
        for kind, number in kinds.items():
            assert abs(shown[kind] - share * number) <= 1
        assert len(getattr(split, name)) == pytest.approx(share * 180, abs=2)


def test_seeds_differ():
    dataset = _dataset([(f"{k}{i}", "c", k) for k in "abc" for i in range(20)])
    tests = {tuple(make_split(dataset, SplitConfig(seed=seed)).test) for seed in range(10)}
    assert len(tests) == 10


@pytest.mark.parametrize(
    ("patients", "expected"), [(2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))]
)
def test_small_classes_are_in_every_part_they_can_be_in(patients, expected):
    rows = [(f"{k}{i}", "c", k) for k in "abc" for i in range(patients)]
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig(validation=0.2, test=0.2))
    for name, number in zip(PARTS, expected, strict=True):
        labels = dataset.labels[getattr(split, name)]
        assert np.bincount(labels, minlength=3).tolist() == [number] * 3


def test_two_labels_of_one_patient_stay_together():
    rows = [(f"p{i}", "c", k) for k in "abc" for i in range(10)]
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig())
    for name in PARTS:
        by_patient = defaultdict(set)
        for row in getattr(split, name):
            by_patient[dataset.patients[row]].add(dataset.images["label"][row])
        assert all(labels == {"a", "b", "c"} for labels in by_patient.values())


def test_leave_out_centre():
    rows = [(f"{k}{i}", f"centre-{i % 3}", k) for k in "abc" for i in range(30)]
    rows.append(("a0", "centre-1", "a"))  # seen at two centres
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig(leave_out_centre="centre-0", validation=0.2, test=0.5))
    at_centre = {patient for patient, centre, _ in rows if centre == "centre-0"}
    assert _patients(dataset, split.test) == at_centre
    assert len(split.test) == 31
    assert len(split.validation) == pytest.approx(0.2 * 60, abs=2)
    assert len(split.train) + len(split.validation) == 60


def test_what_cannot_be_split():
    def refused(rows, sentence, **config):
        with pytest.raises(InputError, match=sentence):
            make_split(_dataset(rows), SplitConfig(**config))

    pairs = [(f"{k}{i}", f"c{k}", k) for k in "abc" for i in range(4)]
    refused([("p1", "c", "a"), ("p2", "c", "a")], r"one class only \('a'\).*at least two classes")
    refused([*pairs[:8], ("z", "c", "c"), ("z", "c", "c")], "'c'.*one patient only.*labels.csv")
    refused(pairs, "all patients of this class are seen at centre 'ca'", leave_out_centre="ca")
    refused(pairs, r"leave out centre 'x'.*are 'ca', 'cb', 'cc'", leave_out_centre="x")
    refused([(p, "c", k) for p, _, k in pairs], "needs at least two", leave_out_centre="c")


def test_planted_leaks_are_caught():
    rows = [(f"{k}{i // 2}", "c", k) for k in "abc" for i in range(20)]
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig())
    assert_disjoint(dataset, split)

    row = split.test[:1]
    with pytest.raises(LeakError, match=r"row \d+ is in train and again in test"):
        assert_disjoint(dataset, replace(split, train=np.sort(np.append(split.train, row))))
    with pytest.raises(LeakError, match="again in validation"):
        assert_disjoint(dataset, replace(split, validation=np.repeat(split.validation, 2)))
    moved = Split(  # one of a patient's two images
        train=np.append(split.train, row), validation=split.validation, test=split.test[1:]
    )
    with pytest.raises(LeakError, match=f"patient {dataset.patients[row[0]]} is in train and in"):
        assert_disjoint(dataset, moved)
    with pytest.raises(LeakError, match="row 60 of 60"):
        assert_disjoint(dataset, replace(split, test=np.array([60])))


@given(
    rows=_rows(), folds=st.integers(2, 6), test=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_each_patient_is_validated_in_one_fold(rows, folds, test, seed):
    dataset = _dataset(rows)
    config = SplitConfig(folds=folds, test=test, seed=seed)
    try:
        splits = [make_split(dataset, replace(config, fold=fold)) for fold in range(folds)]
    except InputError:  # a class whose patients outside of the test part are in one fold
        return
    validated = [p for split in splits for p in _patients(dataset, split.validation)]
    tested = [_patients(dataset, split.test) for split in splits]
    assert all(each == tested[0] for each in tested)
    assert len(validated) == len(set(validated))
    assert set(validated) | tested[0] == set(dataset.patients)
    sizes = [len(_patients(dataset, split.validation)) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    reordered = _dataset(rows[::-1])
    for fold, split in enumerate(splits):
        other = make_split(reordered, replace(config, fold=fold))
        for name in PARTS:
            own = _patients(dataset, getattr(split, name))
            assert _patients(reordered, getattr(other, name)) == own


def test_folds_have_as_many_patients_of_each_kind():
    rows = [(f"{f}{i}", "c", f) for f in FINDINGS for i in range(20)]
    dataset = _dataset(rows)
    for fold in range(5):
        split = make_split(dataset, SplitConfig(folds=5, fold=fold, test=0.0))
        assert dataset.images["findings"][
            split.validation
        ].value_counts().to_dict() == dict.fromkeys(FINDINGS, 4)


def test_centres_are_folds():
    rows = [(f"{k}{i}", f"centre-{i % 3}", k) for k in "abc" for i in range(30)]
    dataset = _dataset(rows)
    config = with_folds(dataset, SplitConfig(folds_by="centre", test=0.0))
    assert config.folds == 3
    for fold in range(3):
        split = make_split(dataset, replace(config, fold=fold))
        assert set(dataset.images["centre"][split.validation]) == {f"centre-{fold}"}
        assert f"centre-{fold}" not in set(dataset.images["centre"][split.train])
    left_out = with_folds(dataset, replace(config, folds=None, leave_out_centre="centre-1"))
    assert left_out.folds == 2
    travelling = _dataset([*rows, ("a0", "centre-1", "a")])
    with pytest.raises(InputError, match=r"'a0' was seen at centres 'centre-0', 'centre-1'"):
        make_split(travelling, config)
    with pytest.raises(InputError, match="needs patients of two centres"):
        with_folds(_dataset([(p, "c", k) for p, _, k in rows]), SplitConfig(folds_by="centre"))


def test_five_folds_where_each_leaves_a_training_patient_of_each_class():
    def folds(patients, **config):
        rows = [(f"{k}{i}", "c", k) for k in "abc" for i in range(patients)]
        return with_folds(_dataset(rows), SplitConfig(**config)).folds

    assert folds(10) == 5
    assert folds(3) == 5  # a class has two patients outside of the test part
    assert folds(2) == 1
    assert folds(2, test=0.0) == 5
    assert folds(10, folds=3) == 3
