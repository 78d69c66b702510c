"""The synthesis stage makes an ordinary data set from training images alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.toy import CLASSES, CROSSES, like, made, toy_generators, write_toy
from thyroid import pipeline
from thyroid.data import data_checks
from thyroid.data.dataset import COLUMNS, Dataset
from thyroid.data.splits import make_split
from thyroid.errors import InputError, StageFailed
from thyroid.execution.in_process import in_process
from thyroid.recipe import Recipe
from thyroid.stage import Stage
from thyroid.stages import synthesise
from thyroid.stages.checkpoint import load_model
from thyroid.stages.compute import start
from thyroid.stages.images import images
from thyroid.stages.predict_part import probabilities
from thyroid.storage.store import Store

RECIPE = toy_generators()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that these tests share: generators are trained once."""
    return tmp_path_factory.mktemp("synthesis") / "store"


def pool(recipe: Recipe, data: Path, root: Path, seed: int = 0) -> Path:
    """Folder of the synthesis artifact."""
    stage = pipeline.synthesis(recipe, Dataset.open(data).digest, seed)
    return made(stage, data, root)[0]


def opened(folder: Path) -> Dataset:
    return Dataset.open(folder / "dataset")


def of(dataset: Dataset, findings: str) -> np.ndarray:
    """The pictures with these findings."""
    pictures: np.ndarray = dataset.counts[(dataset.images["findings"] == findings).to_numpy()]
    return pictures


def inputs_of(stage: Stage, data: Path, root: Path) -> dict[str, Path]:
    """The inputs of the stage's function."""
    for upstream in stage.inputs.values():
        made(upstream, data, root)
    store = Store(root)
    folders = {name: store.open(upstream.key) for name, upstream in stage.inputs.items()}
    return {"dataset": data} | {name: path for name, path in folders.items() if path is not None}


def test_it_is_an_ordinary_data_set_of_every_diagnosis(crossed: Path, root: Path) -> None:
    folder = pool(RECIPE, crossed, root)
    dataset, real = opened(folder), Dataset.open(crossed)
    assert dataset.info.classes == real.info.classes
    assert (dataset.info.kind, dataset.info.size) == ("counts", 32)
    assert dataset.info.pixel_mm == 4.0
    assert tuple(dataset.images.columns) == COLUMNS
    sizes = dataset.images["findings"].value_counts().to_dict()
    assert sizes == dict.fromkeys(CLASSES, 8) | dict.fromkeys(CROSSES, 6)
    assert (dataset.images["label"] == dataset.images["findings"].str.split(";").str[0]).all()
    assert set(dataset.images["source"]) == {"synthetic"}
    assert not set(dataset.images["patient_id"]) & set(real.images["patient_id"])
    assert not set(dataset.images["image_id"]) & set(real.images["image_id"])
    assert dataset.images["patient_id"].is_unique
    sums = dataset.counts.sum((1, 2), dtype=np.int64)
    assert (sums == dataset.images["total_counts"]).all()
    # The only finding is that its images are not those of patients
    errors = [flag.kind for flag in data_checks.check(dataset) if flag.severity == "error"]
    assert errors == ["synthetic"]
    summary = json.loads((folder / "synthesis.json").read_text())
    assert [line["findings"] for line in summary["combinations"]] == [*CLASSES, *CROSSES]


def test_pixels_are_in_millimetres_of_the_size_that_was_made(tmp_path: Path) -> None:
    data = write_toy(tmp_path / "data", size=64).folder  # 4 mm per pixel
    dataset = opened(pool(RECIPE, data, tmp_path / "store"))
    assert (dataset.info.size, dataset.info.pixel_mm) == (32, 8.0)
    assert (dataset.images["pixel_mm"] == 8.0).all()


def test_the_same_again_and_another_seed_another(crossed: Path, root: Path, tmp_path: Path) -> None:
    first = opened(pool(RECIPE, crossed, root))
    again = opened(pool(RECIPE, crossed, tmp_path / "again"))
    assert (first.folder / "counts.npy").read_bytes() == (again.folder / "counts.npy").read_bytes()
    assert first.images.equals(again.images)
    other = opened(pool(RECIPE, crossed, root, seed=1))
    assert not np.array_equal(first.counts, other.counts)
    assert len(np.unique(first.counts.reshape(len(first), -1), axis=0)) == len(first)


def test_images_of_one_diagnosis_do_not_depend_on_what_else_is_made(
    crossed: Path, root: Path
) -> None:
    everything = opened(pool(RECIPE, crossed, root))
    asked = "right+below,below+left"
    changed = [
        toy_generators(synthesis__crosses="none"),
        toy_generators(synthesis__crosses=asked),
        toy_generators(synthesis__images_per_cross=9),
    ]
    for recipe in changed:
        other = opened(pool(recipe, crossed, root))
        for findings in CLASSES:
            assert np.array_equal(of(other, findings), of(everything, findings))
    explicit = opened(pool(changed[1], crossed, root))
    assert np.array_equal(of(explicit, "right;below"), of(everything, "right;below"))


def test_crosses_that_were_never_seen_can_be_asked_for(crossed: Path, root: Path) -> None:
    recipe = toy_generators(synthesis__crosses="below+left, left+right+below")
    dataset = opened(pool(recipe, crossed, root))
    sizes = dataset.images["findings"].value_counts().to_dict()
    assert sizes == dict.fromkeys(CLASSES, 8) | {"below;left": 6, "left;right;below": 6}
    assert (dataset.images["label"][dataset.images["findings"] == "below;left"] == "below").all()


@pytest.mark.parametrize(
    "crosses", ["left", "left+left", "left+above", "", "left+right,", "left;right", "seen,none"]
)
def test_crosses_that_cannot_be_are_refused(crosses: str, crossed: Path) -> None:
    dataset = Dataset.open(crossed)
    with pytest.raises(InputError, match=r"synthesis\.crosses names"):
        synthesise.combinations(dataset, np.arange(len(dataset)), crosses)


def test_a_cross_asked_for_twice_is_made_once(crossed: Path) -> None:
    dataset = Dataset.open(crossed)
    wanted = synthesise.combinations(
        dataset, np.arange(len(dataset)), "left+right,right+below,left+right,right+left"
    )
    crosses = [findings for findings in wanted if len(findings) > 1]
    assert crosses == [("left", "right"), ("right", "below"), ("right", "left")]


def test_only_what_the_training_part_shows_counts_as_seen(crossed: Path) -> None:
    dataset = Dataset.open(crossed)
    left = np.flatnonzero(dataset.images["findings"] == "left;right")
    assert synthesise.combinations(dataset, left, "seen") == [
        ("left",),
        ("right",),
        ("left", "right"),
    ]


def test_total_counts_are_those_of_real_training_images(
    crossed: Path, root: Path, tmp_path: Path, calls_of: Callable[..., list]
) -> None:
    calls = calls_of(synthesise, "detected")
    # From one state of the generators, much more than enough of each
    recipe = toy_generators(
        synthesis__images_per_class=200,
        synthesis__images_per_cross=100,
        synthesis__crosses="left+right,left+below",
    )
    stage = pipeline.synthesis(recipe, Dataset.open(crossed).digest, 0)
    (tmp_path / "out").mkdir()
    fit = synthesise.fit(stage.config, inputs_of(stage, crossed, root), tmp_path / "out")
    order = [metrics["findings"] for metrics in fit]
    drawn = [call[1] for call in calls]
    real = Dataset.open(crossed)
    train = make_split(real, recipe.split).train
    totals = real.counts[train].sum((1, 2), dtype=np.int64)
    findings = real.images["findings"].to_numpy()[train]
    assert order == [*CLASSES, "left;right", "left;below"]
    for name, of_low, of_high in zip(order, drawn[::2], drawn[1::2], strict=True):
        like = totals[findings == name]
        if name == "left;below":  # never seen: as its primary finding, alone or not
            like = totals[np.char.startswith(findings.astype(str), "left")]
        assert torch.equal(of_low, of_high)
        assert set(of_low.long().tolist()) == set(like.tolist())
    dataset = opened(tmp_path / "out")
    counted = dataset.counts.sum((1, 2), dtype=np.int64)
    asked = torch.cat(drawn[1::2]).numpy()
    assert (np.abs(counted - asked) < 6 * np.sqrt(asked)).all()
    assert np.var((counted - asked) / np.sqrt(asked)) == pytest.approx(1, abs=0.25)  # Poisson


@pytest.mark.processors
def test_the_filter_drops_what_the_judge_is_sure_is_something_else(
    crossed: Path, root: Path, seed: int, measured: Callable[..., None]
) -> None:
    everything = pool(RECIPE, crossed, root, seed)
    dataset = opened(everything)
    stage = pipeline.synthesis(RECIPE, Dataset.open(crossed).digest, seed)
    judge = inputs_of(stage, crossed, root)
    on = start(RECIPE.execution)
    network, _, input_config = load_model(judge["label_filter"], on)
    counts = images(dataset, np.arange(len(dataset)), input_config, on)
    labels = torch.from_numpy(dataset.labels)
    p = probabilities(network, counts, input_config.normalisation, on)
    kept_verdicts = np.load(everything / "verdicts.npy")
    np.testing.assert_allclose(kept_verdicts, p.numpy(), atol=1e-5)
    sure, verdict = p.max(1)
    wrong = sure[verdict != labels].sort().values
    threshold = float(wrong[len(wrong) // 2 - 1 : len(wrong) // 2 + 1].mean())
    dropped = ((verdict != labels) & (sure >= threshold)).numpy()
    measured("dropped", dropped.sum(), above=5)
    measured("kept", len(dataset) - dropped.sum(), above=5)
    assert ((verdict != labels).numpy() & ~dropped).any()  # kept: the filter is not sure

    strict = pool(toy_generators(synthesis__rejection=threshold), crossed, root, seed)
    assert np.array_equal(opened(strict).counts, dataset.counts[~dropped])
    assert list(opened(strict).images["findings"]) == list(dataset.images["findings"][~dropped])
    np.testing.assert_array_equal(np.load(strict / "verdicts.npy"), kept_verdicts[~dropped])
    lines = json.loads((strict / "synthesis.json").read_text())["combinations"]
    assert sum(line["dropped"] for line in lines) == dropped.sum()
    assert sum(line["made"] for line in lines) == len(dataset)


def test_a_judge_that_lets_nothing_pass_is_a_sentence(
    crossed: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_right(_network: object, counts: Tensor, *_: object) -> Tensor:
        return torch.tensor([[0.0, 1.0, 0.0]]).expand(len(counts), -1)

    monkeypatch.setattr(synthesise, "probabilities", all_right)
    recipe = toy_generators(
        synthesis__images_per_class=0, synthesis__crosses="left+below", synthesis__rejection=0.9
    )
    with pytest.raises(StageFailed, match="No synthetic image is left"):
        pool(recipe, crossed, root)
    assert len(opened(pool(toy_generators(synthesis__crosses="left+below"), crossed, root))) == 30


def scaled(dataset: Dataset, factor: int, folder: Path) -> Dataset:
    """Display pictures, brighter."""
    counts = (np.array(dataset.counts) * factor).clip(0, 65535).astype(np.uint16)
    return like(dataset, folder, counts=counts)


@pytest.mark.processors
def test_pictures_keep_their_full_scale(
    tmp_path: Path, seed: int, measured: Callable[..., None]
) -> None:
    """Sums of four pixels would be four times as bright, and saturate."""
    toy = write_toy(tmp_path / "dim", size=64, kind="display")
    data = scaled(toy, 2_500, tmp_path / "bright")  # up to about 60,000 of 65,535
    dataset = opened(pool(RECIPE, data.folder, tmp_path / "store", seed))
    assert (dataset.info.kind, dataset.info.pixel_mm) == ("display", None)
    assert (dataset.images["total_counts"] == 0).all()
    assert dataset.images["pixel_mm"].isna().all()
    brightness = dataset.counts.mean((1, 2)), data.counts.mean((1, 2))
    measured("brightness", abs(brightness[0].mean() / brightness[1].mean() - 1), below=0.1)
    measured("saturated", (dataset.counts == 65535).mean(), below=1e-3)


def test_examples_are_the_first_of_every_diagnosis(
    crossed: Path, root: Path, tmp_path: Path
) -> None:
    folder = pool(RECIPE, crossed, root)
    synthesise.write_examples(folder, tmp_path / "examples", 2)
    examples, all_of_them = Dataset.open(tmp_path / "examples"), opened(folder)
    assert examples.images["findings"].value_counts().to_dict() == dict.fromkeys(
        [*CLASSES, *CROSSES], 2
    )
    for findings in (*CLASSES, *CROSSES):
        assert np.array_equal(of(examples, findings), of(all_of_them, findings)[:2])


def test_without_super_resolution_the_generator_makes_the_whole_picture(
    crossed: Path, tmp_path: Path
) -> None:
    recipe = toy_generators(srgan__scale=1)
    stage = pipeline.synthesis(recipe, Dataset.open(crossed).digest, 0)
    assert {s.kind for s in stage.lineage()} == {"split", "dcgan", "classifier", "synthesis"}
    kinds = [m["stage"] for m in in_process(Store(tmp_path), {stage.dataset: crossed})([stage])]
    assert "srgan" not in kinds
    assert opened(made(stage, crossed, tmp_path)[0]).info.size == 32
