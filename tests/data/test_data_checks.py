"""Each check finds its faults, and nothing in a data set without faults."""

import numpy as np
import pytest

from tests.data.make import small_dataset
from tests.toy import like
from thyroid.data import likeness
from thyroid.data.data_checks import check, look_alikes
from thyroid.data.dataset import Dataset
from thyroid.data.likeness import Looks
from thyroid.phantom.write_files import write_phantom

SIZE = 48


def _gland(rng: np.random.Generator) -> np.ndarray:
    """Expected counts of two lobes at a random place in the field."""
    y, x = np.mgrid[:SIZE, :SIZE]
    scene = np.full((SIZE, SIZE), 4.0)
    for side in (-1, 1):
        cx, cy = SIZE / 2 + side * rng.uniform(4, 9), SIZE / 2 + rng.uniform(-8, 8)
        width, height = rng.uniform(3, 6), rng.uniform(5, 10)
        inside = ((x - cx) / width) ** 2 + ((y - cy) / height) ** 2 < 1
        scene[inside] += rng.uniform(20, 60)
    return scene


def _images(number: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.poisson(_gland(rng)) for _ in range(number)]).astype(np.uint16)


def _sound_rows(number: int = 24) -> list[tuple[str, str, str]]:
    kinds = ("normal", "graves", "graves;normal")
    return [(f"p{i}", f"c{i % 2}", kinds[i % 3]) for i in range(number)]


def _kinds(dataset) -> dict:
    return {flag.kind: flag for flag in check(dataset)}


@pytest.fixture
def make(tmp_path):
    def made(rows, counts=None, **info):
        counts = _images(len(rows)) if counts is None else counts
        return small_dataset(tmp_path / "set", rows, counts=counts, **info)

    return made


def test_nothing_is_said_of_a_sound_data_set(make):
    assert check(make(_sound_rows())) == []


def test_classes(make):
    rows = [
        ("p1", "c", "graves"),
        ("p1", "c", "graves"),
        *[(f"q{i}", "c", "normal") for i in "abc"],
    ]
    found = _kinds(make(rows))
    assert set(found) == {"one_patient", "few_images"}
    assert found["one_patient"].severity == "error"
    assert "'graves' has one patient only" in found["one_patient"].sentence
    assert len(found["one_patient"].image_ids) == 2
    assert "'normal' is the label of 3 images only" in found["few_images"].sentence


def test_one_class_and_a_class_without_images(make):
    found = check(make([(f"p{i}", "c", "graves;normal") for i in range(6)]))
    assert [(flag.kind, flag.severity) for flag in found] == [
        ("one_class", "error"),
        ("few_images", "warning"),
    ]
    assert "'normal' is the label of 0 images" in found[1].sentence


def test_a_patient_with_two_labels_or_two_centres(make):
    rows = _sound_rows()
    rows[3] = ("p0", "c1", "graves")
    dataset = make(rows)
    found = _kinds(dataset)
    assert set(found) == {"labels_of_a_patient", "centres_of_a_patient"}
    expected = tuple(dataset.images["image_id"][[0, 3]])
    assert found["labels_of_a_patient"].image_ids == expected
    assert found["labels_of_a_patient"].sentence.startswith("1 patients have images of more than")


def test_duplicates(make):
    rows, counts = _sound_rows(), _images(24)
    counts[1], counts[5], counts[7] = counts[0], counts[4], counts[6]
    rows[1] = rows[0]  # a plain copy
    rows[5] = ("p5", *rows[4][1:])  # another patient
    rows[7] = (rows[6][0], rows[6][1], "graves;normal")  # the same patient, other findings
    dataset = make(rows, counts)
    found = _kinds(dataset)
    ids = dataset.images["image_id"]
    assert found["duplicates"].image_ids == tuple(ids[[0, 1]])
    assert found["duplicates_across_patients"].image_ids == tuple(ids[[4, 5]])
    assert found["duplicates_with_other_findings"].image_ids == tuple(ids[[6, 7]])
    severities = {kind: flag.severity for kind, flag in found.items()}
    assert severities == {
        "duplicates": "warning",
        "duplicates_across_patients": "error",
        "duplicates_with_other_findings": "warning",
        "labels_of_a_patient": "warning",
    }
    assert check(dataset)[0].severity == "error"
    assert (
        f"2 images are equal to an image of another patient ({ids[4]} of patient p4 and {ids[5]} "
        "of patient p5), so training and test data may share them; give copies the same patient "
        "in labels.csv, or remove them, and import again."
    ) == found["duplicates_across_patients"].sentence


def test_many_duplicates_are_named_by_examples(make):
    rows, counts = _sound_rows(), _images(24)
    counts[12:24] = counts[:12]
    counts[13] = counts[0]  # three copies
    dataset = make(rows, counts)
    sentence = _kinds(dataset)["duplicates_across_patients"].sentence
    ids = dataset.images["image_id"]
    assert sentence.startswith("23 images are equal")
    assert (
        f"({ids[0]} of patient p0 and {ids[12]} of patient p12; {ids[2]} of patient p2 and "
        f"{ids[14]} of patient p14; {ids[3]} of patient p3 and {ids[15]} of patient p15; ...)"
    ) in sentence


def test_empty_images_are_no_duplicates(make):
    counts = _images(24)
    counts[2] = counts[9] = counts[10] = 0
    assert set(_kinds(make(_sound_rows(), counts))) == {"empty"}


def test_only_what_must_stop_training_is_an_error(make):
    """Follow-up images of one patient, rare classes and contradictory findings only give warnings
    or notes: the user decides.
    """
    rows, counts = _sound_rows(), _images(24)
    rows[3] = ("p0", "c1", "graves")
    rows[4] = rows[5] = ("p4", "c1", "hashimoto")
    rows[6] = ("p6", "c1", "hashimoto")
    counts[5] = counts[4]
    rows[5] = ("p4", "c1", "hashimoto;graves")
    found = _kinds(make(rows, counts))
    assert set(found) == {
        "labels_of_a_patient", "centres_of_a_patient", "few_images",
        "duplicates_with_other_findings",
    }  # fmt: skip
    assert "error" not in {flag.severity for flag in found.values()}


@pytest.mark.parametrize(("box", "most"), [(128, 8192), (3, 2), (1, 1)])
def test_near_duplicates_are_all_found(make, monkeypatch, box, most):
    """The search among neighbours finds the same pairs as comparing all pairs, each one once."""
    monkeypatch.setattr(likeness, "BOX", box)
    monkeypatch.setattr(likeness, "MOST_COMPARED", most)
    rng = np.random.default_rng(8)
    scenes = [_gland(rng) * (30, 300)[i > 1] for i in range(6)]
    scenes[4] = scenes[3][:, ::-1]
    scenes[5] = np.roll(scenes[2], (3, -2), axis=(0, 1))
    counts = np.stack([rng.poisson(scenes[i % 6]) for i in range(24)]).astype(np.uint16)
    dataset = make([(f"p{i}", "c", ("normal", "graves")[i % 2]) for i in range(24)], counts)
    blocks = np.sqrt(counts).reshape(24, 16, 3, 16, 3).sum(axis=(2, 4)).reshape(24, -1)
    alike = np.corrcoef(blocks) > 0.999
    looks = _looks(counts)
    alike |= looks.centred @ looks.centred.T > likeness.ALIKE_CENTRED
    alike |= _looks(counts[..., ::-1]).centred @ looks.centred.T > likeness.ALIKE_CENTRED
    alike = np.triu(alike, 1)
    assert 20 < alike.sum() < 100
    flag = _kinds(dataset)["near_duplicates"]
    assert flag.sentence.startswith(f"{alike.sum()} pairs")
    assert flag.image_ids == tuple(dataset.images["image_id"][(alike | alike.T).any(axis=0)])


def _looks(counts: np.ndarray) -> Looks:
    looks = Looks.blank(len(counts), counts.shape[-1])
    looks.see(0, np.sqrt(counts, dtype=np.float32))
    return looks


def _moved(image: np.ndarray, down: int, across: int) -> np.ndarray:
    return np.roll(image, (down, across), axis=(0, 1))


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: _moved(image, 0, 1),
        lambda image: _moved(image, -2, 4),
        lambda image: image[:, ::-1],
        lambda image: _moved(image[:, ::-1], 3, 2),
        lambda image: 2 * image[:, ::-1],
    ],
    ids=["moved by a pixel", "moved", "mirrored", "mirrored and moved", "mirrored and brighter"],
)
def test_copies_that_are_moved_or_mirrored_are_near_duplicates(make, alter):
    counts = _images(24)
    counts[9], counts[14] = alter(counts[3]), alter(counts[8])
    dataset = make(_sound_rows(), counts)
    found = _kinds(dataset)
    assert set(found) == {"near_duplicates"}
    assert found["near_duplicates"].sentence.startswith("2 pairs")
    assert found["near_duplicates"].image_ids == tuple(dataset.images["image_id"][[3, 8, 9, 14]])


def test_scintigrams_of_different_patients_do_not_look_the_same(tmp_path):
    """As many images as can be checked in seconds; the limit was chosen with more images."""
    write_phantom(
        tmp_path / "set",
        preset="thyroid7",
        images_per_class=30,
        images_per_cross=3,
        format="dataset",
        seed=3,
    )
    dataset = Dataset.open(tmp_path / "set")
    assert "near_duplicates" not in _kinds(dataset)
    patients = dataset.images["patient_id"]
    seen = patients.isin(patients.unique()[::2]).to_numpy()
    assert look_alikes(dataset, np.flatnonzero(seen), dataset, np.flatnonzero(~seen)) == 0


def test_one_hot_spot_somewhere_looks_like_no_other(make):
    """Round spots, which differ only in position and width."""
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:SIZE, :SIZE]
    spots = []
    for _ in range(120):
        cy, cx = rng.uniform(16, 32, 2)
        spread = 2 * rng.uniform(2.5, 5) ** 2
        spots.append(rng.poisson(3 + 200 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / spread)))
    found = _kinds(make(_sound_rows(120), np.stack(spots).astype(np.uint16)))
    assert "near_duplicates" not in found


def test_near_duplicates_of_different_patients(make):
    rows, counts = _sound_rows(), _images(24)
    counts[9] = np.random.default_rng(0).binomial(counts[3], 0.97)  # nearly all of its photons
    counts[11] = np.minimum(counts[5] * 3, 65_535)  # another display scale
    counts[13] = np.random.default_rng(0).binomial(counts[2], 0.97)
    rows[13] = (rows[2][0], *rows[2][1:])  # of one patient, which is normal
    dataset = make(rows, counts)
    found = _kinds(dataset)
    assert set(found) == {"near_duplicates"}
    assert found["near_duplicates"].image_ids == tuple(dataset.images["image_id"][[3, 5, 9, 11]])
    assert found["near_duplicates"].sentence.startswith("2 pairs")


def test_pixel_values(make):
    counts = _images(24)
    counts[2] = 0
    counts[3] = counts[3].clip(max=30)
    counts[4] = np.random.default_rng(0).poisson(1.0, (SIZE, SIZE))
    dataset = make(_sound_rows(), counts)
    found = _kinds(dataset)
    ids = dataset.images["image_id"]
    assert {kind: flag.image_ids for kind, flag in found.items()} == {
        "empty": (ids[2],),
        "saturated": (ids[3],),
        "low_counts": (ids[4],),
    }


def test_checks_that_take_seconds_say_that_they_have_begun(make, monkeypatch, capsys):
    dataset = make(_sound_rows(20))
    check(dataset)
    assert not capsys.readouterr().err
    monkeypatch.setattr("thyroid.data.data_checks.MANY_IMAGES", 20)
    check(dataset)
    assert capsys.readouterr().err == "checking 20 images\n"


@pytest.mark.parametrize(("marked", "told"), [(14, True), (8, False), (0, False)])
def test_a_colour_bar_in_most_pictures_is_found_and_where(make, marked, told):
    """Twenty display pictures; the first ones have a legend on the right."""
    images = _images(20)
    bar = np.linspace(images.max(), 0, SIZE, dtype=np.uint16)
    images[:marked, :, SIZE - 4 : SIZE - 1] = bar[:, None]
    found = _kinds(make(_sound_rows(20), images, kind="display", pixel_mm=None))
    assert ("legend" in found) == told
    if told:
        assert found["legend"].severity == "warning"
        assert f"columns {SIZE - 3} to {SIZE - 1} of {SIZE}" in found["legend"].sentence


def test_flags_of_import_and_mixed_pixel_sizes(make, tmp_path):
    sound = make(_sound_rows())
    images = sound.images.copy()
    images.loc[4, "flags"] = "whole_body;counts_outside=7"
    images.loc[5, "flags"] = "saturated"
    images.loc[6, "pixel_mm"] = 3.0
    found = _kinds(like(sound, tmp_path / "changed", images=images))
    assert {kind: flag.image_ids for kind, flag in found.items()} == {
        "whole_body": (images["image_id"][4],),
        "saturated": (images["image_id"][5],),
        "pixel_sizes": (images["image_id"][6],),
    }
    assert "1 of 24 images: cut from the centre" in found["whole_body"].sentence


def test_labels_that_go_with_centres(make):
    rows = [(f"p{i}", f"c{i % 2 if i % 10 else 0}", ("normal", "graves")[i % 2]) for i in range(60)]
    flag = _kinds(make(rows))["confounded_centre"]
    assert (
        "Labels are correlated with centres (Cramer's V 0.9" in flag.sentence
        or "V 1.0" in flag.sentence
    )
    assert "in one centre only" in flag.sentence


def test_chance_is_not_confounding(make):
    rng = np.random.default_rng(4)
    rows = [(f"p{i}", f"c{rng.integers(4)}", f"k{rng.integers(5)}") for i in range(60)]
    assert "confounded_centre" not in _kinds(make(rows))


def test_as_many_centres_as_patients(make):
    of_its_own = [(f"p{i}", f"c{i}", ("normal", "graves")[i % 2]) for i in range(24)]
    assert "confounded_centre" not in _kinds(make(of_its_own))


@pytest.mark.parametrize("size", [1, 5, 17])
def test_any_size(make, size):
    counts = np.random.default_rng(0).poisson(900, (24, size, size)).astype(np.uint16)
    check(make(_sound_rows(), counts))


def test_generated_images_are_no_data_to_validate_on(make):
    dataset = make(_sound_rows())
    table = dataset.images.assign(source=["synthetic", *dataset.images["source"][1:]])
    found = _kinds(like(dataset, dataset.folder.parent / "made", images=table))
    assert set(found) == {"synthetic"}
    assert found["synthetic"].severity == "error"
    assert found["synthetic"].image_ids == (table["image_id"][0],)
    assert found["synthetic"].sentence.startswith("1 of 24 images were made by a generator")
