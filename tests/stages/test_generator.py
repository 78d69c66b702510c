"""Every generator of `thyroid.generators` as a stage: its key, its images, its permitted inputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.toy import made, toy_generators
from thyroid import generators, pipeline
from thyroid.data.dataset import Dataset
from thyroid.errors import InputError, StageFailed
from thyroid.files import sha256_of
from thyroid.stages import synthesise, train_generator

FILES = Path(pipeline.__file__).parent / "generators"
NAMES = sorted(path.stem for path in FILES.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_is_made_of_its_images(name: str, crossed: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(crossed)
    stage = pipeline.synthesis(toy_generators(generator=name), dataset.digest, 0)
    assert "dcgan" not in stage.inputs
    folder, metrics = made(stage, crossed, tmp_path)
    pool = Dataset.open(folder / synthesise.DATASET)
    assert len(pool) == sum(line["made"] for line in metrics) == 3 * 8 + 2 * 6
    assert set(pool.images["findings"]) == set(dataset.images["findings"])
    real = dataset.counts.sum((1, 2))
    made_counts = pool.counts.sum((1, 2))
    assert real.min() * 0.8 < np.median(made_counts) < real.max() * 1.2


def test_another_pool_has_other_images_of_the_same_findings(crossed: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(crossed)
    recipe = toy_generators(generator="eigen")
    pools = []
    for number in (0, 1):
        stage = pipeline.synthesis(recipe, dataset.digest, 0, number)
        pools.append(Dataset.open(made(stage, crossed, tmp_path)[0] / synthesise.DATASET))
    assert list(pools[0].images["findings"]) == list(pools[1].images["findings"])
    assert all((a != b).any() for a, b in zip(pools[0].counts, pools[1].counts, strict=True))


def test_its_code_is_part_of_its_key(crossed: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(crossed)
    stage = pipeline.generator(toy_generators(generator=NAMES[0]), dataset.digest, 0)[-1]
    assert stage.config.source == sha256_of(FILES / f"{NAMES[0]}.py")
    other = dataclasses.replace(stage.config, source="0" * 64)
    assert dataclasses.replace(stage, config=other).key != stage.key
    with pytest.raises(StageFailed, match=f"another thyroid/generators/{NAMES[0]}.py"):
        list(train_generator.fit(other, {}, tmp_path))


def test_the_code_that_it_imports_is_part_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow begins with the Gaussian of `eigen`."""
    monkeypatch.setattr(generators, "__file__", str(tmp_path / "__init__.py"))
    before = []
    for text in ("RIDGE = 1", "RIDGE = 2"):
        (tmp_path / "eigen.py").write_text(text)
        (tmp_path / "flow.py").write_text("from thyroid.generators import eigen\n")
        before.append(generators.source_of.__wrapped__("flow"))
        generators.source_of.cache_clear()
    assert before[0] != before[1] != sha256_of(tmp_path / "flow.py")


def test_an_unknown_generator_is_a_sentence() -> None:
    known = ", ".join(["dcgan", *NAMES])
    with pytest.raises(InputError, match=f"'vae' is unknown: choose one of {known}."):
        pipeline.synthesis(toy_generators(generator="vae"), "d" * 64, 0)


def test_the_dcgan_is_not_trained_where_another_generates(crossed: Path) -> None:
    stage = pipeline.quality(toy_generators(generator=NAMES[0]), "d" * 64, 0)
    kinds = {each.kind for each in stage.lineage()}
    assert "generator" in kinds
    assert "dcgan" not in kinds
