"""Every metric agrees with scikit-learn or torchmetrics, with and without weights, and in extreme
cases.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_f1_score

from thyroid.evaluate.metrics import (
    OVERALL,
    PER_CLASS,
    confusion_matrix,
    macro,
    macro_f1,
    measure,
)

C = 4


def simulated(n: int = 120, seed: int = 0, ties: bool = False):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(C), rng.integers(0, C, n - C)])
    logits = rng.normal(size=(n, C))
    logits[np.arange(n), labels] += 1.0
    if ties:
        logits = np.round(logits)
    p = np.exp(logits)
    return labels, p / p.sum(axis=1, keepdims=True), rng.integers(0, 4, n).astype(float)


def expected(labels, p, w):
    """The same dictionary, computed by scikit-learn."""
    predicted = p.argmax(axis=1)
    r = range(C)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        labels, predicted, labels=list(r), sample_weight=w, zero_division=0
    )
    out = {
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "specificity": [
            sk.recall_score(labels != c, predicted != c, sample_weight=w, zero_division=0)
            for c in r
        ],
        "auroc": [sk.roc_auc_score(labels == c, p[:, c], sample_weight=w) for c in r],
        "auprc": [sk.average_precision_score(labels == c, p[:, c], sample_weight=w) for c in r],
    }
    out |= {f"macro_{k}": np.mean(v) for k, v in out.items()}
    out["accuracy"] = sk.accuracy_score(labels, predicted, sample_weight=w)
    out["log_loss"] = sk.log_loss(labels, p, sample_weight=w, labels=list(r))
    return out


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_measure_agrees_with_sklearn(seed, weighted, ties):
    labels, p, w = simulated(seed=seed, ties=ties)
    got = measure(labels, p, w if weighted else None)
    want = expected(labels, p, w if weighted else None)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert set(got) == {*PER_CLASS, *(f"macro_{n}" for n in PER_CLASS), *OVERALL}


def test_many_columns_of_weights_are_many_measures():
    labels, p, _ = simulated(seed=3, ties=True)
    weights = np.random.default_rng(0).integers(0, 3, (len(labels), 7)).astype(float)
    together = measure(labels, p, weights)
    for b in range(7):
        alone = measure(labels, p, weights[:, b])
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][..., b], value, rtol=1e-12, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, C - 1),
            st.lists(st.integers(1, 4), min_size=C, max_size=C),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_a_weight_is_so_many_copies(rows):
    """Weights of 0, 1, 2, ... have the same effect as repeating the images, also with ties and
    absent classes.
    """
    labels = np.array([r[0] for r in rows])
    p = np.array([r[1] for r in rows], dtype=float)
    p /= p.sum(axis=1, keepdims=True)
    w = np.array([r[2] for r in rows])
    weighted = measure(labels, p, w.astype(float))
    repeated = measure(np.repeat(labels, w), np.repeat(p, w, axis=0))
    for name, value in repeated.items():
        np.testing.assert_allclose(weighted[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_torchmetrics(seed):
    labels, p, _ = simulated(n=300, seed=seed)
    want = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(labels), num_classes=C, n_bins=15, norm="l1"
    )
    assert measure(labels, p)["ece"] == pytest.approx(float(want), abs=1e-6)


def test_macro_f1_of_the_training_loop_is_the_same_figure():
    labels, p, _ = simulated(seed=1)
    predicted = p.argmax(axis=1)
    want = multiclass_f1_score(
        torch.from_numpy(predicted), torch.from_numpy(labels), num_classes=C, average="macro"
    )
    assert macro_f1(labels, predicted, C) == pytest.approx(float(want), abs=1e-6)
    assert macro_f1(labels, predicted, C) == pytest.approx(float(measure(labels, p)["macro_f1"]))


def test_a_class_without_images_has_no_metrics_and_no_part_in_macro_means():
    labels, p, _ = simulated()
    keep = labels != 2
    labels, p = labels[keep], p[keep]
    got = measure(labels, p)
    for name in PER_CLASS:
        assert np.isnan(got[name][2])
        assert got[f"macro_{name}"] == pytest.approx(np.nanmean(got[name]))
    predicted = p.argmax(axis=1)
    assert (predicted == 2).any()
    want = sk.f1_score(labels, predicted, labels=[0, 1, 3], average="macro")
    assert macro_f1(labels, predicted, C) == pytest.approx(want)


def test_a_class_never_predicted_has_precision_and_f1_zero():
    labels, p = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])
    got = measure(labels, p)
    assert got["precision"].tolist() == [0.5, 0.0]
    assert got["f1"][1] == 0.0
    assert got["auroc"].tolist() == [1.0, 1.0]


def test_one_class_only_has_neither_auroc_nor_specificity():
    got = measure(np.zeros(3, dtype=int), np.full((3, 2), 0.5))
    assert np.isnan(got["macro_auroc"])
    assert np.isnan(got["macro_specificity"])
    assert got["accuracy"] == 1.0


def test_no_image_at_all_is_undefined_and_no_error():
    got = measure(np.zeros(0, dtype=int), np.zeros((0, C)))
    assert all(np.isnan(value).all() for value in got.values())


def test_certain_and_wrong_has_a_finite_loss():
    loss = measure(np.array([0]), np.array([[0.0, 1.0]]))["log_loss"]
    assert loss == pytest.approx(-np.log(np.finfo(float).eps))


def test_confusion_matrix_has_the_truth_in_rows():
    labels, p, _ = simulated()
    predicted = p.argmax(axis=1)
    assert np.array_equal(
        confusion_matrix(labels, predicted, C),
        sk.confusion_matrix(labels, predicted, labels=range(C)),
    )


def test_macro_of_nothing_is_nan():
    assert np.isnan(macro(np.array([np.nan, np.nan])))
    assert macro(np.array([np.nan, 0.5])) == 0.5
