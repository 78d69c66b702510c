"""A machine that lacks the data of a stage gets them once, and its copy is checked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.toy import toy_recipe, write_toy
from thyroid import pipeline
from thyroid.data.dataset import FILES, Dataset
from thyroid.errors import StorageError
from thyroid.execution.transfer import Absent, here, packed
from thyroid.files import sha256_of
from thyroid.stage import Stage

pytestmark = pytest.mark.usefixtures("ray_here")

NOWHERE = Path("/nowhere/data")
"""As on a cluster where only the machine of the command has the data set."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THYROID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def stage(toy: Path) -> Stage:
    return pipeline.classifier(toy_recipe(), Dataset.open(toy).digest, 0)[0]


def sent(path: Path, digest: str) -> dict[str, Any]:
    return {digest: ray.put(packed(path, digest))}


def test_what_is_there_is_read_there(toy: Path, stage: Stage, cache: Path) -> None:
    assert here(stage, toy, {}) == {stage.dataset: toy}
    assert not cache.exists()


def test_what_is_not_there_is_asked_for_and_sent_once(toy: Path, stage: Stage, cache: Path) -> None:
    with pytest.raises(Absent):
        here(stage, NOWHERE, {})
    assert here(stage, NOWHERE, sent(toy, stage.dataset)) == {stage.dataset: cache / stage.dataset}
    for name in FILES:
        assert (cache / stage.dataset / name).read_bytes() == (toy / name).read_bytes()
    assert here(stage, NOWHERE, {}) == {stage.dataset: cache / stage.dataset}  # without transfers


def test_another_data_set_under_the_same_path_is_not_taken_for_it(
    toy: Path, stage: Stage, cache: Path, tmp_path: Path
) -> None:
    other = write_toy(tmp_path / "other", seed=1).folder
    found = here(stage, other, sent(toy, stage.dataset))
    assert found == {stage.dataset: cache / stage.dataset}


def flip(kept: Path) -> None:
    counts = bytearray((kept / "counts.npy").read_bytes())
    counts[-1] ^= 1
    (kept / "counts.npy").write_bytes(counts)


def cut(kept: Path) -> None:
    (kept / "counts.npy").write_bytes(b"")


def lose(kept: Path) -> None:
    (kept / "images.csv").unlink()


@pytest.mark.parametrize("damage", [flip, cut, lose])
def test_a_damaged_copy_is_sent_again(
    damage: Callable[[Path], None], toy: Path, stage: Stage, cache: Path
) -> None:
    transfers = sent(toy, stage.dataset)
    here(stage, NOWHERE, transfers)
    damage(cache / stage.dataset)
    with pytest.raises(Absent):
        here(stage, NOWHERE, {})
    here(stage, NOWHERE, transfers)
    for name in FILES:
        assert (cache / stage.dataset / name).read_bytes() == (toy / name).read_bytes()


def test_a_file_of_weights_is_sent_as_it_is(stage: Stage, cache: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(bytes(range(256)))
    digest = sha256_of(weights)
    reads = Stage(kind="weights", config=stage.config, dataset=digest)
    assert here(reads, NOWHERE, sent(weights, digest)) == {digest: cache / digest}
    assert (cache / digest).read_bytes() == weights.read_bytes()


def test_what_was_changed_is_not_sent(toy: Path, stage: Stage, tmp_path: Path) -> None:
    changed = shutil.copytree(toy, tmp_path / "changed")
    table = changed / "images.csv"
    table.write_text(table.read_text().replace("centre-1", "centre-3"))
    with pytest.raises(StorageError, match="was changed while it was in use"):
        packed(changed, stage.dataset)
