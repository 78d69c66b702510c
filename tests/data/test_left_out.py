"""Patients who are not trained on: nested sizes, and a combination of findings left out."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_splits import _dataset, _patients, _rows
from thyroid.data.splits import Split, make_split
from thyroid.errors import InputError
from thyroid.recipe import SplitConfig

SIZES = (1, 2, 5, 30)


ENOUGH = [(f"r{name}{i}", "c1", name) for name in "abc" for i in range(8)]
"""Patients of one class each, so that every part has some."""


def everything(split: Split) -> list[int]:
    parts = (split.train, split.validation, split.test, split.unused, split.unvalidated)
    return sorted(np.concatenate(parts).tolist())


@given(rows=_rows(), seed=st.integers(0, 100), folds=st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
def test_sizes_are_nested_and_leave_validation_and_test_alone(rows, seed, folds):
    dataset = _dataset([*rows, *ENOUGH])
    whole = make_split(dataset, SplitConfig(seed=seed, folds=folds))
    smaller: set[str] = set()
    for size in SIZES:
        config = SplitConfig(seed=seed, folds=folds, images_per_class=size)
        split = make_split(dataset, config)
        assert everything(split) == list(range(len(dataset)))
        assert split.test.tolist() == whole.test.tolist()
        assert split.validation.tolist() == whole.validation.tolist()
        assert split.epoch_images == len(whole.train)
        assert sorted([*split.train, *split.unused]) == whole.train.tolist()
        patients = _patients(dataset, split.train)
        assert smaller <= patients
        assert set(dataset.labels[split.train]) == set(dataset.labels[whole.train])
        smaller = patients
    assert smaller == _patients(dataset, whole.train)


def test_a_size_keeps_the_proportion_of_single_and_cross_images():
    rows = [(f"{k}-{i}", "c", k) for k, n in (("a", 60), ("a;b", 20), ("b", 60)) for i in range(n)]
    rows += [(f"c-{i}", "c", "c") for i in range(7)]
    dataset = _dataset(rows)
    split = make_split(dataset, SplitConfig(folds=1, validation=0.2, test=0, images_per_class=16))
    found = Counter(dataset.images["findings"].iloc[split.train])
    assert found == {"a": 12, "a;b": 4, "b": 16, "c": 6}  # all that there are of c


@given(rows=_rows(), seed=st.integers(0, 100), folds=st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
def test_an_unseen_combination_is_only_tested_on(rows, seed, folds):
    rows = [*rows, *ENOUGH, *((f"x{i}", "c1", "a;b") for i in range(8))]
    rows += [(f"y{i}", "c1", "a;b;c") for i in range(2)]
    dataset = _dataset(rows)
    whole = make_split(dataset, SplitConfig(seed=seed, folds=folds))
    split = make_split(dataset, SplitConfig(seed=seed, folds=folds, unseen="a+b"))
    shown = {
        patient
        for patient, findings in zip(dataset.patients, dataset.images["findings"], strict=True)
        if {"a", "b"} <= set(findings.split(";"))
    }
    assert everything(split) == list(range(len(dataset)))
    assert not shown & _patients(dataset, split.train)
    assert not shown & _patients(dataset, split.validation)
    assert split.test.tolist() == whole.test.tolist()
    assert split.epoch_images == len(whole.train)
    assert _patients(dataset, split.unused) | _patients(dataset, split.unvalidated) <= shown
    both = make_split(
        dataset, SplitConfig(seed=seed, folds=folds, unseen="b + a", images_per_class=30)
    )
    assert both.train.tolist() == split.train.tolist()  # a combination has no order


def test_errors():
    dataset = _dataset([(f"{k}{i}", "c", k) for k in "abc" for i in range(9)])
    for wrong in ("a", "a+a", ""):
        with pytest.raises(InputError, match="must be two findings or more"):
            SplitConfig(unseen=wrong)
    with pytest.raises(InputError, match=r"names 'd', but the classes .* are a, b, c"):
        make_split(dataset, SplitConfig(unseen="a+d"))
    with pytest.raises(InputError, match="images_per_class is 0"):
        SplitConfig(images_per_class=0)
    none = make_split(dataset, SplitConfig(unseen="a+b"))
    assert not len(none.unused)
    assert none.train.tolist() == make_split(dataset, replace(SplitConfig())).train.tolist()
