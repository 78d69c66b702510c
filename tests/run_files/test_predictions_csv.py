"""Predictions are read as they were written, and a damaged file gives one sentence."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from thyroid.errors import InputError
from thyroid.run_files.predictions_csv import Predictions, read_predictions, write_predictions

CLASSES = ("NA", "<b>hot</b>", 'with "quotes", and commas')


@pytest.fixture
def written(tmp_path):
    p = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    images = pd.DataFrame(
        {
            "image_id": [f"{i:04d}" for i in range(6)],
            "patient_id": list("aabbcc"),
            "centre": "",
            "label": [CLASSES[i % 3] for i in range(6)],
            "findings": [CLASSES[i % 3] + (";NA" if i == 4 else "") for i in range(6)],
        }
    )
    path = tmp_path / "test-seed0.csv"
    write_predictions(path, Predictions(classes=CLASSES, images=images, probabilities=p))
    return path, images, p


def test_round_trip_is_exact(written):
    path, images, p = written
    got = read_predictions(path, CLASSES)
    assert np.array_equal(got.probabilities, p)
    assert got.images.astype(object).equals(images.astype(object))
    assert got.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert got.is_cross.tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.drop(columns="centre"), "no column 'centre'"),
        (lambda t: t.drop(columns="p_NA"), "no column 'p_NA'"),
        (lambda t: t.assign(label="other"), "row 2: 'other' is not a class"),
        (lambda t: t.assign(p_NA=2.0), "row 2: the probabilities"),
        (lambda t: t.assign(p_NA="x"), "row 2: the probabilities"),
    ],
)
def test_damage_is_a_sentence(written, damage, words):
    path, _, _ = written
    damage(pd.read_csv(path, keep_default_na=False)).to_csv(path, index=False)
    with pytest.raises(InputError, match=words):
        read_predictions(path, CLASSES)


def test_an_empty_file_is_a_sentence(tmp_path):
    path = tmp_path / "test-seed0.csv"
    for make in (lambda: None, path.touch):
        make()
        with pytest.raises(InputError, match="cannot be read"):
            read_predictions(path, CLASSES)


def test_evaluation_needs_neither_torch_nor_ray():
    code = (
        "import sys, thyroid.evaluate.bootstrap, thyroid.run_files.predictions_csv\n"
        "assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
