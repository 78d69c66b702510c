"""Curves per epoch, as plain numbers."""

from __future__ import annotations

from typing import Any

from reports.run import Run

CURVES = ("train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")


def training_info(run: Run) -> dict[str, Any] | None:
    """Per seed the curves, and what the last epoch reached; None where no epoch has ended.

    `cross_from` is the first epoch of the cross phase; None where there is none (yet).
    """
    if not run.epochs:
        return None
    seeds = []
    for seed in sorted({row["seed"] for row in run.epochs}):
        rows = [row for row in run.epochs if row["seed"] == seed]
        speeds = sorted(row["images_per_second"] for row in rows if row.get("images_per_second"))
        seeds.append(
            {"seed": seed, "epoch": [row["epoch"] for row in rows]}
            | {name: [row.get(name) for row in rows] for name in CURVES}
            | {"last": {name: rows[-1].get(name) for name in ("epoch", *CURVES)}}
            | {
                "train_seconds": sum(row.get("train_seconds") or 0.0 for row in rows),
                "images_per_second": speeds[len(speeds) // 2] if speeds else None,
            }
        )
    crossed = [row["epoch"] for row in run.epochs if row.get("phase") == "cross"]
    return {"seeds": seeds, "cross_from": min(crossed, default=None)}
