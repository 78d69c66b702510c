"""Cautions stand beside the figure, on the page and in the numbers."""

import numpy as np

from reports.sections.data import UNVERIFIED
from tests.reports.made_runs import make_dataset, make_run
from tests.reports.test_comparison import shown
from tests.reports.test_report import read
from tests.stub_config import stub_dataset, with_config
from tests.toy import like
from thyroid.data.dataset import Dataset
from thyroid.files import sha256_of
from thyroid.model.starting_point import FOLDER, file_name


def test_a_test_set_of_its_own_is_named(run):
    with_config(run, test_set=stub_dataset(folder="/secret/other", name="other centres"))
    html, info = read(run)
    assert info["verdict"]["split"] == "test_set"
    said = shown(html)
    assert "none of its images is in the training data" in said
    assert "perhaps_same_patients" in info["verdict"]["cautions"]
    assert (
        "It is not known whether patients of other centres are among the training patients" in said
    )
    assert "/secret" not in html
    for key, others in (("a" * 16, True), ("b" * 16, False)):
        with_config(run, dataset__patients_key="a" * 16, test_set__patients_key=key)
        html, info = read(run)
        assert ("as far as names show, none of its patients" in shown(html)) == others
        assert ("perhaps_same_patients" not in info["verdict"]["cautions"]) == others


def test_what_is_not_known_of_the_data_or_of_the_start_is_told(run, dataset):
    _, info = read(run)
    plain = {"weights", "confounded_centre", "not_compared", "perhaps_same_patients"}
    assert not plain & set(info["verdict"]["cautions"])

    with_config(run, recipe__network__weights="f" * 64)
    html, info = read(run)
    assert "weights" in info["verdict"]["cautions"]
    assert "It is not known whether these weights were trained on the test images." in shown(html)
    assert "had never seen" not in shown(html)
    assert "that it was not trained on here" in shown(html)
    assert "--weights weights.pth" in shown(html)

    weights = sha256_of(FOLDER / file_name("resnet_small", "counts"))
    with_config(run, recipe__network__weights=weights)
    html, info = read(run)
    assert "weights" not in info["verdict"]["cautions"]  # they were trained on simulated patients
    assert "own_simulator" not in info["verdict"]["cautions"]  # and these images are not simulated
    assert "had never seen" in shown(html)
    assert "--weights phantom" in shown(html)

    moved = dataset.folder.rename(dataset.folder.with_name("elsewhere"))
    html, info = read(run)
    assert "not_compared" in info["verdict"]["cautions"]
    assert "is not known whether any image of these figures looks the same" in shown(html)
    moved.rename(dataset.folder)


def test_weights_of_the_simulator_that_made_the_images_are_told(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    dataset.images.assign(flags="simulated").to_csv(dataset.folder / "images.csv", index=False)
    run = make_run(tmp_path / "run", Dataset.open(dataset.folder))
    assert "had never seen" in shown(read(run)[0])
    weights = sha256_of(FOLDER / file_name("resnet_small", "counts"))
    with_config(run, recipe__network__weights=weights)
    html, info = read(run)
    assert "own_simulator" in info["verdict"]["cautions"]
    assert "possibly those of some of the same simulated patients" in shown(html)
    assert "had never seen" not in shown(html)


def test_flags_that_may_make_the_result_wrong_are_told_beside_the_figure(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    flags = dataset.images["flags"].tolist()
    flags[:6] = UNVERIFIED[:6]
    flags[6] = ";".join(UNVERIFIED)  # an image counts once
    flags[7] = "whole_body"
    dataset.images.assign(flags=flags).to_csv(dataset.folder / "images.csv", index=False)
    html, info = read(make_run(tmp_path / "run", Dataset.open(dataset.folder)))
    assert {"view_unnamed", "window_unnamed", "counts_doubtful", "other_examination"} <= {
        *UNVERIFIED
    }
    assert "unverified_images" in info["verdict"]["cautions"]
    assert info["data"]["unverified_images"] == 7
    assert "The files of 7 images do not confirm that these are anterior views of the" in shown(
        html
    )


def test_labels_that_go_with_centres_are_told_beside_the_figure(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    table = dataset.images.assign(centre="centre-" + dataset.images["label"])
    table.to_csv(dataset.folder / "images.csv", index=False)
    run = make_run(tmp_path / "run", Dataset.open(dataset.folder))
    html, info = read(run)
    assert "confounded_centre" in info["verdict"]["cautions"]
    assert "labels are correlated with centres" in shown(html)


def test_a_legend_in_most_pictures_is_told_beside_the_figure(tmp_path):
    dataset = make_dataset(tmp_path / "data", kind="display")
    counts = np.array(dataset.counts, dtype=np.uint16) * 500
    counts[:, :2] = 20_000  # a grey bar
    run = make_run(tmp_path / "run", like(dataset, tmp_path / "with a legend", counts=counts))
    html, info = read(run)
    assert "legend" in info["verdict"]["cautions"]
    assert "Most pictures have the same marks in the same place" in shown(html)
