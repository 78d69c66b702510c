"""Loss and metrics of the final trainings per epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.run import Run

CURVES = ("train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")
Values = list[float | None]
"""A value of each epoch."""


@dataclass(frozen=True, kw_only=True)
class SeedTraining:
    """The training of one seed."""

    seed: int
    epoch: list[int]
    train_loss: Values
    """nats"""
    validation_loss: Values
    """nats"""
    validation_accuracy: Values
    validation_macro_f1: Values
    last: dict[str, float | None]
    """Values of the last epoch."""
    train_seconds: float
    images_per_second: float | None
    """Median over epochs."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The trainings of all seeds."""

    seeds: list[SeedTraining]
    cross_from: int | None
    """First epoch of the cross phase; None where there is none (yet)."""


def training_info(run: Run) -> Training | None:
    """Each seed's curves; None where no epoch has ended."""
    if not run.epochs:
        return None
    seeds = []
    for seed, rows in by_seed(run.epochs).items():
        speeds = sorted(row["images_per_second"] for row in rows if row.get("images_per_second"))
        seeds.append(
            SeedTraining(
                seed=seed,
                **columns(rows, CURVES),
                train_seconds=sum(row.get("train_seconds") or 0.0 for row in rows),
                images_per_second=speeds[len(speeds) // 2] if speeds else None,
            )
        )
    crossed = [row["epoch"] for row in run.epochs if row.get("phase") == "cross"]
    return Training(seeds=seeds, cross_from=min(crossed, default=None))


def by_seed(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Lines of metrics.jsonl by their seed."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(row)
    return dict(sorted(found.items()))


def columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Lines of one seed as the fields `epoch`, each of `names`, and `last`."""
    every = ("epoch", *names)
    return {name: [row.get(name) for row in rows] for name in every} | {
        "last": {name: rows[-1].get(name) for name in every}
    }
