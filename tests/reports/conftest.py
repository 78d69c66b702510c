"""A small data set and a run's folder, made of fixed random numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thyroid.data.dataset import Dataset, write_dataset
from thyroid.evaluate.predictions import Predictions, write_predictions

CLASSES = ("normal", "graves", "hot_nodule", "cold_nodule")
CROSSES = ("graves;cold_nodule", "graves;hot_nodule")
CENTRES = ("A", "B", "C")


def make_dataset(
    folder: Path, classes=CLASSES, crosses=CROSSES, per_group=30, size=32, kind="counts"
) -> Dataset:
    rng = np.random.default_rng(0)
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


def make_run(folder: Path, dataset: Dataset, seeds=(0, 1, 2), trials=24, epochs=12) -> Path:
    """All that a finished search writes, as the contract has it."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    classes = dataset.info.classes
    parts = np.array(["train", "train", "train", "validation", "test"])[
        (np.arange(len(dataset)) // 2) % 5
    ]
    table = pd.DataFrame({"image_id": dataset.images["image_id"], "part": parts})
    table.to_csv(folder / "split.csv", index=False)
    config = {
        "command": "search",
        "thyroid": "0.1.0",
        "dataset": {
            "folder": str(dataset.folder),
            "name": dataset.info.name,
            "classes": list(classes),
            "size": dataset.info.size,
            "pixel_mm": dataset.info.pixel_mm,
            "kind": dataset.info.kind,
            "source": dataset.info.source,
            "licence": dataset.info.licence,
            "sha256": dataset.info.sha256,
            "digest": dataset.digest,
            "images": len(dataset),
            "patients": len(set(dataset.patients)),
        },
        "recipe": {
            "split": {"validation": 0.2, "test": 0.2, "seed": 0, "leave_out_centre": None},
            "input": {"size": 32, "normalisation": "sqrt_mean"},
            "augmentation": {"rotation_deg": 10.0, "mirror": 0.5, "thinning": 0.25},
            "network": {"name": "resnet_small", "width": None, "weights": None},
            "optimiser": {"learning_rate": 2e-3, "weight_decay": 0.05, "batch_size": 32},
            "schedule": {"warmup_epochs": 2, "constant_epochs": 6, "decay_epochs": 4},
        },
        "seeds": list(seeds),
        "search": {
            "space": "augmentation",
            "trials": trials,
            "seeds": 1,
            "objective": "validation macro-F1",
            "seed": 0,
            "base": {"input": {"size": 32}},
        },
        "machine": {"cpu": "Example CPU 3000", "cores": 2, "python": "3.11.7", "torch": "2.14.1"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "metrics.jsonl").open("w") as file:
        for seed in seeds:
            for epoch in range(1, epochs + 1):
                left = np.exp(-epoch / 4) + 0.03 * rng.random()
                row = {
                    "stage": "classifier",
                    "seed": seed,
                    "epoch": epoch,
                    "learning_rate": 2e-3,
                    "train_loss": 0.4 + left,
                    "validation_loss": 0.55 + 0.9 * left,
                    "validation_accuracy": 0.83 - 0.5 * left,
                    "validation_macro_f1": 0.82 - 0.5 * left,
                    "train_seconds": 1.5 + rng.random(),
                    "images_per_second": 300 + 50 * rng.random(),
                }
                file.write(json.dumps(row) + "\n")
    (folder / "predictions").mkdir()
    for part in ("validation", "test"):
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
    make_trials(trials).to_csv(folder / "trials.csv", index=False)
    return folder


def make_trials(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    state = rng.choice(["complete", "complete", "pruned", "failed"], n)
    value = np.where(state == "failed", np.nan, 0.55 + 0.25 * rng.random(n) ** 0.5)
    reason = {
        "complete": "",
        "pruned": "stopped by the scheduler",
        "failed": "out of memory: the batch is too large",
    }
    thinning = rng.choice([0.0, 0.25, 0.5], n)
    return pd.DataFrame(
        {
            "number": np.arange(n),
            "state": state,
            "macro_f1": value,
            "epochs": rng.integers(2, 13, n),
            "seconds": 60 * rng.random(n),
            "reused_stages": rng.integers(0, 4, n),
            "computed_stages": rng.integers(1, 4, n),
            "reason": [reason[s] for s in state],
            "param_augmentation.rotation_deg": rng.choice([0.0, 10.0, 20.0], n),
            "param_augmentation.thinning": thinning,
            "param_augmentation.thinning_floor": np.where(thinning > 0, 0.3, np.nan),  # conditional
            "param_optimiser.learning_rate": 10 ** rng.uniform(-4, -2, n),
        }
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data") / "synthetic4")


@pytest.fixture
def run(tmp_path, dataset) -> Path:
    return make_run(tmp_path / "run1", dataset)
