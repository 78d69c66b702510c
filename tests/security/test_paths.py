"""Names in a file that is read cannot lead out of its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reports.report import write_report
from tests.toy import like, toy_recipe, write_toy
from thyroid.data.importer import import_folder
from thyroid.errors import InputError
from thyroid.execution.in_process import in_process
from thyroid.files import sha256_of
from thyroid.runs.experiment import Experiment
from thyroid.runs.final_evaluation import evaluate
from thyroid.runs.run_folder import describe
from thyroid.storage.store import MANIFEST, Store

KEY = "0123456789abcdef" * 4


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(len(path.parts)).integers(0, 200, (20, 30)).astype(np.uint8)
    Image.fromarray(grey).save(path, "PNG")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of pictures, a secret beside it, and links to the secret and to a picture."""
    folder = tmp_path / "source"
    picture(folder / "normal" / "own.png")
    picture(tmp_path / "elsewhere" / "secret.png")
    (folder / "normal" / "link.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (folder / "normal" / "inside.png").symlink_to("own.png")
    (folder / "normal" / "loop.png").symlink_to("loop.png")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    return folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../elsewhere/secret.png", "lies outside"),
        ("normal/../../elsewhere/secret.png", "lies outside"),
        ("..\\elsewhere\\secret.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("normal/own.png\0", "lies outside|no CSV"),
        ("normal/link.png", "a link that leads out of"),
        ("folder/secret.png", "a link that leads out of"),
        ("normal/loop.png", "no such file"),
    ],
)
def test_names_in_labels(name: str, sentence: str, source: Path, tmp_path: Path) -> None:
    (source / "labels.csv").write_text(f"file,label\nnormal/own.png,normal\n{name},normal\n")
    with pytest.raises(InputError, match=sentence):
        import_folder(source, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_links_in_class_folders(source: Path, tmp_path: Path) -> None:
    done = import_folder(source, tmp_path / "dataset")
    assert done.imported == 2  # own.png, and inside.png, which is the same
    reasons = {rejection.file: rejection.reason for rejection in done.rejected}
    assert reasons["normal/link.png"] == "it is a link out of the folder; put a copy there"
    assert set(reasons) == {"normal/link.png", "normal/loop.png"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one artifact; beside its folder is a file that does not belong to it."""
    store = Store(tmp_path / "store")
    with store.building(KEY, {"kind": "test"}) as folder:
        assert folder is not None
        (folder / "made.txt").write_text("made")
    (tmp_path / "outside.txt").write_text("outside")
    return store


def named(store: Store, name: str) -> None:
    """Change a file name in the manifest, with the checksum of the file to which it leads."""
    path = store.artifact(KEY) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"][name] = sha256_of(store.root.parent / "outside.txt")
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["../../../../outside.txt", "a/../../../../../outside.txt"])
def test_names_in_a_manifest(name: str, store: Store) -> None:
    named(store, name)
    assert store.open(KEY) is None
    assert list((store.root / "damaged").iterdir())


def test_absolute_names_in_a_manifest(store: Store, tmp_path: Path) -> None:
    named(store, str(tmp_path / "outside.txt"))
    assert store.open(KEY) is None
    assert (tmp_path / "outside.txt").read_text() == "outside"


@pytest.mark.parametrize(
    "lay",
    [
        lambda path: path.symlink_to("../../../../outside.txt"),
        lambda path: path.symlink_to(path.name),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["link", "loop", "pipe", "folder"],
)
def test_what_is_no_file_of_the_artifact(lay: Callable[[Path], None], store: Store) -> None:
    named(store, "odd")
    lay(store.artifact(KEY) / "odd")
    assert store.open(KEY) is None
    assert (store.root.parent / "outside.txt").read_text() == "outside"


def test_a_folder_that_leads_out(store: Store, tmp_path: Path) -> None:
    named(store, "deep/outside.txt")
    (store.artifact(KEY) / "deep").symlink_to(tmp_path)
    assert store.open(KEY) is None


@pytest.mark.parametrize("files", [[], ["made.txt"], None, "made.txt", {"": ""}, {"a\0b": "c"}])
def test_files_that_no_manifest_lists(files: object, store: Store) -> None:
    path = store.artifact(KEY) / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": files}))
    assert store.open(KEY) is None


def below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_classes_and_images_with_names_of_paths(tmp_path: Path) -> None:
    """A run of such a data set, and its report, write nothing outside the run."""
    toy = write_toy(tmp_path / "a" / "b" / "toy")
    names = {"left": "../../left", "right": str(tmp_path / "right"), "below": "..\\below"}
    images = pd.DataFrame(toy.images)
    images["label"] = images["label"].map(names)
    images["findings"] = images["label"]
    images["image_id"] = "../../" + images["image_id"]
    images["patient_id"] = "/" + images["patient_id"]
    images["centre"] = "../" + images["centre"]
    paths = {"name": "../../toy", "classes": tuple(names.values()), "source": "..", "licence": "/"}
    dataset = like(toy, tmp_path / "a" / "b" / "dataset", images=images, **paths)
    run = tmp_path / "a" / "b" / "run"
    run.mkdir()
    before = below(tmp_path)
    recipe = toy_recipe()
    store = Store(run / "store")
    experiment = Experiment(dataset=dataset, recipe=recipe, seeds=[0])
    describe(run, experiment, "train")
    evaluate(run, experiment, store, in_process(store, {dataset.digest: dataset.folder}))
    write_report(run, run / "report.html")
    made = below(tmp_path) - before
    assert run / "report.html" in made
    assert all(path.is_relative_to(run) for path in made)
    assert not any("left" in path.name for path in made)
