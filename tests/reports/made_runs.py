"""A small data set and a run's folder, made of fixed random numbers."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tests.reports.made_predictions import guess, predict_in_folds
from tests.reports.made_searches import make_trials
from tests.stub_config import stub_config, stub_search, with_config
from thyroid.data.dataset import Dataset, write_dataset
from thyroid.run_files.cases_json import Cases, write_cases
from thyroid.run_files.config_json import write_config
from thyroid.run_files.metrics_jsonl import (
    ClassifierEpoch,
    DcganEpoch,
    SrganEpoch,
    SynthesisedGroup,
    read_metrics,
    write_metrics,
)
from thyroid.run_files.predictions_csv import (
    Predictions,
    read_networks,
    write_predictions,
)
from thyroid.run_files.quality_json import (
    ImageNumbers,
    Quality,
    QualityRow,
    SuperResolution,
    write_quality,
)
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
    """Write all files that a finished search writes."""
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
    """Turn a run into one with synthetic images; `skill` is that of the networks without them."""
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
