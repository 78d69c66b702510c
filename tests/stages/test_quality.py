"""The quality stage on toy data, with synthetic images whose faults are known."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.toy import CLASSES, like, made, toy_recipe, with_other_pixels, write_toy
from thyroid import pipeline
from thyroid.acquisition import stabilised
from thyroid.data.dataset import Dataset
from thyroid.evaluate.case_mix import draw_same_mix
from thyroid.networks.build import build
from thyroid.networks.resnet import ResNet
from thyroid.recipe import NetworkConfig
from thyroid.stage import Stage
from thyroid.stage_config import QualityConfig
from thyroid.stages import measure_quality, split
from thyroid.stages.compute import start
from thyroid.stages.feature_network import load_feature_network
from thyroid.stages.super_resolution import _ssim

IMAGES = 360
RECIPE = toy_recipe(
    network__width=8,
    schedule__constant_epochs=6,
    schedule__decay_epochs=3,
    label_filter__warmup_epochs=0,
    label_filter__constant_epochs=1,
    label_filter__decay_epochs=0,
    srgan__width=4,
    srgan__blocks=1,
    srgan__pixel_epochs=1,
    srgan__adversarial_epochs=1,
    srgan__steps_per_epoch=4,
)
CONFIG = QualityConfig(input=RECIPE.input, execution=RECIPE.execution, seed=0)
COMPARED = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")

Inputs = dict[str, Path]


def classifier(digest: str, seed: int) -> Stage:
    """Replaces the label filter, which learns from mirrored images, in which left is right."""
    return pipeline.classifier(RECIPE, digest, seed)[-1]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Inputs:
    """All inputs but the synthetic images."""
    root = tmp_path_factory.mktemp("quality")
    data, store = root / "data", root / "store"
    digest = write_toy(data, images=IMAGES).digest
    upscaling = pipeline.srgan(RECIPE, digest, seed)
    stages = {
        "split": pipeline.split(RECIPE.split, digest),
        "feature_network": classifier(digest, 3 * seed + 1),
        "trained_on_real": classifier(digest, 3 * seed),
        "trained_on_synthetic": classifier(digest, 3 * seed + 2),
        "srgan_pixel": upscaling[0],
        "srgan": upscaling[-1],
    }
    return {"dataset": data} | {n: made(stage, data, store)[0] for n, stage in stages.items()}


@pytest.fixture
def synthetic(real: Inputs, tmp_path: Path) -> Callable[..., Inputs]:
    """All inputs, with these matrices and labels as synthetic images."""

    def with_images(counts: np.ndarray, labels: list[str] | None = None) -> Inputs:
        dataset = Dataset.open(real["dataset"])
        folder = tmp_path / "synthetic"
        table = dataset.images.iloc[np.arange(len(counts)) % IMAGES].copy()
        names = [f"synthetic-{i}" for i in range(len(counts))]
        table = table.assign(image_id=names, patient_id=names, source="synthetic")
        if labels is not None:
            table = table.assign(label=[text.split(";")[0] for text in labels], findings=labels)
        table = table.assign(total_counts=counts.sum((1, 2)))
        like(dataset, folder / "dataset", images=table, counts=counts.astype(np.uint16))
        split.mark_trained_on(*split.open_split(real), folder)
        np.save(folder / "verdicts.npy", np.eye(3, dtype=np.float32)[[0] * len(counts)])
        return real | {"synthetic": folder}

    return with_images


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Images like the real ones, as a perfect generator would make them."""
    folder = tmp_path_factory.mktemp("fresh") / "data"
    return np.array(write_toy(folder, images=IMAGES, seed=7).counts)


def result(inputs: Inputs, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    (metrics,) = measure_quality.fit(CONFIG, inputs, folder)
    json.dumps(metrics, allow_nan=False)
    content: dict[str, Any] = json.loads((folder / "quality.json").read_text())
    return content


def rows(content: dict[str, Any], group: str = "all") -> dict[str, dict[str, Any]]:
    return {row["measure"]: row for row in content["rows"] if row["group"] == group}


@pytest.fixture
def of_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Inputs], float]:
    """The kernel distance if all synthetic images were of one class: how far features lie apart."""

    def measure(inputs: Inputs) -> float:
        def draw(held_out: Any, sets: Any, rng: Any) -> Any:
            reference, (ours, yardstick) = draw_same_mix(held_out, sets, rng)
            alike = np.resize(np.flatnonzero(sets[0] == CLASSES[0]), len(ours))
            return reference, (alike, yardstick)

        with monkeypatch.context() as patched:
            patched.setattr(measure_quality, "draw_same_mix", draw)
            found = rows(result(inputs, tmp_path / "one_class"))
        return float(found["kernel_distance"]["synthetic"])

    return measure


@pytest.mark.processors
def test_a_perfect_generator_is_as_good_as_real_images(
    synthetic: Callable[..., Inputs],
    fresh: np.ndarray,
    of_one_class: Callable[[Inputs], float],
    tmp_path: Path,
    measured: Callable[..., None],
) -> None:
    inputs = synthetic(fresh)
    content = result(inputs, tmp_path / "quality")
    found = rows(content)
    assert list(found) == list(measure_quality.MEASURES)
    assert content["format_version"] == 1
    assert content["images"] == {"train": 216, "validation": 72, "synthetic": IMAGES}
    assert {row["group"] for row in content["rows"]} == {"all", *CLASSES}
    for name in COMPARED:
        assert found[name]["images"] == 3 * 72  # three training images for each of validation
        assert found[name]["synthetic"] is not None
        assert found[name]["real"] is not None
    distance = abs(found["kernel_distance"]["synthetic"]) / of_one_class(inputs)
    measured("kernel distance, by that of one class", distance, below=0.01)
    measured("precision", found["precision"]["synthetic"], above=0.8)
    measured("coverage", found["coverage"]["synthetic"], above=0.8)
    for who in ("synthetic", "real"):
        measured(f"label fidelity, {who}", found["label_fidelity"][who], above=0.9)
    assert found["label_fidelity"]["images"] == IMAGES
    nearest = found["nearest_training_distance"]
    measured("nearest, synthetic", abs(nearest["synthetic"] - 1), below=0.05)
    assert nearest["real"] == pytest.approx(1, abs=0.01)
    measured("share near", found["share_suspiciously_near"]["synthetic"], below=0.15)
    assert found["share_suspiciously_near"]["real"] == pytest.approx(0.05, abs=0.02)
    # at 32 pixels the toy's spot is uneven, for both sets in the same way
    dispersion = found["neighbour_dispersion"]
    assert dispersion["synthetic"] == pytest.approx(dispersion["real"], abs=0.05)
    assert found["total_counts_distance"]["synthetic"] < 0.25

    group = rows(content, "left")
    assert "classification_macro_f1" not in group
    assert group["frechet_distance"]["synthetic"] is None  # 24 validation images
    assert group["kernel_distance"]["synthetic"] is not None
    assert group["classification_accuracy"]["images"] == 24


@pytest.mark.processors
def test_each_fault_shows(
    synthetic: Callable[..., Inputs],
    fresh: np.ndarray,
    real: Inputs,
    tmp_path: Path,
    measured: Callable[..., None],
) -> None:
    """Images with noise twice, too many counts, one image repeated, or wrong labels."""
    rng = np.random.default_rng(0)
    classes = np.array([CLASSES[(i // 2) % 3] for i in range(IMAGES)])
    collapsed = np.stack([fresh[classes == name][0] for name in classes])
    faults = {
        "noisy": (rng.poisson(fresh), None),
        "bright": (rng.poisson(2.0 * fresh), None),
        "collapsed": (collapsed, None),
        "mislabelled": (fresh, list(np.roll(classes, 2))),
    }
    found = {}
    for name, fault in faults.items():
        inputs = synthetic(*fault)
        found[name] = rows(result(inputs, tmp_path / name))
        shutil.rmtree(inputs["synthetic"])
    assert found["noisy"]["neighbour_dispersion"]["synthetic"] > 1.7
    assert found["bright"]["total_counts_distance"]["synthetic"] > 0.9
    measured("recall, collapsed", found["collapsed"]["recall"]["synthetic"], below=0.5)
    coverage = found["collapsed"]["coverage"]
    measured("coverage, collapsed", coverage["synthetic"] / coverage["real"], below=0.5)
    fidelity = found["mislabelled"]["label_fidelity"]["synthetic"]
    measured("label fidelity, mislabelled", fidelity, below=0.1)
    for name in ("noisy", "collapsed"):
        kernel = found[name]["kernel_distance"]
        ratio = abs(kernel["real"] / kernel["synthetic"])
        measured(f"kernel distance of real by synthetic, {name}", ratio, below=0.2)


def test_copies_show(synthetic: Callable[..., Inputs], real: Inputs, tmp_path: Path) -> None:
    """Mirrored ones too, as generators train on mirrored images."""
    dataset = Dataset.open(real["dataset"])
    train = split.open_split(real)[1].train
    copies = np.array(dataset.counts[train])
    copies[::2] = copies[::2, :, ::-1]
    labels = list(dataset.images["label"].iloc[train])
    found = rows(result(synthetic(copies, labels), tmp_path / "quality"))
    assert found["nearest_training_distance"]["synthetic"] == pytest.approx(0, abs=1e-6)
    assert found["share_suspiciously_near"]["synthetic"] == pytest.approx(1)


@pytest.mark.processors
def test_the_mix_of_classes_is_not_quality(
    synthetic: Callable[..., Inputs],
    fresh: np.ndarray,
    of_one_class: Callable[[Inputs], float],
    tmp_path: Path,
    measured: Callable[..., None],
) -> None:
    """Many images of one class, few of another, and a cross that the real images lack."""
    classes = np.array([CLASSES[(i // 2) % 3] for i in range(IMAGES)])
    kept = np.concatenate(
        [
            np.flatnonzero(classes == name)[:n]
            for name, n in zip(CLASSES, (120, 40, 24), strict=True)
        ]
    )
    labels = list(classes[kept])
    labels[100:110] = ["left;right"] * 10
    inputs = synthetic(fresh[kept], labels)
    content = result(inputs, tmp_path / "quality")
    found = rows(content)
    assert found["kernel_distance"]["images"] == 72
    distance = abs(found["kernel_distance"]["synthetic"]) / of_one_class(inputs)
    measured("kernel distance, by that of one class", distance, below=0.01)
    assert found["total_counts_distance"]["synthetic"] < 0.3
    cross = rows(content, "left;right")
    assert cross["label_fidelity"]["images"] == 10
    measured("label fidelity, cross", cross["label_fidelity"]["synthetic"], above=0.8)
    assert cross["label_fidelity"]["real"] is None
    assert cross["kernel_distance"] == {
        "measure": "kernel_distance",
        "group": "left;right",
        "synthetic": None,
        "real": None,
        "images": 0,
        "better": "lower",
    }


def test_same_inputs_same_bytes_whatever_the_test_images(
    synthetic: Callable[..., Inputs], fresh: np.ndarray, tmp_path: Path
) -> None:
    inputs = synthetic(fresh)
    before = result(inputs, tmp_path / "before")
    dataset, parts = split.open_split(inputs)
    other = with_other_pixels(dataset, parts.test, tmp_path / "data").folder
    assert result(inputs | {"dataset": other}, tmp_path / "after") == before


def test_pictures_have_no_counts_to_measure(tmp_path: Path) -> None:
    """`kind` display: everything else is measured."""
    data, store = tmp_path / "data", tmp_path / "store"
    digest = write_toy(data, images=90, kind="display").digest
    stages = {
        "split": pipeline.split(RECIPE.split, digest),
        "feature_network": classifier(digest, 1),
    }
    inputs = {"dataset": data} | {n: made(stage, data, store)[0] for n, stage in stages.items()}
    pool = tmp_path / "pool"
    write_toy(pool / "dataset", images=60, kind="display", seed=3)
    split.mark_trained_on(*split.open_split(inputs), pool)
    np.save(pool / "verdicts.npy", np.eye(3, dtype=np.float32)[[0] * 60])
    inputs |= {"synthetic": pool}
    inputs |= dict.fromkeys(("trained_on_real", "trained_on_synthetic"), inputs["feature_network"])
    content = result(inputs, tmp_path / "quality")
    found = rows(content)
    assert content["super_resolution"] is None
    for name in ("neighbour_dispersion", "total_counts_distance"):
        assert found[name]["synthetic"] is None
        assert found[name]["real"] is None
    assert found["kernel_distance"]["synthetic"] is not None
    # 18 validation images: too few for these
    assert found["frechet_distance"]["synthetic"] is None
    assert found["share_suspiciously_near"]["synthetic"] is None


@pytest.mark.processors
def test_super_resolution(
    synthetic: Callable[..., Inputs],
    fresh: np.ndarray,
    tmp_path: Path,
    measured: Callable[..., None],
) -> None:
    inputs = synthetic(fresh)
    found = result(inputs, tmp_path / "quality")["super_resolution"]
    ways = ["bicubic", "pixel", "adversarial"]
    assert found["images"] == 72
    for measure in ("psnr_db", "ssim", "kernel_distance"):
        assert list(found[measure]) == ways
        assert all(np.isfinite(found[measure][way]) for way in ways)
    for way in ways:
        measured(f"least PSNR, {way}", found["psnr_db"][way], above=5)
        measured(f"most PSNR, {way}", found["psnr_db"][way], below=40)
        measured(f"least SSIM, {way}", found["ssim"][way], above=0)
        measured(f"most SSIM, {way}", found["ssim"][way], below=1)


def test_ssim_image_by_image() -> None:
    torch.manual_seed(0)
    target = torch.poisson(9 * torch.rand(4, 32, 32))
    activity = (target + torch.rand(4, 32, 32)) / (target + 0.5).mean((1, 2), keepdim=True)
    expected = []
    for a, t in zip(activity, target, strict=True):
        x, y = (stabilised(counts[None]) for counts in (a * t.mean(), t))
        expected.append(structural_similarity_index_measure(x, y, data_range=y.max().item()).item())
    assert _ssim(activity, target) == pytest.approx(np.mean(expected), abs=1e-3)


def test_features_are_what_the_head_sees(real: Inputs) -> None:
    network = load_feature_network(real["feature_network"], start(RECIPE.execution))
    assert isinstance(network, ResNet)
    x = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.fc(network.features(x)), network(x))
    assert network.features(x).shape == (3, 2 * 8 * 8)


def test_an_assessor_without_features_is_refused(tmp_path: Path, real: Inputs) -> None:
    card = json.loads((real["feature_network"] / "model.json").read_text())
    card["network"] = {"name": "lenet5"}
    (tmp_path / "model.json").write_text(json.dumps(card))
    network = build(NetworkConfig(name="lenet5"), 3)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(TypeError, match="must be a ResNet"):
        load_feature_network(tmp_path, start(RECIPE.execution))
