"""Images that are read when they are needed are the same as images in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.toy import made, toy_generators, write_toy
from thyroid import pipeline
from thyroid.data.dataset import Dataset
from thyroid.network_input import sum_pixels
from thyroid.recipe import ExecutionConfig, InputConfig
from thyroid.stages import compute
from thyroid.stages.compute import Compute, start
from thyroid.stages.images import Held, Images, Joined, Mapped, chunks, images, joined, some_of

ROWS = np.array([3, 88, 0, 41, 7, 12])


@pytest.fixture
def on() -> Compute:
    return start(ExecutionConfig(device="cpu", precision="fp32"))


def expected(dataset: Dataset, rows: np.ndarray, size: int) -> torch.Tensor:
    return sum_pixels(torch.from_numpy(dataset.counts[rows].astype(np.float32)), size)


@pytest.mark.parametrize("size", [32, 16])
def test_what_fits_is_held_and_what_does_not_is_mapped(
    toy: Path, on: Compute, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(toy)
    needed = len(ROWS) * size * size * 4
    share = on.threads / compute.cores()
    for room, kind in ((needed, Held), (needed - 1, Mapped)):
        monkeypatch.setattr(compute, "memory", lambda room=room: room / compute.HELD / share)
        found = images(dataset, ROWS, InputConfig(size=size), on)
        assert isinstance(found, kind)
        assert len(found) == len(ROWS)
        assert torch.equal(found[:], expected(dataset, ROWS, size))
        some = torch.tensor([5, 0, 5, 2])
        found.expect(some)
        assert torch.equal(found[some], expected(dataset, ROWS[some.numpy()], size))
        assert found[some].dtype == torch.float32


def test_stages_side_by_side_share_the_memory(on: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "memory", lambda: 8000)
    monkeypatch.setattr(compute, "cores", lambda: 4)
    assert on.holds(500)
    assert not on.holds(501)


def test_more_images_than_a_chunk_are_all_there(
    toy: Path, on: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(toy)
    assert [(s.start, s.stop) for s in chunks(5, 2)] == [(0, 2), (2, 4), (4, 5)]
    monkeypatch.setattr("thyroid.stages.images.chunks", lambda n: chunks(n, 7))
    every = np.arange(len(dataset))
    found = images(dataset, every, InputConfig(size=32), on)
    assert torch.equal(found[:], expected(dataset, every, 32))


@pytest.mark.parametrize("fits", [True, False])
def test_several_are_one_after_the_other(
    toy: Path, on: Compute, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(toy)
    made_here = Held(counts=torch.full((3, 32, 32), 7.0))
    mapped = Mapped(stored=dataset.counts, rows=ROWS, size=32, device=on.device)
    parts: list[Images] = [mapped, made_here, Held(counts=mapped[:2])]
    whole = torch.cat([part[:] for part in parts])
    if fits:
        parts = [Held(counts=part[:]) for part in parts]
    together = joined(parts, on)
    assert isinstance(together, Held if fits else Joined)
    assert len(together) == 11
    some = torch.tensor([8, 0, 10, 5, 6, 6, 1])
    together.expect(some)
    assert torch.equal(together[some], whole[some])
    assert torch.equal(together[4:9], whole[4:9])
    monkeypatch.setattr(Compute, "holds", lambda self, size_bytes: False)
    assert isinstance(joined([made_here, made_here], on), Joined)


def test_a_run_on_mapped_images_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DCGAN, SRGAN, synthesis, a single and a cross phase with superpositions."""
    crossed = write_toy(tmp_path / "crossed", crosses=24).folder
    recipe = toy_generators(
        cross__order="retrain",
        cross__epochs=2,
        cross__superposed=0.3,
        cross__synthetic=0.3,
        augmentation__thinning=0.5,
    )
    final = pipeline.classifier(recipe, Dataset.open(crossed).digest, 0)[-1]
    held, _ = made(final, crossed, tmp_path / "held")
    monkeypatch.setattr(Compute, "holds", lambda self, size_bytes: False)
    mapped, _ = made(final, crossed, tmp_path / "mapped")
    first, second = (load_file(folder / "model.safetensors") for folder in (held, mapped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_some_of_many_are_the_same_each_time_and_in_order() -> None:
    rows = np.arange(1000, 1100)
    assert some_of(rows, 100, 0) is rows
    few = some_of(rows, 30, 0)
    assert len(few) == len(set(few)) == 30
    assert set(few) <= set(rows)
    assert (np.diff(few) > 0).all()
    assert (few == some_of(rows, 30, 0)).all()
    assert (few != some_of(rows, 30, 1)).any()
