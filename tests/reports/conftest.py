"""A small data set and a run's folder, made of fixed random numbers."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.reports.made_searches import add_costs, add_objectives, add_stages, make_trials
from tests.stub_config import stub_comparison, stub_config, stub_search, with_config
from thyroid.data.dataset import Dataset, write_dataset
from thyroid.run_files.cases_json import Cases, write_cases
from thyroid.run_files.config_json import read_config, write_config
from thyroid.run_files.metrics_jsonl import (
    ClassifierEpoch,
    DcganEpoch,
    SrganEpoch,
    SynthesisedGroup,
    read_metrics,
    write_metrics,
)
from thyroid.run_files.network import Network
from thyroid.run_files.predictions_csv import (
    NETWORKS,
    Predictions,
    ensemble,
    network_file,
    out_of_fold,
    read_networks,
    read_predictions,
    write_predictions,
)
from thyroid.run_files.quality_json import (
    ImageNumbers,
    Quality,
    QualityRow,
    SuperResolution,
    write_quality,
)
from thyroid.run_files.rows_json import ComparedRow, write_rows
from thyroid.run_files.split_csv import SplitImage, write_split
from thyroid.run_files.trials_csv import write_trials
from thyroid.runs.run_folder import recorded
from thyroid.stages.find_cases import case_of, chosen

CLASSES = ("normal", "graves", "hot_nodule", "cold_nodule")
CROSSES = ("graves;cold_nodule", "graves;hot_nodule")
CENTRES = ("A", "B", "C")


def make_dataset(
    folder: Path, classes=CLASSES, crosses=CROSSES, per_group=30, size=32, kind="counts", seed=0
) -> Dataset:
    rng = np.random.default_rng(seed)
    findings = [f for f in (*classes, *crosses) for _ in range(per_group)]
    n = len(findings)
    at = size / 2 + rng.normal(0, size / 12, (n, 2, 1, 1))
    blobs = np.exp(-(((np.mgrid[:size, :size] - at) / (size / 5)) ** 2).sum(axis=1))
    counts = rng.poisson(2 + 40 * blobs).astype(np.uint16)
    images = pd.DataFrame(
        {
            "image_id": [f"im{i:05d}" for i in range(n)],
            "patient_id": [f"p{i // 2:05d}" for i in range(n)],
            "centre": rng.choice(CENTRES, n),
            "label": [f.split(";")[0] for f in findings],
            "findings": findings,
            "source": "import",
            "total_counts": counts.sum(axis=(1, 2)) if kind == "counts" else 0,
            "pixel_mm": 2.0 if kind == "counts" else np.nan,
            "flags": ["colour;counts_outside=12" if i % 40 == 0 else "" for i in range(n)],
        }
    )
    return write_dataset(
        folder,
        name="synthetic 4",
        classes=classes,
        size=size,
        pixel_mm=2.0 if kind == "counts" else None,
        kind=kind,
        source="random numbers",
        licence="CC0",
        images=images,
        counts=counts,
    )


def make_run(folder: Path, dataset: Dataset, seeds=(0, 1, 2), trials=8, epochs=12, folds=1) -> Path:
    """All that a finished search writes, as the contract has it."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    classes = dataset.info.classes
    parts = np.array(["train", "train", "train", "validation", "test"])[
        (np.arange(len(dataset)) // 2) % 5
    ]
    fold_of = np.full(len(dataset), -1)
    if folds > 1:
        parts = np.where(parts == "test", "test", "development")
        patient = np.arange(len(dataset)) // 2
        dealt = patient // 5 * 4 + patient % 5
        fold_of = np.where(parts == "test", -1, dealt % folds)
    rows = zip(dataset.images["image_id"], parts, fold_of.tolist(), strict=True)
    write_split(
        folder,
        [SplitImage(image_id=i, part=p, fold=None if f < 0 else f) for i, p, f in rows],
    )
    split = {"validation": 0.2, "test": 0.2, "seed": 0, "leave_out_centre": None}
    config = stub_config(
        command="search",
        dataset=recorded(dataset),
        recipe={
            "split": split | ({"folds": folds, "folds_by": "patient"} if folds > 1 else {}),
            "input": {"size": 32, "normalisation": "sqrt_mean"},
            "augmentation": {"rotation_deg": 10.0, "mirror": 0.5, "thinning": 0.25},
            "network": {"name": "resnet_small", "width": None, "weights": None},
            "optimiser": {"learning_rate": 2e-3, "weight_decay": 0.05, "batch_size": 32},
            "schedule": {"warmup_epochs": 2, "constant_epochs": 6, "decay_epochs": 4},
        },
        seeds=tuple(seeds),
        search=stub_search(trials=trials, base={"input": {"size": 32}}),
        machine={"cpu": "Example CPU 3000", "cores": 2, "python": "3.11.7", "torch": "2.14.1"},
    )
    write_config(folder, config)
    networks = [(seed, fold) for seed in seeds for fold in range(folds)]
    write_metrics(
        folder,
        [
            replace(classifier_epoch(rng, s, e), fold=f)
            for s, f in networks
            for e in range(1, epochs + 1)
        ],
    )
    (folder / "predictions").mkdir()
    if folds > 1:
        predict_in_folds(folder, dataset, fold_of, seeds, rng)
    for part in ("validation", "test") if folds == 1 else ():
        rows = np.flatnonzero(parts == part)
        for seed in seeds:
            logits = rng.normal(size=(len(rows), len(classes)))
            logits[np.arange(len(rows)), dataset.labels[rows]] += 2.0
            p = np.exp(logits)
            predictions = Predictions(
                classes=classes,
                images=dataset.images.iloc[rows],
                probabilities=p / p.sum(axis=1, keepdims=True),
            )
            write_predictions(folder / "predictions" / f"{part}-seed{seed}.csv", predictions)
    write_trials(folder, make_trials(trials))
    return add_cases(folder, dataset)


def predict_in_folds(run: Path, dataset: Dataset, fold_of, seeds, rng) -> None:
    """Predictions of a network for each fold and seed, out of its fold and of the test images."""
    folder = run / "predictions"
    (folder / NETWORKS).mkdir()

    def blank(chosen) -> Predictions:
        images = dataset.images[chosen].reset_index(drop=True)
        even = np.ones((len(images), len(dataset.info.classes)))
        return Predictions(classes=dataset.info.classes, images=images, probabilities=even)

    test = blank(fold_of < 0)
    difficult = rng.normal(size=test.probabilities.shape)
    for seed in seeds:
        held_out, tested = [], []
        for fold in range(fold_of.max() + 1):
            held_out.append(guessed(rng, blank(fold_of == fold), 2.0))
            tested.append(guessed(rng, test, 2.0, difficult))
            write_predictions(folder / NETWORKS / network_file(Network(seed, fold)), tested[-1])
        write_predictions(folder / f"validation-seed{seed}.csv", out_of_fold(held_out))
        write_predictions(folder / f"test-seed{seed}.csv", ensemble(tested))


def classifier_epoch(rng, seed, epoch) -> ClassifierEpoch:
    left = np.exp(-epoch / 4) + 0.03 * rng.random()
    return ClassifierEpoch(
        seed=seed,
        epoch=epoch,
        phase="mixed",
        learning_rate=2e-3,
        train_loss=0.4 + left,
        validation_loss=0.55 + 0.9 * left,
        validation_accuracy=0.83 - 0.5 * left,
        validation_cross_recall=None,
        validation_macro_f1=0.82 - 0.5 * left,
        train_seconds=1.5 + rng.random(),
        images_per_second=300 + 50 * rng.random(),
        reused=False,
    )


def dcgan_epoch(rng, seed, epoch) -> DcganEpoch:
    settled = 1 - np.exp(-epoch / 3) + 0.03 * rng.random()
    return DcganEpoch(
        seed=seed,
        epoch=epoch,
        discriminator_loss=1.9 - 0.4 * settled,
        generator_loss=0.1 + 0.4 * settled,
        real_score=0.3 * settled,
        fake_score=-0.3 * settled,
        diversity=0.2 + 0.7 * settled,
        train_seconds=8 + rng.random(),
        images_per_second=600 + 50 * rng.random(),
        reused=False,
    )


def srgan_epoch(rng, seed, epoch) -> SrganEpoch:
    late = epoch > 4
    return SrganEpoch(
        seed=seed,
        epoch=epoch,
        part="adversarial" if late else "pixel",
        pixel_loss=0.2 + 0.1 / epoch,
        perceptual_loss=0.5 if late else None,
        adversarial_loss=0.7 if late else None,
        discriminator_loss=1.3 if late else None,
        validation_psnr_db=17.2 - np.exp(-epoch) - 0.3 * late + 0.05 * rng.random(),
        bicubic_psnr_db=16.9,
        train_seconds=(6 if late else 3) + rng.random(),
        images_per_second=(200 if late else 450) + 20 * rng.random(),
        reused=False,
    )


def add_cases(run: Path, dataset: Dataset, most=2) -> Path:
    """The cases that the final evaluation leaves."""
    rng = np.random.default_rng(4)
    classes = dataset.info.classes
    seed = min(int(path.stem.rpartition("seed")[2]) for path in run.glob("predictions/test-*"))
    predicted = read_networks(run / "predictions", classes)[seed, 0]
    listed = tuple(case_of(predicted, row, why) for row, why in chosen(predicted, most))
    ids = dataset.images["image_id"].tolist()
    images = dataset.counts[[ids.index(case.image_id) for case in listed]]
    heat = rng.normal(size=(len(listed), 8, 8)).repeat(4, axis=1).repeat(4, axis=2)
    (run / "cases").mkdir(exist_ok=True)
    write_cases(run / "cases", Cases(listed=listed, images=images, heat=heat.astype(np.float16)))
    return run


def add_synthetic(run: Path, dataset: Dataset, *, new_crosses=(), size=16, skill=1.9) -> Path:
    """Turn a run into one that trained on synthetic images; `skill` is of the twin without."""
    rng = np.random.default_rng(3)
    config = with_config(
        run,
        recipe__mixing={"synthetic_share": 0.5, "final_share": 0.25},
        recipe__srgan={"scale": 2},
        recipe__synthesis={"rejection": 0.9},
    )
    findings = list(dict.fromkeys(dataset.images["findings"]))
    made = [*findings, *new_crosses]

    metrics = read_metrics(run)
    for seed, fold in itertools.product(config.seeds, range(config.of_recipe("split.folds", 1))):
        lines = [dcgan_epoch(rng, seed, epoch) for epoch in range(1, 11)]
        lines += [srgan_epoch(rng, seed, epoch) for epoch in range(1, 9)]
        for name in made:
            dropped = int(rng.integers(0, 20))
            lines.append(
                SynthesisedGroup(seed=seed, findings=name, made=120, dropped=dropped, reused=False)
            )
        metrics += [replace(line, fold=fold) for line in lines]
    write_metrics(run, metrics)

    guess(run, dataset, run / "predictions" / "without-synthetic", rng, skill)

    (run / "synthetic").mkdir()
    write_quality(run / "synthetic", make_quality(made))
    examples = run / "synthetic" / "examples"
    make_dataset(examples, dataset.info.classes, made[4:], per_group=6, size=size, seed=4)
    return run


def add_cross_phase(run: Path, dataset: Dataset, *, switch=9, skill=(1.9, -0.5)) -> Path:
    """Turn a run into one that trained on single images, then on crosses, from epoch `switch` on.

    `skill` is that of the networks before the cross phase, on single and on cross images.
    """
    rng = np.random.default_rng(6)
    with_config(run, recipe__cross={"order": "retrain", "epochs": 4, "synthetic": 0.0})
    write_metrics(
        run,
        [
            replace(line, phase="cross" if line.epoch >= switch else "single")
            if isinstance(line, ClassifierEpoch)
            else line
            for line in read_metrics(run)
        ],
    )
    guess(run, dataset, run / "predictions" / "before-cross", rng, skill)
    return run


ROWS = {
    "method": ("method", "the method", {}, 2.0),
    "resnet_small": ("baseline", "ResNet, small", {"network.cross_feature": "none"}, 1.9),
    "lenet5": ("baseline", "LeNet-5", {"network.name": "lenet5", "network.width": None}, -1.0),
    "vgg_small": ("baseline", "VGG, small", {"network.name": "vgg_small"}, 1.0),
    "no-x": ("ablation", "no x_i", {"network.cross_feature": "none"}, 2.0),
    "mixed": ("ablation", "cross images mixed in from the start", {"cross.order": "mixed"}, -1.0),
}
"""Name -> kind, title, changes and skill."""


def add_comparison(run: Path, dataset: Dataset, rows=ROWS, *, done=True, parts=("test",)) -> Path:
    """Turn a run into a comparison of its recipe, the method, with others."""
    rng = np.random.default_rng(7)
    compared = stub_comparison(base=read_config(run).base)
    with_config(run, command="compare", search=None, comparison=compared)
    (run / "trials.csv").unlink()
    write_rows(
        run,
        [
            ComparedRow(
                name=name,
                kind=kind,
                title=title,
                changes=changes,
                epochs=12,
                parameters=900_000 + int(rng.integers(10_000, 1_000_000)) // 10,
                done=done,
                trials=0 if kind == "ablation" else 3,
                train_seconds=30 * rng.random(),
            )
            for name, (kind, title, changes, _) in rows.items()
        ],
    )
    for name, (kind, _, _, skill) in rows.items() if done else ():
        for part in parts if kind != "method" else ():
            guess(run, dataset, run / "rows" / name / "predictions", rng, skill, part)
    return run


def guess(run: Path, dataset: Dataset, folder: Path, rng, skill, part="") -> None:
    """Predictions of other networks for the run's images.

    `skill` is what the label's logit gains: of all, or of single and of cross images.
    """
    single, cross = skill if isinstance(skill, tuple) else (skill, skill)
    folder.mkdir(parents=True, exist_ok=True)
    networks = read_networks(run / "predictions", dataset.info.classes)
    tested: dict[int, list[Predictions]] = {}
    several = (run / "predictions" / NETWORKS).is_dir() and part in ("", "test")
    difficult = None
    if several and networks:
        difficult = rng.normal(size=next(iter(networks.values())).probabilities.shape)
    for (seed, fold), own in networks.items() if several else ():
        other = guessed(rng, own, np.where(own.is_cross, cross, single), difficult)
        tested.setdefault(seed, []).append(other)
        (folder / NETWORKS).mkdir(exist_ok=True)
        write_predictions(folder / NETWORKS / network_file(Network(seed, fold)), other)
    for path in sorted((run / "predictions").glob(f"{part}*.csv")):
        own = read_predictions(path, dataset.info.classes)
        seed = int(path.stem.rpartition("seed")[2])
        if path.stem.startswith("test") and seed in tested:
            other = ensemble(tested[seed])
        else:
            other = guessed(rng, own, np.where(own.is_cross, cross, single))
        write_predictions(folder / path.name, other)


def guessed(rng, own: Predictions, skill, difficult=None) -> Predictions:
    """Predictions for the same images; `skill`, one or of each image, is what the label gains.

    `difficult`, of each image and class, is what networks err in alike.
    """
    logits = rng.normal(size=own.probabilities.shape)
    if difficult is not None:
        logits = 0.6 * logits + 0.8 * difficult
    logits[np.arange(len(logits)), own.labels] += skill
    p = np.exp(logits)
    return replace(own, probabilities=p / p.sum(axis=1, keepdims=True))


def make_quality(findings: list[str]) -> Quality:
    rng = np.random.default_rng(5)
    better = dict.fromkeys(
        ("precision", "recall", "coverage", "classification_accuracy", "label_fidelity"), "higher"
    )
    better |= {"frechet_distance": "lower", "kernel_distance": "lower"}
    better |= {"neighbour_dispersion": "equal", "nearest_training_distance": "equal"}
    rows = []
    for group in ("all", *findings):
        for measure, direction in better.items():
            few = measure == "frechet_distance" and group != "all"
            values = float(0.5 + 0.4 * rng.random()), float(0.7 + 0.3 * rng.random())
            synthetic, real = (None, None) if few else values
            images = 500 if group == "all" else 20
            rows.append(
                QualityRow(
                    measure=measure,
                    group=group,
                    synthetic=synthetic,
                    real=real,
                    better=direction,
                    images=images,
                )
            )
    return Quality(
        about=("The yardstick is as many real training images.",),
        images=ImageNumbers(train=108, validation=36, synthetic=700),
        rows=tuple(rows),
        super_resolution=SuperResolution(
            psnr_db={"bicubic": 16.9, "pixel": 17.3, "adversarial": 17.1},
            ssim={"bicubic": 0.61, "pixel": 0.66, "adversarial": 0.63},
            kernel_distance={"bicubic": 0.031, "pixel": 0.027, "adversarial": 0.009},
            images=36,
        ),
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "synthetic4")


@pytest.fixture
def run(tmp_path, dataset) -> Path:
    return make_run(tmp_path / "run1", dataset)


@pytest.fixture
def synthetic_run(tmp_path, dataset) -> Path:
    """Five seeds; one cross was made that no training image shows."""
    run = make_run(tmp_path / "run2", dataset, seeds=range(5))
    return add_synthetic(run, dataset, new_crosses=("hot_nodule;cold_nodule",))


@pytest.fixture
def compared_run(tmp_path, dataset) -> Path:
    """Five seeds; a method with a cross phase, three baselines, two ablations."""
    run = make_run(tmp_path / "run3", dataset, seeds=range(5))
    return add_comparison(add_cross_phase(run, dataset), dataset)


@pytest.fixture
def folded_run(tmp_path, dataset) -> Path:
    """Five folds and one seed; everything that a comparison can have."""
    run = make_run(tmp_path / "run5", dataset, seeds=(0,), folds=5)
    add_synthetic(add_cross_phase(run, dataset), dataset)
    return add_stages(add_comparison(run, dataset), trials=1, folds=5)


@pytest.fixture
def shared_run(tmp_path, dataset) -> Path:
    """A search with three objectives, a final race, the stages that it computed, and its costs."""
    run = make_run(tmp_path / "run4", dataset, trials=24)
    add_objectives(run, "macro_f1", "cross_recall", "compute", raced=3)
    add_costs(run, time_hours=2.0, gpu_hours=4.375, ended="gpu_hours")
    return add_stages(run, trials=24, segments=6, found=("dcgan",))
